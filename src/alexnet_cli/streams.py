"""Standard input, output and error, even if they are closed, on a full disk, or without a reader.

    prepare_streams()        # once, as a process starts
    finish_streams()         # before it ends: OSError if the result could not be written
    with quiet_libraries():  # what C libraries write to stderr goes nowhere; what we say arrives

If the reader of stdout is gone (`| head -1`), the rest is dropped quietly. If stderr takes no message, the message is
dropped and the work continues. If stdout takes no result, that is an error.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class _Stream(io.FileIO):
    """A stream's file descriptor. It reports once that it can't write, and drops what follows."""

    def __init__(self, descriptor: int, name: str, *, required: bool) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._called, self._required, self._lost = name, required, False

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        if self._lost:
            return size
        try:
            return super().write(data) or 0
        except OSError as error:
            if not self._required:
                return size  # such as a log on a full disk, which may have room again later
            self._lost = True
            if error.errno == errno.EPIPE:
                return size
            raise OSError(error.errno, error.strerror, self._called) from None


def prepare_streams() -> None:
    """Make stdout and stderr safe to write to, unless a notebook or a test has replaced them."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:  # closed: the next file that is opened would take its place
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is sys.__stdout__:
        sys.stdout = _text(1, "standard output", required=True)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _text(2, "standard error", required=False)


def finish_streams() -> None:
    """Write out what is left. OSError, which names the stream, if stdout fails."""
    sys.stdout.flush()
    sys.stderr.flush()


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Drop what libraries in C, and processes started meanwhile, write to file descriptor 2.

    libtiff and others complain there about damaged files, without their names. `sys.stderr` still works.
    """
    ours = _descriptor(sys.stderr) == 2
    try:
        earlier, kept = sys.stderr, os.dup(2)
    except OSError:  # closed: there is nothing to keep quiet
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        if ours:
            earlier.flush()
            sys.stderr = _text(kept, "standard error", required=False)
        os.dup2(nowhere, 2)
        yield
    finally:
        if ours:
            sys.stderr.flush()
            sys.stderr = earlier
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _descriptor(stream: Any) -> int | None:
    try:
        return int(stream.fileno())
    except (AttributeError, OSError, ValueError):  # a notebook's, or a test's
        return None


def _text(descriptor: int, name: str, *, required: bool) -> io.TextIOWrapper:
    raw = _Stream(descriptor, name, required=required)
    earlier = sys.__stdout__ if descriptor == 1 else sys.__stderr__
    encoding = earlier.encoding if earlier is not None else "utf-8"
    lines = descriptor != 1 or raw.isatty()
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding=encoding, errors="backslashreplace", line_buffering=lines)
