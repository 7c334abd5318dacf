"""The differences, or errors, as a picture: a dot for each seed, their mean, and the published number."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from alexnet_cli.artifacts.common.publish import replacing_inside, write_verified
from alexnet_commands.ablate.table import Row, Score, published_epochs
from alexnet_commands.plot.figure import NAMES, Page, shortened

KINDS = ("png", "svg")
_INCHES = 7
_LETTERS = 28
"""Of a recipe's name, at most: a file's path may be long, and its letters would take the graph's room."""


def draw(out: Path, rows: Sequence[Row], scores: Sequence[Score], *, each_own: bool = False) -> None:
    """plot.png and plot.svg in a folder; ResourceError without matplotlib, or if the disk fails.

    each_own: each net had epochs and mini-batches of its own (`--each-own`), so errors are shown with the published
    ones, and not differences to the first net.
    """
    first = rows[0].recipe
    if each_own:
        shown, base = rows, {score.seed: 0.0 for score in scores}
        published = {row.recipe: row.published_top1_error for row in rows}
        axis, where = "top-1 error in %", "published, on CIFAR-10"
    else:
        shown, base = rows[1:], {score.seed: score.top1_error for score in scores if score.recipe == first}
        published = {row.recipe: row.published_top1_difference for row in rows}
        axis = f"top-1 error more than {shortened(first, _LETTERS)}, in points, same seed"
        where = "published, on ImageNet"
    page = Page(_INCHES, 1.6 + 0.5 * len(shown), layout="constrained")
    axes = page.figure.add_subplot()
    for place, row in enumerate(shown):
        values = [100 * (score.top1_error - base[score.seed]) for score in scores if score.recipe == row.recipe]
        axes.plot(values, [place] * len(values), "o", color="tab:blue", alpha=0.6, label="a seed")
        axes.plot(sum(values) / len(values), place, "|", color="black", ms=22, mew=2, label="mean")
        if (other := published[row.recipe]) is not None:
            axes.plot(100 * other, place, "D", color="tab:red", mfc="none", label=where)
    axes.axvline(0, color="grey", lw=0.8)
    axes.set_yticks(range(len(shown)), [shortened(row.recipe, _LETTERS) for row in shown], **NAMES)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    page.figure.supxlabel(axis, fontsize="medium", **NAMES)
    _publish(page, axes, out / "plot")


def draw_curves(out: Path, target: float, curves: Sequence[tuple[Score, Sequence[float]]]) -> None:
    """curves.png and .svg: the training error over the epochs, and where the paper's nets reach 25%."""
    page = Page(_INCHES, 4.5, layout="constrained")
    axes = page.figure.add_subplot()
    names = list(dict.fromkeys(score.recipe for score, _ in curves))
    for place, name in enumerate(names):
        colour, shown = f"C{place}", shortened(name, _LETTERS)
        for score, errors in curves:
            if score.recipe == name:
                epochs = [number + 0.5 for number in range(len(errors))]
                style = "--" if "tanh" in name else "-"
                axes.plot(epochs, [100 * error for error in errors], style, color=colour, label=shown)
        published = published_epochs(name, target)
        if published is not None:
            axes.plot(published, 100 * target, "D", color=colour, mfc="none", ms=9, label=f"{shown}, paper")
    axes.axhline(100 * target, color="grey", lw=0.8)
    axes.set_xlabel("epochs")
    axes.set_ylabel("training error in %")
    axes.set_ylim(0, 80 if all(error <= 0.8 for _, errors in curves for error in errors) else 100)
    axes.set_xlim(0)
    _publish(page, axes, out / "curves")


def remove_curves(out: Path) -> None:
    """Remove the curves of an earlier --train-error: they show other runs than the new table."""
    for kind in KINDS:
        with suppress(OSError):
            (out / f"curves.{kind}").unlink()


def _publish(page: Page, axes: Any, stem: Path) -> None:
    """Each label once in the legend; PNG and SVG."""
    handles, labels = axes.get_legend_handles_labels()
    found = dict(zip(labels, handles, strict=True))
    columns = min(4, int(_INCHES / (0.45 + 0.06 * max(map(len, labels)))))  # inches of a mark, and of a letter
    legend = page.figure.legend(
        found.values(), found.keys(), loc="outside upper right", ncols=columns, fontsize="small", markerscale=0.6
    )
    for text in legend.get_texts():
        text.set(**NAMES)
    for kind in KINDS:
        with replacing_inside(stem.with_suffix(f".{kind}")) as work:
            write_verified(work, page.content(kind, 150))
