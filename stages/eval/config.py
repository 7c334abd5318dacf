"""Options of `alexnet eval`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from alexnet_cli.options import NetOptions, Out


@dataclass(frozen=True, kw_only=True)
class EvalConfig(NetOptions):
    """Which net, on which pictures."""

    run: Annotated[Path, Argument(help="A run folder or a checkpoint.", metavar="RUN", show_default=False)]
    """Run folder (its best checkpoint is used, else its newest) or checkpoint folder."""
    crops: Annotated[Path, Argument(help="The pictures: a crop store.", metavar="CROPS", show_default=False)]
    """Crop store, with or without labels."""
    out: Out
    """The scores file."""
    report: Annotated[
        Path | None,
        Option(
            "--report",
            help="Also write a folder with a page of HTML and tables: intervals, classes, confusions, calibration, "
            "pictures.",
            metavar="DIR",
            show_default=False,
        ),
    ] = None
    """A folder for report.html and its CSVs; the store must have labels."""
