"""The compiled loops and oneDNN's products beside torch's own operations, forward + backward, in turns within one run.

$ .venv/bin/python benchmarks/kernels.py                        # float32 and bfloat16, mini-batches of 128
$ .venv/bin/python benchmarks/kernels.py --batch-size 32 --repeats 3

The layers are the paper's. The first use of a kernel is timed apart: it compiles, or reads machine code from the cache
(NUMBA_CACHE_DIR=$(mktemp -d) for an empty one). Copying conv1's maps once stands below, as a measure of memory.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from alexnet_cli.devices import prepare
from alexnet_cli.machine import cores
from alexnet_cli.net.kernels import blocks, products
from alexnet_cli.net.kernels.passes import Pass, apply, over_pixels

Ways = dict[str, Callable[[Tensor], Tensor]]
_LAYERS = {"conv1": (96, 55), "conv2": (256, 27)}
"""Channels and side of the maps."""
_NORM = Pass(norm=True, groups=2, k=2.0, alpha=2e-5)
_JOINED = Pass(relu=True, norm=True, size=3, stride=2, groups=2, k=2.0, alpha=2e-5)


def in_blocks(maps: Tensor) -> Tensor:
    """The norm as torch operations: what serves without numba."""
    return blocks.local_response_norm(maps, groups=2, k=2.0, alpha=1e-4, beta=0.75, window=5)


def by_torch(maps: Tensor) -> Tensor:
    """torch's own norm, column by column; in float32, since on a CPU it has no other."""
    columns = maps.float().chunk(2, 1)
    parts = [functional.local_response_norm(part, 5, alpha=1e-4, beta=0.75, k=2.0) for part in columns]
    return torch.cat(parts, 1).to(maps.dtype)


WAYS: dict[str, Ways] = {
    "norm": {"loops": lambda maps: apply(maps, _NORM), "blocks": in_blocks, "torch": by_torch},
    "ReLU, norm, pool": {
        "loops": lambda maps: apply(maps, _JOINED),
        "blocks": lambda maps: functional.max_pool2d(in_blocks(functional.relu(maps)), 3, 2),
        "torch": lambda maps: functional.max_pool2d(by_torch(functional.relu(maps)), 3, 2),
    },
    "same-map norm": {
        "loops": lambda maps: over_pixels(maps, k=1.0, alpha=1e-3, window=5),
        "blocks": lambda maps: blocks.same_map_norm(maps, k=1.0, alpha=1e-3, beta=0.75, window=5),
    },
}


def both_ways(function: Callable[[Tensor], Tensor], leaf: Tensor) -> float:
    """Seconds of forward and backward."""
    start = time.perf_counter()
    result = function(leaf)
    torch.autograd.grad(result, leaf, torch.ones_like(result))
    return time.perf_counter() - start


def copying(maps: Tensor) -> float:
    """Seconds of one copy."""
    start = time.perf_counter()
    maps.clone(memory_format=torch.preserve_format)
    return time.perf_counter() - start


def multiplying(function: Callable[..., Tensor], tensors: tuple[Tensor, ...]) -> float:
    """Seconds of a fully-connected layer's forward and backward."""
    start = time.perf_counter()
    result = function(*tensors)
    torch.autograd.grad(result, tensors, torch.ones_like(result))
    return time.perf_counter() - start


def compare(title: str, ways: Mapping[str, Callable[[], float]], repeats: int) -> None:
    """Print the median milliseconds of each way, taken in turns, after one use of each."""
    first = {name: 1e3 * way() for name, way in ways.items()}
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            found[name].append(1e3 * way())
    medians = {name: statistics.median(values) for name, values in found.items()}
    text = "   ".join(f"{name} {value:8.1f} ms (first {first[name]:,.0f})" for name, value in medians.items())
    print(f"  {title:32} {text}")


def layers(options: argparse.Namespace, dtype: torch.dtype) -> None:
    """Norm, and norm with its neighbours."""
    for layer, (channels, side) in _LAYERS.items():
        maps = torch.randn(options.batch_size, channels, side, side).mul_(30).to(dtype)
        leaf = maps.contiguous(memory_format=torch.channels_last).requires_grad_()
        for what, ways in WAYS.items():
            timed = {name: partial(both_ways, way, leaf) for name, way in ways.items()}
            compare(f"{layer}: {what}", timed, options.repeats)
        compare(f"{layer}: copying its maps", {"torch": partial(copying, leaf.detach())}, options.repeats)


def linear_layers(options: argparse.Namespace) -> None:
    """The fully-connected layers by both libraries, whatever the processor would choose."""
    for layer, inputs, neurons in (("fc6", 9216, 4096), ("fc7", 4096, 4096), ("fc8", 4096, 1000)):
        leaf = torch.randn(options.batch_size, inputs, requires_grad=True)
        weight, bias = torch.randn(neurons, inputs, requires_grad=True), torch.zeros(neurons, requires_grad=True)
        tensors = leaf, weight, bias
        ways = {"MKL": partial(multiplying, functional.linear, tensors)}
        if products._works():
            ways["oneDNN"] = partial(multiplying, products._Linear.apply, tensors)
        compare(layer, ways, options.repeats)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    prepare(torch.device("cpu"), "fp32")
    chosen = "oneDNN" if products.onednn() else "torch's default"
    print(f"torch {torch.__version__}, {cores()} cores, mini-batch {options.batch_size}; float32 products by {chosen}")
    for dtype in (torch.float32, torch.bfloat16):
        print(f"{dtype}, forward + backward")
        layers(options, dtype)
    print("torch.float32, forward + backward")
    linear_layers(options)


if __name__ == "__main__":
    main()
