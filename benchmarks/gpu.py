"""What one NVIDIA GPU does: training with and without CUDA graph and torch.compile, loading, kernels; in Markdown.

$ make bench-gpu                                             # or: .venv/bin/python benchmarks/gpu.py
$ .venv/bin/python benchmarks/gpu.py --quick                 # bf16 alone

Steps are those of `alexnet time --recipe paper`, each in a process of its own. Loading is from a store in the page
cache to the device's memory, nothing else going on. Kernels run forward and backward where they have both, beside the
same in torch's own operations, in turns. Where there is no GPU, it says so and ends with code 2.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from loader import make_store, passes_over
from machine import about_machine
from torch import Tensor
from torch.nn import functional

from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.devices import prepare
from alexnet_cli.input.patches import _cut_by_index, training_patches
from alexnet_cli.loader import CropLoader, batches_of
from alexnet_cli.machine import device_name
from alexnet_cli.net.kernels.blocks import local_response_norm
from alexnet_cli.randomness import draws_of
from alexnet_cli.recipes.read import load_recipe
from alexnet_cli.timing.clock import Clock
from alexnet_cli.timing.step import made_up_transform

NO_DEVICE = 2
"""Exit code."""
WAYS = ((), ("--cuda-graph",), ("--compile",), ("--cuda-graph", "--compile"))
NORM = {"groups": 2, "k": 2.0, "alpha": 1e-4, "beta": 0.75, "window": 5}
MAPS = {"norm1": (96, 55), "norm2": (256, 27)}
"""Channels and side."""

Row = Sequence[str]
Way = Callable[[], object]


def print_rows(heading: Row, rows: Iterator[Row]) -> None:
    """A table in Markdown, each row as soon as it is there."""
    print(f"\n| {' | '.join(heading)} |\n|{'---|' * len(heading)}")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)


def steps(precisions: Sequence[str], batches: Sequence[int], more: Sequence[str] = ()) -> Iterator[Row]:
    """A row for each way to train. more: further words for `alexnet time`."""
    for precision in precisions:
        for batch in batches:
            for way in WAYS:
                words = ["time", "--recipe", "paper", "--devices", "cuda", "--precision", precision, "--json"]
                words += ["--batch-size", str(batch), *way, *more]
                done = subprocess.run([sys.executable, "-m", "alexnet_cli", *words], capture_output=True, text=True)
                yield (precision, f"{batch}", " ".join(way) or "plain", *figures(done))


def figures(done: subprocess.CompletedProcess[str]) -> Row:
    """What a run of `alexnet time` says, or why it could not."""
    if done.returncode:
        return next(iter(done.stderr.strip().splitlines()[-1:]), "failed"), "", ""
    found = json.loads(done.stdout)
    memory = f"{found['peak_bytes'] / 2**30:.1f} GiB"
    return f"{found['images_per_second']:,.0f}", f"{found['fraction_of_limit']:.2f}", memory


def loading(device: torch.device, pictures: int, crops: int, repeats: int) -> Iterator[Row]:
    """Crops a second to the device, from a store of so many pictures."""
    ways = (("raw", False), ("jpeg", False), ("jpeg", True))
    with tempfile.TemporaryDirectory() as folder:
        stores = {codec: make_store(Path(folder) / f"{codec}.lmdb", pictures, codec) for codec in ("raw", "jpeg")}
        rates: dict[tuple[str, bool], list[float]] = {way: [] for way in ways}
        for repeat in range(repeats + 1):
            for codec, on_device in ways:
                rate = loaded(stores[codec], device, crops, on_device=on_device)
                if repeat:  # the first pass warms the page cache
                    rates[codec, on_device].append(rate)
    for (codec, on_device), found in rates.items():
        decoder = "" if codec == "raw" else "nvJPEG" if on_device else "libjpeg-turbo"
        yield codec, decoder, f"{statistics.median(found):,.0f}", f"{min(found):,.0f} … {max(found):,.0f}"


def loaded(store: CropStore, device: torch.device, crops: int, *, on_device: bool) -> float:
    """Crops a second of one pass or more."""
    clock, count = Clock(device), 0
    batches = batches_of(passes_over(store, crops), 128)
    with CropLoader(store, batches, device=device, jpeg_on_device=on_device) as loader:

        def work() -> None:
            nonlocal count
            count = sum(len(batch.crops) for batch in loader)

        seconds = clock.seconds(work)
    return count / seconds


def kernels(device: torch.device, batch: int, repeats: int) -> Iterator[Row]:
    """Milliseconds of ours beside torch's own operations."""
    clock = Clock(device)
    for dtype in (torch.float32, torch.bfloat16):
        for name, (channels, side) in MAPS.items():
            maps = torch.randn(batch, channels, side, side, device=device).mul_(30).to(dtype)
            leaf = maps.contiguous(memory_format=torch.channels_last).requires_grad_()
            yield row(f"{name}, both ways", dtype, norms(leaf), clock, repeats)
        yield row("input", dtype, inputs(device, batch, dtype), clock, repeats)


def norms(leaf: Tensor) -> dict[str, Way]:
    """Forward and backward: Triton's kernel, the plain form, torch's own."""
    from alexnet_cli.net.kernels.norm_triton import normalise

    def by_torch(maps: Tensor) -> Tensor:
        parts = [functional.local_response_norm(part, 5, alpha=1e-4, beta=0.75, k=2.0) for part in maps.chunk(2, 1)]
        return torch.cat(parts, 1)

    def both(function: Callable[[Tensor], Tensor]) -> Way:
        weight = torch.ones_like(leaf)
        return lambda: torch.autograd.grad(function(leaf), leaf, weight)

    return {
        "Triton": both(lambda maps: normalise(maps, **NORM)),  # type: ignore[arg-type]
        "plain": both(lambda maps: local_response_norm(maps, **NORM)),  # type: ignore[arg-type]
        "torch": both(by_torch),
    }


def inputs(device: torch.device, batch: int, dtype: torch.dtype) -> dict[str, Way]:
    """Patches of a mini-batch: Triton's kernel, and by index."""
    transform = made_up_transform(load_recipe("paper"), 256).to(device)
    crops = torch.randint(0, 256, (batch, 256, 256, 3), dtype=torch.uint8, device=device)
    draws = draws_of(0, 1, np.arange(batch), positions=33, flip=True)
    noise = torch.zeros(batch, 3, device=device)
    return {
        "Triton": lambda: training_patches(crops, draws, transform, colour_noise=0.1, dtype=dtype),
        "plain": lambda: _cut_by_index(crops, draws, transform, noise, transform.scale).to(dtype),
    }


def row(what: str, dtype: torch.dtype, ways: dict[str, Way], clock: Clock, repeats: int) -> Row:
    """Medians, the ways in turns."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats + 1):
        for name, way in ways.items():
            milliseconds = 1e3 * clock.seconds(way, 20)
            if repeat:
                found[name].append(milliseconds)
    shown = [f"{statistics.median(found[name]):.3f}" if name in found else "" for name in ("Triton", "plain", "torch")]
    return what, str(dtype).removeprefix("torch."), *shown


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="bf16 alone, two repeats")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("benchmarks/gpu.py: there is no CUDA device here: nothing was measured", file=sys.stderr)
        sys.exit(NO_DEVICE)
    repeats = 2 if options.quick else options.repeats
    device = torch.device("cuda", 0)
    prepare(device, "fp32")
    print(f"{device_name('cuda:0')}; {about_machine()}")
    print_rows(
        ("precision", "mini-batch", "way", "pictures/s", "of the limit", "peak memory"),
        steps(("bf16",) if options.quick else ("bf16", "tf32", "fp32"), (128, 1024), ("--repeats", str(repeats))),
    )
    print_rows(
        ("store", "decoder", "crops/s to the device", "lowest … highest"), loading(device, 2048, 20_000, repeats)
    )
    print_rows(("kernel", "type", "Triton, ms", "plain, ms", "torch, ms"), kernels(device, 128, repeats))


if __name__ == "__main__":
    main()
