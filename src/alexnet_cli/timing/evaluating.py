"""How fast a net is evaluated here: pictures a second in ten views, of a net with initial values."""

from __future__ import annotations

import time

import torch

from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.devices import float_type, prepare
from alexnet_cli.evaluation import Net, evaluate
from alexnet_cli.net.initial import initialise
from alexnet_cli.net.network import Network
from alexnet_cli.recipes.recipe import Recipe
from alexnet_cli.timing.step import made_up_transform


def untrained_net(recipe: Recipe, store: CropStore, device: torch.device, precision: str) -> Net:
    """A net of a recipe with initial values, for the classes of a store."""
    recipe = recipe.with_options(net={"classes": len(store.classes)})
    network = Network(recipe.net)
    initialise(network, recipe.training.initial_values, 0)
    network.to(device, float_type(precision))
    transform = made_up_transform(recipe, store.side).to(device)
    return Net(network, transform, store.classes, device, precision, recipe.input.flip)


def evaluation_rate(
    recipe: Recipe, store: CropStore, device: torch.device, precision: str, *, batch_size: int
) -> float:
    """Pictures a second in ten views. The first mini-batch does not count if there are others."""
    prepare(device, precision)
    return rate_of(untrained_net(recipe, store, device, precision), store, batch_size=batch_size)


def rate_of(net: Net, store: CropStore, *, batch_size: int) -> float:
    """The same for a given net."""
    moments: list[tuple[float, int]] = []
    start = time.perf_counter()
    evaluate(net, store, batch_size=batch_size, advance=lambda count: moments.append((time.perf_counter(), count)))
    if len(moments) < 2:
        return len(store) / (time.perf_counter() - start)
    return sum(count for _, count in moments[1:]) / (moments[-1][0] - moments[0][0])
