"""Copying records and forming their CRC-32C in one pass over their bytes, compiled by numba for this processor.

    copy = copier(crops)                # None if numba, or the processor's carry-less product, is missing
    sums = copy(addresses, out)         # uint64 (N,) and uint8 (N, bytes); runs without Python's lock

A record's bits are a polynomial over GF(2), and its CRC is the rest after division by CRC-32C's. Four registers of
bytes each run over the record; at each step a register is multiplied by x^(bits between its places), which is two
carry-less products, and the next bytes are added. What is left, a few hundred bytes with the same rest, takes the
processor's own CRC instruction. Gopal et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ
Instruction" (Intel, 2009).
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from functools import cache

import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray

WORTH = 100_000
"""Crops; for fewer, loading numba takes longer than it saves. Where it is loaded already, the copy is always worth it:
it is compiled once on a machine."""
_COMPILING = threading.Lock()

Copy = Callable[[NDArray[np.uint64], NDArray[np.uint8]], NDArray[np.uint32]]


def copier(crops: int) -> Copy | None:
    """The compiled copy, if it pays for that many crops: if numba is loaded already, or they are very many."""
    if crops < WORTH and "numba" not in sys.modules:
        return None
    with _COMPILING:
        return _checked()


def fits(nbytes: int) -> bool:
    """Whether records of that many bytes can be copied by it."""
    return nbytes % 8 == 0 and nbytes >= 512


@cache
def _checked() -> Copy | None:
    """The copy, if it works here and agrees with the crc32c package; else None."""
    from alexnet_cli.compiled import available

    if not available():
        return None
    try:
        from alexnet_cli.artifacts.crops.kernels.folding import copy_records, lanes_here

        if not lanes_here():
            return None

        def copy(addresses: NDArray[np.uint64], out: NDArray[np.uint8]) -> NDArray[np.uint32]:
            sums = np.empty(len(addresses), np.uint32)
            copy_records(addresses, sums, out, 0, len(addresses))
            return sums

        for nbytes in (512, 792, 32768):
            source = np.random.default_rng(nbytes).integers(0, 256, (3, nbytes), dtype=np.uint8)
            out = np.zeros_like(source)
            sums = copy(source.ctypes.data + np.arange(3, dtype=np.uint64) * np.uint64(nbytes), out)
            if sums.tolist() != [crc32c(row.tobytes()) for row in source] or not np.array_equal(source, out):
                return None
    except Exception:  # whatever numba or LLVM raise: then bytes are copied and checked one by one
        return None
    return copy
