"""Options of `alexnet predict`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from alexnet_cli.errors import UsageError
from alexnet_cli.options import BatchSize, Devices, Json, Overwrite, Precision, Quiet, Views, Workers, require_views

FORMATS = ("csv", "jsonl", "json")


@dataclass(frozen=True, kw_only=True)
class PredictConfig:
    """Which net, and what it is asked about."""

    net: Annotated[Path, Argument(help="A run, a checkpoint or an ensemble.", metavar="NET", show_default=False)]
    """Run folder (its best checkpoint), checkpoint folder or ensemble folder."""
    pictures: Annotated[
        list[Path],
        Argument(
            help="Pictures, folders, tars (compressed too) or zips of them; - is a picture on standard input.",
            metavar="PICTURE|FOLDER|TAR",
            show_default=False,
        ),
    ]
    """Files, folders and tars, in any mixture."""
    top: Annotated[int, Option("--top", help="How many classes to show of each picture.", min=1)] = 5
    """The most probable classes of each picture."""
    format: Annotated[
        str | None,
        Option(
            "--format",
            help="Write a table, a JSON object a line, or one JSON object.",
            metavar="|".join(FORMATS),
            show_default="for people, or by the name of --out",
        ),
    ] = None
    """One of FORMATS; None: text, or what the name of `out` says."""
    out: Annotated[Path | None, Option("--out", "-o", help="Write a file in place of stdout.", show_default=False)] = (
        None
    )
    """None: to stdout."""
    views: Views = 10
    """10, or 1: the centre alone."""
    batch_size: BatchSize = 128
    devices: Devices = "auto"
    precision: Precision = "fp32"
    workers: Workers = 0
    """Threads that decode."""
    overwrite: Overwrite = False
    quiet: Quiet = False
    json: Json = False

    def __post_init__(self) -> None:
        require_views(self.views)
        if self.top < 1:
            raise UsageError(f"--top {self.top}: must be 1 or more")
        if self.format is not None and self.format not in FORMATS:
            raise UsageError(f"--format {self.format}: is none of {', '.join(FORMATS)}")
        if [str(path) for path in self.pictures].count("-") > 1:
            raise UsageError("-: standard input is one picture: give - once")
        if self.out is not None:
            self.written_as()

    def written_as(self) -> str | None:
        """One of FORMATS, or None for text; UsageError where the name of `out` does not tell."""
        if self.format is not None or self.out is None:
            return self.format
        suffix = self.out.suffix.removeprefix(".").lower()
        if suffix not in FORMATS:
            raise UsageError(f"--out {self.out}: give --format {'|'.join(FORMATS)}, or a name that ends in one of them")
        return suffix
