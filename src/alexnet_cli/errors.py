"""What can go wrong, by kind: each kind of error has the exit code that the command ends with.

0 done · 1 our bug · 2 usage · 3 bad input pictures or labels · 4 wrong, damaged or mismatched artifact ·
5 disk, lock, permission, memory, device · 6 training failed · 75 stopped by SIGTERM or SIGHUP after saving ·
129 SIGHUP · 130 Ctrl-C · 143 SIGTERM, if there was nothing to save.
"""

from __future__ import annotations

import errno
from pathlib import Path


class AlexNetError(Exception):
    """An error for people: its text is one line that says what, which file, and what to do."""

    exit_code = 1


class UsageError(AlexNetError):
    """An invalid option or argument, or an output that exists already."""

    exit_code = 2


class PictureError(AlexNetError):
    """Bad input pictures or labels."""

    exit_code = 3


class ArtifactError(AlexNetError):
    """An artifact that is missing, unfinished, foreign, damaged, too new, or that does not belong to the others."""

    exit_code = 4


class ResourceError(AlexNetError):
    """Disk, lock, permission, memory or device."""

    exit_code = 5


class TrainingError(AlexNetError):
    """Training failed: the loss is not finite, or a rank died."""

    exit_code = 6


class StoppedBySignalError(AlexNetError):
    """SIGTERM or SIGHUP came and the work was saved; the same command with `--resume` continues."""

    exit_code = 75


class InterruptedBySaveError(AlexNetError):
    """Ctrl-C came once and the work was saved."""

    exit_code = 130


THE_MACHINES = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
"""Errors that say nothing of the file: the disk or the machine failed, and the next try may succeed."""
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def describe_os_error(error: OSError, path: Path | str | None = None) -> str:
    """One line for an operating-system error: what happened, to which file, and what to do."""
    where = str(path or error.filename or "the output")
    if error.errno in _DISK_FULL:
        return f"{where}: the disk is full: free some space, then run the same command again"
    if error.errno == errno.EROFS:
        return f"{where}: the file system is read-only: choose another --out"
    if isinstance(error, PermissionError):
        return f"{where}: permission denied: choose another path, or ask for access"
    return f"{where}: {error.strerror or error}"
