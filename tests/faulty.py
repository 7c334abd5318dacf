"""Work for ranks of which one goes wrong at a given moment; see test_faults.py.

python tests/faulty.py RUN_FOLDER DATA_FOLDER HOW PHASE RANK DEVICES TIMEOUT [OPTION…]
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet_cli.cli import _explain
from alexnet_cli.parallel.launch import run_ranks
from alexnet_cli.parallel.ranks import Ranks
from alexnet_cli.parallel.team import find_team
from alexnet_cli.recipes.read import load_recipe
from alexnet_stages.train.config import TrainConfig
from alexnet_stages.train.run import train


def go_wrong(how: str) -> None:
    """Die, freeze, suspend all ranks and their launcher, raise, or wait forever."""
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "freeze":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif how == "suspend":
        os.killpg(0, signal.SIGSTOP)
    elif how == "raise":
        raise ValueError("a test's fault")
    elif how == "wait":
        time.sleep(1000)


@dataclass(frozen=True)
class Faulty:
    """A training in which one rank goes wrong when it says that it is in `phase`."""

    config: TrainConfig
    how: str
    phase: str
    rank: int


def work(faulty: Faulty, ranks: Ranks) -> Any:
    """Train, and go wrong."""
    tick = ranks.tick

    def watched(phase: str) -> None:
        tick(phase)
        if ranks.rank == faulty.rank and phase.startswith(faulty.phase):
            go_wrong(faulty.how)

    ranks.tick = watched
    return train(faulty.config, ranks)


def strike_when_spawned(rank: int, how: str) -> None:
    """Strike a rank as soon as its process is there, long before it has met the others."""
    while len(children := multiprocessing.active_children()) <= rank:
        time.sleep(0.01)
    process = sorted(children, key=lambda child: child.pid or 0)[rank]
    os.kill(process.pid or 0, signal.SIGKILL if how == "kill" else signal.SIGSTOP)


def main() -> int:
    """Run as the command would; its exit code."""
    out, data, how, phase, rank, devices, timeout, *options = sys.argv[1:]
    folder = Path(data)
    config = TrainConfig(
        crops=folder / "train.lmdb",
        val=folder / "val.lmdb",
        stats=folder / "train.h5",
        out=Path(out),
        batch_size=8,
        epochs=2,
        devices=devices,
        set=options,
        timeout=float(timeout),
        resume=True,
    )
    team = find_team(devices, "auto", net=load_recipe("paper").net, timeout=float(timeout))
    if phase == "spawned":
        threading.Thread(target=strike_when_spawned, args=(int(rank), how), daemon=True).start()
    try:
        run_ranks(work, Faulty(config, how, phase, int(rank)), team)
    except BaseException as error:
        return _explain(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
