"""Keep freed memory for the next step instead of handing it back to the system and faulting it in again."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


def keep_freed_memory() -> bool:
    """Ask glibc's malloc to serve large blocks from its own heap; whether it agreed.

    Each training step allocates the same gigabytes of maps and gradients. By default every block over 32 MB is mapped
    afresh and zeroed page by page: fc6's gradient alone costs a quarter of a second. No effect outside glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return False
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, -1))
