"""The CIFAR-10 nets of the released source, figure 1's and LeNet-5: their figures, and training by their rules."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from alexnet_cli.artifacts.checkpoint import read_checkpoint
from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.artifacts.run import COLUMNS, RunFolder
from alexnet_cli.artifacts.statistics import read_statistics
from alexnet_cli.cli import main
from alexnet_cli.net.initial import initialise
from alexnet_cli.net.network import Network
from alexnet_cli.randomness import order_of
from alexnet_cli.recipes.layers import Pool
from alexnet_cli.recipes.net import layers, shapes
from alexnet_cli.recipes.read import load_recipe
from alexnet_stages.train.inputs import doubts
from alexnet_stages.train.losses import class_weights

MakeStore = Callable[..., CropStore]
Capture = pytest.CaptureFixture[str]
CIFAR = ("cifar-26", "cifar-18", "figure-1-relu", "figure-1-tanh")

CONVOLUTIONS = {"conv1": 32 * (3 * 25 + 1), "conv2": 32 * (32 * 25 + 1), "conv3": 64 * (32 * 25 + 1)}
PARAMETERS = {
    # 64 maps of 4×4 come out of the last pool
    "cifar-26": {**CONVOLUTIONS, "fc64": 64 * (64 * 16 + 1), "fc10": 10 * (64 + 1)},
    "cifar-18": {**CONVOLUTIONS, "fc10": 10 * (64 * 16 + 1)},
    "figure-1-relu": {**CONVOLUTIONS, "fc10": 10 * (64 * 16 + 1)},
    "figure-1-tanh": {**CONVOLUTIONS, "fc10": 10 * (64 * 16 + 1)},
    # three channels in place of one grey; 16 maps of 5×5 come out of the last pool
    "lenet": {
        "conv1": 6 * (3 * 25 + 1),
        "conv2": 16 * (6 * 25 + 1),
        "fc3": 120 * (16 * 25 + 1),
        "fc4": 84 * (120 + 1),
        "fc5": 10 * (84 + 1),
    },
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_those_counted_by_hand(name: str) -> None:
    net = load_recipe(name).net
    assert {layer.name: layer.parameters for layer in layers(net)} == PARAMETERS[name]
    network = Network(net)
    assert sum(parameter.numel() for parameter in network.parameters()) == sum(PARAMETERS[name].values())


@pytest.mark.parametrize("name", CIFAR)
def test_maps_are_32_16_8_4(name: str) -> None:
    """Pooling over 3×3 every 2, windows hanging over the edge: 1 + ⌈(side − 3) / 2⌉."""
    found = [(layer.input_side, layer.output_side) for layer in shapes(load_recipe(name).net) if layer.kind == "pool"]
    assert found == [(32, 16), (16, 8), (8, 4)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cifar-26", "convolution relu pool convolution relu pool convolution relu pool linear relu linear"),
        ("cifar-18", "convolution relu pool map_norm convolution relu pool map_norm convolution relu pool linear"),
        ("figure-1-relu", "convolution relu pool convolution relu pool convolution relu pool linear"),
        ("figure-1-tanh", "convolution tanh pool convolution tanh pool convolution tanh pool linear"),
        ("lenet", "convolution tanh pool convolution tanh pool linear tanh linear tanh linear"),
    ],
)
def test_layers_stand_in_the_published_order(name: str, expected: str) -> None:
    specs = load_recipe(name).net.layers
    assert [spec.kind for spec in specs] == expected.split()
    modes = [spec.mode for spec in specs if isinstance(spec, Pool)]
    assert modes == (["average"] * 2 if name == "lenet" else ["max", "average", "average"])


def test_the_schedules_are_the_sources() -> None:
    """FACTS 7: ε of the weights 0.001; 18pct: ÷ 10 after 120 epochs, ÷ 10 again after 10 more, 10 more."""
    for name in SOURCES:
        training = load_recipe(name).training
        assert (training.rate, training.bias_rate_factor, training.momentum) == (1e-3, 2, 0.9), name
        assert (training.batch_size, training.partial_batch, training.schedule) == (128, True, "steps"), name
        assert training.bias_rate is None and not training.layer_rates and not training.layer_bias_rates, name
    training = load_recipe("cifar-18").training
    assert [(change.epoch, change.rate) for change in training.changes] == [(121, 1e-4), (131, 1e-5)]
    assert training.epochs == 140


def test_figure_1s_recipes_train_until_their_nets_have_25_percent_training_error() -> None:
    """docs/numbers.md: after 8 epochs with ReLUs, after 45 to 47 with tanh. The command trains both as long."""
    assert [load_recipe(name).training.epochs for name in ("figure-1-relu", "figure-1-tanh")] == [50, 50]


def test_figure_1s_nets_differ_by_the_neurons_and_the_rate_alone() -> None:
    relu, tanh = load_recipe("figure-1-relu"), load_recipe("figure-1-tanh")
    assert relu.training.weight_decay == tanh.training.weight_decay == 0
    assert relu.input == tanh.input
    assert relu.with_options(training={"rate": 1.0}).training == tanh.with_options(training={"rate": 1.0}).training


@pytest.mark.parametrize("mode", ["max", "average"])
@pytest.mark.parametrize("side", [8, 9, 32])
def test_a_pool_that_hangs_over_counts_the_pixels_that_are_there(mode: str, side: int) -> None:
    from alexnet_cli.net.pool import Pool as Module

    maps = np.random.default_rng(0).normal(size=(2, 3, side, side))
    spec = Pool(name="pool", size=3, stride=2, mode=mode, overhang=True)  # type: ignore[arg-type]
    found = Module(spec)(torch.from_numpy(maps)).numpy()
    count = -(-(side - 3) // 2) + 1
    assert found.shape == (2, 3, count, count)
    for y in range(count):
        for x in range(count):
            window = maps[:, :, 2 * y : 2 * y + 3, 2 * x : 2 * x + 3]
            expected = window.max(axis=(2, 3)) if mode == "max" else window.mean(axis=(2, 3))
            np.testing.assert_allclose(found[:, :, y, x], expected, rtol=1e-12)


def some_crops(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def train(recipe: str, store: CropStore, stats: Path, out: Path, *more: object, sets: tuple[str, ...] = ()) -> int:
    words: list[object] = ["train", store.path, "--stats", stats, "--recipe", recipe, "--out", out]
    words += [word for text in sets for word in ("--set", text)]
    return main([str(word) for word in (*words, "--devices", "cpu", "--quiet", *more)])


def map_norm(maps: Tensor) -> Tensor:
    """layers-18pct's: over 3×3 pixels of each map, zeros outside, 5e-5 / 9 for each square, power 0.75, constant 1."""
    squares = functional.pad(maps**2, (1, 1, 1, 1))
    side = maps.shape[2]
    total = sum(squares[:, :, y : y + side, x : x + side] for y in range(3) for x in range(3))
    return maps / (1 + 5e-5 / 9 * total) ** 0.75


def logits_by_hand(w: dict[str, Tensor], seen: Tensor) -> Tensor:
    """layers-18pct, or layers-80sec if there is an fc64, layer by layer.

    A pool's windows that hang over are those of maps padded by what doesn't count.
    """

    def average(maps: Tensor) -> Tensor:
        ones = functional.pad(torch.ones_like(maps[:1, :1]), (0, 1, 0, 1))
        return functional.avg_pool2d(functional.pad(maps, (0, 1, 0, 1)), 3, 2) / functional.avg_pool2d(ones, 3, 2)

    norm = map_norm if "fc64.weight" not in w else torch.clone
    x = functional.relu(functional.conv2d(seen, w["conv1.weight"], w["conv1.bias"], padding=2))
    x = norm(functional.max_pool2d(functional.pad(x, (0, 1, 0, 1), value=-torch.inf), 3, 2))
    x = functional.relu(functional.conv2d(x, w["conv2.weight"], w["conv2.bias"], padding=2))
    x = norm(average(x))
    x = average(functional.relu(functional.conv2d(x, w["conv3.weight"], w["conv3.bias"], padding=2)))
    x = x.flatten(1)
    if "fc64.weight" in w:
        x = functional.relu(x @ w["fc64.weight"].T + w["fc64.bias"])
    return x @ w["fc10.weight"].T + w["fc10.bias"]


# FACTS 7: standard deviation of the initial weights, weight decay
SOURCES = {
    "cifar-26": {
        "conv1": (1e-4, 0.004),
        "conv2": (0.01, 0.004),
        "conv3": (0.01, 0.004),
        "fc64": (0.1, 0.03),
        "fc10": (0.1, 0.03),
    },
    "cifar-18": {"conv1": (1e-4, 0.004), "conv2": (0.01, 0.004), "conv3": (0.01, 0.004), "fc10": (0.01, 1.0)},
}


@pytest.mark.parametrize("name", SOURCES)
def test_the_sources_nets_train_by_its_rules(
    make_store: MakeStore, make_statistics: Callable[[CropStore], Path], tmp_path: Path, name: str
) -> None:
    """Ten steps in float64, the last of a partial mini-batch: rates, biases at twice the rate, each layer's decay."""
    labels = [index % 10 for index in range(38)]
    store = make_store("train", labels, [f"class {n}" for n in range(10)], crops=some_crops(38))
    stats = make_statistics(store)
    options = ("--epochs", 1, "--batch-size", 4, "--seed", 3, "--precision", "fp64")
    assert train(name, store, stats, tmp_path / "run", *options, sets=("training.rate=0.01",)) == 0
    newest = RunFolder(tmp_path / "run").newest()
    assert newest is not None
    found = read_checkpoint(newest.path).model

    network = Network(load_recipe(name).net)
    network.double()
    initialise(network, "gaussian", 3, {layer: deviation for layer, (deviation, _) in SOURCES[name].items()})
    w = {name: value.detach().clone().requires_grad_() for name, value in network.named_parameters()}
    v = {name: torch.zeros_like(value) for name, value in w.items()}
    mean = torch.from_numpy(read_statistics(stats)[1].mean_image.astype(np.float32)).double()
    order, wrong = order_of(3, 1, 38), 0
    for start in range(0, 38, 4):
        batch = order[start : start + 4]
        pictures = torch.from_numpy(np.stack([store.read(int(index)) for index in batch])).double()
        logits = logits_by_hand(w, (pictures - mean).permute(0, 3, 1, 2))
        expected = torch.from_numpy(store.labels[batch])
        wrong += int((logits.argmax(1) != expected).sum())
        gradients = torch.autograd.grad(functional.cross_entropy(logits, expected), list(w.values()))
        for (key, value), gradient in zip(w.items(), gradients, strict=True):
            layer, what = key.split(".")
            rate, decay = (0.02, 0.0) if what == "bias" else (0.01, SOURCES[name][layer][1])
            v[key] = 0.9 * v[key] - decay * rate * value.detach() - rate * gradient
            w[key] = (value.detach() + v[key]).requires_grad_()
    for key, value in w.items():
        moved = float((value.detach() - dict(network.named_parameters())[key].detach()).abs().max())
        assert moved > 0, key
        # The input transform is float32's; the steps are float64's.
        assert float((found[key] - value.detach()).abs().max()) < 1e-4 * moved, (key, moved)
    row = RunFolder(tmp_path / "run").metrics()[0]
    assert float(row["train_top1_error"]) == pytest.approx(wrong / 38)


def test_a_resumed_epoch_has_the_training_error_of_one_in_a_piece(
    make_store: MakeStore, make_statistics: Callable[[CropStore], Path], tmp_path: Path
) -> None:
    labels = [index % 10 for index in range(40)]
    store = make_store("train", labels, [f"class {n}" for n in range(10)], crops=some_crops(40))
    stats = make_statistics(store)
    for name in ("whole", "often"):
        often = ("--checkpoint-minutes", 0) if name == "often" else ()
        assert train("figure-1-relu", store, stats, tmp_path / name, "--epochs", 2, "--batch-size", 8, *often) == 0
    errors = [[row["train_top1_error"] for row in RunFolder(tmp_path / name).metrics()] for name in ("whole", "often")]
    assert errors[0] == errors[1]
    assert all(0 < float(error) < 1 for error in errors[0])


def test_metrics_of_older_versions_are_read_with_the_new_columns_empty(tmp_path: Path) -> None:
    older = [column for column in COLUMNS if column not in ("validation_loss", "train_top1_error")]
    (tmp_path / "metrics.csv").write_text(",".join(older) + "\n1,6,0.01,1.0,0.5,0.1,10.0,3.0\n")
    (row,) = RunFolder(tmp_path).metrics()
    assert row["train_top1_error"] == ""
    assert row["train_loss"] == "1.0"
    RunFolder(tmp_path).write_metrics([row])
    with (tmp_path / "metrics.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == [row]


def test_balanced_class_weights_are_torchs_weighted_cross_entropy(
    make_store: MakeStore, make_statistics: Callable[[CropStore], Path], tmp_path: Path
) -> None:
    """One step of one mini-batch, against CrossEntropyLoss(weight=N / (K · n))."""
    labels = [0, 0, 0, 0, 0, 1, 1, 2]
    store = make_store("train", labels, crops=some_crops(8))
    stats = make_statistics(store)
    sets = ("training.class_weights=balanced",)
    assert train("figure-1-relu", store, stats, tmp_path / "run", "--epochs", 1, "--precision", "fp64", sets=sets) == 0
    network = Network(load_recipe("figure-1-relu").with_options(net={"classes": 3}).net).double()
    recipe = load_recipe("figure-1-relu", sets)
    initialise(network, "gaussian", 0, recipe.training.initial_deviations)
    mean = torch.from_numpy(read_statistics(stats)[1].mean_image.astype(np.float32)).double()
    pictures = torch.from_numpy(np.stack([store.read(index) for index in range(8)])).double()
    weights = torch.tensor([8 / (3 * 5), 8 / (3 * 2), 8 / (3 * 1)], dtype=torch.float64)
    loss = torch.nn.CrossEntropyLoss(weight=weights)(
        network((pictures - mean).permute(0, 3, 1, 2).contiguous()), torch.tensor(labels)
    )
    loss.backward()
    newest = RunFolder(tmp_path / "run").newest()
    assert newest is not None
    found = read_checkpoint(newest.path).model
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None
        rate = 8e-3 if name.endswith("bias") else 4e-3
        step = found[name] - parameter.detach()
        torch.testing.assert_close(step, -rate * parameter.grad, rtol=1e-4, atol=1e-12)
    assert float(RunFolder(tmp_path / "run").metrics()[0]["train_loss"]) == pytest.approx(
        float(loss.detach()), rel=1e-5
    )
    assert class_weights(store, load_recipe("paper").training, torch.device("cpu")) is None


REMEDY = ["training.initial_values=he", "training.initial_deviations={}"]
OWN = "training.initial_deviations={conv1=0.16,conv2=0.05,conv3=0.05,fc64=0.04,fc10=0.18}"


@pytest.mark.parametrize(
    ("recipe", "sets", "doubted"),
    [
        ("paper", ["input.normalisation=channel"], True),
        ("paper", ["input.divisor=64"], True),
        ("paper", ["input.normalisation=channel", "training.initial_values=he"], False),
        ("paper", ["input.normalisation=channel", "training.initial_deviations={fc8=0.02}"], True),
        ("source-2012", ["input.divisor=64"], True),
        ("cifar-26", ["input.normalisation=channel"], True),
        ("cifar-26", ["input.normalisation=channel", "training.initial_values=paper"], True),
        ("cifar-26", ["input.normalisation=channel", "training.initial_values=he"], True),
        ("cifar-26", ["input.normalisation=channel", *REMEDY], False),
        ("cifar-26", ["input.normalisation=channel", OWN], False),
        ("paper", [], False),
        ("small", ["input.normalisation=channel", "input.divisor=1"], False),
        ("cifar-26", [], False),
    ],
)
def test_inputs_that_the_initial_values_are_not_made_for_are_warned_about(
    recipe: str, sets: list[str], doubted: bool
) -> None:
    """Measured with cifar-26, 2,500 pictures of CIFAR-10, mini-batches of 32, rate 0.001: the training loss in epoch 6
    is 1.64; with `channel` 2.28, and with `he` too, since the recipe's deviations stay; without them 1.59."""
    found = doubts(load_recipe(recipe, sets))
    assert len(found) == doubted
    assert all("training.initial_values=he" in text for text in found)
    for text in found:
        remedy = [word for word in text.split() if word.startswith("training.")]
        assert not doubts(load_recipe(recipe, [*sets, *remedy])), "what it advises is enough"


def test_the_warning_comes_at_the_start_and_is_logged(
    make_store: MakeStore, make_statistics: Callable[[CropStore], Path], tmp_path: Path, capsys: Capture
) -> None:
    store = make_store("train", [0, 1, 2], crops=some_crops(3))
    sets = ("training.initial_values=paper", "input.normalisation=channel", "training.initial_deviations={}")
    assert train("figure-1-relu", store, make_statistics(store), tmp_path / "run", "--epochs", 1, sets=sets) == 0
    assert "input.normalisation=channel" in (tmp_path / "run" / "log.txt").read_text()


def test_recipes_fields_go_into_checkpoints_and_come_back(tmp_path: Path) -> None:
    for name in PARAMETERS:
        recipe = load_recipe(name)
        values: dict[str, Any] = json.loads(json.dumps(recipe.to_dict()))
        assert type(recipe).from_dict(values) == recipe


def test_summary_shows_nets_side_by_side(capsys: Capture) -> None:
    assert main(["summary", "--compare", "lenet,paper", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    lenet, paper = found["compared"]
    assert (lenet["parameters"], paper["parameters"]) == (sum(PARAMETERS["lenet"].values()), 60_965_224)
    names = [
        [None if at is None else net["layers"][at]["name"] for net, at in zip((lenet, paper), row, strict=True)]
        for row in found["rows"]
    ]
    assert names == [
        ["conv1", "conv1"],
        ["conv2", "conv2"],
        [None, "conv3"],
        [None, "conv4"],
        [None, "conv5"],
        ["fc3", "fc6"],
        ["fc4", "fc7"],
        ["fc5", "fc8"],
    ]
    assert main(["summary", "--compare", "lenet,cifar-18,paper"]) == 0
    text = capsys.readouterr().out
    for part in ("62,006", "89,578", "60,965,224", "16×10×10", "3×32×32"):
        assert part in text
    assert main(["summary", "--compare", "lenet"]) == 2
    assert main(["summary", "--compare", "lenet,none.toml"]) == 2
    told = capsys.readouterr().err
    assert "recipe none.toml: No such file" in told and "--recipe" not in told, "it was given by another option"
