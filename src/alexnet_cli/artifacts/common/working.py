"""Where an output is written before it gets its name, and the lock that keeps a second writer away.

For the output `out/train.lmdb` these lie next to it:

    out/.train.lmdb.alexnet-work/     what is being written, with `alexnet-unfinished.json`, our mark, in it
    out/.train.lmdb.alexnet-old/      for an instant, if the file system can't exchange two names
    out/.train.lmdb.alexnet-lock      held by the process that writes

The names follow from the output's: the same command finds what an earlier, killed one left, and removes it.
Only what has our mark, or the manifest of one of our artifacts, is ever removed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alexnet_cli.artifacts.common.manifest import MANIFEST_FILE, kind_of_manifest
from alexnet_cli.errors import THE_MACHINES, ResourceError, UsageError, describe_os_error

MARK = "alexnet-unfinished.json"
"""The file that an unfinished artifact of ours holds from its first moment."""
WORK = ".alexnet-work"
OLD = ".alexnet-old"
_LOCK = ".alexnet-lock"
_HELD: set[int] = set()
"""The open files by which this process holds locks."""
_LOCK_TEXT = "alexnet writes here, process "
_NO_LOCKS = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.ENOSYS, errno.EINVAL)
_NAME_BYTES = 200
"""A longer name is cut and gets its digest: file systems allow 255 bytes."""


def target_of(path: Path) -> Path:
    """What an output's name stands for: a link's target, and a name for `.` and `..`."""
    if path.is_symlink() or path.name in ("", ".."):
        return Path(os.path.realpath(path))
    return path


def beside(path: Path, ending: str) -> Path:
    """A hidden name of ours next to an output."""
    target = target_of(path)
    name = target.name
    if len(name.encode(errors="surrogateescape")) > _NAME_BYTES:
        name = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()
    return target.with_name(f".{name}{ending}")


def is_working_name(name: str) -> bool:
    """Whether a file or folder has a name that only `beside` gives."""
    return name.startswith(".") and name.endswith((WORK, OLD, _LOCK))


def work_of(path: Path) -> Path:
    """The folder in which an output is written, next to its final name."""
    return beside(path, WORK)


def mark(folder: Path, kind: str, target: Path) -> None:
    """Mark a folder as an unfinished artifact of ours."""
    text = json.dumps({"alexnet": "unfinished", "kind": kind, "target": target_of(target).name}) + "\n"
    (folder / MARK).write_text(text, encoding="utf-8", errors="surrogateescape")


def marked_kind(folder: Path) -> str | None:
    """The kind of unfinished artifact that a folder is by its mark; None if it has none."""
    try:
        values = json.loads((folder / MARK).read_bytes())
        return str(values["kind"]) if values["alexnet"] == "unfinished" else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def manifest_kind(folder: Path) -> str | None:
    """The kind of artifact that a folder is by its manifest; None if it is not ours."""
    try:
        file = folder / MANIFEST_FILE
        return kind_of_manifest(file.read_bytes()) if file.is_file() else None
    except OSError as error:
        if error.errno in THE_MACHINES:
            raise
        return None


def begin_work(path: Path, kind: str, *, keep: bool = False) -> Path:
    """The marked work folder of an output, empty, or (`keep`) with what an earlier command left of the same kind.

    Hold `only_writer`. UsageError if something that is not ours has its name.
    """
    recover(path)
    work = work_of(path)
    if not (keep and marked_kind(work) == kind):
        discard(work)
        work.mkdir(parents=True)
        mark(work, kind, path)
        sync_folder(work)
    return work


def end_work(path: Path) -> None:
    """Remove an output's work folder, if there is one."""
    with contextlib.suppress(OSError, UsageError):
        discard(work_of(path))


def recover(path: Path) -> None:
    """Put back, or remove, an old artifact that a killed command had moved aside."""
    old, target = beside(path, OLD), target_of(path)
    if not os.path.lexists(old):
        return
    if os.path.lexists(target):
        discard(old)
    elif manifest_kind(old) or marked_kind(old) or not old.is_dir():
        old.rename(target)


def sweep(path: Path) -> None:
    """Remove what killed commands left next to a whole artifact. What another process is writing stays."""
    if any(os.path.lexists(beside(path, ending)) for ending in (WORK, OLD, _LOCK)):
        with contextlib.suppress(OSError, ResourceError, UsageError), only_writer(path):
            recover(path)
            end_work(path)


def discard(folder: Path) -> None:
    """Remove a folder under one of our names. UsageError if it carries neither mark nor manifest of ours."""
    if not os.path.lexists(folder):
        return
    names = {entry.name for entry in folder.iterdir()} if folder.is_dir() and not folder.is_symlink() else None
    ours = names is not None and (names <= {MARK} or bool(marked_kind(folder) or manifest_kind(folder)))
    if not ours:
        raise UsageError(f"{folder}: is in the way and was not made by alexnet: rename it, or choose another --out")
    remove_tree(folder)


def remove_tree(folder: Path) -> None:
    """Remove a folder of ours, its mark last: so a half-removed one is never taken for a whole or a foreign one."""
    last = (MARK, MANIFEST_FILE)
    for entry in list(folder.iterdir()):
        if entry.name in last:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    for name in reversed(last):
        (folder / name).unlink(missing_ok=True)
    folder.rmdir()


def prepare_parent(path: Path) -> None:
    """Make the folder that will hold `path`; ResourceError if that can't be written."""
    parent = target_of(path).parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=parent):  # without a name if the system can: a kill leaves nothing
            pass
    except OSError as error:
        raise ResourceError(describe_os_error(error, path)) from error


def free_bytes(path: Path) -> int:
    """What is free on the disk that an output lies on, or would lie on."""
    folder = target_of(path).absolute()
    while not folder.is_dir():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def only_writer(path: Path, *, patience: float = 0.0) -> Iterator[None]:
    """Hold the lock on an output while it is written; ResourceError if another process holds it.

    patience: seconds to wait for the other.
    """
    prepare_parent(path)
    lock = beside(path, _LOCK)
    until = time.monotonic() + patience
    while True:
        try:
            handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        except OSError as error:
            raise ResourceError(describe_os_error(error, path)) from error
        try:
            _lock(handle, path, lock)
        except BlockingIOError:
            owner = os.pread(handle, 200, 0).decode(errors="replace").removeprefix(_LOCK_TEXT).strip() or "unknown"
            os.close(handle)
            if time.monotonic() < until:
                time.sleep(0.02)
                continue
            raise ResourceError(
                f"{path}: another process (pid {owner}) is writing it: wait for it, or choose another --out"
            ) from None
        except BaseException:
            os.close(handle)
            raise
        # The holder before us removes the file as it leaves: a lock on a removed file guards nothing.
        if _same_file(handle, lock):
            break
        os.close(handle)
    _HELD.add(handle)
    try:
        with contextlib.suppress(OSError):  # it only tells others who holds it
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{_LOCK_TEXT}{os.getpid()}\n".encode(), 0)
        yield
    finally:
        lock.unlink(missing_ok=True)
        _HELD.discard(handle)
        os.close(handle)


def _let_go() -> None:
    """In a forked process: a lock lasts until the last process closes the file, and this one is not a writer."""
    while _HELD:
        os.close(_HELD.pop())


os.register_at_fork(after_in_child=_let_go)


def _lock(handle: int, path: Path, lock: Path) -> None:
    """Lock an open file. BlockingIOError: another process has it. UsageError: the file is not ours."""
    text = os.pread(handle, len(_LOCK_TEXT), 0).decode(errors="replace")
    if text and not _LOCK_TEXT.startswith(text):
        raise UsageError(f"{lock}: is in the way and was not made by alexnet: rename it, or choose another --out")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise ResourceError(
                f"{path}: its file system has no file locks (flock: {error.strerror}): choose another --out, "
                "such as one on a local disk"
            ) from None
        raise ResourceError(describe_os_error(error, path)) from error


def _same_file(handle: int, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    here = os.fstat(handle)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
