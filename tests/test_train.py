"""`alexnet train` on a narrow net: the steps that it makes, by hand beside it, and when it stops."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from small_training import Bench, Capture, refused
from torch.nn import functional

from alexnet_cli.artifacts.checkpoint import read_checkpoint
from alexnet_cli.artifacts.run import RunFolder
from alexnet_cli.artifacts.statistics import read_statistics
from alexnet_cli.cli import main
from alexnet_cli.net.network import Network
from alexnet_cli.net.whole import load_whole
from alexnet_cli.randomness import draws_of, order_of


def patches_by_hand(bench: Bench, epoch: int, noise: float, divisor: float) -> NDArray[np.float64]:
    """The patches of a whole epoch in float64: cut, shifted in colour, less the mean at their place."""
    statistics = read_statistics(bench.stats)[1]
    draws = draws_of(0, epoch, order_of(0, epoch, len(bench.train)), positions=33, flip=False)
    found = []
    for index in range(len(bench.train)):
        row, column = draws.offsets[index]
        crop = bench.train.read(index).astype(np.float64)
        colour = statistics.eigenvectors @ (statistics.standard_deviations * noise * draws.noise[index])
        patch = (crop - statistics.mean_image)[row : row + 224, column : column + 224] + colour
        found.append(patch.transpose(2, 0, 1) / divisor)
    return np.stack(found)


def test_a_step_is_the_update_rule_with_the_gradient_of_the_mean_loss(bench: Bench) -> None:
    """Epochs of one mini-batch: the second step computed again in float64 from the first one's checkpoint."""
    rate = 0.002
    sets = ("--set", "training.weight_decay=0.1", "--set", "training.changes=[]")
    assert bench("--quiet", "--batch-size", 24, "--rate", rate, *sets) == 0
    first = read_checkpoint(RunFolder(bench.out).checkpoint_path(1), to_train=True)
    second = read_checkpoint(RunFolder(bench.out).checkpoint_path(2))
    network = Network(first.recipe.net).double()
    load_whole(network, first.model)
    patches = torch.from_numpy(patches_by_hand(bench, 2, 0.1, 64.0))
    loss = functional.cross_entropy(network(patches), torch.from_numpy(bench.train.labels))
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(bench.rows()[1]["train_loss"]) == pytest.approx(loss.item(), rel=1e-5)
    for name, parameter in network.named_parameters():
        before, gradient = first.model[name].double(), parameter.grad
        assert gradient is not None
        decay = 0.1 if name.endswith("weight") else 0.0
        velocity = 0.9 * -rate * first.momentum[name].double() - decay * rate * before - rate * gradient
        moved = second.model[name].double() - before
        torch.testing.assert_close(moved, velocity, rtol=1e-3, atol=2e-7, msg=name)


def test_a_last_partial_mini_batch_is_trained_and_divided_by_its_own_size(bench: Bench) -> None:
    """24 pictures are a mini-batch of 16 and one of 8; without `partial_batch` the 8 wait for the next epoch."""
    rate, words = 0.002, ("--quiet", "--batch-size", 16, "--epochs", 1, "--checkpoint-minutes", 0)
    assert bench(*words, "--rate", rate, "--set", "training.partial_batch=true") == 0
    first = read_checkpoint(RunFolder(bench.out).checkpoint_path(1), to_train=True)
    second = read_checkpoint(RunFolder(bench.out).checkpoint_path(2))
    network = Network(first.recipe.net).double()
    load_whole(network, first.model)
    last = order_of(0, 1, len(bench.train))[16:]
    patches = torch.from_numpy(patches_by_hand(bench, 1, 0.1, 64.0)[last])
    functional.cross_entropy(network(patches), torch.from_numpy(bench.train.labels[last])).backward()  # type: ignore[no-untyped-call]
    for name, parameter in network.named_parameters():
        before, gradient = first.model[name].double(), parameter.grad
        assert gradient is not None
        decay = 0.0005 if name.endswith("weight") else 0.0
        velocity = 0.9 * -rate * first.momentum[name].double() - decay * rate * before - rate * gradient
        torch.testing.assert_close(second.model[name].double() - before, velocity, rtol=1e-3, atol=2e-7, msg=name)
    bench.out = bench.folder / "whole"
    assert bench(*words) == 0
    assert bench.last().manifest.details["step"] == 1


def test_a_training_on_coloured_crops_learns_their_colours(bench: Bench, capsys: Capture) -> None:
    assert bench("--json", "--quiet", "--epochs", 8, "--rate", 0.003, "--set", "training.changes=[]") == 0
    result = json.loads(capsys.readouterr().out)
    losses = [float(row["train_loss"]) for row in bench.rows()]
    assert losses[-1] < 0.3 * losses[0]
    assert result["top1_error"] == 0.0


def test_the_seed_decides_and_the_threads_do_not(bench: Bench) -> None:
    digests = []
    for name, seed, workers in (("a", 1, 1), ("b", 1, 3), ("c", 2, 1)):
        bench.out = bench.folder / name
        assert bench("--quiet", "--seed", seed, "--workers", workers) == 0
        digests.append(bench.last().manifest.details["files"]["model.safetensors"])
    assert digests[0] == digests[1] != digests[2]


def test_bfloat16_maps_train_float32_weights(bench: Bench) -> None:
    changes = ["--rate", 0.003, "--epochs", 6, "--set", "training.changes=[]"]
    assert bench("--quiet", "--precision", "bf16", *changes) == 0
    losses = [float(row["train_loss"]) for row in bench.rows()]
    assert losses[-1] < 0.5 * losses[0]
    assert {tensor.dtype for tensor in bench.last(to_train=True).model.values()} == {torch.float32}
    assert {tensor.dtype for tensor in bench.last(to_train=True).momentum.values()} == {torch.float32}


@pytest.mark.slow
def test_a_compiled_net_learns_what_the_plain_one_does(bench: Bench) -> None:
    """To rounding: sums come in another order."""
    found = []
    for name, words in (("plain", []), ("compiled", ["--compile"])):
        bench.out = bench.folder / name
        assert bench("--quiet", *words) == 0
        found.append([float(row["train_loss"]) for row in bench.rows()])
    assert found[0] == pytest.approx(found[1], rel=1e-3)


def test_a_plateau_drops_the_rate_with_its_reason_and_then_ends(bench: Bench, capsys: Capture) -> None:
    """A rate too small to change any answer: every epoch is as good as the first."""
    plateau = ["training.schedule='plateau'", "training.patience=2", "training.drops=1"]
    words = [word for text in plateau for word in ("--set", text)]
    assert bench("--epochs", 50, "--rate", 1e-30, *words) == 0
    text = capsys.readouterr().err
    assert "rate 1e-31 from epoch 4 on: no lower validation error than" in text
    assert "training ends after epoch 5: no lower validation error than" in text
    assert "from epoch 4 on" in (bench.out / "log.txt").read_text()
    assert [float(row["rate"]) for row in bench.rows()] == pytest.approx([1e-30] * 3 + [1e-31] * 2)
    assert bench("--resume", "--epochs", 60, "--rate", 1e-30, *words) == 0
    assert capsys.readouterr().err.endswith("is finished: nothing to do\n"), "the schedule ended it, not the epochs"


def test_the_steps_of_a_recipe_are_logged_and_a_frozen_layer_stays(bench: Bench, capsys: Capture) -> None:
    changes = "training.changes=[{epoch=2, rate=1e-4, layers={conv1=0.0}, colour_noise=0.0}]"
    assert bench("--set", changes) == 0
    text = capsys.readouterr().err
    assert "rate 0.0001 from epoch 2 on: the recipe's step" in text
    assert "conv1 frozen from epoch 2 on" in text
    assert "colour noise off from epoch 2 on" in text
    run = RunFolder(bench.out)
    one, two = (read_checkpoint(run.checkpoint_path(step)).model for step in (6, 12))
    assert torch.equal(one["conv1.weight"], two["conv1.weight"]) and torch.equal(one["conv1.bias"], two["conv1.bias"])
    assert not torch.equal(one["conv2.weight"], two["conv2.weight"])


def test_a_loss_still_at_ln_of_the_classes_is_told_with_what_to_try(bench: Bench, capsys: Capture) -> None:
    stuck = ["training.initial_values='paper'", "training.stuck_after=5", "input.divisor=6400.0"]
    assert bench("--quiet", "--rate", 1e-9, *[word for text in stuck for word in ("--set", text)]) == 0
    text = capsys.readouterr().err
    assert "warning: after 5 steps the loss is 1." in text and f"still ln(classes) = {math.log(3):.3f}" in text
    assert "try another --seed or --rate" in text
    assert "still ln(classes)" in (bench.out / "log.txt").read_text()


def test_a_net_that_learns_is_not_called_stuck(bench: Bench, capsys: Capture) -> None:
    words = ["--rate", 0.003, "--epochs", 6, "--set", "training.stuck_after=36", "--set", "training.changes=[]"]
    assert bench("--quiet", *words) == 0
    assert "ln(classes)" not in capsys.readouterr().err


def test_a_loss_that_is_not_finite_ends_with_6_and_the_last_good_checkpoint_stays(
    bench: Bench, capsys: Capture
) -> None:
    explode = "training.changes=[{epoch=2, rate=1e30}]"
    code = bench("--quiet", "--epochs", 5, "--set", explode)
    refused(capsys, 6, "not finite", "lower --rate", "step-00000006")(code)
    assert bench.last().manifest.details["step"] == 6
    assert all(bool(torch.isfinite(tensor).all()) for tensor in bench.last().model.values())
    assert not (bench.out / "manifest.json").exists(), "the run is not finished"
    words = [bench.out, bench.val.path, "--out", bench.folder / "s.h5", "--quiet", "--json"]
    assert main(["eval", *map(str, words)]) == 0


def test_a_loss_that_is_not_finite_before_any_checkpoint_says_so(bench: Bench, capsys: Capture) -> None:
    refused(capsys, 6, "not finite at step ", "no checkpoint yet", "lower --rate")(bench("--quiet", "--rate", 1e30))


def test_a_training_can_be_called_from_python(bench: Bench) -> None:
    from alexnet_stages.train.config import TrainConfig
    from alexnet_stages.train.run import run

    options: dict[str, Any] = {"recipe": "quickstart", "epochs": 1, "batch_size": 8, "quiet": True, "devices": "cpu"}
    config = TrainConfig(crops=bench.train.path, stats=bench.stats, out=bench.out, set=bench.sets, **options)
    assert run(config).steps == 3
