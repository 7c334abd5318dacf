"""Options of `alexnet check`: the Makefile's variables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Option

from alexnet_cli.options import Devices, Precision


@dataclass(frozen=True, kw_only=True)
class CheckConfig:
    """The options that the stages will get."""

    data: Annotated[
        Path | None,
        Option(
            "--data",
            help="The pictures: a folder with train/ and val/ or validation/, or one source, of which --holdout is "
            "held out.",
        ),
    ] = None
    """None: the sample."""
    holdout: Annotated[
        float, Option("--holdout", help="As for `alexnet preprocess`, if --data is one source.", metavar="F")
    ] = 0.1
    recipe: Annotated[list[str], Option("--recipe", help="As for `alexnet train`. Repeatable.")] = ()  # type: ignore[assignment]
    epochs: Annotated[
        int | None, Option("--epochs", help="As for `alexnet train`.", min=1, show_default="the recipe's")
    ] = None
    members: Annotated[int, Option("--members", help="Nets in the ensemble.", min=1, max=1000)] = 1
    devices: Devices = "auto"
    precision: Precision = "fp32"
    codec: Annotated[str, Option("--codec", help="As for `alexnet preprocess`.", metavar="raw|jpeg")] = "raw"
