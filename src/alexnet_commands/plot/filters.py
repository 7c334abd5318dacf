"""Figure 3 of the paper: the first convolution's kernels in colour, column a above column b."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.tiles import filter_tiles, shape_of
from alexnet_commands.plot.figure import Page

_SQUARE = 0.52
"""Inches of a kernel."""
_MARGIN, _LABEL = 0.12, 0.3


def draw(weights: NDArray[np.float32], columns: int, *, each: bool) -> Page:
    """weights: (kernels, 3, size, size). each: every kernel has its own scale."""
    tiles = filter_tiles(weights, columns=columns, each=each)
    _, across = shape_of(-(-len(weights) // columns))
    label = _LABEL if columns > 1 else 0.0
    width = max(across * _SQUARE, 1.5)
    height = width * tiles.shape[0] / tiles.shape[1]
    page = Page(width + 2 * _MARGIN + label, height + 2 * _MARGIN)
    page.picture(_MARGIN + label, _MARGIN, width, height, tiles)
    part = height / columns
    for number in range(columns if columns > 1 else 0):
        letter = chr(ord("a") + number)
        name = f"column {letter}" if part > 0.8 else letter  # what there is room for
        left, top = _MARGIN + label / 2, _MARGIN + (number + 0.5) * part
        page.text(left, top, name, rotation=90, va="center", ha="center", fontsize=10)
    return page


def numbers(weights: NDArray[np.float32], columns: int, layer: str) -> dict[str, Any]:
    """What the figure shows, for `--json`."""
    return {
        "layer": layer,
        "kernels": len(weights),
        "columns": columns,
        "size": int(weights.shape[2]),
        "largest_weights": [float(value) for value in np.abs(weights).max(axis=(1, 2, 3))],
    }
