"""Memory: keep what was freed for the next step, and tell whether a limit was in the way."""

from __future__ import annotations

import ctypes
import resource
import sys
import threading
from pathlib import Path

from alexnet_cli.errors import ResourceError

_MUCH = 0.5
"""Of the limit: a process that reached this much was short of memory when something failed."""
_LEAST = 512 << 20
"""Bytes of address space that numpy and its BLAS take as they are loaded."""
_THREAD = 32 << 20
"""Bytes of address space that must be left for a thread to start: 8 MB are its stack."""
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_MMAP_MAX = -4
_M_ARENA_MAX = -8
_PICTURES = 1 << 25
"""Bytes: blocks up to this size come again and again while pictures are cropped and stored; more is a rare picture."""


def keep_freed_memory() -> bool:
    """Ask glibc's malloc to serve large blocks from its own heap; whether it agreed.

    Each training step allocates the same gigabytes of maps and gradients. By default every block over 32 MB is mapped
    afresh and zeroed page by page: fc6's gradient alone costs a quarter of a second. No effect outside glibc.
    """
    return _mallopt(((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1)))


def keep_freed_blocks() -> bool:
    """The same for blocks of up to 32 MB, of which 64 MB are kept: the memory of larger pictures goes back.

    A crop, and what LMDB holds until a transaction ends, lie over the size from which glibc maps and zeroes each block
    afresh: two fifths of the time of cropping and storing a picture.
    """
    return _mallopt(((_M_MMAP_THRESHOLD, _PICTURES), (_M_TRIM_THRESHOLD, 2 * _PICTURES)))


def _mallopt(settings: tuple[tuple[int, int], ...]) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return False
    return all(mallopt(name, value) for name, value in settings)


def require_address_space() -> None:
    """ResourceError if `ulimit -v` leaves too little to load numpy, whose BLAS would end the process itself."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY and limit < _LEAST:
        raise ResourceError(
            f"this process may use {limit >> 20} MB of memory (ulimit -v), and needs at least {_LEAST >> 20}: "
            "raise the limit"
        )


def start_threads_where_there_is_room() -> None:
    """Under `ulimit -v`, have a thread that finds no room refused with a MemoryError, whichever library starts it.

    Python waits forever for a thread that got its stack and then no memory for its first line
    (github.com/python/cpython/issues/140746). Nor does each thread set aside 64 MB for its own small blocks then. Linux
    only.
    """
    if _address_space_left() is None:
        return
    _mallopt(((_M_ARENA_MAX, 1),))
    threading.Thread.start = _start_with_room  # type: ignore[assignment,method-assign]


_start = threading.Thread.start


def _start_with_room(thread: threading.Thread) -> None:
    left = _address_space_left()
    if left is not None and left < _THREAD:
        raise MemoryError(f"{left >> 20} MB are left of what `ulimit -v` allows: too few for another thread")
    _start(thread)


def _address_space_left() -> int | None:
    """Bytes that `ulimit -v` leaves to this process; None without one, or if the system does not tell."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return None
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except OSError:
        return None
    return limit - pages * resource.getpagesize()


def limit_reached() -> int | None:
    """The limit on this process's memory in bytes (`ulimit -v`), if it has one and came near it; else None.

    Libraries say in many ways that they got no memory, or no thread: this looks at the process instead. Linux only.
    """
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return None
    peak = _told_of_this_process("VmPeak")
    return limit if peak is not None and peak > _MUCH * limit else None


def most_held() -> int:
    """Bytes of main memory that this process held at most.

    Linux counts in `ru_maxrss` what the program that started this one held, too.
    """
    peak = _told_of_this_process("VmHWM")
    if peak is not None:
        return peak
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most << 10


def _told_of_this_process(name: str) -> int | None:
    """Bytes, by Linux's name for them; None if the system does not tell."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return None
    return next((int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith(f"{name}:")), None)
