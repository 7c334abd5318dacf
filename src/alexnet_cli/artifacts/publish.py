"""Whole or not at all: write beside the name, sync, rename. And one writer at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alexnet_cli.errors import ResourceError, UsageError, describe_os_error

PARTIAL = ".partial"


def partial_of(path: Path) -> Path:
    """The name that an artifact has while it is written: beside its final name."""
    return path.with_name(path.name + PARTIAL)


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """UsageError where the output exists and may not be replaced."""
    if path.exists() and not overwrite:
        raise UsageError(f"{path}: exists already: give --overwrite to replace it, or another --out")


def prepare_parent(path: Path) -> None:
    """Make the folder that will hold `path`; ResourceError where that can't be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(path.parent, os.W_OK):
            raise PermissionError(13, "Permission denied", str(path.parent))
        probe = path.with_name(f".{path.name}.{os.getpid()}.probe")
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ResourceError(describe_os_error(error, path)) from error


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_file(path: Path) -> None:
    """Make a file's content durable."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


@contextmanager
def publishing_file(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield the name to write a file under; on success it is synced and gets its own name, else it goes."""
    refuse_existing(path, overwrite=overwrite)
    prepare_parent(path)
    partial = path.with_name(f"{path.name}.{os.getpid()}{PARTIAL}")
    try:
        yield partial
        sync_file(partial)
        partial.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise ResourceError(describe_os_error(error, path)) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replace a small text file, whole or not at all."""
    with publishing_file(path, overwrite=True) as partial:
        partial.write_text(text, encoding="utf-8")


def publish_folder(partial: Path, path: Path) -> None:
    """Give a finished folder its own name; what had that name before goes only after that."""
    for file in partial.rglob("*"):
        if file.is_file():
            sync_file(file)
    sync_folder(partial)
    old = path.with_name(f"{path.name}.{os.getpid()}.old")
    if path.exists():
        path.replace(old)
    partial.replace(path)
    sync_folder(path.parent)
    if old.is_dir():
        shutil.rmtree(old, ignore_errors=True)
    elif old.exists():
        old.unlink()


@contextmanager
def only_writer(path: Path) -> Iterator[None]:
    """Hold the lock on an output while it is written; ResourceError where another process holds it."""
    prepare_parent(path)
    lock = path.with_name(path.name + ".lock")
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.read(handle, 32).decode(errors="replace").strip() or "unknown"
            os.close(handle)
            raise ResourceError(
                f"{path}: another process (pid {owner}) is writing it: wait for it, or choose another --out"
            ) from None
        # The holder before us removes the file as it leaves: a lock on a removed file guards nothing.
        if _same_file(handle, lock):
            break
        os.close(handle)
    try:
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(handle)


def _same_file(handle: int, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    here = os.fstat(handle)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
