"""Standard input, output and error, whatever the caller made of them: closed, a full disk, a reader that is gone.

    prepare_streams()        # once, as a process starts
    finish_streams()         # before it ends: OSError where the result could not be written
    with quiet_libraries():  # what C libraries write to stderr goes nowhere; what we say arrives

A reader of stdout that is gone (`| head -1`) wants no more: the rest is dropped quietly. A message that stderr won't
take is dropped, and the work continues. A result that stdout won't take is an error.
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
    """A stream's file descriptor, which drops what can't be delivered after it has said so once."""

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
                return size  # such as a log on a disk that is full: it may have room again
            self._lost = True
            if error.errno == errno.EPIPE:
                return size
            raise OSError(error.errno, error.strerror, self._called) from None


def prepare_streams() -> None:
    """Make stdout and stderr safe to write to. Leaves alone what a notebook or a test has put in their place."""
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
    """Write out what is left. OSError, which names the stream, where stdout fails."""
    sys.stdout.flush()
    sys.stderr.flush()


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Send to nowhere what libraries in C, and processes started meanwhile, write to file descriptor 2.

    libtiff and others tell there of each damaged file, without its name. `sys.stderr` still arrives.
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
