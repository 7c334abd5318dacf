"""One rank among its peers: its groups, and what the ranks agree on.

One process alone is a rank too, `Ranks.alone(device)`: every agreement is with itself, nothing is sent.
Which part of a net lives here: place.py. Which pictures fall to it: layout.py. How ranks meet: meeting.py.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from alexnet_cli.parallel.collectives import Group
from alexnet_cli.parallel.layout import Layout, Shares, lengths_of_shares


class Ranks:
    """This process's place among the ranks, and how it communicates with them."""

    def __init__(self, device: torch.device, layout: Layout, rank: int = 0, mesh: Any = None, side: Any = None) -> None:
        self.device = device
        self.layout = layout
        self.rank = rank
        self.world = layout.world
        self.shares = Shares(layout, rank)
        self.traffic: Counter[str] = Counter()
        """Bytes that this rank sent, by what they were for."""
        self.tick: Callable[[str], None] = lambda phase: None
        """Call it as the work progresses, with what is being done: a rank that stops ticking counts as hung."""
        self._side = side
        self.all = Group(dist.group.WORLD, self.traffic) if mesh is not None else None
        self.data = Group(mesh.get_group("data"), self.traffic) if mesh is not None else None
        """The ranks that hold the same weights as this one."""
        self.column = Group(mesh.get_group("column"), self.traffic) if mesh is not None else None
        """The ranks that hold a copy of the net together with this one."""

    @classmethod
    def alone(cls, device: torch.device) -> Ranks:
        """One process without peers."""
        return cls(device, Layout())

    @property
    def local_world(self) -> int:
        """How many ranks share this machine."""
        return min(self.world, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))

    @property
    def first(self) -> bool:
        """Whether this rank talks and writes."""
        return self.rank == 0

    # ------------------------------------------------------------------------------------------------- agreements

    def sum(self, values: Sequence[float]) -> list[float]:
        """Sums over all ranks, the same on each; through host memory: no device has to wait."""
        if self.world == 1:
            return list(values)
        numbers = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(numbers, group=self._side)
        return numbers.tolist()

    def sum_tensor(self, numbers: Tensor) -> Tensor:
        """The sum over all ranks of a tensor on the CPU, in place. Integers are exact."""
        if self.world > 1:
            dist.all_reduce(numbers, group=self._side)
        return numbers

    def barrier(self, phase: str) -> None:
        """Wait for all ranks."""
        self.tick(phase)
        self.sum([0.0])
        self.tick(phase)

    def sum_to_first(self, numbers: Tensor) -> Tensor:
        """The sum of a tensor on the CPU over all ranks, in place and on the first alone."""
        if self.world > 1:
            dist.reduce(numbers, dst=0, group=self._side)
        return numbers

    def share_crops(self, own: Tensor, pictures: int) -> Tensor:
        """A mini-batch of crops, of which each rank of this column group loaded a part: uint8 (N, side, side, 3)."""
        group = self.column
        if group is None or group.size == 1 or pictures == 0:
            return own
        return group.all_gather(own, lengths_of_shares(pictures, group.size), 0, "crops")
