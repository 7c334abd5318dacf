"""The long part: crop what is not done yet, and commit it in steps."""

from __future__ import annotations

import contextlib
import mmap
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing

from alexnet_cli.artifacts.crops.writer import CropWriter, Record
from alexnet_cli.console import Talk
from alexnet_cli.memory import keep_freed_blocks
from alexnet_stages.preprocess.pool import Job, Outcome, crops_in_order
from alexnet_stages.preprocess.sources import Sources

STEP = 256
"""Pictures in one transaction. Fixed, so that neither workers nor interruptions shape the store."""


def write_crops(writer: CropWriter, sources: Sources, job: Job, workers: int, talk: Talk) -> None:
    """Crop what the writer has not got yet, and commit it in steps of STEP pictures."""
    keep_freed_blocks()
    names, labels = sources.names, sources.labels
    done, total = writer.sources_done, len(names)
    step, other = _Step(job.room), _Step(job.room)
    writing: Future[None] | None = None
    with (
        talk.progress("cropping", total, done=done) as advance,
        ThreadPoolExecutor(1, "alexnet-commit") as disk,
        closing(crops_in_order(sources.pictures[done:], job, workers)) as crops,
    ):
        for chunk in crops:
            for outcome, value in chunk:
                step.add(names[done], labels[done], outcome, value)
                done += 1
                if step.sources == STEP or done == total:
                    if writing:
                        writing.result()
                    # Beside the cropping: syncing 50 MB takes longer than the workers have room for.
                    writing = disk.submit(step.commit, writer)
                    step, other = other, step
            advance(len(chunk))
        if writing:
            writing.result()


class _Step:
    """Crops that wait for their transaction, in memory that is used again for each step."""

    def __init__(self, room: int) -> None:
        """room: bytes of one crop."""
        self._memory = memoryview(_untouched(STEP * room))
        self._clear()

    def _clear(self) -> None:
        self._used = 0
        self.sources = 0
        self._records: list[Record] = []
        self._rejects: list[tuple[str, str]] = []

    def add(self, name: str, label: int, outcome: Outcome, value: memoryview) -> None:
        self.sources += 1
        if outcome.rejected:
            self._rejects.append((name, outcome.rejected))
            return
        end = self._used + len(value)
        kept: bytes | memoryview
        if end <= len(self._memory):
            kept = self._memory[self._used : end]
            kept[:] = value
            self._used = end
        else:
            kept = bytes(value)
        self._records.append(Record(name, label, kept, outcome.crc, outcome.facts, outcome.digest))

    def commit(self, writer: CropWriter) -> None:
        writer.commit(self.sources, self._records, self._rejects)
        self._clear()


def _untouched(count: int) -> mmap.mmap:
    """Memory that takes none before it is written to, unlike a bytearray; in large pages where the system has them."""
    memory = mmap.mmap(-1, count, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memory
