"""Training steps of this project's net beside a plain PyTorch AlexNet of the same layers, interleaved in one run.

$ .venv/bin/python benchmarks/training.py                      # CPU or CUDA, fp32, mini-batches of 128
$ .venv/bin/python benchmarks/training.py --precision bf16 --compile --repeats 7

Each net lives in a process of its own (so that neither's memory settings touch the other); the processes take turns,
one step each, and the medians and their ratio are printed. The plain net is what one writes first: nn.Sequential,
groups=2, torch's LocalResponseNorm, NCHW, nn.Dropout, torch's SGD.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor, nn

from alexnet_cli.devices import autocast, choose_device, prepare
from alexnet_cli.net.initial import initialise
from alexnet_cli.net.network import Network
from alexnet_cli.net.update import UpdateRule
from alexnet_cli.randomness import dropout_masks
from alexnet_cli.recipes.read import load_recipe

CLASSES = 1000


def plain_alexnet() -> nn.Sequential:
    """The paper's layers as one would write them first."""
    return nn.Sequential(
        nn.ZeroPad2d((0, 3, 0, 3)),
        nn.Conv2d(3, 96, 11, 4),
        nn.ReLU(),
        nn.LocalResponseNorm(5, 1e-4, 0.75, 2.0),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(96, 256, 5, padding=2, groups=2),
        nn.ReLU(),
        nn.LocalResponseNorm(5, 1e-4, 0.75, 2.0),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(256, 384, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 384, 3, padding=1, groups=2),
        nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1, groups=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Flatten(),
        nn.Linear(9216, 4096),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(4096, 4096),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(4096, CLASSES),
    )


def plain_step(options: argparse.Namespace, device: torch.device) -> Callable[[], Tensor]:
    """A training step of the plain net, fp32 unless bf16 is asked for."""
    net = plain_alexnet().to(device)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9, weight_decay=5e-4)
    patches = torch.randn(options.batch_size, 3, 224, 224, device=device)
    labels = torch.randint(CLASSES, (options.batch_size,), device=device)

    def step() -> Tensor:
        optimizer.zero_grad()
        with autocast(device, options.precision):
            loss = nn.functional.cross_entropy(net(patches), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return loss

    return step


def our_step(options: argparse.Namespace, device: torch.device) -> Callable[[], Tensor]:
    """A training step as `alexnet train` makes it, loading and patches aside."""
    prepare(device, options.precision)
    recipe = load_recipe(options.recipe)
    network = Network(recipe.net)
    initialise(network, "he", 0)
    network.to(device)
    parameters = dict(network.named_parameters())
    update = UpdateRule(parameters, momentum=0.9, decay=5e-4)
    update.set_rates(dict.fromkeys(parameters, 1e-4))
    forward: Callable[..., Tensor] = torch.compile(network) if options.compile else network
    patches = torch.randn(options.batch_size, 3, 224, 224, device=device)
    patches = patches.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(CLASSES, (options.batch_size,), device=device)
    steps = 0

    def step() -> Tensor:
        nonlocal steps
        steps += 1
        masks = dropout_masks(recipe.net, network.held, 0, steps, options.batch_size, device)
        with autocast(device, options.precision):
            logits = forward(patches, masks)
        loss = nn.functional.cross_entropy(logits.float(), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        update.step()
        update.clear()
        return loss

    return step


MAKERS = {"plain": plain_step, "alexnet": our_step}


def work(name: str, options: argparse.Namespace, connection: Connection[Any, Any]) -> None:
    """One process: a step for each request, its seconds as the answer."""
    device = choose_device(options.device)
    step = MAKERS[name](options, device)
    while connection.recv():
        start = time.perf_counter()
        for _ in range(options.steps):
            step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        connection.send((time.perf_counter() - start) / options.steps)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1, help="steps in one measurement (CUDA: 20)")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--recipe", default="paper")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    seconds: dict[str, list[float]] = {name: [] for name in MAKERS}
    workers = {}
    for name in MAKERS:
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(name, options, theirs), daemon=True)
        process.start()
        workers[name] = ours
    for repeat in range(options.warmup + options.repeats):
        for name, connection in workers.items():
            connection.send(True)
            passed = connection.recv()
            if repeat >= options.warmup:
                seconds[name].append(passed)
    for connection in workers.values():
        connection.send(False)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"torch {torch.__version__}, {options.precision}, mini-batch {options.batch_size}, recipe {options.recipe}")
    for name, values in seconds.items():
        rate = options.batch_size / medians[name]
        print(f"  {name:8} {rate:8,.1f} pictures/s  (seconds a step: {', '.join(f'{value:.2f}' for value in values)})")
    ratios = [plain / ours for plain, ours in zip(seconds["plain"], seconds["alexnet"], strict=True)]
    print(f"  alexnet is {statistics.median(ratios):.2f} times as fast ({min(ratios):.2f} … {max(ratios):.2f})")


if __name__ == "__main__":
    main()
