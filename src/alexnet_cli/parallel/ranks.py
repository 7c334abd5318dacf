"""One rank among its peers: the process groups, small agreements, the net's placement, and leaving in order.

    with join(device, choose_layout("auto", world, net)[0], timeout=300) as ranks: ...

One process alone is a rank too, `Ranks.alone(device)`: every agreement is with itself, nothing is sent.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch._C._distributed_c10d import PrefixStore, TCPStore
from torch.nn.parallel import DistributedDataParallel

from alexnet_cli.net.network import FLATTEN, Network
from alexnet_cli.parallel.collectives import Group, Traffic, summing_hook
from alexnet_cli.parallel.layout import Layout, lengths_of_shares, share_of
from alexnet_cli.parallel.place import place
from alexnet_cli.recipes.net import Net


class Ranks:
    """This process's place among the ranks, and how it speaks with them."""

    def __init__(self, device: torch.device, layout: Layout, rank: int = 0, mesh: Any = None, side: Any = None) -> None:
        self.device = device
        self.layout = layout
        self.rank = rank
        self.world = layout.world
        self.traffic = Traffic()
        self.tick: Callable[[str], None] = lambda phase: None
        """Called as the work moves on, with what is being done: a rank that no longer ticks hangs."""
        self._side = side
        self._all = Group(dist.group.WORLD, self.traffic) if mesh is not None else None
        self._data = Group(mesh.get_group("data"), self.traffic) if mesh is not None else None
        self._column = Group(mesh.get_group("column"), self.traffic) if mesh is not None else None
        self._pictures = 0

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
        """Sums over all ranks, the same on each; through host memory, so that no device has to wait."""
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

    # ---------------------------------------------------------------------------------------------------- the net

    def network(self, net: Net) -> Network:
        """The part of a net that lives here, with the exchanges that bring the others' numbers (place.py)."""
        if self.world == 1 or self.layout.mode == "data" or self._column is None or self._all is None:
            return Network(net)
        group = self._column if self.layout.mode == "columns" else self._all
        return place(net, self.layout, self.rank, group, pictures=lambda: self._pictures)

    def announce(self, pictures: int) -> None:
        """Tell the exchanges of `hybrid` how many pictures the next mini-batch has."""
        self._pictures = pictures

    def share(self, pictures: int) -> slice:
        """The rows of a training mini-batch that this rank's convolutions see."""
        return self.layout.share(self.rank, pictures)

    def result_rows(self, pictures: int) -> slice:
        """The rows of a training mini-batch whose logits the net gives here."""
        return slice(0, pictures) if self.layout.mode == "hybrid" else self.share(pictures)

    def rounds(self, batches: Sequence[NDArray[np.int64]]) -> list[tuple[NDArray[np.int64], int]]:
        """Which mini-batches of an evaluation this rank computes, one for each round.

        With each mini-batch comes the number of pictures that all ranks compute in its round. Every rank has the same
        number of rounds, so that none waits for another; in the last one its mini-batch may be empty.
        """
        if self.layout.mode == "hybrid":  # all ranks work on each
            return [(batch, len(batch)) for batch in batches]
        size, index = self.layout.data_size, self.layout.data_index(self.rank)
        found = []
        for start in range(0, len(batches), size):
            together = batches[start : start + size]
            own = together[index] if index < len(together) else np.empty(0, np.int64)
            found.append((own, sum(len(batch) for batch in together)))
        return found

    def fed_rows(self, pictures: int) -> slice:
        """The rows of an evaluation's mini-batch that this rank feeds to the net."""
        return self.share(pictures) if self.layout.mode == "hybrid" else slice(0, pictures)

    @property
    def counts_loss(self) -> bool:
        """Whether this rank's loss is added up: each picture's once."""
        return self.rank == 0 if self.layout.mode == "hybrid" else self.layout.column_index(self.rank) == 0

    def wrap(self, network: Network, forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """The forward pass with gradients summed over the ranks that hold the same weights (DistributedDataParallel).

        To be wrapped again when layers are frozen or thawed.
        """
        network.convolved = network.convolve
        group = self._data
        if group is None or group.size == 1:
            return forward
        settings: dict[str, Any] = {"process_group": group.group, "gradient_as_bucket_view": True}
        if self.layout.mode == "hybrid":
            convolutions = _Convolutions(network)
            if not any(parameter.requires_grad for parameter in convolutions.parameters()):
                return forward
            wrapped = DistributedDataParallel(convolutions, **settings)
            network.convolved = wrapped
        else:
            module = forward if isinstance(forward, nn.Module) else network
            wrapped = forward = DistributedDataParallel(module, **settings)
        wrapped.register_comm_hook(None, summing_hook(group, "gradients"))
        return forward

    # ------------------------------------------------------------------------------------------------- whole tensors

    def whole(self, network: Network, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Whole tensors on the CPU, of what the ranks hold in parts; on other ranks than the first nothing.

        tensors: this rank's rows by parameter name (`conv1.weight`), in the same order on every rank.
        """
        found = {}
        for name, own in tensors.items():
            weights = network.weights(name.rpartition(".")[0])
            rows, outputs = weights.rows, weights.layer.outputs
            here = whole = own.detach().cpu()
            if self.world > 1 and rows != slice(0, outputs):
                whole = torch.zeros((outputs, *own.shape[1:]), dtype=own.dtype)
                # Of the ranks that hold the same rows, the first gives them; zeros add nothing.
                if self.layout.mode == "hybrid" or self.layout.data_index(self.rank) == 0:
                    whole[rows] = here
                dist.reduce(whole, dst=0, group=self._side)
            if self.first:
                found[name] = whole
        return found

    # ------------------------------------------------------------------------------------------------- sharing bytes

    def share_crops(self, own: Tensor, pictures: int) -> Tensor:
        """A mini-batch of crops, of which each rank of this column group loaded a part: uint8 (N, side, side, 3)."""
        group = self._column
        if group is None or group.size == 1 or pictures == 0:
            return own
        return group.all_gather(own, lengths_of_shares(pictures, group.size), 0, "crops")

    def load_share(self, pictures: int) -> slice:
        """Which rows of a mini-batch that its column group sees this rank loads."""
        return share_of(pictures, self.layout.column_index(self.rank), self.layout.column_size)


class _Convolutions(nn.Module):
    """The convolutional layers of a network as a module of their own: what `hybrid` replicates."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self._convolve = network.convolve
        for name in network.steps[: network.steps.index(FLATTEN)]:
            self.add_module(name, network.get_submodule(name))

    def forward(self, patches: Tensor) -> Tensor:
        return self._convolve(patches)


def rank_of_environment() -> tuple[int, int, int] | None:
    """Rank, number of ranks, and rank on this machine, as a launcher such as torchrun sets them; None without one."""
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return None
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    return rank, world, int(os.environ.get("LOCAL_RANK", rank))


def serves_store(rank: int) -> bool:
    """Whether this rank's own process keeps the ranks' store: the first, where no launcher does."""
    return rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"


def store_of_ranks(purpose: str, timeout: float, *, serves: bool = False) -> PrefixStore:
    """A connection to the ranks' store, with keys of its own for each purpose and each start of the ranks.

    Some launchers keep one store over all restarts: without that, ranks would call at addresses of the dead.
    """
    store = TCPStore(
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        is_master=serves,
        wait_for_workers=False,
        timeout=timedelta(seconds=timeout),
    )
    start = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return PrefixStore(f"alexnet/{purpose}/{start}", store)


def restarted() -> bool:
    """Whether a launcher started the ranks again, after it had lost some."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def log_to(path: Path) -> None:
    """Send all that this process prints to a file: among ranks the first alone talks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    with path.open("a", encoding="utf-8") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)


@contextmanager
def join(device: torch.device, layout: Layout, *, timeout: float) -> Iterator[Ranks]:
    """Meet the other ranks that the environment names (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT).

    device: this rank's. timeout: seconds after which a collective that a peer does not join fails.
    """
    environment = rank_of_environment()
    assert environment is not None, "a launcher sets RANK and WORLD_SIZE"
    rank, world, _ = environment
    backend = "nccl" if device.type == "cuda" else "gloo"
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(
        backend,
        store=store_of_ranks("meeting", timeout, serves=serves_store(rank)),
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=timeout),
        device_id=device if backend == "nccl" else None,
    )
    # After an error the process ends: taking the groups down would wait for peers that no longer come.
    shape = (layout.data_size, layout.column_size)
    mesh = dist.device_mesh.init_device_mesh(device.type, shape, mesh_dim_names=("data", "column"))
    side = dist.new_group(backend="gloo", timeout=timedelta(seconds=timeout)) if backend == "nccl" else None
    yield Ranks(device, layout, dist.get_rank(), mesh, side)
    dist.destroy_process_group()
