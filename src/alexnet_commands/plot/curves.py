"""Loss and error by epoch: a line for a run, and for runs that differ only in the seed their mean in a band."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.artifacts.run import CONFIG, RunFolder
from alexnet_cli.errors import ArtifactError
from alexnet_cli.reading import read_json_object
from alexnet_cli.recipes.recipe import differing
from alexnet_commands.plot.figure import LINES, Page, plain, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]

LOSSES = ("train_loss", "validation_loss")
ERRORS = ("validation_top1_error", "validation_top5_error")
STYLES: dict[str, tuple[Literal["-", "--", ":"], str]] = {
    "train_loss": ("--", "training"),
    "validation_loss": ("-", "validation"),
    "validation_top1_error": ("-", "top-1"),
    "validation_top5_error": (":", "top-5"),
}
"""Each column's line, and its name in the legend."""


@dataclass(frozen=True, eq=False)
class Run:
    """One run's metrics."""

    name: str
    recipe: Mapping[str, Any]
    rows: Sequence[Mapping[str, str]]

    def values(self, column: str) -> dict[int, float]:
        """Epoch → value, of the epochs that have one."""
        found = {}
        for row in self.rows:
            try:
                value = float(row.get(column) or "nan")
            except ValueError:
                raise ArtifactError(
                    f"{self.name}: its metrics have {column} = {row[column]!r}: remove the file"
                ) from None
            if math.isfinite(value):
                found[int(row["epoch"])] = value
        return found


@dataclass(frozen=True, eq=False)
class Band:
    """Several runs' values of one column: at each epoch, of the runs that reached it."""

    epochs: list[int]
    mean: Array
    lowest: Array
    highest: Array
    runs: list[int]
    """How many runs each epoch's figures are of."""


@dataclass(frozen=True, eq=False)
class Group:
    """Runs of one recipe."""

    title: str
    runs: list[Run] = field(default_factory=list)

    def band(self, column: str) -> Band:
        """Mean and range at each epoch that any run has; empty if the column is."""
        values = [run.values(column) for run in self.runs]
        epochs = sorted({epoch for found in values for epoch in found})
        at = [np.array([found[epoch] for found in values if epoch in found]) for epoch in epochs]
        mean, lowest, highest = (np.array([reduce(group) for group in at]) for reduce in (np.mean, np.min, np.max))
        return Band(epochs, mean, lowest, highest, [len(group) for group in at])

    def drops(self) -> list[int]:
        """The epochs that begin with a lower rate than the one before, in any run."""
        found = set()
        for run in self.runs:
            rates = sorted(run.values("rate").items())
            found |= {epoch for (_, before), (epoch, now) in pairwise(rates) if now < before}
        return sorted(found)


def read_run(path: Path) -> Run:
    """The metrics of a run, finished or not; ArtifactError if there is none, or it has not ended an epoch."""
    if not (path / CONFIG).is_file():
        raise ArtifactError(f"{path}: is not a run folder: give one that `alexnet train` made")
    recipe = read_json_object(path / CONFIG).get("recipe")
    rows = RunFolder(path).metrics()
    if not isinstance(recipe, dict):
        raise ArtifactError(f"{path / CONFIG}: names no recipe, it is damaged: train again")
    if not rows:
        raise ArtifactError(f"{path}: has not ended an epoch yet: wait for the first")
    return Run(path.name or str(path), recipe, rows)


def grouped(runs: Sequence[Run], *, separate: bool) -> list[Group]:
    """Runs of equal recipes together, whatever their number of epochs; each alone with `separate`.

    A group is named after its recipe. If several recipes have the same name, the first field in which they differ from
    the first of them is added. A run that is alone has its folder's name too.
    """
    groups: dict[str, list[Run]] = {}
    for number, run in enumerate(runs):
        key = str(number) if separate else json.dumps(_comparable(run.recipe), sort_keys=True)
        groups.setdefault(key, []).append(run)
    firsts: dict[str, Run] = {}
    found = []
    for members in groups.values():
        name = str(members[0].recipe.get("name"))
        other = firsts.setdefault(name, members[0])
        change = next(differing(_comparable(other.recipe), _comparable(members[0].recipe)), None)
        title = name if change is None else f"{name}, {change[0]} = {change[2]}"
        found.append(
            Group(f"{title} ({len(members)} runs)" if len(members) > 1 else f"{members[0].name}: {title}", members)
        )
    return found


def _comparable(recipe: Mapping[str, Any]) -> dict[str, Any]:
    training = recipe.get("training")
    return {**recipe, "training": {**training, "epochs": None} if isinstance(training, dict) else training}


def draw(groups: Sequence[Group]) -> Page:
    """Loss at the left; at the right the validation errors, if a run has any."""
    errors = any(group.band(column).epochs for group in groups for column in ERRORS)
    page = Page(8.6 if errors else 4.6, 3.7 + 0.2 * len(groups))
    _graph(page.at(0.65, 0.35, 3.6, 2.75), groups, LOSSES, "loss", scale=1)
    if errors:
        _graph(page.at(4.85, 0.35, 3.6, 2.75), groups, ERRORS, "validation error (%)", scale=100)
    for number, group in enumerate(groups):
        top = 3.6 + 0.2 * number
        page.text(0.65, top, "━", color=_colour(number), weight="bold")
        page.text(0.9, top, shortened(group.title, 120 if errors else 60), fontsize=8.5)
    return page


def _graph(axes: Axes, groups: Sequence[Group], columns: Sequence[str], title: str, *, scale: float) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator

    shown: list[str] = []
    epochs: set[int] = set()
    for number, group in enumerate(groups):
        colour = _colour(number)
        for column in columns:
            band = group.band(column)
            if not band.epochs:
                continue
            shown.append(column)
            epochs |= set(band.epochs)
            line, marker = STYLES[column][0], "o" if len(band.epochs) <= 12 else None
            axes.plot(band.epochs, scale * band.mean, line, color=colour, linewidth=1.4, marker=marker, markersize=2.6)
            if len(group.runs) > 1:
                lowest, highest = scale * band.lowest, scale * band.highest
                axes.fill_between(band.epochs, lowest, highest, color=colour, alpha=0.18, linewidth=0)
        for epoch in group.drops():
            axes.axvline(epoch - 0.5, color=colour, linewidth=0.7, linestyle=(0, (1, 3)), zorder=0)
    plain(axes)
    axes.set_title(title, fontsize=10, loc="left", color="#222222")
    axes.set_xlabel("epoch", fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(bottom=0)
    if len(epochs) == 1:
        axes.set_xlim(min(epochs) - 1, min(epochs) + 1)
    handles = [
        Line2D([], [], color="#444444", linestyle=line, linewidth=1.2, label=label)
        for line, label in (STYLES[column] for column in columns if column in shown)
    ]
    axes.legend(handles=handles, fontsize=8, frameon=False, loc="upper right")


def _colour(number: int) -> str:
    return LINES[number % len(LINES)]


def numbers(groups: Sequence[Group]) -> dict[str, Any]:
    """What the figure shows, for `--json`."""
    found = []
    for group in groups:
        series = {}
        for column in (*LOSSES, *ERRORS):
            band = group.band(column)
            if band.epochs:
                series[column] = {
                    "epochs": band.epochs,
                    "runs": band.runs,
                    **{name: getattr(band, name).tolist() for name in ("mean", "lowest", "highest")},
                }
        found.append({"title": group.title, "runs": [run.name for run in group.runs], "series": series})
    return {"groups": found}
