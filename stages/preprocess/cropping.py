"""The long part: crop what is not done yet, and commit it in steps."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice

from alexnet_cli.artifacts.crops.writer import CropWriter, Record
from alexnet_cli.console import Talk
from alexnet_cli.memory import keep_freed_blocks
from alexnet_stages.preprocess.pool import Job, Stored, crops_in_order
from alexnet_stages.preprocess.sources import Sources

STEP = 256
"""Pictures in one transaction. Fixed, so that neither workers nor interruptions shape the store."""
_MOST = 2
"""Times its pixels' bytes: more than any crop takes, be it a JPEG of noise at quality 100."""


def write_crops(writer: CropWriter, sources: Sources, job: Job, workers: int, talk: Talk) -> None:
    """Crop what the writer has not got yet, and commit it in steps of STEP pictures."""
    keep_freed_blocks()
    done, total = writer.sources_done, len(sources.names)
    steps = _Steps(writer, total - done, job)
    labelled = zip(sources.names[done:], sources.labels[done:], strict=True)
    writing: Future[None] | None = None
    with (
        talk.progress("cropping", total, done=done) as advance,
        ThreadPoolExecutor(1, "alexnet-commit") as disk,
    ):
        try:
            with closing(crops_in_order(sources.pictures[done:], job, workers)) as crops:
                for chunk in crops:
                    # In another thread: a step's 50 MB take a while to reach the disk.
                    writing = chunk.until = disk.submit(steps.add, list(islice(labelled, len(chunk))), chunk)
                    advance(len(chunk))
            if writing:
                writing.result()
        finally:
            disk.submit(writer.drop)


class _Steps:
    """Puts crops into transactions; in one thread of its own, while others are cropped."""

    def __init__(self, writer: CropWriter, pictures: int, job: Job) -> None:
        self._writer = writer
        self._left = pictures
        self._room = job.room * (1 if job.codec == "raw" else _MOST)
        self._sources = 0
        self._rejects: list[tuple[str, str]] = []
        self._failed: BaseException | None = None

    def add(self, labelled: Sequence[tuple[str, int]], chunk: Sequence[Stored]) -> None:
        if self._failed:  # what comes after a gap must not be committed
            raise self._failed
        try:
            for (name, label), (outcome, value) in zip(labelled, chunk, strict=True):
                if not self._sources:
                    self._writer.begin(min(STEP, self._left) * self._room)
                self._sources += 1
                if outcome.rejected:
                    self._rejects.append((name, outcome.rejected))
                else:
                    self._writer.put(Record(name, label, value, outcome.crc, outcome.facts, outcome.digest))
                self._left -= 1
                if self._sources == STEP or not self._left:
                    self._writer.end(self._sources, self._rejects)
                    self._sources, self._rejects = 0, []
        except BaseException as error:
            self._failed = error
            raise
