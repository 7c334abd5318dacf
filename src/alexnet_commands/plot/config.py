"""Options of `alexnet plot filters | curves | predictions | neighbours | confusion | activations | mean`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from typer import Argument, Option

from alexnet_cli.errors import UsageError
from alexnet_cli.options import (
    BatchSize,
    Crops,
    Devices,
    Net,
    OutputOptions,
    Seed,
    Views,
    require_one_of,
    require_views,
)

FORMATS = (".png", ".svg", ".pdf")


@dataclass(frozen=True, kw_only=True)
class PlotConfig(OutputOptions):
    """What every figure takes."""

    figure: ClassVar[str] = "figure"
    """Name of the command, of the function in run.py, and of the file if there is no --out."""

    out: Annotated[
        Path | None,
        Option(
            "--out",
            "-o",
            help="The file; its name ends in .png, .svg or .pdf.",
            show_default="this folder, under the figure's name",
        ),
    ] = None
    dpi: Annotated[int, Option("--dpi", help="Pixels per inch of a PNG.", min=30, max=1200)] = 150

    def __post_init__(self) -> None:
        if self.path.suffix.lower() not in FORMATS:
            raise UsageError(f"--out {self.path}: the name says the format: end it in .png, .svg or .pdf")

    @property
    def path(self) -> Path:
        """Where the figure is written."""
        return Path(f"{self.figure}.png") if self.out is None else self.out


@dataclass(frozen=True, kw_only=True)
class FiltersConfig(PlotConfig):
    """Whose kernels."""

    figure: ClassVar[str] = "filters"

    net: Net
    scale: Annotated[
        str,
        Option(
            "--scale",
            help="all: one scale for all kernels: weak ones look weak; each: every kernel has its own.",
            metavar="all|each",
        ),
    ] = "all"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_of("--scale", self.scale, ("all", "each"))


@dataclass(frozen=True, kw_only=True)
class CurvesConfig(PlotConfig):
    """Which runs."""

    figure: ClassVar[str] = "curves"

    runs: Annotated[list[Path], Argument(help="Run folders, also unfinished ones.", metavar="RUN...")]
    separate: Annotated[bool, Option("--separate", help="One line for each run, no bands.")] = False


@dataclass(frozen=True, kw_only=True)
class PredictionsConfig(PlotConfig):
    """What a net says of which pictures."""

    figure: ClassVar[str] = "predictions"

    net: Net
    crops: Crops
    picture: Annotated[
        list[str],
        Option(
            "--picture",
            help="A picture by name or index. Repeatable.",
            metavar="NAME|INDEX",
            show_default="eight at random",
        ),
    ] = ()  # type: ignore[assignment]
    count: Annotated[
        int, Option("--count", help="How many pictures are drawn at random, without --picture.", min=1, max=100)
    ] = 8
    seed: Seed = 0
    views: Views = 10
    devices: Devices = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_views(self.views)


@dataclass(frozen=True, kw_only=True)
class NeighboursConfig(PlotConfig):
    """Which pictures resemble which, to a net."""

    figure: ClassVar[str] = "neighbours"

    net: Net
    crops: Crops
    """Crop store in which neighbours are looked for."""
    query: Annotated[
        list[str],
        Option(
            "--query",
            help="A picture by name or index. Repeatable.",
            metavar="NAME|INDEX",
            show_default="five at random",
        ),
    ] = ()  # type: ignore[assignment]
    query_crops: Annotated[
        Path | None, Option("--query-crops", help="The crop store that the queries come from.", show_default="CROPS")
    ] = None
    """The store of the queries: the paper takes test pictures, and looks in the training set."""
    layer: Annotated[
        str | None,
        Option(
            "--layer",
            help="The layer whose activations are compared, such as fc6 or pool5.",
            metavar="NAME",
            show_default="the last hidden layer, fc7",
        ),
    ] = None
    count: Annotated[int, Option("--count", help="Neighbours of each picture.", min=1, max=20)] = 6
    seed: Seed = 0
    batch_size: BatchSize = 64
    devices: Devices = "auto"


@dataclass(frozen=True, kw_only=True)
class ConfusionConfig(PlotConfig):
    """Of which scores."""

    figure: ClassVar[str] = "confusion"

    scores: Annotated[Path, Argument(help="Scores from `alexnet eval` or an ensemble.", metavar="SCORES")]


@dataclass(frozen=True, kw_only=True)
class ActivationsConfig(PlotConfig):
    """What a net's convolutions make of a picture."""

    figure: ClassVar[str] = "activations"

    net: Net
    picture: Annotated[
        Path, Argument(help="A picture file; it is cut as the training pictures were.", metavar="PICTURE")
    ]
    devices: Devices = "auto"


@dataclass(frozen=True, kw_only=True)
class MeanConfig(PlotConfig):
    """Of which statistics."""

    figure: ClassVar[str] = "mean"

    stats: Annotated[Path, Argument(help="Statistics from `alexnet pca`.", metavar="STATS")]
