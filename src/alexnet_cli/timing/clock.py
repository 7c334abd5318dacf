"""Moments in a device's work, and the time between them: the processor's clock, or events on a CUDA stream."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch


@dataclass(frozen=True)
class Clock:
    """Of one device."""

    device: torch.device
    _moments: list[tuple[str, Any]] = field(default_factory=list)
    """Each mark's name, and seconds or a torch.cuda.Event."""

    def wait(self) -> None:
        """Until the device has done all that it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def begin(self) -> None:
        """Forget earlier moments; the next time counts from now."""
        self.wait()
        self._moments.clear()
        self.mark("")

    def mark(self, name: str) -> None:
        """What ends here; to be read in the order in which the device works."""
        if self.device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            event.record(torch.cuda.current_stream(self.device))
            self._moments.append((name, event))
        else:
            self._moments.append((name, time.perf_counter()))

    def milliseconds(self) -> dict[str, float]:
        """Name → milliseconds between its mark and the one before; marks of one name are added up."""
        self.wait()
        found: dict[str, float] = {}
        for (_, before), (name, after) in pairwise(self._moments):
            passed = before.elapsed_time(after) if self.device.type == "cuda" else 1e3 * (after - before)
            found[name] = found.get(name, 0.0) + passed
        return found

    def seconds(self, work: Callable[[], object], times: int = 1) -> float:
        """Of one call of `work`, the mean of `times`."""
        self.wait()
        start = time.perf_counter()
        for _ in range(times):
            work()
        self.wait()
        return (time.perf_counter() - start) / times
