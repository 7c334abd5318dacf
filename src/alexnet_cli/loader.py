"""From the crop store to memory: threads copy records into reusable batch buffers, ahead of the net.

with CropLoader(store, batches) as loader:
    for batch in loader:
        batch.crops        # uint8 (N, side, side, 3), valid until the next batch is requested

Ranks that see the same mini-batches (the columns of one net) each load a share of every one and exchange the bytes.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.artifacts.crops.ways import fast_ways
from alexnet_cli.parallel.layout import Shares

_AHEAD = 3
"""Buffers: one in use, the others being filled."""
_PART = 1 << 18
"""Bytes of a mini-batch that one more thread is worth: of less, threads wait longer for one another than they copy."""
_PIECE = 12 << 20
"""Bytes that are read before a thread looks whether anybody still wants them."""


class Sharing(Protocol):
    """Others that see the same batches: which rows of one are loaded here, and how the rest comes."""

    @property
    def shares(self) -> Shares: ...

    def share_crops(self, own: Tensor, pictures: int) -> Tensor: ...


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
    buffers over a stream of their own. threads: 0 means one for each core, at most 8. ranks: who else loads them.
    Raises ArtifactError where a record is missing or fails its checksum.
    """

    def __init__(
        self,
        store: CropStore,
        batches: Sequence[NDArray[np.int64]],
        *,
        device: torch.device | None = None,
        threads: int = 0,
        ranks: Sharing | None = None,
    ) -> None:
        self.store = store
        self.ranks = ranks
        self.device = device or torch.device("cpu")
        pin = self.device.type == "cuda"
        self._stream = torch.cuda.Stream(self.device) if pin else None  # type: ignore[no-untyped-call]
        self._copied: dict[int, torch.cuda.Event] = {}
        self.batches = batches
        self._loads = [batch if ranks is None else batch[ranks.shares.loaded(len(batch))] for batch in batches]
        self._record = math.prod(store.shape)
        self._ways = fast_ways(store.codec, crops=sum(map(len, batches)), nbytes=self._record)
        self._piece = 1 if self._ways.copy is None else max(1, _PIECE // self._record)
        largest = max((len(batch) for batch in self._loads), default=0)
        threads = threads or min(8, os.cpu_count() or 1)
        if self._ways.copy is not None:
            threads = min(threads, largest * self._record // _PART)
        self.threads = max(1, threads)
        count = min(_AHEAD, len(batches))
        self._buffers = [torch.empty((largest, *store.shape), dtype=torch.uint8, pin_memory=pin) for _ in range(count)]
        self._arrays = [buffer.numpy() for buffer in self._buffers]
        self._ended = False
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="loader")

    def __enter__(self) -> CropLoader:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __iter__(self) -> Iterator[Batch]:
        waiting: deque[tuple[int, list[Future[None]]]] = deque()
        for number in range(len(self.batches) + len(self._buffers) - 1):
            if number < len(self.batches):
                waiting.append((number, self._start(number)))
            if number >= len(self._buffers) - 1:
                done, futures = waiting.popleft()
                for future in futures:
                    future.result()
                crops = self._deliver(done)
                if self.ranks is not None:
                    crops = self.ranks.share_crops(crops, len(self.batches[done]))
                yield Batch(self.batches[done], crops)

    def _deliver(self, number: int) -> Tensor:
        """The crops of a batch that are read here, on the device."""
        slot = number % len(self._buffers)
        crops = self._buffers[slot][: len(self._loads[number])]
        if self._stream is None:
            return crops
        with torch.cuda.stream(self._stream):
            moved = crops.to(self.device, non_blocking=True)
            self._copied[slot] = self._stream.record_event()
        here = torch.cuda.current_stream(self.device)
        here.wait_stream(self._stream)
        moved.record_stream(here)
        return moved

    def _start(self, number: int) -> list[Future[None]]:
        indices = self._loads[number]
        slot = number % len(self._arrays)
        if slot in self._copied:  # the buffer may not change before the device has its content
            self._copied.pop(slot).synchronize()
        target = self._arrays[slot]
        parts = max(1, min(self.threads, len(indices)))
        ends = [len(indices) * part // parts for part in range(parts + 1)]
        return [self._pool.submit(self._fill, indices[a:b], target[a:b]) for a, b in pairwise(ends)]

    def _fill(self, indices: NDArray[np.int64], target: NDArray[np.uint8]) -> None:
        for start in range(0, len(indices), self._piece):
            if self._ended:  # by an error or a signal: nobody wants the rest
                return
            piece = slice(start, start + self._piece)
            self.store.read_many(indices[piece], target[piece], self._ways)


def batches_of(indices: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    """Consecutive batches of `size`; the last holds the rest."""
    return [indices[start : start + size] for start in range(0, len(indices), size)]
