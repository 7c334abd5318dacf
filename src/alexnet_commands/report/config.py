"""Options of `alexnet report`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Argument

from alexnet_cli.options import CommonOptions, Out


@dataclass(frozen=True, kw_only=True)
class ReportConfig(CommonOptions):
    """What to report on."""

    of: Annotated[Path, Argument(help="A run, finished or not; or scores.", metavar="RUN|SCORES")]
    crops: Annotated[Path | None, Argument(help="Of scores: the crop store that was scored.", metavar="CROPS")] = None
    out: Out
    """Of a run: the HTML file. Of scores: the folder for report.html and its tables."""
