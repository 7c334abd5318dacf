"""How ranks find each other: what a launcher says in the environment, the ranks' store, joining and leaving.

with join(device, choose_layout("auto", world, net)[0], timeout=300) as ranks: ...
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore, TCPStore

from alexnet_cli.parallel.layout import Layout
from alexnet_cli.parallel.ranks import Ranks

_COLLECTIVE = timedelta(days=1)
"""torch's own limit for a collective. The watch sees a rank that hangs much sooner, and unlike torch's clock, its clock
stands still while all ranks are suspended."""


def rank_of_environment() -> tuple[int, int, int] | None:
    """Rank, number of ranks, and rank on this machine, as a launcher such as torchrun sets them; None without one."""
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return None
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    return rank, world, int(os.environ.get("LOCAL_RANK", rank))


def serves_store(rank: int) -> bool:
    """Whether this rank's process keeps the ranks' store: the first rank does, unless the launcher keeps it."""
    return rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"


def store_of_ranks(purpose: str, timeout: float, *, serves: bool = False) -> PrefixStore:
    """A connection to the ranks' store, with keys of its own for each purpose and each start of the ranks.

    Some launchers keep one store over all restarts: with the same keys, ranks would connect to processes that are gone.
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
    """Send all that this process prints to a file: only the first rank writes to the terminal."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    with path.open("a", encoding="utf-8") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)


@contextmanager
def join(device: torch.device, layout: Layout, *, timeout: float) -> Iterator[Ranks]:
    """Meet the other ranks that the environment names (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT).

    device: this rank's. timeout: seconds to wait for a peer before the meeting fails.
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
        timeout=_COLLECTIVE,
        device_id=device if backend == "nccl" else None,
    )
    # After an error the process ends: taking the groups down would wait for peers that no longer come.
    shape = (layout.data_size, layout.column_size)
    mesh = dist.device_mesh.init_device_mesh(device.type, shape, mesh_dim_names=("data", "column"))
    side = dist.new_group(backend="gloo", timeout=_COLLECTIVE) if backend == "nccl" else None
    yield Ranks(device, layout, dist.get_rank(), mesh, side)
    dist.destroy_process_group()
