"""Reading while another process replaces what is read: then the reader tries again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from alexnet_cli.artifacts.manifest import MANIFEST_FILE
from alexnet_cli.artifacts.working import OLD, beside
from alexnet_cli.errors import ArtifactError

T = TypeVar("T")
_PAUSES = (0.0, 0.02, 0.1, 0.3, 1.0)
"""Seconds before each further attempt."""


def steadily(path: Path, read: Callable[[], T]) -> T:
    """What `read` returns of the artifact at `path`.

    An ArtifactError counts only where the artifact was the same one before and afterwards: else it was replaced
    meanwhile, and what was read came half from the old one, half from the new.
    """
    for pause in _PAUSES:
        before = _identity(path)
        try:
            return read()
        except ArtifactError:
            if _identity(path) == before and not (before[0] is None and os.path.lexists(beside(path, OLD))):
                raise
        time.sleep(pause)
    return read()


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
