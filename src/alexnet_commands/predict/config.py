"""Options of `alexnet predict`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from alexnet_cli.errors import UsageError
from alexnet_cli.options import (
    BatchSize,
    Devices,
    OutputOptions,
    Precision,
    Views,
    Workers,
    require_one_of,
    require_views,
)

FORMATS = ("csv", "jsonl", "json")


@dataclass(frozen=True, kw_only=True)
class PredictConfig(OutputOptions):
    """Which net, and what it is asked about."""

    net: Annotated[Path, Argument(help="A run, a checkpoint or an ensemble.", metavar="NET")]
    pictures: Annotated[
        list[Path],
        Argument(
            help="Pictures, folders, tars (compressed too) or zips of them; - is a picture on standard input.",
            metavar="PICTURE|FOLDER|TAR",
        ),
    ]
    top: Annotated[int, Option("--top", help="How many classes to show of each picture.", min=1)] = 5
    format: Annotated[
        str | None,
        Option(
            "--format",
            help="csv: a table; jsonl: one JSON object for each picture; json: one for all.",
            metavar="|".join(FORMATS),
            show_default="text, or by the ending of --out",
        ),
    ] = None
    """One of FORMATS; None: text, or what the name of `out` says."""
    out: Annotated[Path | None, Option("--out", "-o", help="Write to this file instead of stdout.")] = None
    views: Views = 10
    batch_size: BatchSize = 128
    devices: Devices = "auto"
    precision: Precision = "fp32"
    workers: Workers = 0
    """Threads that decode."""

    def __post_init__(self) -> None:
        require_views(self.views)
        if self.format is not None:
            require_one_of("--format", self.format, FORMATS)
        if [str(path) for path in self.pictures].count("-") > 1:
            raise UsageError("-: standard input is one picture: give - once")
        if self.out is not None:
            self.written_as()

    def written_as(self) -> str | None:
        """One of FORMATS, or None for text; UsageError if the name of `out` does not tell."""
        if self.format is not None or self.out is None:
            return self.format
        suffix = self.out.suffix.removeprefix(".").lower()
        if suffix not in FORMATS:
            raise UsageError(f"--out {self.out}: give --format {'|'.join(FORMATS)}, or a name that ends in one of them")
        return suffix
