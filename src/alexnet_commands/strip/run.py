"""The work of `alexnet strip`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet_cli.artifacts.checkpoint import (
    KIND,
    SCHEMA,
    files_of,
    read_checkpoint,
    read_checkpoint_manifest,
    write_net,
)
from alexnet_cli.artifacts.common.freshness import Request, is_current
from alexnet_cli.artifacts.common.ownership import CHECKPOINT, require_output
from alexnet_cli.artifacts.common.working import prepare_parent
from alexnet_cli.artifacts.run import find_checkpoint
from alexnet_cli.console import Talk
from alexnet_commands.strip.config import StripConfig

ROLE = "checkpoint"
"""The whole checkpoint's role among the parents."""


@dataclass(frozen=True)
class Result:
    """What was written."""

    path: Path
    checkpoint: str
    """Which checkpoint it was made from, in words."""
    bytes: int
    bytes_before: int
    up_to_date: bool = False
    """Nothing was done: what lies there was made from this checkpoint (--update)."""

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        plain = {"path": str(self.path), "checkpoint": self.checkpoint}
        sizes = {"bytes": self.bytes, "bytes_before": self.bytes_before}
        return {**plain, **sizes, **({"up_to_date": True} if self.up_to_date else {})}


def run(config: StripConfig) -> Result:
    """Copy the files that say what a net computes: the digest stays the same, since it is the same net.

    Raises ArtifactError for what is no whole checkpoint, UsageError and ResourceError of the output.
    """
    inputs = {"RUN": config.net}
    require_output(config.out, CHECKPOINT, overwrite=config.replaces, inputs=inputs)
    path, which = find_checkpoint(config.net)
    before = read_checkpoint_manifest(path)
    parents = {**before.parents, ROLE: before.digest}
    if config.update:
        asked = Request(kind=KIND, schema=SCHEMA, parents=parents)
        if is_current(config.out, asked, Talk(quiet=config.quiet), verify=read_checkpoint):
            return Result(config.out, which, _size(config.out), _size(path), up_to_date=True)
    read_checkpoint(path)  # every file is whole
    prepare_parent(config.out)
    details = {name: value for name, value in before.details.items() if name != "files"}
    write_net(config.out, files_of(path), parents=parents, details=details, overwrite=config.replaces, inputs=inputs)
    return Result(config.out, which, _size(config.out), _size(path))


def _size(folder: Path) -> int:
    """Bytes of the files in a checkpoint's folder."""
    return sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
