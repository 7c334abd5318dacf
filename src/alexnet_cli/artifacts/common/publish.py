"""Whole or not at all: write next to the output, sync, read back, and rename in one step.

with publishing_folder(out, SAMPLE, overwrite=overwrite) as work:
    …                                   # write into `work`; at every moment the name holds the old artifact, or the
                                        # new one, whole
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from alexnet_cli.artifacts.common.manifest import digest_of_file
from alexnet_cli.artifacts.common.ownership import Kind, files_below, is_free, require_output
from alexnet_cli.artifacts.common.working import (
    MARK,
    OLD,
    WORK,
    begin_work,
    beside,
    end_work,
    is_working_name,
    manifest_kind,
    mark,
    marked_kind,
    only_writer,
    remove_tree,
    sync_folder,
    target_of,
)
from alexnet_cli.errors import ResourceError, describe_os_error

_PATIENCE = 10.0
"""Seconds to wait for another process that is writing the same small file."""
_AT_CWD = -100
_EXCHANGE = 2
"""RENAME_EXCHANGE of Linux and RENAME_SWAP of macOS."""
_NO_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP)


def write_verified(path: Path, content: bytes | memoryview) -> str:
    """Write a file, sync it, read it back; its SHA-256. OSError if the disk returns something else."""
    with path.open("wb", buffering=0) as file:
        left = memoryview(content).cast("B")
        while len(left):
            left = left[file.write(left[: 1 << 28]) :]
        os.fsync(file.fileno())
    digest = hashlib.sha256(content).hexdigest()
    if digest_of_file(path) != digest:
        raise OSError(errno.EIO, "what was written can't be read back: the disk may be failing", str(path))
    return digest


def publish_file(
    path: Path,
    content: bytes,
    kind: Kind,
    *,
    overwrite: bool,
    inputs: Mapping[str, Path | None] | None = None,
    locked: bool = False,
) -> None:
    """Give a file its content and name, whole or not at all. UsageError if what lies there may not be replaced.

    locked: the caller holds `only_writer` on it.
    """
    with publishing_file(path, kind, overwrite=overwrite, inputs=inputs, locked=locked) as place:
        write_verified(place, content)


@contextmanager
def publishing_file(
    path: Path,
    kind: Kind,
    *,
    overwrite: bool,
    inputs: Mapping[str, Path | None] | None = None,
    locked: bool = False,
) -> Iterator[Path]:
    """The same for a file that is written bit by bit: yields its path. The block has to sync it and read it back.

    An OSError in the block becomes a ResourceError.
    """
    require_output(path, kind, overwrite=overwrite, inputs=inputs)
    try:
        with contextlib.nullcontext() if locked else only_writer(path, patience=_PATIENCE):
            try:
                work = begin_work(path, kind.name)
                yield work / "content"
                require_output(path, kind, overwrite=overwrite, inputs=inputs)  # as it is now
                target = target_of(path)
                if target.is_dir():
                    target.rmdir()
                (work / "content").replace(target)
                sync_folder(target.parent)
            finally:
                end_work(path)
    except OSError as error:
        raise ResourceError(describe_os_error(error, path)) from error


@contextmanager
def publishing_folder(
    path: Path, kind: Kind, *, overwrite: bool, inputs: Mapping[str, Path | None] | None = None, synced: bool = False
) -> Iterator[Path]:
    """The same for a folder, whose manifest is written last: yields its path. synced: as `publish_folder`."""
    require_output(path, kind, overwrite=overwrite, inputs=inputs)
    try:
        with only_writer(path):
            try:
                work = begin_work(path, kind.name)
                yield work
                publish_folder(work, path, kind, synced=synced)
            finally:
                end_work(path)
    except OSError as error:
        raise ResourceError(describe_os_error(error, path)) from error


def write_text(path: Path, text: str) -> None:
    """Replace a small text file inside an artifact of ours, whole or not at all. Hold the artifact's lock.

    Bytes of a path that are not UTF-8 become `\\udcff`, which JSON reads back as they were.
    """
    with replacing_inside(path) as work:
        write_verified(work, text.encode(errors="backslashreplace"))


@contextmanager
def replacing_inside(path: Path) -> Iterator[Path]:
    """Replace a file inside an artifact of ours, whole or not at all: yields the name to write it under."""
    work = beside(path, WORK)
    try:
        yield work
        with work.open("rb+") as file:
            os.fsync(file.fileno())
        work.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise ResourceError(describe_os_error(error, path)) from error
    finally:
        with contextlib.suppress(OSError):
            work.unlink(missing_ok=True)


def publish_folder(work: Path, path: Path, kind: Kind, *, unfinished: bool = False, synced: bool = False) -> None:
    """Give a folder that `begin_work` began its final name in one step, and remove the artifact that had it.

    unfinished: the mark stays. synced: its files are on disk already.
    OSError if the disk fails. UsageError if the name now belongs to something that may not be replaced.
    """
    require_output(path, kind, overwrite=True)
    _tidy(work, kind)
    if not synced:
        for name in files_below(work):
            with (work / name).open("rb") as file:
                os.fsync(file.fileno())
        for folder in [work, *(entry for entry in work.rglob("*") if entry.is_dir())]:
            sync_folder(folder)
    target = target_of(path)
    if is_free(path):
        if not unfinished:
            (work / MARK).unlink(missing_ok=True)
        work.replace(target)
        sync_folder(target.parent)
        return
    if not manifest_kind(target) and not marked_kind(target):
        mark(target, kind.name, path)  # if this command is killed, the next one knows it by the mark
    if not unfinished:
        (work / MARK).unlink(missing_ok=True)
    if exchange(work, target):
        old = work
    else:
        old = beside(path, OLD)
        target.replace(old)
        work.replace(target)
    sync_folder(target.parent)
    remove_tree(old)
    sync_folder(target.parent)


def _tidy(work: Path, kind: Kind) -> None:
    """Remove from a work folder what does not belong to the artifact, such as a killed command's temporary files."""
    for name in list(files_below(work)):
        if any(map(is_working_name, name.split("/"))):
            (work / name).unlink()
    for folder, _, _ in os.walk(work, topdown=False):
        if any(map(is_working_name, Path(folder).relative_to(work).parts)):
            Path(folder).rmdir()
    stray = kind.foreign(work)
    assert stray is None, f"{stray} is not known to belong to {kind.name}: see artifacts/ownership.py"


def exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; False if the system or the file system can't."""
    try:
        library = ctypes.CDLL(None, use_errno=True)
        first, second = os.fsencode(one), os.fsencode(other)
        if sys.platform == "darwin":
            failed = library.renamex_np(first, second, _EXCHANGE)
        else:
            failed = library.renameat2(_AT_CWD, first, _AT_CWD, second, _EXCHANGE)
    except (AttributeError, OSError):
        return False
    if not failed:
        return True
    code = ctypes.get_errno()
    if code in _NO_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), str(other))
