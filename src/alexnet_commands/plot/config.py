"""Options of `alexnet plot filters | curves | predictions | neighbours | confusion | activations | mean`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from typer import Argument, Option

from alexnet_cli.errors import UsageError
from alexnet_cli.options import BatchSize, Devices, Seed, Views

FORMATS = (".png", ".svg", ".pdf")

Net = Annotated[Path, Argument(help="A run folder or a checkpoint.", metavar="NET", show_default=False)]
Crops = Annotated[Path, Argument(help="The pictures: a crop store.", metavar="CROPS", show_default=False)]


@dataclass(frozen=True, kw_only=True)
class PlotConfig:
    """What every figure takes."""

    default_name: ClassVar[str] = "figure.png"

    out: Annotated[
        Path | None,
        Option(
            "--out",
            "-o",
            help="The file; its name ends in .png, .svg or .pdf.",
            show_default="here, by the figure's name",
        ),
    ] = None
    """The file; without it, one in the working folder, named after the figure."""
    dpi: Annotated[int, Option("--dpi", help="Pixels per inch, of PNG.", min=30, max=1200)] = 150
    """Pixels per inch."""
    overwrite: Annotated[bool, Option("--overwrite", help="Replace a figure that exists already.")] = False
    """Replace a figure of ours that lies there; never another file."""
    quiet: Annotated[bool, Option("--quiet", "-q", help="No progress, no messages; warnings and errors stay.")] = False
    """No progress and no messages on stderr."""
    json: Annotated[bool, Option("--json", help="Print path and numbers as one JSON object on stdout.")] = False
    """The path and the numbers drawn, as one JSON object on stdout."""

    def __post_init__(self) -> None:
        if self.path.suffix.lower() not in FORMATS:
            raise UsageError(f"--out {self.path}: the name says the format: end it in .png, .svg or .pdf")

    @property
    def path(self) -> Path:
        """Where the figure is written."""
        return Path(self.default_name) if self.out is None else self.out


@dataclass(frozen=True, kw_only=True)
class FiltersConfig(PlotConfig):
    """Whose kernels."""

    default_name: ClassVar[str] = "filters.png"

    net: Net
    """Run folder (its best checkpoint, else its newest) or checkpoint folder."""
    scale: Annotated[
        str,
        Option(
            "--scale",
            help="all: one scale for all kernels, so that weak ones look weak; each: every kernel has its own.",
            metavar="all|each",
        ),
    ] = "all"
    """all, or each."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scale not in ("all", "each"):
            raise UsageError(f"--scale {self.scale}: use all or each")


@dataclass(frozen=True, kw_only=True)
class CurvesConfig(PlotConfig):
    """Which runs."""

    default_name: ClassVar[str] = "curves.png"

    runs: Annotated[
        list[Path], Argument(help="Run folders, also unfinished ones.", metavar="RUN...", show_default=False)
    ]
    """Runs; those of one recipe with different seeds are one band."""
    separate: Annotated[bool, Option("--separate", help="A line for each run, no bands.")] = False
    """A line for each run."""


@dataclass(frozen=True, kw_only=True)
class PredictionsConfig(PlotConfig):
    """What a net says of which pictures."""

    default_name: ClassVar[str] = "predictions.png"

    net: Net
    """Run folder or checkpoint folder."""
    crops: Crops
    """Crop store, with or without labels."""
    picture: Annotated[
        list[str],
        Option("--picture", help="A picture by name or index. Repeatable.", metavar="NAME|INDEX", show_default="eight"),
    ] = ()  # type: ignore[assignment]
    """Which pictures; without it `count` of them, of as many classes as there are."""
    count: Annotated[int, Option("--count", help="So many pictures, chosen by --seed.", min=1, max=100)] = 8
    """How many, where none is named."""
    seed: Seed = 0
    """Chooses the pictures."""
    views: Views = 10
    """10, or 1: the centre alone."""
    devices: Devices = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.views not in (1, 10):
            raise UsageError(f"--views {self.views}: must be 10 (corners, centre, mirror images) or 1 (centre)")


@dataclass(frozen=True, kw_only=True)
class NeighboursConfig(PlotConfig):
    """Which pictures resemble which, to a net."""

    default_name: ClassVar[str] = "neighbours.png"

    net: Net
    """Run folder or checkpoint folder."""
    crops: Crops
    """Crop store in which neighbours are looked for."""
    query: Annotated[
        list[str],
        Option("--query", help="A picture by name or index. Repeatable.", metavar="NAME|INDEX", show_default="five"),
    ] = ()  # type: ignore[assignment]
    """Whose neighbours; without it five pictures of different classes, chosen by `seed`."""
    query_crops: Annotated[
        Path | None,
        Option("--query-crops", help="The crop store that the queries come from.", show_default="CROPS"),
    ] = None
    """The store of the queries: the paper takes test pictures, and looks in the training set."""
    layer: Annotated[
        str | None,
        Option(
            "--layer",
            help="Whose activations are compared, such as fc6 or pool5.",
            metavar="NAME",
            show_default="the last hidden layer, fc7",
        ),
    ] = None
    """A layer's name; the activations after its ReLU or tanh."""
    count: Annotated[int, Option("--count", help="Neighbours of each picture.", min=1, max=20)] = 6
    """How many neighbours."""
    seed: Seed = 0
    """Chooses the queries where none is named."""
    batch_size: BatchSize = 64
    devices: Devices = "auto"


@dataclass(frozen=True, kw_only=True)
class ConfusionConfig(PlotConfig):
    """Of which scores."""

    default_name: ClassVar[str] = "confusion.png"

    scores: Annotated[
        Path, Argument(help="Scores from `alexnet eval` or an ensemble.", metavar="SCORES", show_default=False)
    ]
    """A scores file; of an ensemble, the scores.h5 in its folder."""


@dataclass(frozen=True, kw_only=True)
class ActivationsConfig(PlotConfig):
    """What a net's convolutions make of a picture."""

    default_name: ClassVar[str] = "activations.png"

    net: Net
    """Run folder or checkpoint folder."""
    picture: Annotated[
        Path, Argument(help="A picture file; it is cut as preprocess does.", metavar="PICTURE", show_default=False)
    ]
    """A picture file."""
    devices: Devices = "auto"


@dataclass(frozen=True, kw_only=True)
class MeanConfig(PlotConfig):
    """Of which statistics."""

    default_name: ClassVar[str] = "mean.png"

    stats: Annotated[Path, Argument(help="Statistics from `alexnet pca`.", metavar="STATS", show_default=False)]
    """A statistics file."""
