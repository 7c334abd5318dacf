"""The options of `alexnet pca`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from alexnet_cli.errors import UsageError
from alexnet_cli.options import CommonOptions, Out, Timeout, Workers


@dataclass(frozen=True, kw_only=True)
class PcaConfig(CommonOptions):
    """What is summed, and where the statistics go. Nothing here changes their values."""

    crops: Annotated[Path, Argument(metavar="CROPS", help="The crop store, usually the training set's.")]
    out: Out
    """The HDF5 file to write."""
    workers: Workers = 0
    devices: Annotated[
        str, Option("--devices", help="cpu, or several processes: cpu:2. Nothing here needs a GPU.", metavar="DEVICES")
    ] = "cpu"
    timeout: Timeout = 300.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.out.is_dir():
            raise UsageError(f"{self.out}: is a folder: --out names the HDF5 file to write")
