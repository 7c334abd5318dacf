"""Copying a record and forming its CRC-32C in one pass over its bytes, compiled by numba for this processor.

    copy = copier()                     # None where numba, or the processor's carry-less product, is missing
    crc = copy(source, target)          # both uint64 arrays of at least 32; runs without Python's lock

A record's bits are a polynomial over GF(2), and its CRC is the rest after division by CRC-32C's. Four registers of
bytes each run over the record; at each step a register is multiplied by x^(bits between its places), which is two
carry-less products, and the next bytes are added. What is left, a few hundred bytes with the same rest, takes the
processor's own CRC instruction. Gopal et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ
Instruction" (Intel, 2009).
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray

WORTH = 100_000
"""Crops; for fewer, loading numba and compiling take longer than they save."""
_WORTH_COMPILING = 20_000
"""The same where numba is loaded already."""
_REGISTERS = 4
_POLYNOMIAL = 0x11EDC6F41
"""CRC-32C's, x^32 first."""
_COMPILING = threading.Lock()

Copy = Callable[[NDArray[np.uint64], NDArray[np.uint64]], int]


def copier(crops: int) -> Copy | None:
    """The compiled copy, where it pays for so many crops: where numba is loaded already, or they are very many."""
    return _compiled() if crops >= (_WORTH_COMPILING if "numba" in sys.modules else WORTH) else None


def fits(nbytes: int) -> bool:
    """Whether records of so many bytes can be copied by it."""
    return nbytes % 8 == 0 and nbytes >= 512


def _compiled() -> Copy | None:
    with _COMPILING:
        return _compile()


@cache
def _compile() -> Copy | None:
    if importlib.util.find_spec("numba") is None:
        return None
    try:
        lanes = _lanes()
        copy = _made(lanes) if lanes else None
        return copy if copy is not None and _is_right(copy) else None
    except Exception:  # whatever numba or LLVM raise where they can't: then bytes are copied and checked one by one
        return None


def _lanes() -> int:
    """Numbers of 64 bits in the widest register that the processor multiplies without carries; 0 where it doesn't."""
    binding: Any = importlib.import_module("llvmlite.binding")
    has = binding.get_host_cpu_features()
    if not (has.get("sse4.2") and has.get("pclmul")):
        return 0
    if has.get("vpclmulqdq") and has.get("avx512f"):
        return 8
    return 4 if has.get("vpclmulqdq") and has.get("avx2") else 2


def _is_right(copy: Copy) -> bool:
    """Whether it copies, and agrees with the crc32c package."""
    for count in (64, 99, 4096):
        source = np.random.default_rng(count).integers(0, 1 << 63, count, dtype=np.uint64)
        target = np.zeros_like(source)
        if copy(source, target) != crc32c(source.tobytes()) or not np.array_equal(source, target):
            return False
    return True


def _made(lanes: int) -> Copy:
    njit: Any = importlib.import_module("numba").njit
    fold, crc_of_eight = _instructions(lanes)
    words = lanes * _REGISTERS

    @njit(nogil=True)  # type: ignore[untyped-decorator]
    def copy(source: Any, target: Any) -> Any:
        steps = len(source) // words
        state = np.empty(words, np.uint64)
        fold(source.ctypes.data, target.ctypes.data, steps, state.ctypes.data)
        crc = np.uint64(0)
        for place in range(words):
            crc = crc_of_eight(crc, state[place])
        for place in range(steps * words, len(source)):
            crc = crc_of_eight(crc, source[place])
            target[place] = source[place]
        return crc ^ np.uint64(0xFFFFFFFF)

    return copy  # type: ignore[no-any-return]


def _instructions(lanes: int) -> tuple[Any, Any]:
    """Two functions for compiled code: the pass over the record, and the processor's CRC of eight bytes."""
    ir: Any = importlib.import_module("llvmlite.ir")
    types: Any = importlib.import_module("numba").types

    cgutils: Any = importlib.import_module("numba.core.cgutils")
    intrinsic: Any = importlib.import_module("numba.extending").intrinsic
    number = ir.IntType(64)
    register = ir.VectorType(number, lanes)
    name = "llvm.x86.pclmulqdq" + {2: "", 4: ".256", 8: ".512"}[lanes]
    width, bits = 8 * lanes, 64 * lanes * _REGISTERS
    factors = ir.Constant(register, [_factor(bits + 32), _factor(bits - 32)] * (lanes // 2))
    low, high = ir.Constant(ir.IntType(8), 0x00), ir.Constant(ir.IntType(8), 0x11)

    @intrinsic  # type: ignore[untyped-decorator]
    def fold(typing: Any, source: Any, target: Any, steps: Any, state: Any) -> Any:
        """Copies `steps` times `_REGISTERS` registers, and leaves in `state` what has the same rest."""

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            read, write, count, left = arguments
            kind = ir.FunctionType(register, [register, register, ir.IntType(8)])
            product = cgutils.get_or_insert_function(builder.module, kind, name)

            def at(address: Any, offset: int) -> Any:
                return builder.inttoptr(builder.add(address, ir.Constant(number, offset)), register.as_pointer())

            def move(start: Any, to: Any, offset: int) -> Any:
                value = builder.load(at(start, offset), align=1)
                builder.store(value, at(to, offset), align=1)
                return value

            registers = [cgutils.alloca_once(builder, register) for _ in range(_REGISTERS)]
            for place, kept in enumerate(registers):
                value = move(read, write, width * place)
                if place == 0:  # CRC-32C begins with all bits set
                    value = builder.xor(value, ir.Constant(register, [0xFFFFFFFF] + [0] * (lanes - 1)))
                builder.store(value, kept)
            one = ir.Constant(number, 1)
            with cgutils.for_range_slice(builder, one, count, one) as (step, _):
                offset = builder.mul(step, ir.Constant(number, width * _REGISTERS))
                start, to = builder.add(read, offset), builder.add(write, offset)
                for place, kept in enumerate(registers):
                    value, before = move(start, to, width * place), builder.load(kept)
                    halves = [builder.call(product, [before, factors, which]) for which in (low, high)]
                    builder.store(builder.xor(builder.xor(*halves), value), kept)
            for place, kept in enumerate(registers):
                builder.store(builder.load(kept), at(left, width * place), align=1)
            return context.get_dummy_value()

        return types.void(*[types.uintp] * 4), generate

    @intrinsic  # type: ignore[untyped-decorator]
    def crc_of_eight(typing: Any, crc: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kind = ir.FunctionType(number, [number, number])
            name = "llvm.x86.sse42.crc32.64.64"
            return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)

        return types.uint64(types.uint64, types.uint64), generate

    return fold, crc_of_eight


def _factor(power: int) -> int:
    """x^power modulo the polynomial, as the carry-less product of reflected numbers wants it: reversed, one bit up."""
    rest = 1
    for _ in range(power):
        rest <<= 1
        if rest >> 32:
            rest ^= _POLYNOMIAL
    return int(f"{rest:032b}"[::-1], 2) << 1
