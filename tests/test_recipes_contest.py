"""The contest's recipes: each extends another and changes only what it names, and says where every line comes from."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

import alexnet_cli.recipes
from alexnet_cli.recipes.net import layers
from alexnet_cli.recipes.read import load_recipe
from alexnet_cli.recipes.recipe import Recipe
from alexnet_stages.train.schedule import Schedule

RECIPES = Path(alexnet_cli.recipes.__file__).parent
CONV = ("conv1", "conv2", "conv3", "conv4", "conv5")

CONV6 = load_recipe("conv6").to_dict()["net"]["order"]

# What each changes in the one that it extends: name: (base, {section.field: value}).
CHANGES: dict[str, tuple[str, dict[str, Any]]] = {
    "conv6-pretrain": (
        "conv6",
        {
            "net.classes": 21841,
            "net.order": [*CONV6[:-1], "bottleneck", "fc8"],
            "net.bottleneck": {"kind": "linear", "neurons": 1024, "sees": "all"},
            "training.take": list(CONV),
            "training.epochs": 8,
            "training.layer_rates": dict.fromkeys(CONV, 1e-3),
            "training.layer_bias_rates": {"conv6": 0.002},
            "training.changes": [{"epoch": 6, "rate": 1e-3, "layers": {}, "colour_noise": None}],
        },
    ),
    "conv6-finetune": (
        "conv6",
        {
            "training.fresh": ["fc8"],
            "training.rate": 1e-3,
            "training.layer_rates": {"conv1": 1e-4, "fc8": 1e-2},
            "training.layer_bias_rates": {"conv6": 0.022},
            "training.epochs": 54,
            "training.changes": [
                {"epoch": 5, "rate": None, "layers": {"conv1": 1e-5}, "colour_noise": None},
                {"epoch": 7, "rate": None, "layers": {"conv1": 0.0}, "colour_noise": None},
                {"epoch": 9, "rate": None, "layers": {"fc8": 1e-3}, "colour_noise": None},
                {"epoch": 22, "rate": 1e-4, "layers": {"fc8": 1e-4}, "colour_noise": None},
                {"epoch": 38, "rate": None, "layers": {}, "colour_noise": 0.0},
                {"epoch": 42, "rate": 1e-5, "layers": {"fc8": 1e-5}, "colour_noise": None},
            ],
        },
    ),
    "finetune-last": (
        "paper",
        {
            "training.keep_net": True,
            "training.trained": ["fc8"],
            "training.cached_features": True,
            "training.batch_size": 32,
            "training.epochs": 200,
            "training.patience": 20,
            "training.drops": 2,
        },
    ),
}


def flat(recipe: Recipe) -> dict[str, Any]:
    values = recipe.to_dict()
    return {
        f"{section}.{field}": list(value) if isinstance(value, tuple) else value
        for section in ("net", "input", "training")
        for field, value in values[section].items()
    }


@pytest.mark.parametrize("name", CHANGES)
def test_a_recipe_changes_only_what_it_names(name: str) -> None:
    base, expected = CHANGES[name]
    assert tomllib.loads((RECIPES / f"{name}.toml").read_text())["extends"] == base
    was, now = flat(load_recipe(base)), flat(load_recipe(name))
    assert {field: value for field, value in now.items() if value != was.get(field)} == expected


@pytest.mark.parametrize("name", ["paper", "source-2012", "conv6", "no-norm", "no-exchange", "no-overlap", *CHANGES])
def test_every_line_of_a_recipe_says_where_it_comes_from(name: str) -> None:
    """A layer says it beside its name: `kind` and the words "picture" and "classes" need no source."""
    text = (RECIPES / f"{name}.toml").read_text()
    inside = False
    for line in text.splitlines():
        if (
            line.startswith(("#", "extends", "about", "kind", 'sees = "picture"', 'neurons = "classes"', "]"))
            or not line
        ):
            inside = False
        elif not inside and line not in ("[net]", "[input]", "[training]", "changes = [", "[net.conv2]", "[net.conv3]"):
            opens = line.split("#")[0].rstrip().endswith("[")
            assert "#" in line or (line.startswith("[net.") and "#" in text.split(line, 1)[1].split("[net.")[0]), line
            inside = opens


def test_the_papers_parameters_are_untouched_by_what_the_variants_can_do() -> None:
    def parameters(name: str) -> int:
        return sum(layer.parameters for layer in layers(load_recipe(name).net))

    assert parameters("paper") == parameters("source-2012") == parameters("finetune-last") == 60_965_224
    conv6 = 256 * (256 * 9 + 1)
    assert parameters("conv6") == parameters("conv6-finetune") == 60_965_224 + conv6
    # 2×1024 numbers between fc7 and 21,841 classes in place of 4,096
    wide = 2048 * 4097 + 21_841 * 2049
    assert parameters("conv6-pretrain") == 60_965_224 + conv6 - 1000 * 4097 + wide == 110_601_169


def test_the_bottleneck_is_linear_and_sees_both_columns() -> None:
    net = {layer.name: layer for layer in layers(load_recipe("conv6-pretrain").net)}
    assert net["bottleneck"].weight_shape == (2048, 4096)
    assert net["bottleneck"].after == ()
    assert net["bottleneck"].groups == 1
    assert net["fc8"].weight_shape == (21841, 2048)
    assert list(net)[-3:] == ["fc7", "bottleneck", "fc8"]


def rates_by_epoch(name: str, layer: str) -> dict[int, float]:
    """The rate of a layer's weights in every epoch where it differs from the epoch before."""
    recipe = load_recipe(name)
    schedule = Schedule.start(recipe.training, recipe.input)
    found: dict[int, float] = {}
    for epoch in range(1, recipe.training.epochs + 1):
        schedule.begin_epoch(recipe.training, epoch)
        rate = schedule.rates(recipe.training, [f"{layer}.weight"])[f"{layer}.weight"]
        if not found or rate != list(found.values())[-1]:
            found[epoch] = rate
    return found


def test_rates_of_the_conv6_nets_are_the_notebooks_epoch_by_epoch() -> None:
    assert rates_by_epoch("conv6-pretrain", "conv2") == {1: 1e-3}
    for layer in ("conv6", "fc6", "fc7", "bottleneck", "fc8"):
        assert rates_by_epoch("conv6-pretrain", layer) == {1: 0.01, 6: 1e-3}
    assert rates_by_epoch("conv6-finetune", "conv1") == {1: 1e-4, 5: 1e-5, 7: 0.0}
    assert rates_by_epoch("conv6-finetune", "conv6") == {1: 1e-3, 22: 1e-4, 42: 1e-5}
    assert rates_by_epoch("conv6-finetune", "fc8") == {1: 1e-2, 9: 1e-3, 22: 1e-4, 42: 1e-5}


def test_biases_keep_the_sources_rate_until_their_layer_is_frozen() -> None:
    recipe = load_recipe("conv6-finetune")
    schedule = Schedule.start(recipe.training, recipe.input)
    names = ["conv1.bias", "fc8.bias"]
    schedule.begin_epoch(recipe.training, 5)
    assert schedule.rates(recipe.training, names) == {"conv1.bias": 0.02, "fc8.bias": 0.02}
    schedule.begin_epoch(recipe.training, 7)
    assert schedule.rates(recipe.training, names) == {"conv1.bias": 0.0, "fc8.bias": 0.02}


@pytest.mark.parametrize(("name", "rate"), [("conv6-pretrain", 0.002), ("conv6-finetune", 0.022)])
def test_conv6s_biases_have_the_rate_of_the_layer_params(name: str, rate: float) -> None:
    recipe = load_recipe(name)
    schedule = Schedule.start(recipe.training, recipe.input)
    found = schedule.rates(recipe.training, ["conv5.bias", "conv6.bias", "fc6.bias"])
    assert found == {"conv5.bias": 0.02, "conv6.bias": rate, "fc6.bias": 0.02}


def test_only_the_last_layer_of_finetune_last_ever_moves_and_a_plateau_lowers_its_rate() -> None:
    assert rates_by_epoch("finetune-last", "fc7") == {1: 0.0}
    recipe = load_recipe("finetune-last")
    schedule = Schedule.start(recipe.training, recipe.input)
    for epoch in range(1, 22):
        schedule.end_epoch(recipe.training, epoch, 0.5)
    assert schedule.rates(recipe.training, ["fc8.weight"])["fc8.weight"] == pytest.approx(1e-3)


def test_a_plateau_lowers_the_layers_own_rates_too() -> None:
    training = load_recipe("paper").with_options(training={"layer_rates": {"fc8": 0.1, "conv1": 0.0}}).training
    schedule = Schedule.start(training, load_recipe("paper").input)
    for epoch in range(1, 7):
        schedule.end_epoch(training, epoch, 0.5)
    names = ["conv1.weight", "conv2.weight", "fc8.weight"]
    assert schedule.rates(training, names) == pytest.approx(
        {"conv1.weight": 0.0, "conv2.weight": 1e-3, "fc8.weight": 0.01}
    )
