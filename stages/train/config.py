"""Options of `alexnet train`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from alexnet_cli.errors import UsageError
from alexnet_cli.loggers.find import asked_for
from alexnet_cli.options import (
    CommonOptions,
    Compile,
    CudaGraph,
    Devices,
    Out,
    Parallel,
    Precision,
    Seed,
    Set,
    Timeout,
    Workers,
)


@dataclass(frozen=True, kw_only=True)
class TrainConfig(CommonOptions):
    """What to train on, by which recipe, and where the run is written."""

    crops: Annotated[Path, Argument(help="Crop store of the training pictures.", metavar="CROPS")]
    out: Out
    """The run folder."""
    val: Annotated[
        Path | None, Option("--val", help="Crop store of the validation pictures. A plateau schedule needs it.")
    ] = None
    stats: Annotated[
        Path | None, Option("--stats", help="Statistics of the training pictures, from `alexnet pca`.")
    ] = None
    recipe: Annotated[str, Option("--recipe", help="A recipe (`alexnet recipe list`) or your own file: FILE.toml.")] = (
        "paper"
    )
    epochs: Annotated[
        int | None, Option("--epochs", help="Passes over the training pictures.", min=1, show_default="the recipe's")
    ] = None
    batch_size: Annotated[
        int | None, Option("--batch-size", help="Pictures in a mini-batch.", min=1, show_default="the recipe's")
    ] = None
    rate: Annotated[float | None, Option("--rate", help="The first learning rate.", show_default="the recipe's")] = None
    set: Set = ()  # type: ignore[assignment]
    init_from: Annotated[
        Path | None,
        Option(
            "--init-from",
            help="Start from the layers of another net that fit: a run folder or a checkpoint.",
            metavar="RUN",
        ),
    ] = None
    seed: Seed = 0
    devices: Devices = "auto"
    parallel: Parallel = "auto"
    timeout: Timeout = 300.0
    precision: Precision = "fp32"
    compile: Compile = False
    cuda_graph: CudaGraph = False
    workers: Workers = 0
    resume: Annotated[
        bool, Option("--resume", help="Resume from the newest checkpoint in --out; start if there is none.")
    ] = False
    checkpoint_minutes: Annotated[
        float, Option("--checkpoint-minutes", help="Minutes between checkpoints within an epoch.", min=0.0)
    ] = 15.0
    log: Annotated[
        list[str],
        Option(
            "--log",
            help="A logger in addition to metrics.csv: tensorboard, csv, wandb, mlflow, none, or another "
            "that is installed. Repeatable.",
            metavar="NAME",
            show_default="tensorboard",
        ),
    ] = ()  # type: ignore[assignment]
    allow_other_stats: Annotated[
        bool, Option("--allow-other-stats", help="Accept statistics of another crop store.")
    ] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rate is not None and self.rate <= 0:
            raise UsageError(f"--rate {self.rate}: must be positive")
        if self.update and self.resume:
            raise UsageError("--update resumes an unfinished run: leave --resume out")
        if self.resume and self.overwrite:
            raise UsageError("--resume and --overwrite exclude each other: resume, or start again")
        asked_for(self.log)
