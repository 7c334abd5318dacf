"""Initial values: the tables of FACTS written down once more, and the statistics of what is drawn."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from alexnet_cli.net.initial import initialise
from alexnet_cli.net.network import Network
from alexnet_cli.net.weights import column_rows
from alexnet_cli.recipes.read import load_recipe
from alexnet_cli.recipes.recipe import SCHEMES

KERNELS = {"conv1": 48, "conv2": 64, "conv3": 96, "conv4": 96, "conv5": 64, "conv6": 64}
TABLES = {name: {"kernels": kernels} for name, kernels in KERNELS.items()}
NEURONS = {name: {"neurons": 200} for name in ("fc6", "fc7")}
NET = load_recipe("conv6").with_options(net={**TABLES, **NEURONS, "classes": 100}).net

LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "conv6", "fc6", "fc7", "fc8")
DEVIATIONS = {
    "paper": dict.fromkeys(LAYERS, 0.01),
    "source-2012": {**dict.fromkeys(LAYERS, 0.01), "conv3": 0.03, "conv4": 0.03, "conv5": 0.03, "conv6": 0.03},
    "gaussian": dict.fromkeys(LAYERS, 0.01),
    # √(2 / inputs of one kernel), two columns of NET's kernels: 2·96 seen where both are, 96 where only the own.
    "he": {
        "conv1": math.sqrt(2 / (3 * 121)),
        "conv2": math.sqrt(2 / (48 * 25)),
        "conv3": math.sqrt(2 / (128 * 9)),
        "conv4": math.sqrt(2 / (96 * 9)),
        "conv5": math.sqrt(2 / (96 * 9)),
        "conv6": math.sqrt(2 / (128 * 9)),
        "fc6": math.sqrt(2 / (128 * 36)),
        "fc7": math.sqrt(2 / 400),
        "fc8": math.sqrt(2 / 400),
    },
}
DEVIATIONS["lecun"] = {name: value / math.sqrt(2) for name, value in DEVIATIONS["he"].items()}
BIASES = {
    "paper": {**dict.fromkeys(LAYERS, 1.0), "conv1": 0.0, "conv3": 0.0, "fc8": 0.0},
    "source-2012": {**dict.fromkeys(LAYERS, 1.0), "conv1": 0.0, "conv3": 0.0, "fc8": 0.0},
    **dict.fromkeys(("he", "lecun", "gaussian"), dict.fromkeys(LAYERS, 0.0)),
}


def made(scheme: str, seed: int = 1) -> Network:
    network = Network(NET)
    initialise(network, scheme, seed)
    return network


def made_alone(scheme: str, column: int) -> Network:
    """A net that holds the rows of one column only, whoever placed them there."""
    network = Network(NET)
    for name in LAYERS:
        weights = network.weights(name)
        weights.rows = column_rows(len(weights.bias), 2, column)
        weights.weight = nn.Parameter(weights.weight.detach()[weights.rows])
        weights.bias = nn.Parameter(weights.bias.detach()[weights.rows])
    initialise(network, scheme, 1)
    return network


@pytest.mark.parametrize("scheme", SCHEMES)
def test_weights_are_normal_with_the_tables_deviation(scheme: str) -> None:
    network = made(scheme)
    for name in LAYERS:
        weights = network.weights(name).weight.detach().double()
        count, expected = weights.numel(), DEVIATIONS[scheme][name]
        assert abs(float(weights.mean())) < 5 * expected / math.sqrt(count), name
        assert float(weights.std()) == pytest.approx(expected, rel=5 / math.sqrt(2 * count)), name
        # A normal distribution, no uniform one: 4.55% lie beyond two deviations.
        beyond = float((weights.abs() > 2 * expected).double().mean())
        assert beyond == pytest.approx(0.0455, abs=5 * math.sqrt(0.0455 / count)), name


@pytest.mark.parametrize("scheme", SCHEMES)
def test_biases_are_the_tables(scheme: str) -> None:
    network = made(scheme)
    for name in LAYERS:
        assert set(network.weights(name).bias.tolist()) == {BIASES[scheme][name]}, name


@pytest.mark.parametrize(("recipe", "scheme"), [("paper", "paper"), ("source-2012", "source-2012"), ("small", "he")])
def test_recipes_name_the_scheme_that_belongs_to_them(recipe: str, scheme: str) -> None:
    assert load_recipe(recipe).training.initial_values == scheme


def test_values_are_a_function_of_the_seed() -> None:
    one, again, other = made("paper", 1), made("paper", 1), made("paper", 2)
    for name in LAYERS:
        assert torch.equal(one.weights(name).weight, again.weights(name).weight)
        assert not torch.equal(one.weights(name).weight, other.weights(name).weight)


def test_layers_of_the_same_shape_have_values_of_their_own() -> None:
    network = made("paper")
    assert not torch.equal(network.weights("conv4").weight[:64], network.weights("conv5").weight[:64])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_column_has_the_same_values_wherever_it_lives(scheme: str) -> None:
    whole, columns = made(scheme), [made_alone(scheme, column) for column in (0, 1)]
    for name in LAYERS:
        outputs = len(whole.weights(name).bias)
        for number, column in enumerate(columns):
            rows = column_rows(outputs, 2, number)
            assert torch.equal(column.weights(name).weight, whole.weights(name).weight[rows])
            assert torch.equal(column.weights(name).bias, whole.weights(name).bias[rows])


def test_the_columns_do_not_begin_alike() -> None:
    weight = made("paper").weights("conv2").weight
    assert not torch.equal(weight[:64], weight[64:])
