"""The confusion matrix of scores: which class is taken for which."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.artifacts.scores import Scores
from alexnet_cli.console import percent
from alexnet_commands.plot.figure import INK, NAMES, Page, shortened

_COUNTED, _NAMED = 20, 60
"""Up to this many classes each field holds its number, and each row its class's name."""
_LISTED = 15
_LETTERS = 22


def confusions(counts: NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """(class, taken for, pictures) of all that is wrong, the commonest first; of equals the earlier classes."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    rows, columns = np.nonzero(wrong)
    found = [(int(row), int(column), int(wrong[row, column])) for row, column in zip(rows, columns, strict=True)]
    return sorted(found, key=lambda entry: (-entry[2], entry[0], entry[1]))


def draw(scores: Scores, counts: NDArray[np.int64]) -> Page:
    """Shares of each row as shades; the commonest confusions in words at the right. counts: of reports/judging.py."""
    classes = len(counts)
    names = [shortened(scores.classes.called(index), _LETTERS) for index in range(classes)]
    named = classes <= _NAMED
    size = min(8.0, max(3.2, 0.42 * classes)) if named else 6.5
    small = min(9.0, max(4.5, 0.7 * 72 * size / classes))
    left = 0.35 + (max(map(len, names)) * small * 0.62 / 72 if named else 0.45)
    bottom = left if named else 0.75
    page = Page(left + size + 3.5, 0.5 + size + bottom)
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    axes = page.at(left, 0.45, size, size)
    drawn = shares if named else shares**0.5  # with many classes a few pictures would be too pale to be seen
    axes.imshow(
        drawn, cmap="Blues", vmin=0, vmax=1, interpolation="nearest" if named else "antialiased", aspect="equal"
    )
    axes.set_xlabel("taken for", fontsize=10)
    axes.set_ylabel("class", fontsize=10)
    if named:
        axes.set_xticks(range(classes), names, rotation=90, fontsize=small, **NAMES)
        axes.set_yticks(range(classes), names, fontsize=small, **NAMES)
    else:
        axes.tick_params(labelsize=8)
    axes.tick_params(length=2)
    if classes <= _COUNTED:
        for row, column in zip(*np.nonzero(counts), strict=True):
            colour = "white" if shares[row, column] > 0.55 else INK
            axes.text(
                column, row, f"{counts[row, column]:,}", ha="center", va="center", fontsize=small * 0.9, color=colour
            )
    wrong = 1 - np.trace(counts) / max(counts.sum(), 1)
    page.text(left, 0.14, f"{counts.sum():,} pictures, {classes:,} classes: top-1 error {percent(wrong)}", fontsize=10)
    _list(page, left + size + 0.3, names, counts, totals)
    return page


def _list(page: Page, left: float, names: list[str], counts: NDArray[np.int64], totals: NDArray[np.int64]) -> None:
    common = confusions(counts)[:_LISTED]
    page.text(left, 0.45, "commonest confusions" if common else "nothing is confused", weight="bold")
    for line, (row, column, pictures) in enumerate(common):
        text = f"{shortened(names[row], 17)} → {shortened(names[column], 17)}: {pictures:,} of {int(totals[row, 0]):,}"
        page.text(left, 0.7 + 0.19 * line, text, fontsize=8)
