"""Options of `alexnet eval`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from alexnet_cli.errors import UsageError
from alexnet_cli.options import BatchSize, CommonOptions, Devices, Out, Precision, Timeout, Views, Workers


@dataclass(frozen=True, kw_only=True)
class EvalConfig(CommonOptions):
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
    views: Views = 10
    """10, or 1: the centre alone."""
    batch_size: BatchSize = 128
    devices: Devices = "auto"
    timeout: Timeout = 300.0
    precision: Precision = "fp32"
    workers: Workers = 0
    """Loader threads."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.views not in (1, 10):
            raise UsageError(f"--views {self.views}: must be 10 (corners, centre, mirror images) or 1 (centre)")
