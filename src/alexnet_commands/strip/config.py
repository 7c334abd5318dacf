"""The options of `alexnet strip`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Argument

from alexnet_cli.options import CommonOptions, Out


@dataclass(frozen=True, kw_only=True)
class StripConfig(CommonOptions):
    """Which net, and where to."""

    net: Annotated[Path, Argument(help="A run folder or a checkpoint.", metavar="RUN")]
    out: Out
    """The stripped checkpoint: a folder."""
