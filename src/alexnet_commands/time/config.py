"""Options of `alexnet time`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Option

from alexnet_cli.errors import UsageError
from alexnet_cli.options import Compile, Devices, Parallel, Precision, Workers


@dataclass(frozen=True, kw_only=True)
class TimeConfig:
    """What is measured, on what, and how thoroughly."""

    recipe: Annotated[str, Option("--recipe", help="The recipe that is trained, or a file: FILE.toml.")] = "paper"
    """Name of the recipe, or a TOML file."""
    set: Annotated[
        list[str],
        Option(
            "--set",
            help="Replace any field of the recipe, such as net.pool1.size=2. Repeatable.",
            metavar="FIELD=VALUE",
            show_default="none",
        ),
    ] = ()  # type: ignore[assignment]
    """FIELD=VALUE, in TOML's notation."""
    batch_size: Annotated[
        int | None, Option("--batch-size", help="Pictures in a mini-batch.", min=1, show_default="the recipe's")
    ] = None
    """Replaces the recipe's."""
    devices: Devices = "auto"
    parallel: Parallel = "auto"
    """How several devices share the work."""
    precision: Precision = "fp32"
    compile: Compile = False
    loader: Annotated[
        Path | None,
        Option(
            "--loader",
            help="Read the mini-batches from this crop store, as training does. Else they are made up, and in memory.",
            metavar="CROPS",
            show_default=False,
        ),
    ] = None
    """Crop store, with labels."""
    workers: Workers = 0
    """Loader threads."""
    repeats: Annotated[
        int, Option("--repeats", help="Rounds of step, layers and limit; the medians are shown.", min=1)
    ] = 5
    """Rounds."""
    seconds: Annotated[
        float, Option("--seconds", help="A round makes steps for at least so long: one step or more.", min=0.0)
    ] = 0.5
    """Of steps in a round."""
    json: Annotated[bool, Option("--json", help="Print the result as one JSON object on stdout.")] = False
    """One JSON object on stdout."""

    def __post_init__(self) -> None:
        for text in self.set:
            if text.count(".") < 1 or "=" not in text:
                raise UsageError(f"--set {text}: write it as SECTION.FIELD=VALUE, such as net.pool1.size=2")
