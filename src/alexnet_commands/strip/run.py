"""The work of `alexnet strip`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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
from alexnet_cli.artifacts.common.manifest import Manifest
from alexnet_cli.artifacts.common.ownership import CHECKPOINT, require_output
from alexnet_cli.artifacts.common.working import prepare_parent
from alexnet_cli.artifacts.run import read_found
from alexnet_cli.console import Talk
from alexnet_cli.errors import ArtifactError
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
    """Copy the files that say what a net computes: the same net has the same digest.

    Raises ArtifactError for what is not a whole checkpoint, UsageError and ResourceError of the output.
    """
    inputs = {"RUN": config.net}
    require_output(config.out, CHECKPOINT, overwrite=config.replaces, inputs=inputs)
    (before, size), which = read_found(config.net, _read_manifest)
    if config.update:
        asked = Request(kind=KIND, schema=SCHEMA, parents=_parents(before))
        if is_current(config.out, asked, Talk(quiet=config.quiet), verify=read_checkpoint):
            return Result(config.out, which, _size(config.out), size, up_to_date=True)
    (before, files, size), which = read_found(config.net, _read_files)
    prepare_parent(config.out)
    details = {name: value for name, value in before.details.items() if name != "files"}
    write_net(config.out, files, parents=_parents(before), details=details, overwrite=config.replaces, inputs=inputs)
    return Result(config.out, which, _size(config.out), size)


def _parents(manifest: Manifest) -> dict[str, str]:
    return {**manifest.parents, ROLE: manifest.digest}


@contextmanager
def _still_there(path: Path) -> Iterator[None]:
    """ArtifactError if the training removes its checkpoint in the meantime: the run has a newer one then."""
    try:
        yield
    except FileNotFoundError:
        raise ArtifactError(f"{path}: is gone: use another checkpoint of the run") from None


def _read_manifest(path: Path) -> tuple[Manifest, int]:
    """A checkpoint's manifest and bytes."""
    with _still_there(path):
        return read_checkpoint_manifest(path), _size(path)


def _read_files(path: Path) -> tuple[Manifest, list[tuple[str, bytes]], int]:
    """A whole checkpoint's manifest, the files of its net, and its bytes."""
    read_checkpoint(path)
    with _still_there(path):
        return read_checkpoint_manifest(path), list(files_of(path)), _size(path)


def _size(folder: Path) -> int:
    """Bytes of the files in a checkpoint's folder."""
    return sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
