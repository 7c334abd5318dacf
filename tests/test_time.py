"""`alexnet time`: its parts add up to the step, its counts are those of a hand-made sum, and it takes every recipe."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import NARROW_NET, MakeStore
from torch.nn import functional

from alexnet_cli.cli import main
from alexnet_cli.parallel.ranks import Ranks
from alexnet_cli.randomness import draws_of
from alexnet_cli.recipes.read import load_recipe, recipe_files
from alexnet_cli.recipes.recipe import Recipe
from alexnet_cli.timing.clock import Clock
from alexnet_cli.timing.layers import time_layers, together, what_layers_see
from alexnet_cli.timing.limit import FORWARD, INPUTS, WEIGHTS, Memory, products, ways_of
from alexnet_cli.timing.measure import Timed, time_recipe
from alexnet_cli.timing.step import TimedStep
from alexnet_cli.training_step import TrainingStep

CPU = torch.device("cpu")
KEYS = {
    "images_per_second",
    "limit_images_per_second",
    "fraction_of_limit",
    "layers",
    "input_ms",
    "update_ms",
    "peak_bytes",
}


def narrow_recipe(name: str = "paper", pictures: int = 2) -> Recipe:
    names = {spec.name for spec in load_recipe(name).net.layers}
    net = {layer: fields for layer, fields in NARROW_NET.items() if layer in names}
    return load_recipe(name).with_options(net={**net, "classes": 10}, training={"batch_size": pictures})


@pytest.fixture
def timed() -> TimedStep:
    return TimedStep(narrow_recipe(), Ranks.alone(CPU), precision="fp32")


def run(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["time", "--devices", "cpu", "--repeats", "1", "--seconds", "0", "--batch-size", "2", *words]) == 0
    return capsys.readouterr().out


def test_the_json_object_has_its_keys_and_its_ratios_agree(
    narrow: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word for text in narrow for word in ("--set", text)]
    found = json.loads(run(["--json", *words], capsys))
    assert set(found) == KEYS
    assert [layer["name"] for layer in found["layers"]] == [spec.name for spec in load_recipe("paper").net.layers]
    assert all(set(layer) == {"name", "forward_ms", "backward_ms", "gflops"} for layer in found["layers"])
    ratio = found["images_per_second"] / found["limit_images_per_second"]
    assert found["fraction_of_limit"] == pytest.approx(ratio, rel=1e-9)
    assert found["peak_bytes"] > 1e6


def test_the_table_fits_eighty_columns_and_has_a_row_for_each_layer(
    narrow: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = run([word for text in narrow for word in ("--set", text)], capsys)
    rows = [line.split()[0] for line in out.splitlines() if line.startswith("  ")]
    for spec in load_recipe("paper").net.layers:
        assert spec.name in rows
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("name", sorted(recipe_files()))
def test_every_recipe_can_be_measured(name: str) -> None:
    timing = time_recipe(Timed(recipe=narrow_recipe(name), devices="cpu", repeats=1, seconds=0))
    assert [layer.name for layer in timing.layers] == [spec.name for spec in load_recipe(name).net.layers]
    assert timing.step_ms > timing.input_ms > 0
    assert 0 < timing.fraction_of_limit < math.inf


def test_a_recipe_file_and_a_store_are_taken(
    tmp_path: Path, make_store: MakeStore, narrow: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    store = make_store("train", [0, 1, 2, 0, 1])
    (tmp_path / "my.toml").write_text('extends = "no-norm"\nabout = "mine"\n')
    words = [word for text in narrow for word in ("--set", text)]
    words += ["--recipe", str(tmp_path / "my.toml"), "--loader", str(store.path), "--json"]
    assert set(json.loads(run(words, capsys))) == KEYS


def test_a_store_without_labels_is_refused(make_store: MakeStore, capsys: pytest.CaptureFixture[str]) -> None:
    store = make_store("test", [-1, -1], classes=())
    assert main(["time", "--loader", str(store.path), "--devices", "cpu"]) == 4
    assert "has no labels" in capsys.readouterr().err


def test_crops_that_are_smaller_than_the_patches_are_refused(
    make_store: MakeStore, capsys: pytest.CaptureFixture[str]
) -> None:
    store = make_store("small", [0, 1], crops=np.zeros((2, 32, 32, 3), np.uint8))
    assert main(["time", "--recipe", "paper", "--loader", str(store.path), "--devices", "cpu"]) == 2
    assert "cuts patches of 224×224 (input.patch), and the crops of" in capsys.readouterr().err


def test_two_processes_are_measured_together(narrow: list[str]) -> None:
    timing = time_recipe(Timed(recipe=narrow_recipe(pictures=4), devices="cpu:2", repeats=1, seconds=0))
    assert timing.pictures == 4
    assert 0 < timing.fraction_of_limit < math.inf


def test_the_parts_of_a_step_add_up_to_it(timed: TimedStep) -> None:
    timed.run()
    for measure in (timed.run, lambda: time_layers(timed)):
        for _ in range(10):  # where the machine is busy with something else, moments before and after are long
            parts: dict[str, float] = {}
            whole = 1e3 * timed.clock.seconds(lambda measure=measure, parts=parts: parts.update(measure()))  # type: ignore[misc]
            if sum(parts.values()) > 0.7 * whole:
                break
        assert 0.7 * whole < sum(parts.values()) <= whole


def test_the_layered_step_moves_the_weights_as_the_trainings_own_does() -> None:
    """Both are plain steps of the same function: after one each from the same start, the weights agree to the bit."""
    first, second = (TimedStep(narrow_recipe(), Ranks.alone(CPU), precision="fp32") for _ in range(2))
    rates = dict.fromkeys(first.update.rates, 0.01)
    first.update.set_rates(rates)
    second.update.set_rates(rates)
    first.run()
    time_layers(second)
    for one, other in zip(first.network.parameters(), second.network.parameters(), strict=True):
        assert torch.equal(one, other)


def test_every_layer_has_a_forward_and_a_backward_time_or_is_made_with_one_that_has(timed: TimedStep) -> None:
    found = time_layers(timed)
    others = together(timed.network, found)
    for spec in timed.recipe.net.layers:
        name = others.get(spec.name, spec.name)
        assert found[f"forward {name}"] > 0
        assert found[f"backward {name}"] > 0
    assert set(others) <= {"norm1", "pool1", "norm2", "pool2", "pool5"}  # what one pass makes after a ReLU


def test_a_frozen_layer_has_no_gradients_in_the_limit() -> None:
    recipe = narrow_recipe().with_options(training={"layer_rates": {"conv1": 0.0, "conv2": 0.0}})
    step = TimedStep(recipe, Ranks.alone(CPU), precision="fp32")
    seen = what_layers_see(step.network, step.run)
    found = {(one.layer, one.part) for one in products(step.network, seen, Clock(CPU), torch.float32)}
    assert {part for layer, part in found if layer == "conv1"} == {FORWARD}
    assert {part for layer, part in found if layer == "conv3"} == {FORWARD, WEIGHTS}
    assert {part for layer, part in found if layer == "conv4"} == {FORWARD, WEIGHTS, INPUTS}


def test_the_limits_products_are_the_nets_own(timed: TimedStep) -> None:
    """The shapes that the products give, by whichever call, are those of the layers' outputs, weights and inputs."""
    seen = what_layers_see(timed.network, timed.run)
    found = products(timed.network, seen, Clock(CPU), torch.float32)
    for layer in timed.network.layers:
        own = seen[layer.name]
        for part, ways in ways_of(timed.network.weights(layer.name), own, Memory(CPU, torch.float32)):
            assert next(one for one in found if (one.layer, one.part) == (layer.name, part)).way in ways
            for way, call in ways.items():
                result: Any = call()
                results = result if isinstance(result, (tuple, list)) else [result]
                shapes = [tuple(one.shape) for one in results if one is not None]
                if part == FORWARD:
                    assert math.prod(shapes[0]) == 2 * layer.neurons, (layer.name, way)
                elif part == WEIGHTS:
                    assert math.prod(layer.weight_shape) in [math.prod(shape) for shape in shapes], (layer.name, way)
                else:
                    assert shapes[0][:1] == (2,) and math.prod(shapes[0]) >= math.prod(own.shape), (layer.name, way)


def test_the_counted_work_is_that_of_a_hand_made_sum() -> None:
    """FLOP of the narrow net's fc8, 2 pictures: 2·(32·10)·3 passes·2 pictures, over the time that is told."""
    timing = time_recipe(Timed(recipe=narrow_recipe(), devices="cpu", repeats=1, seconds=0))
    fc8 = next(layer for layer in timing.layers if layer.name == "fc8")
    sees = 2 * 16
    flop = 2 * (sees * 10) * 3 * 2
    assert fc8.gflops == pytest.approx(flop / (fc8.forward_ms + fc8.backward_ms) / 1e6, rel=1e-9)


def test_the_shared_step_is_the_paper_s(make_store: Callable[..., object]) -> None:
    """Patches, masks and loss of TrainingStep against torch's own cross-entropy, to 1e-6."""
    recipe = narrow_recipe()
    step = TimedStep(recipe, Ranks.alone(CPU), precision="fp32").step
    assert isinstance(step, TrainingStep)
    crops = torch.randint(0, 256, (2, 256, 256, 3), dtype=torch.uint8)
    draws = draws_of(0, 1, torch.arange(2).numpy(), positions=33, flip=True)
    logits = step.logits(step.network, step.patches(crops, draws, 0.1), step.masks(3, 2), 2)
    labels = torch.tensor([5, 7])
    torch.testing.assert_close(step.loss(logits, labels, 2), functional.cross_entropy(logits, labels))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems tell it in another way")
def test_the_peak_is_not_that_of_the_program_that_started_this_one() -> None:
    held = np.ones(500_000_000, np.uint8)
    words = "import sys; from alexnet_cli.memory import most_held; x = bytearray(int(sys.argv[1])); print(most_held())"
    found = [
        int(subprocess.run([sys.executable, "-c", words, size], stdout=subprocess.PIPE, text=True, check=True).stdout)
        for size in ("0", "200000000")
    ]
    assert found[0] < 200_000_000 < found[1] < held.nbytes
