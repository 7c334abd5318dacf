"""Options of `alexnet time`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Option

from alexnet_cli.options import Compile, CudaGraph, Devices, Json, Parallel, Precision, Set, Workers


@dataclass(frozen=True, kw_only=True)
class TimeConfig:
    """What is measured, on what, and how thoroughly."""

    recipe: Annotated[str, Option("--recipe", help="The recipe that is trained, or a file: FILE.toml.")] = "paper"
    set: Set = ()  # type: ignore[assignment]
    batch_size: Annotated[
        int | None, Option("--batch-size", help="Pictures in a mini-batch.", min=1, show_default="the recipe's")
    ] = None
    devices: Devices = "auto"
    parallel: Parallel = "auto"
    precision: Precision = "fp32"
    compile: Compile = False
    cuda_graph: CudaGraph = False
    loader: Annotated[
        Path | None,
        Option(
            "--loader",
            help="Read the mini-batches from this crop store, as training does. Default: random crops in memory.",
            metavar="CROPS",
        ),
    ] = None
    workers: Workers = 0
    repeats: Annotated[
        int, Option("--repeats", help="Rounds of step, layers and limit; the medians are shown.", min=1)
    ] = 5
    seconds: Annotated[
        float,
        Option("--seconds", help="A round makes steps for at least this long: one step or more.", min=0.0, max=86400.0),
    ] = 0.5
    json: Json = False
