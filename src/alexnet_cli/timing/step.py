"""The training's own step on crops that are made up, or read from a store, with the time of each of its parts.

Legend: N pictures in the mini-batch, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet_cli.artifacts.crops.store import SIDE, CropStore, shape_of
from alexnet_cli.devices import float_type, prepare
from alexnet_cli.errors import ResourceError, UsageError
from alexnet_cli.input.normalisation import KnownStatistics, input_transform
from alexnet_cli.input.patches import InputTransform
from alexnet_cli.loader import Batch, CropLoader
from alexnet_cli.machine import loader_threads
from alexnet_cli.net.initial import initialise
from alexnet_cli.net.network import Masks, Network
from alexnet_cli.net.update import UpdateRule
from alexnet_cli.parallel.place import place, replicate
from alexnet_cli.parallel.ranks import Ranks
from alexnet_cli.randomness import Draws, draws_of, numpy_generator, order_of
from alexnet_cli.recipes.net import PATCH
from alexnet_cli.recipes.recipe import Recipe
from alexnet_cli.step_graph import StepGraph, recorder_for
from alexnet_cli.timing.clock import Clock
from alexnet_cli.training_step import TrainingStep, descend

INPUT, FORWARD, BACKWARD, UPDATE, GRAPH = "input", "forward", "backward", "update", "graph"
"""The parts of a step: waiting for crops and making patches of them; masks, layers and loss; gradients; update. In a
CUDA graph the last three are one."""
_BATCHES = 64
"""Mini-batches that one loader reads at least."""
_RATE = 1e-6
"""Of a rate: weights that hardly move stay finite, and the work is the same."""


def made_up_transform(recipe: Recipe, side: int) -> InputTransform:
    """The input transform of a recipe over crops of a side, with about ImageNet's statistics."""
    deviations = np.array([121.8, 37.1, 19.7])
    figures = KnownStatistics(np.full(shape_of(side), 120.0), deviations**2, np.eye(3), deviations)
    return input_transform(figures, recipe.input)


class TimedStep:
    """A net that is trained, step by step, as `alexnet train` does it.

    store: where crops and labels come from, in random order; without one each step has the same made-up crops.
    cuda_graph: the step is recorded and replayed; UsageError if the device is none of CUDA's, or there are several
    ranks, ResourceError if it can't be recorded.
    """

    def __init__(
        self,
        recipe: Recipe,
        ranks: Ranks,
        *,
        precision: str,
        compile: bool = False,
        cuda_graph: bool = False,
        store: CropStore | None = None,
        threads: int = 0,
    ) -> None:
        prepare(ranks.device, precision, processes=ranks.local_world)
        self.recipe, self.ranks, self.store = recipe, ranks, store
        self.clock = Clock(ranks.device)
        self.pictures = recipe.training.batch_size if store is None else min(recipe.training.batch_size, len(store))
        self.network: Network = place(recipe.net, ranks)
        self.network.to(dtype=float_type(precision))
        initialise(self.network, recipe.training.initial_values, 0)
        self.network.to(ranks.device)
        patch = recipe.input.patch
        self.side = store.side if store is not None else SIDE if patch == PATCH else patch
        transform = made_up_transform(recipe, self.side).to(ranks.device)
        self.step = TrainingStep(
            recipe=recipe, network=self.network, transform=transform, ranks=ranks, precision=precision, seed=0
        )
        parameters = dict(self.network.named_parameters())
        training = recipe.training
        self.update = UpdateRule(parameters, momentum=training.momentum, decay=training.weight_decay)
        self.update.set_rates({name: _RATE * rate for name, rate in starting_rates(recipe, parameters).items()})
        self.forward = replicate(self.network, torch.compile(self.network) if compile else self.network, ranks)
        self.steps = 0
        self._graph = self._graph_of_step() if cuda_graph else None
        self._threads = threads or loader_threads(ranks.local_world)
        self._batches = self._made_up() if store is None else self._read(store)

    def close(self) -> None:
        """End the loader's threads."""
        self._batches.close()

    def run(self) -> dict[str, float]:
        """Make one step; the milliseconds of its parts."""
        self.clock.begin()
        self.make(self.clock.mark)
        return self.clock.milliseconds()

    def make(self, mark: Callable[[str], None] = lambda name: None) -> None:
        """Make one step without waiting for the device. mark: called after each part; after a CUDA graph once."""
        patches, labels = self.next_patches()
        mark(INPUT)
        masks = self.step.masks(self.steps, self.pictures)
        if self._graph is None:
            self._descend(patches, masks, labels, mark)
        else:
            self._graph(self._descend, (), patches, masks, labels)
            mark(GRAPH)
        self.steps += 1
        self.ranks.tick(f"step {self.steps}")

    def _descend(
        self, patches: Tensor, masks: Masks, labels: Tensor, mark: Callable[[str], None] = lambda name: None
    ) -> Tensor:
        logits = self.step.logits(self.forward, patches, masks, self.pictures)
        loss = self.step.loss(logits, labels, self.pictures)
        mark(FORWARD)
        descend(loss, self.update, lambda: mark(BACKWARD))
        mark(UPDATE)
        return loss.detach()

    def _graph_of_step(self) -> StepGraph:
        recorder = recorder_for(self.ranks.device, self.ranks.world)
        if recorder is None:
            raise UsageError("--cuda-graph: is for one CUDA device: leave it out, or give --devices cuda")

        def refuse(line: str) -> None:
            raise ResourceError(line)

        return StepGraph(recorder, tell=refuse, undo=self.update.clear)

    def next_patches(self) -> tuple[Tensor, Tensor]:
        """The next mini-batch: the patches that are seen here, and the labels of the logits that are made here."""
        batch, draws, labels = next(self._batches)
        return self.step.patches(batch.crops, draws, self.recipe.input.colour_noise), labels

    def _made_up(self) -> Generator[tuple[Batch, Draws, Tensor], None, None]:
        """The same random crops again and again: (N, side, side, 3)."""
        everyone = np.arange(self.pictures)
        own = everyone[self.ranks.shares.seen(self.pictures)]
        generator = numpy_generator(0)
        crops = torch.from_numpy(generator.integers(0, 256, (len(own), *shape_of(self.side)), dtype=np.uint8)).to(
            self.ranks.device
        )
        draws = self._draws(1, everyone)
        labels = generator.integers(0, self.recipe.net.classes, self.pictures)
        rows = self._labels(torch.from_numpy(labels), everyone)
        while True:
            yield Batch(own, crops), draws.of(own), rows

    def _read(self, store: CropStore) -> Generator[tuple[Batch, Draws, Tensor], None, None]:
        """The store's pictures, in whole mini-batches, several epochs of a small store by one loader."""
        labels, epoch = torch.from_numpy(store.labels), 0
        count = len(store) // self.pictures
        while True:
            drawn, wholes = [], []
            for _ in range(-(-_BATCHES // count)):
                epoch += 1
                order = order_of(0, epoch, len(store))
                draws = self._draws(epoch, order)
                wholes += [order[at * self.pictures : (at + 1) * self.pictures] for at in range(count)]
                drawn += [draws] * count
            own = [whole[self.ranks.shares.seen(self.pictures)] for whole in wholes]
            ranks, threads = self.ranks, self._threads
            with CropLoader(
                store, own, device=ranks.device, threads=threads, ranks=ranks, jpeg_on_device=True
            ) as loader:
                for batch, whole, draws in zip(loader, wholes, drawn, strict=True):
                    yield batch, draws.of(batch.indices), self._labels(labels, whole)

    def _draws(self, epoch: int, order: NDArray[np.int64]) -> Draws:
        input_, positions = self.recipe.input, self.step.transform.positions
        return draws_of(0, epoch, order, positions=positions, flip=input_.flip, run=input_.patch_run)

    def _labels(self, labels: Tensor, whole: NDArray[np.int64]) -> Tensor:
        rows = self.ranks.shares.results(len(whole))
        return labels[torch.from_numpy(whole[rows])].to(self.ranks.device, non_blocking=True)


def starting_rates(recipe: Recipe, names: Mapping[str, object]) -> dict[str, float]:
    """ε by parameter name as a recipe begins: 0 for what it does not train."""
    training, found = recipe.training, {}
    for name in names:
        layer = name.partition(".")[0]
        trained = not training.trained or layer in training.trained
        found[name] = training.layer_rates.get(layer, training.rate) if trained else 0.0
    return found
