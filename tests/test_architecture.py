"""The figures of the paper's net, to the last digit (paper, sections 3.2-3.5)."""

from __future__ import annotations

import json

import pytest

from alexnet_cli.cli import main
from alexnet_cli.errors import UsageError
from alexnet_cli.recipes.net import layers
from alexnet_cli.recipes.read import load_recipe


def test_the_papers_net_has_the_papers_parameters_layer_by_layer() -> None:
    counts = {layer.name: layer.parameters for layer in layers(Architecture())}
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


def test_summary_lists_the_recipes_in_plain_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", "--list"]) == 0
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


def test_columns_that_never_speak_meet_only_in_fc8() -> None:
    groups = {layer.name: layer.groups for layer in layers(load_recipe("no-exchange").net)}
    assert groups["conv3"] == groups["fc6"] == groups["fc7"] == 2
    assert groups["fc8"] == 1


def test_pooling_without_overlap_gives_maps_of_the_same_size() -> None:
    sides = [layer.output_side for layer in layers(load_recipe("no-overlap").net)]
    assert sides == [layer.output_side for layer in layers(Architecture())]


def test_the_orders_are_the_papers_and_the_sources() -> None:
    paper, source = Architecture(), load_recipe("source-2012").net
    assert paper.after("conv1") == ("activation", "norm", "pool")
    assert source.after("conv1") == ("norm", "pool", "activation")
    assert source.after("conv2") == ("activation", "norm", "map norm", "pool")
    assert source.after("conv5") == ("pool", "activation")
    assert load_recipe("no-norm").net.after("conv2") == ("activation", "pool")


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("order", "caffe", "order 'caffe' is unknown"),
        ("activation", "gelu", "activation 'gelu' is unknown"),
        ("dropout", 1.0, "dropout is a probability below 1, not 1.0"),
        ("classes", 1, "classes 1"),
        ("kernels", (1, 2), "five numbers, not 2"),
    ],
)
def test_a_net_that_can_not_be_is_refused_with_its_value(field: str, value: object, words: str) -> None:
    with pytest.raises(UsageError, match=words.replace("(", r"\(")):
        Architecture(**{field: value})  # type: ignore[arg-type]
