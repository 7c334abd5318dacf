"""The differences as a picture: a dot for each seed, their mean, and the published difference."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from alexnet_cli.artifacts.common.publish import replacing_inside, write_verified
from alexnet_cli.errors import ResourceError
from alexnet_commands.ablate.table import Row, Score


def draw(out: Path, rows: Sequence[Row], scores: Sequence[Score]) -> None:
    """plot.png and plot.svg in a folder; ResourceError without matplotlib, or where the disk will not."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        raise ResourceError(
            f"{out / 'plot.png'}: needs matplotlib: pip install matplotlib, then the same with --update"
        ) from None
    first, *others = rows
    mpl.rcParams["svg.hashsalt"] = "alexnet"  # the same picture is the same file
    figure = Figure(figsize=(7, 1.6 + 0.5 * len(others)), layout="constrained")
    axes = figure.add_subplot()
    base = {score.seed: score for score in scores if score.recipe == first.recipe}
    for place, row in enumerate(others):
        own = [score for score in scores if score.recipe == row.recipe]
        values = [100 * (score.top1_error - base[score.seed].top1_error) for score in own]
        axes.plot(
            values, [place] * len(values), "o", color="tab:blue", alpha=0.6, label="a seed" if not place else None
        )
        axes.plot(
            sum(values) / len(values), place, "|", color="black", ms=22, mew=2, label="mean" if not place else None
        )
        if row.published_top1_difference is not None:
            published = 100 * row.published_top1_difference
            axes.plot(published, place, "D", color="tab:red", mfc="none", label="published, on ImageNet")
    axes.axvline(0, color="grey", lw=0.8)
    axes.set_yticks(range(len(others)), [row.recipe for row in others])
    axes.set_ylim(len(others) - 0.5, -0.5)
    axes.set_xlabel(f"top-1 error more than {first.recipe}, in points, same seed")
    found = dict(zip(*axes.get_legend_handles_labels()[::-1], strict=True))
    figure.legend(found.values(), found.keys(), loc="outside upper right", ncols=3, fontsize="small")
    for kind in ("png", "svg"):
        buffer = io.BytesIO()
        metadata = {"Date": None} if kind == "svg" else {}
        figure.savefig(buffer, format=kind, dpi=150, metadata=metadata)
        with replacing_inside(out / f"plot.{kind}") as work:
            write_verified(work, buffer.getvalue())
