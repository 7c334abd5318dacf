"""The options of `alexnet sample`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Argument

from alexnet_cli.options import CommonOptions


@dataclass(frozen=True, kw_only=True)
class SampleConfig(CommonOptions):
    """Where the sample goes. The pictures themselves are fixed."""

    out: Annotated[Path, Argument(metavar="OUT", help="The folder to make: OUT/train and OUT/val.")]
    """The folder to make; it holds train/<class>/*.JPEG, val/<class>/*.JPEG and manifest.json."""
