"""Columns, data and hybrid on several ranks beside one process: pictures/s, bytes sent a step (counted), memory a rank.

$ .venv/bin/python benchmarks/parallel.py                                  # 2 ranks on the CPU, the paper's net
$ .venv/bin/python benchmarks/parallel.py --devices cuda:0,1 --precision bf16 --steps 50

Each way trains the same steps on a synthetic store: the ways take turns, in a set of processes each, and medians over
the repeats are printed. On a CPU the ranks share the cores that one process has alone: what the figures show there is
what the exchange costs, not what a second device gains. Crops loaded by every rank, instead of shared, are there too.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from loader import make_store
from torch.nn import functional

from alexnet_cli.artifacts.crops.shards import open_crops
from alexnet_cli.devices import autocast, prepare
from alexnet_cli.input.patches import InputTransform
from alexnet_cli.input.views import view, views_of
from alexnet_cli.loader import CropLoader
from alexnet_cli.memory import most_held
from alexnet_cli.net.initial import initialise
from alexnet_cli.net.update import UpdateRule
from alexnet_cli.parallel.launch import run_ranks
from alexnet_cli.parallel.place import place, replicate
from alexnet_cli.parallel.ranks import Ranks
from alexnet_cli.parallel.team import Team, find_team
from alexnet_cli.recipes.read import load_recipe


@dataclass(frozen=True)
class Work:
    """One measurement."""

    store: Path
    recipe: str
    precision: str
    batch_size: int
    warmup: int
    steps: int
    shares_crops: bool


def measure(work: Work, ranks: Ranks) -> dict[str, Any]:
    """Seconds a step, bytes that this rank sent in one, and its peak memory."""
    prepare(ranks.device, work.precision, processes=ranks.local_world)
    net = load_recipe(work.recipe).net
    network = place(net, ranks)
    initialise(network, "he", 0)
    network.to(ranks.device)
    parameters = dict(network.named_parameters())
    update = UpdateRule(parameters, momentum=0.9, decay=5e-4)
    update.set_rates(dict.fromkeys(parameters, 1e-4))
    forward = replicate(network, network, ranks)
    still = InputTransform(torch.full((256, 256, 3), 120.0), torch.full((3,), 1 / 64), torch.zeros(3, 3))
    transform = still.to(ranks.device)
    (centre,) = views_of(1, side=transform.side, patch=transform.patch, mirrored=False)
    store = open_crops(work.store)
    total = work.warmup + work.steps
    whole = [np.random.default_rng(step).integers(0, len(store), work.batch_size) for step in range(total)]
    batches = [indices[ranks.shares.seen(work.batch_size)] for indices in whole]
    labels = torch.randint(net.classes, (work.batch_size,), generator=torch.Generator().manual_seed(0))
    labels = labels[ranks.shares.results(work.batch_size)].to(ranks.device)
    sharing = ranks if work.shares_crops else None
    sent: dict[str, int] = {}
    start = 0.0
    with CropLoader(store, batches, device=ranks.device, threads=1, ranks=sharing) as loader:
        for step, batch in enumerate(loader):
            if step == work.warmup:
                sent = dict(ranks.traffic)
                ranks.barrier("measuring")
                start = time.perf_counter()
            ranks.tick(f"step {step}")
            with autocast(ranks.device, work.precision):
                logits = forward(view(batch.crops, centre, transform), None, work.batch_size)
            loss = functional.cross_entropy(logits.float(), labels, reduction="sum") / work.batch_size
            loss.backward()  # type: ignore[no-untyped-call]
            update.step()
            update.clear()
    if ranks.device.type == "cuda":
        torch.cuda.synchronize(ranks.device)
    ranks.barrier("measured")
    seconds = (time.perf_counter() - start) / work.steps
    bytes_sent = sum(ranks.traffic.values()) - sum(sent.values())
    return {"seconds": seconds, "sent": bytes_sent / work.steps, "memory": peak_memory(ranks.device)}


def peak_memory(device: torch.device) -> int:
    """Peak bytes: of the process, or of what torch allocated on a CUDA device."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return most_held()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--devices", default="cpu:2")
    parser.add_argument("--recipe", default="paper")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    net = load_recipe(options.recipe).net
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder) / "raw.lmdb", 512, "raw")

        def work(shares_crops: bool) -> Work:
            settings = (options.recipe, options.precision, options.batch_size, options.warmup, options.steps)
            return Work(store.path, *settings, shares_crops)

        alone = "cuda" if options.devices.startswith("cuda") else "cpu"
        ways: dict[str, tuple[Team, Work]] = {"one process": (find_team(alone, net=net, timeout=600), work(False))}
        for mode in ("columns", "data", "hybrid"):
            ways[mode] = (find_team(options.devices, mode, net=net, timeout=600), work(True))
        ways["columns, each loads all"] = (ways["columns"][0], work(False))
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
        for _ in range(options.repeats):
            for name, (team, job) in ways.items():
                found[name].append(run_ranks(measure_apart, job, team))
    pictures = options.batch_size
    print(f"torch {torch.__version__}, {options.devices}, {options.precision}, mini-batch {pictures}, {options.recipe}")
    print(f"  {'':24} {'pictures/s':>10} {'sent a step, a rank':>20} {'peak memory, a rank':>20}")
    for name, results in found.items():
        seconds = statistics.median(result["seconds"] for result in results)
        sent, memory = results[0]["sent"], max(result["memory"] for result in results)
        print(f"  {name:24} {pictures / seconds:9,.1f} {sent / 1e6:17,.1f} MB {memory / 1e6:17,.0f} MB")


def measure_apart(work: Work, ranks: Ranks) -> dict[str, Any]:
    """One process alone measures in a process of its own too, so that its peak memory is its own."""
    if ranks.world > 1:
        return measure(work, ranks)
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure_alone, work, str(ranks.device)).result()


def measure_alone(work: Work, device: str) -> dict[str, Any]:
    """`measure` without peers."""
    return measure(work, Ranks.alone(torch.device(device)))


if __name__ == "__main__":
    main()
