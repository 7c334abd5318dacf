"""What the ranks of test_parallel.py do: trainings and evaluations under several layouts, in one set of processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from alexnet_cli.parallel.layout import choose_layout
from alexnet_cli.parallel.ranks import Ranks
from alexnet_stages.train.config import TrainConfig
from alexnet_stages.train.run import check, train


@dataclass(frozen=True)
class Job:
    """One training."""

    config: TrainConfig
    parallel: str


def trainings(jobs: list[Job], ranks: Ranks) -> list[dict[str, int]]:
    """Run the trainings one after the other; what this rank sent in each."""
    sent = []
    for job in jobs:
        peers = ranks_of(job, ranks)
        train(job.config, peers)
        sent.append(dict(peers.traffic))
    return sent


def ranks_of(job: Job, ranks: Ranks) -> Ranks:
    """The same processes under the job's own layout."""
    layout, _ = choose_layout(job.parallel, ranks.world, check(job.config).recipe.net)
    shape = (layout.data_size, layout.column_size)
    mesh = dist.device_mesh.init_device_mesh("cpu", shape, mesh_dim_names=("data", "column"))
    peers = Ranks(ranks.device, layout, ranks.rank, mesh, None)
    peers.tick = ranks.tick
    return peers


def corrupted_copies(where: Path, ranks: Ranks) -> list[str]:
    """The self-test's verdict on true copies, and on copies in which one byte changes on its way."""
    from alexnet_cli.errors import ResourceError
    from alexnet_cli.parallel.selftest import Transfer, require_true_copies, transfer

    def one_byte_off(buffer: torch.Tensor, peer: int, sends: bool) -> None:
        transfer(buffer, peer, sends)
        if not sends:
            buffer[12345] ^= 1

    verdicts = []
    moves: tuple[Transfer, ...] = (transfer, one_byte_off)
    for move in moves:
        try:
            require_true_copies(ranks.rank, ranks.world, torch.device("cpu"), move)
            verdicts.append("true")
        except ResourceError as error:
            verdicts.append(str(error))
        ranks.barrier("self-test")
    return verdicts


Work = Callable[[Any, Ranks], Any]
