"""float32 and bfloat16 numbers in compiled loops: bfloat16 is the upper half of a float32."""

# mypy: allow-untyped-defs, allow-untyped-calls

from __future__ import annotations

import numpy as np
from numba import types
from numba.core.extending import overload


def wide(number):
    """A number of an array of float32, or of bfloat16 as uint16, as float32."""
    raise NotImplementedError


def narrow(number, array):
    """A float32 as a number for such an array, rounded to the nearest, ties to even; NaN stays NaN."""
    raise NotImplementedError


@overload(wide)
def _wide(number):
    if number == types.uint16:
        return lambda number: np.uint32(np.uint32(number) << np.uint32(16)).view(np.float32)
    return lambda number: number


@overload(narrow)
def _narrow(number, array):
    if array.dtype != types.uint16:
        return lambda number, array: number

    def rounded(number, array):
        bits = np.float32(number).view(np.uint32)
        up = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
        return np.uint16(np.uint32(0x7FC0)) if number != number else np.uint16(up)

    return rounded
