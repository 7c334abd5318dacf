"""The figures of the paper's net, to the last digit (paper, sections 3.2-3.5)."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest

from alexnet_cli.cli import main
from alexnet_cli.errors import UsageError
from alexnet_cli.recipes.layers import Dropout
from alexnet_cli.recipes.named import layer_named
from alexnet_cli.recipes.net import Net, layers, shapes
from alexnet_cli.recipes.read import load_recipe
from alexnet_cli.recipes.recipe import Recipe


def test_the_papers_net_has_the_papers_parameters_layer_by_layer() -> None:
    counts = {layer.name: layer.parameters for layer in layers(load_recipe("paper").net)}
    assert counts == {
        "conv1": 34_944,
        "conv2": 307_456,
        "conv3": 885_120,
        "conv4": 663_936,
        "conv5": 442_624,
        "fc6": 37_752_832,
        "fc7": 16_781_312,
        "fc8": 4_097_000,
    }
    assert sum(counts.values()) == 60_965_224


def test_summary_prints_the_totals_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["parameters"] == 60_965_224
    assert summary["neurons"] == 290_400 + 186_624 + 64_896 + 64_896 + 43_264 + 4_096 + 4_096 + 1_000 == 659_272
    # 105,415,200 + 223,948,800 + 149,520,384 + 112,140,288 + 74,760,192 + 37,748,736 + 16,777,216 + 4,096,000
    assert summary["multiply_adds"] == 724_406_816
    assert summary["flop"] == 2 * 724_406_816 == sum(layer["flop"] for layer in summary["layers"])
    outputs = [layer["output"] for layer in summary["layers"]]
    assert outputs[:5] == [[96, 55, 55], [256, 27, 27], [384, 13, 13], [384, 13, 13], [256, 13, 13]]
    assert [layer["sees"] for layer in summary["layers"]] == [
        "the picture",
        "its own column",
        "all columns",
        "its own column",
        "its own column",
        "all columns",
        "all columns",
        "all columns",
    ]


def test_summary_shows_a_recipe_with_fields_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", "--set", "net.fc6.neurons=512", "--json"]) == 0
    # 3,072 neurons fewer: each with 9,216 weights and a bias of its own, and 4,096 weights of fc7
    assert json.loads(capsys.readouterr().out)["parameters"] == 60_965_224 - 3_072 * (9_217 + 4_096)


def test_the_recipes_are_listed_in_plain_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "list"]) == 0
    text = capsys.readouterr().out
    for name in ("paper", "source-2012", "quickstart", "small", "no-norm", "tanh", "conv6"):
        assert name in text


def test_conv6_sees_both_columns_over_pool5_and_leaves_fc6_as_it_was() -> None:
    by_name = {layer.name: layer for layer in layers(load_recipe("conv6").net)}
    assert by_name["conv6"].weight_shape == (256, 256, 3, 3)
    assert by_name["conv6"].output_side == 6
    assert by_name["fc6"].weight_shape == (4096, 9216)


def test_the_one_gpu_net_keeps_the_last_convolution_and_the_fully_connected_layers_whole() -> None:
    by_name = {layer.name: layer for layer in layers(load_recipe("one-column").net)}
    assert [by_name[f"conv{number}"].outputs for number in range(1, 6)] == [48, 128, 192, 192, 256]
    assert by_name["fc6"].weight_shape == (4096, 9216)
    assert all(layer.groups == 1 for layer in by_name.values())


def test_small_fast_has_maps_of_half_the_side_and_about_a_quarter_of_the_work() -> None:
    found = {layer.name: layer for layer in layers(load_recipe("small-fast").net)}
    # conv1: (224 + 3 - 11) / 8 + 1 = 28; pools over 3 every 2: 28 -> 13 -> 6
    assert [found[f"conv{number}"].output_side for number in range(1, 6)] == [28, 13, 6, 6, 6]
    work = 28**2 * 96 * 363 + 13**2 * 256 * 1_200 + 36 * (384 * 2_304 + 384 * 1_728 + 256 * 1_728)
    work += 9_216 * 1_024 + 1_024 * 1_024 + 1_024 * 1_000
    assert sum(layer.multiply_adds for layer in found.values()) == work == 162_411_008 < 724_406_816 / 4


def test_columns_that_never_speak_meet_only_in_fc8() -> None:
    groups = {layer.name: layer.groups for layer in layers(load_recipe("no-exchange").net)}
    assert groups["conv3"] == groups["fc6"] == groups["fc7"] == 2
    assert groups["fc8"] == 1


# FACTS 2, layer by layer: (kernels of both columns, side of the map) of every convolution and pool.
MAPS = {
    "paper": {
        "conv1": (96, 55),
        "pool1": (96, 27),
        "conv2": (256, 27),
        "pool2": (256, 13),
        "conv3": (384, 13),
        "conv4": (384, 13),
        "conv5": (256, 13),
        "pool5": (256, 6),
    }
}
MAPS["source-2012"] = MAPS["no-overlap-paper"] = MAPS["tanh"] = MAPS["no-norm"] = MAPS["paper"]
MAPS["conv6"] = {**MAPS["paper"], "conv6": (256, 6)}
MAPS["no-exchange"] = {**MAPS["paper"], "conv2": (320, 27), "pool2": (320, 13)}
MAPS["no-overlap"] = {
    **MAPS["paper"],
    "pool1": (96, 28),
    "conv2": (256, 26),
    "conv5": (256, 11),
}


@pytest.mark.parametrize("recipe", MAPS)
def test_maps_are_the_tables(recipe: str) -> None:
    found = {
        layer.name: (layer.outputs, layer.output_side)
        for layer in shapes(load_recipe(recipe).net)
        if layer.kind in ("convolution", "pool")
    }
    assert found == MAPS[recipe]


@pytest.mark.parametrize(
    ("recipe", "parameters", "neurons", "multiply_adds"),
    [
        ("paper", 60_965_224, 659_272, 724_406_816),
        ("source-2012", 60_965_224, 659_272, 724_406_816),
        # net 150: 2 x 160 kernels in conv2, each 5x5 over 48 maps; conv3 sees its own 160; fc6 2 x 4096 of 128 x 36
        (
            "no-exchange",
            60_714_408,
            659_272 + 2 * 32 * 27**2 + 4096,
            105_415_200 + 320 * 729 * 1200 + 384 * 169 * 9 * 160 + 112_140_288 + 74_760_192
            + 8192 * 4608 + 4096 * 4096 + 4_096_000,
        ),
        # net 147: conv2 makes 26 x 26, conv5 11 x 11
        (
            "no-overlap",
            60_965_224,
            659_272 - 256 * (27**2 - 26**2) - 256 * (13**2 - 11**2),
            724_406_816 - 256 * (27**2 - 26**2) * 1200 - 256 * (13**2 - 11**2) * 1728,
        ),
        ("no-overlap-paper", 60_965_224, 659_272, 724_406_816),
        ("conv6", 60_965_224 + 256 * 2305, 659_272 + 256 * 36, 724_406_816 + 256 * 36 * 2304),
    ],
)  # fmt: skip
def test_parameters_neurons_and_multiply_adds_are_those_of_facts(
    recipe: str, parameters: int, neurons: int, multiply_adds: int
) -> None:
    found = layers(load_recipe(recipe).net)
    assert sum(layer.parameters for layer in found) == parameters
    assert sum(layer.neurons for layer in found) == neurons
    assert sum(layer.multiply_adds for layer in found) == multiply_adds


def test_the_orders_are_the_papers_and_the_sources() -> None:
    def after(recipe: str) -> dict[str, tuple[str, ...]]:
        return {layer.name: layer.after for layer in layers(load_recipe(recipe).net)}

    paper, source = after("paper"), after("source-2012")
    assert paper["conv1"] == paper["conv2"] == ("relu", "norm", "pool")
    assert source["conv1"] == ("norm", "pool", "relu")
    assert source["conv2"] == ("relu", "norm", "map_norm", "pool")
    assert source["conv5"] == ("pool", "relu")
    assert after("no-norm")["conv2"] == ("relu", "pool")
    assert after("conv6")["conv5"] == ("pool", "relu") and after("conv6")["conv6"] == ("relu",)
    assert paper["fc6"] == source["fc7"] == ("relu", "dropout")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pool1": {"mode": "median"}}, "[net.pool1] mode 'median' is unknown: use one of max, average"),
        ({"dropout6": {"probability": 1.0}}, "[net.dropout6] probability is a probability below 1, not 1.0"),
        ({"classes": 1}, "[net] classes is 1"),
        ({"pool5": {"size": 14}}, "[net.pool5] size 14 is larger than its maps of 13×13"),
        ({"conv1": {"kernels": 0}}, "[net.conv1] kernels is 0: it must be positive"),
        ({"norm1": {"window": 4}}, "[net.norm1] window is odd, not 4"),
        ({"conv2": {"sees": "picture"}}, 'sees "picture", and other layers are below it'),
        ({"fc8": {"neurons": 3}}, "gives 6×1×1 outputs"),
    ],
)
def test_a_net_that_can_not_be_is_refused_with_its_value(changes: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=re.escape(words)):
        load_recipe("paper").with_options(net=changes)


# ------------------------------------------------------------------------------------- recipes of older checkpoints


def old(**fields: object) -> Net:
    return Recipe.from_dict({"name": "old", "architecture": fields}).net


@pytest.mark.parametrize(
    ("fields", "recipe", "changes"),
    [
        ({}, "paper", {}),
        ({"order": "source-2012"}, "source-2012", {}),
        ({"order": "source-2012", "conv6": True}, "conv6", {}),
        ({"order": "source-2012", "conv6": True, "bottleneck": 1024, "classes": 21841}, "conv6-pretrain", {}),
        ({"order": "source-2012", "normalisation": False}, "no-norm", {}),
        ({"overlapping_pooling": False}, "no-overlap-paper", {}),
        ({"activation": "tanh"}, "tanh", {}),
        (
            {"order": "source-2012", "columns": 1, "kernels": [48, 128, 192, 192, 256], "hidden": 4096},
            "one-column",
            {},
        ),
        (
            {"order": "source-2012", "exchange": False, "hidden_fc6": 4096},
            "no-exchange",
            {"conv2": {"kernels": 128}},
        ),
        (
            {"norm_k": 1.0, "norm_alpha": 0.5, "norm_beta": 0.5, "norm_window": 3, "hidden": 16, "dropout": 0.25},
            "paper",
            {
                **{name: {"k": 1.0, "alpha": 0.5, "beta": 0.5, "window": 3} for name in ("norm1", "norm2")},
                **{name: {"neurons": 16} for name in ("fc6", "fc7")},
                **{name: {"probability": 0.25} for name in ("dropout6", "dropout7")},
            },
        ),
        ({"dropout": 0.0}, "quickstart", {}),
    ],
)
def test_an_older_checkpoints_switches_are_the_layers_they_stood_for(
    fields: dict[str, object], recipe: str, changes: dict[str, object]
) -> None:
    """But for dropout's convention: those nets were trained with the inverted one, and are evaluated so."""
    theirs = load_recipe(recipe).with_options(net=changes).net
    mine = old(**fields)
    assert {spec.convention for spec in mine.layers if isinstance(spec, Dropout)} <= {"inverted"}
    inverted = tuple(
        dataclasses.replace(spec, convention="inverted") if isinstance(spec, Dropout) else spec
        for spec in theirs.layers
    )
    assert mine == dataclasses.replace(theirs, layers=inverted)


def test_an_older_recipe_with_a_field_that_never_was_is_refused() -> None:
    with pytest.raises(ValueError, match="had no field 'wings'"):
        old(wings=2)


@pytest.mark.parametrize(
    ("recipe", "layer"), [("paper", "fc7"), ("lenet", "fc4"), ("cifar-26", "fc64"), ("cifar-18", "pool3")]
)
def test_features_are_those_of_the_last_hidden_layer_unless_another_is_named(recipe: str, layer: str) -> None:
    assert layer_named(load_recipe(recipe).net, None) == layer
