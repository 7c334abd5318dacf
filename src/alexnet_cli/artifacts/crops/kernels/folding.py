"""The loop of copying.py, and the instructions that it is made of."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# mypy: disable-error-code="call-arg, import-untyped"

from __future__ import annotations

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from alexnet_cli.compiled import kernel

REGISTERS = 4
_POLYNOMIAL = 0x11EDC6F41
"""CRC-32C's, x^32 first."""
_NUMBER = ir.IntType(64)


def lanes_here() -> int:
    """Numbers of 64 bits in the widest register that the processor multiplies without carries; 0 if it doesn't."""
    has = binding.get_host_cpu_features()
    if not (has.get("sse4.2") and has.get("pclmul")):
        return 0
    if has.get("vpclmulqdq") and has.get("avx512f"):
        return 8
    return 4 if has.get("vpclmulqdq") and has.get("avx2") else 2


def factor(power: int) -> int:
    """x^power modulo the polynomial, as the carry-less product of reflected numbers wants it: reversed, one bit up."""
    rest = 1
    for _ in range(power):
        rest <<= 1
        if rest >> 32:
            rest ^= _POLYNOMIAL
    return int(f"{rest:032b}"[::-1], 2) << 1


LANES = lanes_here() or 2
_WORDS = LANES * REGISTERS


def _pointer(builder, address, kind):
    return builder.inttoptr(address, kind.as_pointer())


def fold_by(lanes: int):
    """A function for compiled code: the pass over one record, by registers of that many lanes."""
    register = ir.VectorType(_NUMBER, lanes)
    name = "llvm.x86.pclmulqdq" + {2: "", 4: ".256", 8: ".512"}[lanes]
    width, bits = 8 * lanes, 64 * lanes * REGISTERS
    factors = ir.Constant(register, [factor(bits + 32), factor(bits - 32)] * (lanes // 2))
    low, high = ir.Constant(ir.IntType(8), 0x00), ir.Constant(ir.IntType(8), 0x11)

    @intrinsic
    def fold(typing, source, target, steps, state, ahead):
        """Copies `steps` times REGISTERS registers, and leaves in `state` what has the same rest. The processor
        prefetches the bytes that lie `ahead` of those read."""

        def generate(context, builder, signature, arguments):
            read, write, count, left, far = arguments
            kind = ir.FunctionType(register, [register, register, ir.IntType(8)])
            product = cgutils.get_or_insert_function(builder.module, kind, name)
            flags = [ir.Constant(ir.IntType(32), flag) for flag in (0, 3, 1)]  # to be read, soon, as data
            kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer(), *(flag.type for flag in flags)])
            fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")

            def at(address, offset):
                return builder.add(address, ir.Constant(_NUMBER, offset))

            def move(start, to, offset):
                value = builder.load(_pointer(builder, at(start, offset), register), align=1)
                builder.store(value, _pointer(builder, at(to, offset), register), align=1)
                return value

            registers = [cgutils.alloca_once(builder, register) for _ in range(REGISTERS)]
            for place, kept in enumerate(registers):
                value = move(read, write, width * place)
                if place == 0:  # CRC-32C begins with all bits set
                    value = builder.xor(value, ir.Constant(register, [0xFFFFFFFF] + [0] * (lanes - 1)))
                builder.store(value, kept)
            one = ir.Constant(_NUMBER, 1)
            with cgutils.for_range_slice(builder, one, count, one) as (step, _):
                offset = builder.mul(step, ir.Constant(_NUMBER, width * REGISTERS))
                start, to = builder.add(read, offset), builder.add(write, offset)
                for line in range(0, width * REGISTERS, 64):
                    builder.call(fetch, [_pointer(builder, at(builder.add(start, far), line), ir.IntType(8)), *flags])
                for place, kept in enumerate(registers):
                    value, before = move(start, to, width * place), builder.load(kept)
                    halves = [builder.call(product, [before, factors, which]) for which in (low, high)]
                    builder.store(builder.xor(builder.xor(*halves), value), kept)
            for place, kept in enumerate(registers):
                builder.store(builder.load(kept), _pointer(builder, at(left, width * place), register), align=1)
            return context.get_dummy_value()

        return types.void(*[types.uintp] * 5), generate

    return fold


fold = fold_by(LANES)


@intrinsic
def crc_of_eight(typing, crc, value):
    """The processor's CRC of eight bytes."""

    def generate(context, builder, signature, arguments):
        kind = ir.FunctionType(_NUMBER, [_NUMBER, _NUMBER])
        return builder.call(
            cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse42.crc32.64.64"), arguments
        )

    return types.uint64(types.uint64, types.uint64), generate


@intrinsic
def moved_eight(typing, source, target):
    """Eight bytes, copied from one address to another."""

    def generate(context, builder, signature, arguments):
        source, target = (_pointer(builder, address, _NUMBER) for address in arguments)
        value = builder.load(source, align=1)
        builder.store(value, target, align=1)
        return value

    return types.uint64(types.uintp, types.uintp), generate


@kernel
def copy_records(addresses, sums, out, first, last):
    """Records at some addresses, one behind the other into `out`, (N, bytes), and their CRC-32C into `sums`."""
    state = np.empty(_WORDS, np.uint64)
    count = np.uint64(out.shape[1] // 8)
    steps = count // np.uint64(_WORDS)
    done = steps * np.uint64(_WORDS)
    for number in range(first, last):
        source, to = np.uint64(addresses[number]), np.uint64(out[number].ctypes.data)
        # Within a long record the processor foresees what comes; between short ones it can't.
        far = np.uint64(addresses[min(number + 1, last - 1)]) - source if count < _SHORT else np.uint64(0)
        fold(source, to, steps, np.uint64(state.ctypes.data), far)
        crc = np.uint64(0)
        for word in state:
            crc = crc_of_eight(crc, word)
        for place in range(done, count):
            offset = np.uint64(8) * np.uint64(place)
            crc = crc_of_eight(crc, moved_eight(source + offset, to + offset))
        sums[number] = np.uint32(crc ^ np.uint64(0xFFFFFFFF))


_SHORT = 2048
"""Numbers of 64 bits."""
