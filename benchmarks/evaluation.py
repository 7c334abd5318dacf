"""Evaluation in ten views beside the limit of its forward pass: the same products alone, each by its fastest call.

$ .venv/bin/python benchmarks/evaluation.py                        # the paper's net, fp32, a store of 256 crops
$ .venv/bin/python benchmarks/evaluation.py --precision bf16 --pictures 1024 --codec jpeg

Loading, decoding, cutting the views, forward, averaging: all that `alexnet eval` does but writing the scores. The two
take turns; medians are printed, and the median of the ratios within a repeat.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

import torch
from loader import make_store
from machine import about_machine

from alexnet_cli.devices import choose_device, float_type, prepare
from alexnet_cli.recipes.read import load_recipe
from alexnet_cli.timing.clock import Clock
from alexnet_cli.timing.evaluating import rate_of, untrained_net
from alexnet_cli.timing.layers import what_layers_see
from alexnet_cli.timing.limit import products


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--recipe", default="paper")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--pictures", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--codec", choices=("raw", "jpeg"), default="raw")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="two repeats")
    options = parser.parse_args()
    repeats = 2 if options.quick else options.repeats
    device = choose_device(options.device)
    prepare(device, options.precision)
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder) / "crops.lmdb", options.pictures, options.codec)
        recipe = load_recipe(options.recipe)
        net = untrained_net(recipe, store, device, options.precision)
        net.network.requires_grad_(False)
        clock = Clock(device)
        crops = torch.zeros((options.batch_size, *store.shape), dtype=torch.uint8, device=device)
        with torch.inference_mode():
            seen = what_layers_see(net.network, lambda: net.probabilities(crops, net.views(1)[0]))
        dtype = torch.bfloat16 if options.precision == "bf16" else float_type(options.precision)
        limit = products(net.network, seen, clock, dtype)
        rates: list[float] = []
        bounds: list[float] = []
        for repeat in range(repeats + 1):
            rate = rate_of(net, store, batch_size=options.batch_size)
            with torch.no_grad():
                bound = (
                    1e3
                    * options.batch_size
                    / sum(product.milliseconds(clock) for product in limit)
                    / len(net.views(10))
                )
            if repeat:  # the first is the warm-up
                rates.append(rate)
                bounds.append(bound)
    print(f"{about_machine()}, on {device}")
    print(f"{options.recipe}, {options.precision}, {options.codec} store, mini-batches of {options.batch_size}")
    print(f"  evaluation in ten views  {statistics.median(rates):8,.1f} pictures/s")
    print(f"  limit of its products    {statistics.median(bounds):8,.1f} pictures/s")
    ratios = [rate / bound for rate, bound in zip(rates, bounds, strict=True)]
    print(f"  of the limit: {statistics.median(ratios):.2f}  ({min(ratios):.2f} … {max(ratios):.2f})")


if __name__ == "__main__":
    main()
