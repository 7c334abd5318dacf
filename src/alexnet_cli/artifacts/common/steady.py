"""Read an artifact while another process may replace it: then the reader tries again."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from alexnet_cli.artifacts.common.manifest import MANIFEST_FILE
from alexnet_cli.artifacts.common.working import OLD, beside
from alexnet_cli.errors import ArtifactError

F = TypeVar("F")
T = TypeVar("T")
_PATIENCE = 5.0
"""Seconds for which a reader tries again, as long as the artifact keeps being replaced."""
_PAUSE = 0.01
"""Seconds by which the pause grows from one attempt to the next."""


def steadily(path: Path, read: Callable[[], T]) -> T:
    """What `read` returns of the artifact at `path`.

    An ArtifactError counts only if the artifact was the same one before and afterwards: else it was replaced
    meanwhile, and what was read came half from the old one, half from the new.
    """
    start = time.monotonic()
    for attempt in itertools.count():
        before = _identity(path)
        try:
            return read()
        except ArtifactError:
            if _identity(path) == before and not (before[0] is None and os.path.lexists(beside(path, OLD))):
                raise
            if time.monotonic() - start > _PATIENCE:
                raise
        time.sleep(_PAUSE * attempt)
    raise AssertionError("the loop ends by itself")


def read_newest(found: F, find: Callable[[], F], read: Callable[[F], T]) -> tuple[F, T]:
    """What `read` makes of `found`; if that fails and `find` finds something else now, what it makes of that."""
    while True:
        try:
            return found, read(found)
        except ArtifactError:
            before, found = found, find()
            if found == before:
                raise


def _identity(path: Path) -> tuple[object, object]:
    """What changes when an artifact is replaced: the file or folder itself, and its manifest."""
    return _stamp(path), _stamp(path / MANIFEST_FILE)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Device, inode, and the time of its last change, which a rename is: exchanged twice, the same inode is back."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_ctime_ns
