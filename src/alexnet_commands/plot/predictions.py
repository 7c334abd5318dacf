"""Figure 4 of the paper, left: pictures with the five most probable labels as bars, the right one in another colour."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.artifacts.scores import best_classes
from alexnet_cli.class_list import ClassList
from alexnet_commands.plot.figure import BLUE, INK, NAMES, RED, Page, shortened

MOST_BARS = 5
_SIDE, _GAP, _BAR, _LABEL = 1.7, 0.3, 0.19, 0.26
"""Inches: a picture, the space between two, a bar, the line with the right label."""
_LETTERS = 24


def draw(crops: NDArray[np.uint8], values: NDArray[np.float32], labels: NDArray[np.int64], classes: ClassList) -> Page:
    """crops: uint8 (N, side, side, 3). values: (N, classes). labels: (N,), -1 if unknown."""
    count = len(crops)
    across = min(count, 4)
    rows, bars = -(-count // across), min(MOST_BARS, len(classes))
    high = _SIDE + _LABEL + bars * _BAR + 0.08
    page = Page(across * (_SIDE + _GAP) + _GAP, rows * (high + _GAP) + _GAP)
    for place in range(count):
        left = _GAP + place % across * (_SIDE + _GAP)
        top = _GAP + place // across * (high + _GAP)
        page.picture(left, top, _SIDE, _SIDE, crops[place], interpolation="antialiased")
        label = int(labels[place])
        if label >= 0:
            named = shortened(classes.called(label), _LETTERS)
            page.text(left + _SIDE / 2, top + _SIDE + 0.06, named, ha="center", fontsize=9.5, weight="bold")
        _bars(page, left, top + _SIDE + _LABEL, values[place], label, classes)
    return page


def _bars(page: Page, left: float, top: float, values: NDArray[np.float32], label: int, classes: ClassList) -> None:
    """The most probable labels below one another; each name is on its bar, as in the paper."""
    order = best_classes(values[None], MOST_BARS)[0].tolist()
    axes = page.at(left, top, _SIDE, len(order) * _BAR)
    axes.barh(
        range(len(order)),
        [float(values[index]) for index in order],
        height=0.86,
        color=[RED if index == label else BLUE for index in order],
        alpha=0.62,
        linewidth=0,
    )
    for row, index in enumerate(order):
        name = shortened(classes.called(index), _LETTERS)
        axes.text(0.02, row + 0.03, name, va="center", fontsize=7.5, color=INK, **NAMES)
    axes.set(xlim=(0, 1), ylim=(len(order) - 0.5, -0.5), xticks=[], yticks=[])
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    axes.spines["left"].set_color("#888888")
