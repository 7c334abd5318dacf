"""From the crop store to memory: threads copy records into reusable batch buffers, ahead of the net.

with CropLoader(store, batches) as loader:
    for batch in loader:
        batch.crops        # uint8 (N, side, side, 3), valid until the next batch is requested

Ranks that see the same mini-batches (the columns of one net) each load a share of every one and exchange the bytes.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.artifacts.crops.ways import fast_ways
from alexnet_cli.crossing import Crossing, CudaCrossing, Place
from alexnet_cli.machine import loader_threads
from alexnet_cli.parallel.ranks import Ranks

_AHEAD = 3
"""Buffers: one in use, the others being filled."""
_PART = 1 << 18
"""Bytes of a mini-batch that one more thread is worth: of less, threads wait longer for one another than they copy."""
_PIECE = 12 << 20
"""Bytes that are read before a thread looks whether anybody still wants them."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Some pictures of a store."""

    indices: NDArray[np.int64]
    """(N,): their indices in the store."""
    crops: Tensor
    """uint8 (N, side, side, 3), RGB, on the loader's device. On a CPU overwritten after the next batch is requested."""


class CropLoader:
    """Yields batches in the order given, each read by several threads; decoding and copying release the GIL.

    batches: arrays of picture indices. device: where the crops are wanted; a CUDA device gets them from page-locked
    buffers over a stream of their own, up to two batches ahead. threads: 0 means one for each core, at most 8. ranks:
    who else loads them. jpeg_on_device: JPEGs may be decoded by the CUDA device, whose pixels differ a little
    (`nvjpeg`); their checksums are looked at before, on the host. crossing: how crops get to the device.
    Raises ArtifactError if a record is missing or fails its checksum.
    """

    def __init__(
        self,
        store: CropStore,
        batches: Sequence[NDArray[np.int64]],
        *,
        device: torch.device | None = None,
        threads: int = 0,
        ranks: Ranks | None = None,
        jpeg_on_device: bool = False,
        crossing: Crossing | None = None,
    ) -> None:
        self.store = store
        self.ranks = ranks
        self.device = device or torch.device("cpu")
        self._crossing = CudaCrossing(self.device) if crossing is None and self.device.type == "cuda" else crossing
        self._hands_over = (
            jpeg_on_device and store.codec == "jpeg" and self._crossing is not None and self._crossing.decodes
        )
        """Whether records go to the device as they are."""
        self.batches = batches
        self._loads = [batch if ranks is None else batch[ranks.shares.loaded(len(batch))] for batch in batches]
        self._record = math.prod(store.shape)
        self._ways = fast_ways(store.codec, crops=sum(map(len, batches)), nbytes=self._record)
        self._piece = 1 if self._ways.copy is None else max(1, _PIECE // self._record)
        largest = max((len(batch) for batch in self._loads), default=0)
        threads = threads or loader_threads()
        if self._ways.copy is not None:
            threads = min(threads, largest * self._record // _PART)
        self.threads = max(1, threads)
        count, pin = min(_AHEAD, len(batches)), self._crossing is not None and self._crossing.pinned
        self._buffers = [torch.empty((largest, *store.shape), dtype=torch.uint8, pin_memory=pin) for _ in range(count)]
        self._ended = False
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="loader")
        self._mover = ThreadPoolExecutor(1, thread_name_prefix="loader-mover")

    def __enter__(self) -> CropLoader:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._mover.shutdown(wait=True, cancel_futures=True)
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __iter__(self) -> Iterator[Batch]:
        waiting: deque[tuple[int, Callable[[], Tensor]]] = deque()
        for number in range(len(self.batches) + len(self._buffers) - 1):
            if number < len(self.batches):
                waiting.append((number, self._start(number)))
            if number >= len(self._buffers) - 1:
                done, arrival = waiting.popleft()
                crops = arrival()
                if self.ranks is not None:
                    crops = self.ranks.share_crops(crops, len(self.batches[done]))
                yield Batch(self.batches[done], crops)

    def _start(self, number: int) -> Callable[[], Tensor]:
        """Begin a batch; what waits for the crops that are read here, on the device. The buffer's last batch has been
        waited for: the buffer may change."""
        indices = self._loads[number]
        crops = self._buffers[number % len(self._buffers)][: len(indices)]
        if self._crossing is None:
            filling = self._fill_all(indices, crops)
            return lambda: _when_done(filling, crops)
        place = self._crossing.reserve(crops.shape)
        if self._hands_over:
            records: list[Tensor] = [torch.empty(0)] * len(indices)
            filling = self._in_parts(len(indices), lambda part: self._collect(indices, records, part))
            return self._mover.submit(self._decode, indices, filling, records, crops, place).result
        return self._mover.submit(self._move, self._fill_all(indices, crops), crops, place).result

    def _move(self, filling: list[Future[None]], crops: Tensor, place: Place) -> Tensor:
        """What the one thread does that brings crops to the device."""
        assert self._crossing is not None
        self._crossing.move(_when_done(filling, crops), place)
        return place.crops

    def _decode(
        self,
        indices: NDArray[np.int64],
        filling: list[Future[None]],
        records: list[Tensor],
        crops: Tensor,
        place: Place,
    ) -> Tensor:
        """The same of records. A batch that the device can't decode the CPU does: the same ones in every run."""
        assert self._crossing is not None
        _when_done(filling, crops)
        if not self._ended and not self._crossing.decode(records, place):
            return self._move(self._fill_all(indices, crops), crops, place)
        return place.crops

    def _fill_all(self, indices: NDArray[np.int64], crops: Tensor) -> list[Future[None]]:
        target = crops.numpy()
        return self._in_parts(len(indices), lambda part: self._fill(indices[part], target[part]))

    def _in_parts(self, count: int, work: Callable[[slice], None]) -> list[Future[None]]:
        """Work on so many records, a part by each thread."""
        parts = max(1, min(self.threads, count))
        ends = [count * part // parts for part in range(parts + 1)]
        return [self._pool.submit(work, slice(a, b)) for a, b in pairwise(ends)]

    def _fill(self, indices: NDArray[np.int64], target: NDArray[np.uint8]) -> None:
        for start in range(0, len(indices), self._piece):
            if self._ended:  # by an error or a signal: nobody wants the rest
                return
            piece = slice(start, start + self._piece)
            self.store.read_many(indices[piece], target[piece], self._ways)

    def _collect(self, indices: NDArray[np.int64], records: list[Tensor], part: slice) -> None:
        """The stored bytes of some records, copied, their checksums looked at."""
        for place in range(part.start, part.stop):
            if self._ended:
                return
            value = self.store.stored(int(indices[place]))
            records[place] = torch.frombuffer(bytearray(value), dtype=torch.uint8) if len(value) else torch.empty(0)


def _when_done(filling: list[Future[None]], crops: Tensor) -> Tensor:
    for future in filling:
        future.result()
    return crops


def batches_of(indices: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    """Consecutive batches of `size`; the last holds the rest."""
    return [indices[start : start + size] for start in range(0, len(indices), size)]
