"""Before the work: how many bytes and how much time it will take, from a trial with a few pictures."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alexnet_cli.artifacts.crops.store import DIGEST_BYTES
from alexnet_cli.console import duration, size
from alexnet_cli.errors import ResourceError
from alexnet_cli.machine import cores
from alexnet_stages.preprocess.pool import Job, crop_chunk
from alexnet_stages.preprocess.sources import Located, Sources

TRIAL_PICTURES = 48
"""How many pictures are tried, evenly spread over all that remain."""
TRIAL_LEAST = 8
"""Of fewer than 4,800 pictures one in a hundred is tried, but at least this many: the trial's crops are thrown away."""
TRIAL_SECONDS = 3.0
"""The trial ends after this many seconds, with at least one picture."""
MARGIN = 1.1
"""For JPEG stores: a factor on the trial's upper bound, which may be wrong."""

DISK_TRIAL_BYTES = 1 << 26
"""Written to measure the disk's speed, if the store will be larger than LARGE."""
LARGE = 1 << 31

_PAGE = 4096
_HEADER = 16  # in front of a value that fills pages of its own
_NODE = 8 + 8 + 2  # a small value's header, its key, its place in the page
_KEYS_IN_A_PAGE = 100  # with room to spare: sorted keys fill LMDB's pages almost completely
_FEW_PAGES = 16  # the file's own, the tree's, ends of arrays, what transactions left free
_ARRAYS = 8 + 4 + 1 + DIGEST_BYTES  # label, CRC, facts, digest
_STEP_NOTES = 5 + 12 + 4 + 2 * DIGEST_BYTES  # the same as text, which stays until the arrays are written


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What remains to be done, and what that takes."""

    pictures: int
    bytes: float
    """Expected growth of the store."""
    most_bytes: float
    """What must be free: exact for raw crops, with a margin for JPEGs."""
    seconds: float
    workers: int
    free: int
    """Bytes free on the disk."""

    def __str__(self) -> str:
        """One line for people, without the store's name."""
        workers = f"{self.workers} worker{'s' if self.workers > 1 else ''}"
        return (
            f"{self.pictures:,} pictures to crop, about {size(self.bytes)} ({size(self.free)} free) "
            f"and {duration(self.seconds)} with {workers}"
        )

    def require_room(self, out: Path, *, codec: str) -> None:
        """ResourceError if the disk has too little space."""
        if self.most_bytes <= self.free:
            return
        about, way = ("", "or use --codec jpeg") if codec == "raw" else ("about ", "or a lower --quality")
        raise ResourceError(
            f"{out}: the disk is too full: {about}{size(self.most_bytes)} needed, {size(self.free)} free: "
            f"free some space, choose another --out, {way}"
        )


def estimate(sources: Sources, done: int, job: Job, *, workers: int, folder: Path) -> Estimate:
    """Crop a few of the pictures after the first `done`, and extrapolate to all of these."""
    pictures, names = sources.pictures[done:], sources.names[done:]
    sizes, seconds = _trial(pictures, job)
    remaining = len(pictures)
    stored = np.array([_on_disk(size) for size in sizes])
    rest = remaining * (_PAGE / _KEYS_IN_A_PAGE + _ARRAYS + _STEP_NOTES) + _FEW_PAGES * _PAGE
    rest += 2 * sum(len(name) + 4 for name in names)
    if job.codec == "raw":
        expected = most = remaining * _on_disk(job.room) + rest
    else:
        expected = remaining * float(stored.mean()) + rest
        spread = 2 * float(stored.std()) / math.sqrt(len(stored))
        most = expected if len(sizes) == remaining else MARGIN * (expected + remaining * spread)
    at_once = max(1, min(workers, remaining, cores()))
    return Estimate(
        pictures=remaining,
        bytes=expected,
        most_bytes=most,
        seconds=max(seconds * remaining / at_once, expected / _disk_rate(folder) if expected > LARGE else 0),
        workers=workers,
        free=shutil.disk_usage(folder).free,
    )


def _trial(pictures: Sequence[Located], job: Job) -> tuple[list[int], float]:
    """The sizes of a few pictures' crops, and the seconds for one."""
    memory = memoryview(bytearray(job.room))
    count = max(TRIAL_LEAST, min(TRIAL_PICTURES, len(pictures) // 100))
    picked = np.unique(np.linspace(0, len(pictures) - 1, count).astype(int)).tolist()
    sizes: list[int] = []
    crop_chunk([pictures[picked[0]]], job, memory)  # not timed: it loads libraries
    start = time.perf_counter()
    for index in picked:
        outcome = crop_chunk([pictures[index]], job, memory)[0]
        sizes.append(outcome.size)
        if time.perf_counter() - start > TRIAL_SECONDS:
            break
    return sizes, (time.perf_counter() - start) / len(sizes)


def _disk_rate(folder: Path) -> float:
    """Bytes per second that the disk writes: many workers crop faster than most disks write."""
    noise = os.urandom(1 << 20)
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        start = time.perf_counter()
        written = 0
        while written < min(DISK_TRIAL_BYTES, shutil.disk_usage(folder).free // 4):
            written += file.write(noise)
        os.fsync(file.fileno())
        return max(written, 1) / max(time.perf_counter() - start, 1e-9)


def _on_disk(value: int) -> int:
    """Bytes of a value in LMDB: whole pages with its header, or a share of a page that holds several small values."""
    if value + _NODE <= _PAGE // 2 - _HEADER:
        return math.ceil(_PAGE / ((_PAGE - _HEADER) // (value + _NODE)))
    return math.ceil((value + _HEADER) / _PAGE) * _PAGE
