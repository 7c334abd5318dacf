"""Options of `alexnet ablate`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from alexnet_cli.errors import UsageError
from alexnet_cli.options import CommonOptions, Devices, Out, Precision, Set

_MOST_DIGITS = 100
"""Of a seed, which is part of a folder's name."""


@dataclass(frozen=True, kw_only=True)
class AblateConfig(CommonOptions):
    """Which recipes, over which seeds, on which pictures."""

    crops: Annotated[Path, Argument(help="The training pictures: a crop store.", metavar="CROPS")]
    val: Annotated[Path, Option("--val", help="The pictures that errors are measured on.")]
    stats: Annotated[Path, Option("--stats", help="The training pictures' statistics, from `alexnet pca`.")]
    recipes: Annotated[
        str,
        Option(
            "--recipes",
            help="Recipes or TOML files, with commas between them; the others are compared with the first.",
            metavar="RECIPE,RECIPE…",
        ),
    ]
    out: Out
    seeds: Annotated[str, Option("--seeds", help="Every recipe is trained once with each seed.", metavar="N,N…")] = (
        "1,2,3"
    )
    epochs: Annotated[
        int | None, Option("--epochs", help="Epochs of every net.", min=1, show_default="those of the first recipe")
    ] = None
    each_own: Annotated[
        bool,
        Option(
            "--each-own",
            help="Each recipe keeps its own number of epochs and mini-batch size; the plot shows errors.",
        ),
    ] = False
    train_error: Annotated[
        float | None,
        Option(
            "--train-error",
            help="Also show, in a table and a plot, after how many epochs the training error falls to this percentage.",
            metavar="PERCENT",
        ),
    ] = None
    set: Set = ()  # type: ignore[assignment]
    """In every recipe."""
    devices: Devices = "auto"
    """Each net is trained on one of them: as many at once as there are."""
    precision: Precision = "fp32"

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(dict.fromkeys(self.recipe_names)) < max(2, len(self.recipe_names)):
            raise UsageError(f"--recipes {self.recipes}: name two or more, each once, such as source-2012,no-norm")
        if self.each_own and self.epochs is not None:
            raise UsageError(f"--each-own and --epochs {self.epochs} contradict each other: give one of them")
        if self.train_error is not None and not 0 < self.train_error < 100:
            raise UsageError(f"--train-error {self.train_error:g}: must be a percentage between 0 and 100")
        if not self.seed_numbers or len(dict.fromkeys(self.seed_numbers)) < len(self.seed_numbers):
            raise UsageError(f"--seeds {self.seeds}: name whole numbers, each once, such as 1,2,3")

    @property
    def recipe_names(self) -> tuple[str, ...]:
        """The recipes, in order."""
        return _parts(self.recipes)

    @property
    def seed_numbers(self) -> tuple[int, ...]:
        """The seeds, in order; UsageError for what is not a whole number."""
        parts = _parts(self.seeds)
        if not all(part.isdecimal() and len(part) <= _MOST_DIGITS for part in parts):
            raise UsageError(f"--seeds {self.seeds}: name whole numbers, each once, such as 1,2,3")
        return tuple(int(part) for part in parts)


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
