"""The options of `alexnet doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Option

from alexnet_cli.options import Json


@dataclass(frozen=True, kw_only=True)
class DoctorConfig:
    """Doctor only looks: it has nothing to overwrite and no progress to silence."""

    path: Annotated[Path, Option("--path", help="The folder whose free disk space is shown.")] = Path()
    json: Json = False
