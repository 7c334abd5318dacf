"""The contest's recipes: each extends another and changes only what it names, and says where every line comes from."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from alexnet_cli.recipes.net import layers
from alexnet_cli.recipes.read import load_recipe
from alexnet_cli.recipes.recipe import Recipe
from alexnet_stages.train.schedule import Schedule

RECIPES = Path(__file__).parent.parent / "stages" / "train" / "recipes"
CONV = ("conv1", "conv2", "conv3", "conv4", "conv5")

# What each changes in the one that it extends: name: (base, {section.field: value}).
CHANGES: dict[str, tuple[str, dict[str, Any]]] = {
    "source-2012": (
        "paper",
        {
            "architecture.order": "source-2012",
            "input.patch_run": 32,
            "input.noise_divides": True,
            "training.initial_values": "source-2012",
            "training.bias_rate": 0.02,
            "training.schedule": "steps",
            "training.changes": [
                {"epoch": 25, "rate": 1e-3, "layers": {}, "colour_noise": None},
                {"epoch": 51, "rate": 1e-4, "layers": {}, "colour_noise": None},
                {"epoch": 67, "rate": None, "layers": {"conv1": 1e-5}, "colour_noise": 0.0},
                {"epoch": 72, "rate": None, "layers": {"conv1": 0.0}, "colour_noise": None},
                {"epoch": 79, "rate": 1e-5, "layers": {}, "colour_noise": None},
            ],
        },
    ),
    "conv6": ("source-2012", {"architecture.conv6": True}),
    "conv6-pretrain": (
        "conv6",
        {
            "architecture.classes": 21841,
            "architecture.bottleneck": 1024,
            "training.take": list(CONV),
            "training.epochs": 8,
            "training.layer_rates": dict.fromkeys(CONV, 1e-3),
            "training.changes": [{"epoch": 6, "rate": 1e-3, "layers": {}, "colour_noise": None}],
        },
    ),
    "conv6-finetune": (
        "conv6",
        {
            "training.fresh": ["fc8"],
            "training.rate": 1e-3,
            "training.layer_rates": {"conv1": 1e-4, "fc8": 1e-2},
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
    "no-norm": ("paper", {"architecture.normalisation": False}),
    "no-overlap": ("paper", {"architecture.overlapping_pooling": False}),
    "no-exchange": ("paper", {"architecture.exchange": False, "architecture.hidden_fc6": 4096}),
    "one-column": (
        "paper",
        {"architecture.columns": 1, "architecture.kernels": [48, 128, 192, 192, 256], "architecture.hidden": 4096},
    ),
    "tanh": ("paper", {"architecture.activation": "tanh"}),
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
        for section in ("architecture", "input", "training")
        for field, value in values[section].items()
    }


@pytest.mark.parametrize("name", CHANGES)
def test_a_recipe_changes_only_what_it_names(name: str) -> None:
    base, expected = CHANGES[name]
    assert tomllib.loads((RECIPES / f"{name}.toml").read_text())["extends"] == base
    was, now = flat(load_recipe(base)), flat(load_recipe(name))
    assert {field: value for field, value in now.items() if value != was[field]} == expected


@pytest.mark.parametrize("name", ["paper", *CHANGES])
def test_every_line_of_a_recipe_says_where_it_comes_from(name: str) -> None:
    for line in (RECIPES / f"{name}.toml").read_text().splitlines():
        text = line.strip()
        if text and not text.startswith(("#", "[", "]", "extends", "about")) and text != "changes = [":
            assert "#" in text, f"{name}: {text}"


def test_the_papers_parameters_are_untouched_by_what_the_variants_can_do() -> None:
    def parameters(name: str) -> int:
        return sum(layer.parameters for layer in layers(load_recipe(name).net))

    assert parameters("paper") == parameters("source-2012") == parameters("finetune-last") == 60_965_224
    conv6 = 256 * (256 * 9 + 1)
    assert parameters("conv6") == parameters("conv6-finetune") == 60_965_224 + conv6
    # 2×1024 numbers between fc7 and 21,841 classes in place of 4,096
    wide = 2048 * 4097 + 21_841 * 2049
    assert parameters("conv6-pretrain") == 60_965_224 + conv6 - 1000 * 4097 + wide == 110_601_169
    # net 150: 4096 numbers of one column's 4608 in each column, then 2048 of 4096
    assert parameters("no-exchange") == 34_944 + 307_456 + 384 * (128 * 9 + 1) + 663_936 + 442_624 + (
        2 * 4096 * 4609 + 2 * 2048 * 4097 + 4_097_000
    )


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
