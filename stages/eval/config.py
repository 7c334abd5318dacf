"""Options of `alexnet eval`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from alexnet_cli.options import Crops, NetOptions, Out


@dataclass(frozen=True, kw_only=True)
class EvalConfig(NetOptions):
    """Which net, on which pictures."""

    run: Annotated[Path, Argument(help="A run folder or a checkpoint.", metavar="RUN")]
    crops: Crops
    out: Out
    """The scores file."""
    report: Annotated[
        Path | None,
        Option(
            "--report",
            help="Also write a folder with a page of HTML and tables: intervals, classes, confusions, calibration, "
            "pictures.",
            metavar="DIR",
        ),
    ] = None
