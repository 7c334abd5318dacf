"""From a host's buffers to a CUDA device, in a thread and on a stream of their own, while the net works on other crops.

Call `reserve` in the thread that uses the crops, as early as you like, and the rest in one other thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from alexnet_cli.artifacts.crops.ways import nvjpeg


@dataclass(frozen=True, eq=False)
class Place:
    """Memory on a device."""

    crops: Tensor
    """uint8 (N, side, side, 3)."""
    free: Any
    """An event: until then, earlier work may use this memory."""


class Crossing(Protocol):
    """How crops get to a device."""

    pinned: bool
    """Whether the host's buffers are to be page-locked."""
    decodes: bool
    """Whether the device decodes JPEGs."""

    def reserve(self, shape: Sequence[int]) -> Place:
        """Room for crops. Called in the thread that will use them, whose stream the memory belongs to."""
        ...

    def move(self, crops: Tensor, to: Place) -> None:
        """Copy from the host; when it returns, all are there, and the buffer may change."""
        ...

    def decode(self, records: Sequence[Tensor], to: Place) -> bool:
        """Decode JPEGs, uint8 (bytes,) each in the host's memory; False if one can't be, or has another size."""
        ...


class CudaCrossing:
    """To one CUDA device.

    The memory belongs to the stream that uses the crops. Only that stream frees it. A copy waits on the device until
    the stream's earlier work no longer reads from it (`Place.free`). `move` returns when the crops are there.
    """

    pinned = True

    def __init__(self, device: torch.device) -> None:
        index = torch.cuda.current_device() if device.index is None else device.index
        self.device = torch.device("cuda", index)
        # torch gives out 32 streams of each priority in turns. A CUDA graph is recorded on one of the other priority:
        # on the same stream, a copy would become a part of it.
        self._stream = torch.cuda.Stream(self.device, priority=-1)  # type: ignore[no-untyped-call]

    @property
    def decodes(self) -> bool:
        """By nvJPEG."""
        return nvjpeg(self.device) is not None

    def reserve(self, shape: Sequence[int]) -> Place:
        """See `Crossing`."""
        crops = torch.empty(tuple(shape), dtype=torch.uint8, device=self.device)
        free = torch.cuda.Event()  # type: ignore[no-untyped-call]
        free.record(torch.cuda.current_stream(self.device))
        return Place(crops, free)

    # Inference mode: memory that was reserved in it can be written in it only; other memory in both.

    @torch.inference_mode()
    def move(self, crops: Tensor, to: Place) -> None:
        """See `Crossing`."""
        with torch.cuda.stream(self._stream):
            self._stream.wait_event(to.free)
            to.crops.copy_(crops, non_blocking=True)
            self._finish()

    @torch.inference_mode()
    def decode(self, records: Sequence[Tensor], to: Place) -> bool:
        """See `Crossing`. nvJPEG works on a stream of torchvision's, in memory of the current stream, and does not wait
        for that stream's work: so this stream has always finished when nvJPEG is called."""
        operation = nvjpeg(self.device)
        if operation is None or not records:
            return False
        with torch.cuda.stream(self._stream):
            try:
                found = operation(list(records))
            except RuntimeError:
                return False
            rows, columns = to.crops.shape[1:3]
            if any(tuple(pixels.shape) != (3, rows, columns) for pixels in found):
                return False
            self._stream.wait_event(to.free)
            torch.stack([pixels.permute(1, 2, 0) for pixels in found], out=to.crops)
            self._finish()
        return True

    def _finish(self) -> None:
        done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        done.record(self._stream)
        done.synchronize()
