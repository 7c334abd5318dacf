"""The whole measurement: step, layers and limit in turns, medians of several rounds.

timing = time_recipe(Timed(recipe=load_recipe("paper"), devices="cpu"))
timing.images_per_second, timing.fraction_of_limit
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from alexnet_cli.artifacts.crops.shards import open_crops
from alexnet_cli.devices import float_type
from alexnet_cli.memory import most_held
from alexnet_cli.parallel.launch import run_ranks
from alexnet_cli.parallel.ranks import Ranks
from alexnet_cli.parallel.team import find_team
from alexnet_cli.recipes.net import Layer, shapes
from alexnet_cli.recipes.recipe import Recipe
from alexnet_cli.step_graph import WARM_UP as UNRECORDED
from alexnet_cli.timing.layers import LOSS, Seen, time_layers, together, what_layers_see
from alexnet_cli.timing.limit import FORWARD, INPUTS, WEIGHTS, Product, products
from alexnet_cli.timing.step import INPUT, UPDATE, TimedStep

_PATIENCE = 600.0
"""Seconds without a sign of life: choosing the fastest calls takes long."""
WARM_UP = 2
"""Steps that are not counted: the first ones reserve memory and choose kernels."""


@dataclass(frozen=True, kw_only=True)
class Timed:
    """What is measured, and how thoroughly."""

    recipe: Recipe
    devices: str = "auto"
    parallel: str = "auto"
    precision: str = "fp32"
    compile: bool = False
    cuda_graph: bool = False
    loader: Path | None = None
    """A crop store that mini-batches are read from; None: made-up crops, always the same."""
    threads: int = 0
    """Of the loader; 0: one for each core."""
    repeats: int = 5
    """Rounds, of which the medians are taken."""
    seconds: float = 0.5
    """A round makes steps for at least so long."""
    limit: bool = True
    """Whether layers and limit are measured, or the step alone."""


@dataclass(frozen=True, kw_only=True)
class LayerTime:
    """One layer in a step, on the first device."""

    name: str
    forward_ms: float
    backward_ms: float
    gflops: float
    """10⁹ floating-point operations a second, both ways together; 0 for layers without weights."""
    limit_ms: float
    """Of its products alone, each by the fastest call."""
    made_with: str = ""
    """The layer whose pass makes this one too, and has its time."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """What came out, all devices together."""

    device: str
    pictures: int
    """In a mini-batch."""
    step_ms: float
    input_ms: float
    """Waiting for crops, and making patches of them."""
    loss_ms: float
    """Masks, and what else lies between the layers."""
    update_ms: float
    """0 if it is part of a CUDA graph."""
    limit_ms: float
    layers: tuple[LayerTime, ...]
    ways: dict[str, str]
    """The fastest call of each product, in words."""
    peak_bytes: int
    """CUDA: of the device's memory; CPU: of the first process's, all that it holds."""

    @property
    def images_per_second(self) -> float:
        """Trained."""
        return 1e3 * self.pictures / self.step_ms

    @property
    def limit_images_per_second(self) -> float:
        """If the products were all there is."""
        return 1e3 * self.pictures / self.limit_ms if self.limit_ms else math.inf

    @property
    def fraction_of_limit(self) -> float:
        """1: nothing but the products takes time."""
        return self.limit_ms / self.step_ms

    def as_json(self) -> dict[str, Any]:
        shown = ("name", "forward_ms", "backward_ms", "gflops")
        return {
            "images_per_second": self.images_per_second,
            "limit_images_per_second": self.limit_images_per_second,
            "fraction_of_limit": self.fraction_of_limit,
            "layers": [{name: asdict(layer)[name] for name in shown} for layer in self.layers],
            "input_ms": self.input_ms,
            "update_ms": self.update_ms,
            "peak_bytes": self.peak_bytes,
        }


def time_recipe(job: Timed) -> Timing:
    """Measure a recipe's training on the requested devices; UsageError, ResourceError, ArtifactError."""
    team = find_team(job.devices, job.parallel, net=job.recipe.net, timeout=_PATIENCE)
    result: Timing = run_ranks(_measure, job, team)
    return result


def _measure(job: Timed, ranks: Ranks) -> Timing:
    """What each rank does. All make the same number of steps; the first one's times count."""
    store = None if job.loader is None else open_crops(job.loader)
    how = {"compile": job.compile, "cuda_graph": job.cuda_graph}
    timed = TimedStep(job.recipe, ranks, precision=job.precision, store=store, threads=job.threads, **how)
    with closing(timed):
        for _ in range(WARM_UP + (1 + UNRECORDED if job.cuda_graph else 0)):
            timed.run()
        warm = timed.clock.seconds(timed.make)
        peak = _peak(ranks.device)
        # All ranks make as many steps as the slowest wants.
        steps = math.ceil(ranks.sum([job.seconds / warm / ranks.world])[0])
        seen = what_layers_see(timed.network, lambda: time_layers(timed)) if job.limit else {}
        dtype = torch.bfloat16 if job.precision == "bf16" else float_type(job.precision)
        limit = products(timed.network, seen, timed.clock, dtype) if job.limit else []
        rounds: list[dict[str, float]] = []
        for _ in range(job.repeats):
            rounds.append(_round(timed, max(1, steps), limit, layers=job.limit))
            ranks.barrier("measuring")
    medians = {name: statistics.median(found[name] for found in rounds) for name in rounds[0]}
    return _timing(job, timed, medians, limit, seen, peak)


def _round(timed: TimedStep, steps: int, limit: list[Product], *, layers: bool) -> dict[str, float]:
    """Everything once, one after the other: what disturbs the machine for a while disturbs them all."""
    found: dict[str, float] = {}
    parts: list[dict[str, float]] = []
    if timed.ranks.device.type == "cpu":
        found["step"] = 1e3 * timed.clock.seconds(lambda: parts.append(timed.run()), steps)
    else:  # telling the parts apart means waiting for the device after each step, and training does not wait
        found["step"] = 1e3 * timed.clock.seconds(timed.make, steps)
        parts.append(timed.run())
    for name in parts[0]:
        found[f"step {name}"] = statistics.fmean(part[name] for part in parts)
    if layers:
        found |= time_layers(timed)
    with torch.no_grad():
        for product in limit:
            found[f"{product.part} {product.layer} alone"] = product.milliseconds(timed.clock)
    return found


def _timing(
    job: Timed,
    timed: TimedStep,
    medians: Mapping[str, float],
    limit: list[Product],
    seen: Mapping[str, Seen],
    peak: int,
) -> Timing:
    def alone(name: str) -> float:
        return sum(medians.get(f"{part} {name} alone", 0.0) for part in (FORWARD, INPUTS, WEIGHTS))

    layers = []
    others = together(timed.network, medians) if job.limit else {}
    for layer in shapes(job.recipe.net) if job.limit else ():
        forward, backward = (medians.get(f"{way} {layer.name}", 0.0) for way in ("forward", "backward"))
        flop = _flop(layer, timed, seen)
        layers.append(
            LayerTime(
                name=layer.name,
                forward_ms=forward,
                backward_ms=backward,
                gflops=flop / (forward + backward) / 1e6 if flop else 0.0,
                limit_ms=alone(layer.name),
                made_with=others.get(layer.name, ""),
            )
        )
    return Timing(
        device=str(timed.ranks.device),
        pictures=timed.pictures,
        step_ms=medians["step"],
        input_ms=medians[f"step {INPUT}"],
        loss_ms=medians.get(LOSS, 0.0),
        update_ms=medians.get(f"step {UPDATE}", 0.0),
        limit_ms=sum(layer.limit_ms for layer in layers),
        layers=tuple(layers),
        ways={f"{product.layer}, {product.part}": product.way for product in limit},
        peak_bytes=peak,
    )


def _flop(layer: Layer, timed: TimedStep, seen: Mapping[str, Seen]) -> float:
    """Of a step, here: two for each multiply-add, forward and in each of the gradients that are formed."""
    if not layer.weighted:
        return 0.0
    weights = timed.network.weights(layer.name)
    share = weights.weight.shape[0] / layer.outputs * seen[layer.name].shape[0]
    passes = 1 + weights.weight.requires_grad + seen[layer.name].needs_gradient
    return 2.0 * layer.multiply_adds * share * passes


def _peak(device: torch.device) -> int:
    """Bytes that the steps so far needed at most."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return most_held()
