"""Crops from many processes, in order.

Worker processes write crops into memory shared with this one; through the pipes go names and a few numbers. Each worker
has its own pipe: when this process dies, however it dies, the workers read its end and leave; when a worker dies, this
process reads that. The shared memory has no name, so nothing of it can stay behind. On Linux workers are forked: a
new process would load Python and Pillow for as long as hundreds of pictures take. They use neither threads nor torch.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import io
import mmap
import signal
import sys
import warnings
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

from crc32c import crc32c

from alexnet_cli.artifacts.crops.store import DIGEST_BYTES, SIDE, raw_bytes
from alexnet_cli.errors import ResourceError
from alexnet_cli.memory import keep_freed_blocks
from alexnet_cli.pictures import BadPictureError, crop_image
from alexnet_cli.signals import ENDING
from alexnet_cli.sources.located import Located, read_located

CHUNK = 8
"""Pictures in one message."""
_HELD = 32
"""Chunks whose bytes may be in use while others are made: all those of one step of the store."""
_SLOTS = 3
"""Chunks of shared memory for each worker: one being filled, one waiting, one whose turn has not come."""
_FORKED = sys.platform == "linux"
"""Elsewhere a new process is started: macOS's own libraries don't survive a fork."""
_QUEUED = 2
"""Chunks that a worker has at most, so that it never waits for the next."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is done to each picture."""

    filter: str
    exif_rotation: bool
    codec: str
    quality: int
    side: int = SIDE
    colour_profile: str = "ignore"
    truncated: str = "refuse"

    @property
    def room(self) -> int:
        """Bytes of shared memory for one crop."""
        return raw_bytes(self.side)


class Outcome(NamedTuple):
    """What became of one picture. Its stored bytes lie in the shared memory, or in `spilled` if they don't fit."""

    size: int = 0
    crc: int = 0
    facts: int = 0
    digest: bytes = b""
    rejected: str = ""
    spilled: bytes = b""


Stored = tuple[Outcome, memoryview]


class Chunk(list[Stored]):
    """Outcomes and stored bytes of a few pictures."""

    until: Future[None] | None = None
    """Their bytes stay as they are until this is done; without it, until the next chunk is requested."""


def crops_in_order(pictures: Sequence[Located], job: Job, workers: int) -> Generator[Chunk, None, None]:
    """Yield the pictures' outcomes and stored bytes, a few at a time, in their order.

    With one worker everything happens in this process.
    """
    count = -(-len(pictures) // CHUNK)
    workers = min(workers, count)
    if not count:
        return
    if workers == 1:
        ring = _Ring(_memory(min(count, _HELD + 1) * CHUNK * job.room, mmap.MAP_PRIVATE), job)
        for start in range(0, len(pictures), CHUNK):
            slot = ring.take(wait=True)
            assert slot is not None
            chunk = ring.view(slot, crop_chunk(pictures[start : start + CHUNK], job, ring.room_of(slot)))
            yield chunk
            ring.give_back(slot, chunk)
        return
    pool = _Pool(job, workers, min(count, _HELD))
    try:
        yield from pool.run(pictures)
    finally:
        pool.close()


def crop_chunk(pictures: Sequence[Located], job: Job, memory: memoryview) -> list[Outcome]:
    """Crop some pictures; the n-th one's stored bytes go to memory[n * job.room:]."""
    return [
        _crop_one(picture, job, memory[position * job.room : (position + 1) * job.room])
        for position, picture in enumerate(pictures)
    ]


def _crop_one(picture: Located, job: Job, room: memoryview) -> Outcome:
    try:
        data = read_located(picture)
        image, facts = crop_image(
            data,
            name=picture.name,
            side=job.side,
            filter=job.filter,
            exif_rotation=job.exif_rotation,
            colour_profile=job.colour_profile,
            truncated=job.truncated,
        )
    except BadPictureError as error:
        return Outcome(rejected=str(error))
    # SHA-256 as processors compute it themselves: twice as fast as BLAKE2, a twentieth of the time of decoding.
    digest = hashlib.sha256(data, usedforsecurity=False).digest()[:DIGEST_BYTES]
    if job.codec == "raw":
        value = image.tobytes()
    else:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=job.quality)
        value = file.getvalue()
    if len(value) > len(room):  # a JPEG of noise at quality 100
        return Outcome(len(value), crc32c(value), int(facts), digest, spilled=value)
    room[: len(value)] = value
    return Outcome(len(value), crc32c(value), int(facts), digest)


class _Ring:
    """Memory for the crops of some chunks. The slot that came back last is used first: its memory is in the caches."""

    def __init__(self, memory: Any, job: Job) -> None:
        self._memory = memoryview(memory).cast("B")
        self._room = job.room
        self.bytes = CHUNK * job.room
        self._free = list(reversed(range(len(self._memory) // self.bytes)))
        self._held: deque[tuple[Future[None], int]] = deque()

    def take(self, *, wait: bool) -> int | None:
        """A slot that is free, or once it is; else None. Raises what went wrong with bytes in use."""
        while self._held and (self._held[0][0].done() or (wait and not self._free)):
            self._held[0][0].result()
            self._free.append(self._held.popleft()[1])
        return self._free.pop() if self._free else None

    def give_back(self, slot: int, chunk: Chunk) -> None:
        if chunk.until is None:
            self._free.append(slot)
        else:
            self._held.append((chunk.until, slot))

    def room_of(self, slot: int) -> memoryview:
        return self._memory[slot * self.bytes : (slot + 1) * self.bytes]

    def view(self, slot: int, outcomes: Sequence[Outcome]) -> Chunk:
        """What lies in a slot."""
        room, chunk = self.room_of(slot), Chunk()
        for position, outcome in enumerate(outcomes):
            start = position * self._room
            chunk.append(
                (outcome, memoryview(outcome.spilled) if outcome.spilled else room[start : start + outcome.size])
            )
        return chunk


def _memory(count: int, kind: int) -> Any:
    """Memory that takes no pages before it is written to, unlike a bytearray; in large pages if the system has them."""
    memory = mmap.mmap(-1, count, flags=kind | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0))
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


class _Worker:
    def __init__(self, context: Any, job: Job, ring: Any, before: Sequence[_Worker]) -> None:
        self.connection, theirs = context.Pipe()
        # A forked process has what this one has: an end of a pipe that stays open there would never be read as ended.
        not_its_own = [*(worker.connection for worker in before), self.connection] if _FORKED else []
        self.process = context.Process(
            target=_serve, args=(theirs, job, ring, not_its_own), daemon=True, name="alexnet-preprocess"
        )
        with warnings.catch_warnings():  # of threads, which hold no lock that a worker needs
            warnings.simplefilter("ignore", DeprecationWarning)
            self.process.start()
        theirs.close()
        self.chunks: list[tuple[int, int, Sequence[Located]]] = []
        """What it works on, in order: chunk number, slot, pictures."""


class _Pool:
    def __init__(self, job: Job, count: int, held: int = _HELD) -> None:
        context = get_context("fork" if _FORKED else "spawn")
        nbytes = (count * _SLOTS + held) * CHUNK * job.room
        ring = _memory(nbytes, mmap.MAP_SHARED) if _FORKED else context.RawArray(ctypes.c_ubyte, nbytes)
        self._ring = _Ring(ring, job)
        self._workers: list[_Worker] = []
        with _without_signals():
            for _ in range(count):
                self._workers.append(_Worker(context, job, ring, self._workers))

    def run(self, pictures: Sequence[Located]) -> Generator[Chunk, None, None]:
        count = -(-len(pictures) // CHUNK)
        arrived: dict[int, tuple[int, list[Outcome]]] = {}
        sent = 0
        for number in range(count):
            while number not in arrived:
                # Chunks are sent in order: if this one is not sent yet, none is on its way.
                while sent < count and (worker := self._least_busy()):
                    if (slot := self._ring.take(wait=sent == number)) is None:
                        break
                    self._send(worker, sent, slot, list(pictures[sent * CHUNK : (sent + 1) * CHUNK]))
                    sent += 1
                arrived.update(self._receive())
            slot, outcomes = arrived.pop(number)
            chunk = self._ring.view(slot, outcomes)
            yield chunk
            self._ring.give_back(slot, chunk)

    def close(self) -> None:
        """End the workers; they hold nothing that needs saving."""
        for worker in self._workers:
            worker.connection.close()
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join()

    def _least_busy(self) -> _Worker | None:
        worker = min(self._workers, key=lambda worker: len(worker.chunks))
        return worker if len(worker.chunks) < _QUEUED else None

    def _send(self, worker: _Worker, number: int, slot: int, pictures: Sequence[Located]) -> None:
        worker.chunks.append((number, slot, pictures))
        try:
            worker.connection.send((slot * self._ring.bytes, pictures))
        except OSError:
            raise _died(worker) from None

    def _receive(self) -> dict[int, tuple[int, list[Outcome]]]:
        by_connection = {worker.connection: worker for worker in self._workers if worker.chunks}
        arrived = {}
        for ready in wait(list(by_connection)):
            assert isinstance(ready, Connection)
            worker = by_connection[ready]
            try:
                answer = worker.connection.recv()
            except (EOFError, OSError):
                raise _died(worker) from None
            if isinstance(answer, BaseException):
                raise answer
            number, slot, _ = worker.chunks.pop(0)
            arrived[number] = (slot, answer)
        return arrived


def _serve(connection: Connection, job: Job, ring: Any, not_its_own: Sequence[Connection]) -> None:
    """A worker's life: chunks of pictures in, outcomes out, until the pipe ends."""
    for other in not_its_own:
        other.close()
    for number in ENDING:  # they end it, whatever they do to its parent; Ctrl-C stays blocked
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
    keep_freed_blocks()
    memory = memoryview(ring).cast("B")
    while True:
        try:
            start, pictures = connection.recv()
            try:
                answer: Any = crop_chunk(pictures, job, memory[start : start + CHUNK * job.room])
            except ResourceError as error:
                answer = error
            except MemoryError:
                answer = MemoryError()
            except Exception as error:
                answer = RuntimeError(
                    f"in a worker, at {pictures[0].name} or soon after: {type(error).__name__}: {error}"
                )
            connection.send(answer)
        except (EOFError, OSError):
            return


def _died(worker: _Worker) -> ResourceError:
    worker.process.join(timeout=5)
    code = worker.process.exitcode
    how = signal.Signals(-code).name if code is not None and code < 0 else f"code {code}"
    where = f" between {worker.chunks[0][2][0].name} and {worker.chunks[0][2][-1].name}" if worker.chunks else ""
    return ResourceError(
        f"a worker process died ({how}){where}: run the same command again to continue, "
        "with fewer --workers if memory is short"
    )


@contextmanager
def _without_signals() -> Iterator[None]:
    """Processes started here never see Ctrl-C, which goes to all of a terminal's processes: their parent ends them.

    Nor do they run this process's handlers of the other signals before they have put them off.
    """
    if not _FORKED:  # else it starts with the first process, and unblocks SIGINT as it does
        resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, *ENDING})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
