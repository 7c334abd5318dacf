"""Kernels and maps as one picture: small squares in rows, column a above column b (paper, figure 3).

    filter_tiles(weights, columns=2)        # (96, 3, 11, 11) → float64 (H, W, 3), 0 … 1, ready to be drawn

What `alexnet plot filters` draws and what a training's loggers are given.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Numbers = NDArray[np.floating]

GAP = 1
"""Pixels between neighbouring squares."""
COLUMN_GAP = 3
"""Pixels between column a and column b."""
_WHITE = 1.0


def kernel_colours(weights: Numbers, *, each: bool = False) -> Array:
    """Kernels as colours: 0.5 + w / (2·m). A weight of zero is mid-grey, the largest is full colour.

    weights: (kernels, 3, size, size), red, green, blue. m: the largest |w| of all kernels, or with `each` of each
    kernel. Gives (kernels, size, size, 3), 0 … 1; kernels of zeros are grey.
    """
    values = np.asarray(weights, np.float64).transpose(0, 2, 3, 1)
    magnitude = np.abs(values)
    largest = magnitude.max(axis=(1, 2, 3), keepdims=True) if each else magnitude.max(initial=0.0)
    colours: Array = 0.5 + values / (2 * np.where(largest > 0, largest, 1.0))
    return colours


def shape_of(count: int, *, wide: float = 16 / 3) -> tuple[int, int]:
    """(rows, squares in a row) for `count` squares, about `wide` times as wide as high: 48 are 3 rows of 16."""
    across = max(1, min(count, round(math.sqrt(count * wide))))
    whole = [width for width in range(1, count + 1) if count % width == 0 and 0.7 * across <= width <= 1.4 * across]
    if whole:  # without a gap in the last row
        across = min(whole, key=lambda width: abs(math.log(width / across)))
    return -(-count // across), across


def tile(squares: Array, *, columns: int = 1, wide: float = 16 / 3, gap: int = GAP) -> Array:
    """Squares in rows, the net's columns above one another with a wider gap between them.

    squares: (count, side, side, 3), the first column's first; if `columns` does not divide them, the first columns have
    one more, as in the net. Gives (H, W, 3), white between the squares.
    """
    side = squares.shape[1]
    parts = np.array_split(squares, columns)
    rows, across = shape_of(len(parts[0]), wide=wide)
    height, width = rows * (side + gap) - gap, across * (side + gap) - gap
    out = np.full((columns * height + (columns - 1) * (gap + COLUMN_GAP), width, 3), _WHITE)
    for number, part in enumerate(parts):
        top = number * (height + gap + COLUMN_GAP)
        for place, square in enumerate(part):
            row, column = top + place // across * (side + gap), place % across * (side + gap)
            out[row : row + side, column : column + side] = square
    return out


def filter_tiles(weights: Numbers, *, columns: int, each: bool = False) -> Array:
    """The first convolution's kernels as one picture, (H, W, 3), 0 … 1. weights: (kernels, 3, size, size)."""
    return tile(kernel_colours(weights, each=each), columns=columns)


def as_bytes(picture: Array) -> NDArray[np.uint8]:
    """0 … 1 as 0 … 255, uint8."""
    return (picture.clip(0, 1) * 255).round().astype(np.uint8)
