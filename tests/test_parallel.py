"""Several ranks train the same net as one process: to 1e-12 in float64, to its rounding in float32.

One set of processes does many trainings (ranks_work.py): starting processes is what takes the time.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from ranks_work import Job, corrupted_copies, trainings
from safetensors.numpy import load_file

from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.artifacts.scores import read_scores
from alexnet_cli.cli import main
from alexnet_cli.parallel.account import account, crop_bytes
from alexnet_cli.parallel.launch import run_ranks
from alexnet_cli.parallel.layout import Layout
from alexnet_cli.parallel.ranks import Ranks
from alexnet_cli.parallel.team import find_team
from alexnet_stages.train.config import TrainConfig
from alexnet_stages.train.run import check, train

MakeStore = Callable[..., CropStore]
MakeStatistics = Callable[[CropStore], Path]
MakeConfig = Callable[..., TrainConfig]

STEPS, BATCH = 20, 4


@pytest.fixture
def make_config(
    tmp_path: Path, make_store: MakeStore, make_statistics: MakeStatistics, narrow: list[str]
) -> MakeConfig:
    """make_config(recipe, precision, name): 20 steps of a narrow net, evaluated once."""
    classes = ("ape", "bat", "cat", "dog")  # as many as ranks, at least: hybrid gives each some
    store = make_store("train", [index % 3 for index in range(STEPS * BATCH)], classes)
    val = make_store("val", [index % 3 for index in range(7)], classes, seed=1)
    stats = make_statistics(store)

    def make(recipe: str, precision: str, name: str) -> TrainConfig:
        return TrainConfig(
            crops=store.path,
            val=val.path,
            stats=stats,
            out=tmp_path / "runs" / name,
            recipe=recipe,
            set=[
                *narrow,
                "training.schedule=steps",
                "training.epochs=1",
                "training.initial_values=he",
                "input.divisor=64.0",
            ],
            batch_size=BATCH,
            rate=0.002,
            seed=3,
            precision=precision,
            quiet=True,
        )

    return make


def tensors(run: Path) -> dict[str, NDArray[np.float64]]:
    """Weights and momentum of a run's newest checkpoint."""
    newest = sorted((run / "checkpoints").glob("step-*"))[-1]
    found = {}
    for file in ("model", "momentum"):
        for name, values in load_file(newest / f"{file}.safetensors").items():
            found[f"{file} {name}"] = values.astype(np.float64)
    return found


def distance(first: Path, second: Path) -> float:
    """The largest difference of any tensor, relative to the tensor's largest value."""
    mine, others = tensors(first), tensors(second)
    assert mine.keys() == others.keys()
    return max(float(np.abs(mine[name] - others[name]).max() / np.abs(mine[name]).max()) for name in mine)


def run_jobs(configs: dict[str, tuple[TrainConfig, str]], world: int) -> list[dict[str, int]]:
    """Train each config under its layout by `world` ranks, into a folder named after them; what the first rank sent."""
    jobs = [
        Job(replace(config, out=config.out.with_name(f"{name}-{world}")), parallel)
        for name, (config, parallel) in configs.items()
    ]
    sent: list[dict[str, int]] = run_ranks(trainings, jobs, find_team(f"cpu:{world}", timeout=120))
    return sent


def test_two_ranks_train_the_same_net_as_one_in_float64(make_config: MakeConfig) -> None:
    jobs = [(recipe, "columns") for recipe in ("paper", "source-2012", "conv6", "no-exchange")]
    jobs += [(recipe, mode) for recipe in ("paper", "no-exchange") for mode in ("data", "hybrid")]
    # Dropout below the first fully-connected layer; groups in a single column.
    _require_the_same(make_config, [*jobs, ("torchvision", "hybrid"), ("caffenet", "hybrid")])


@pytest.mark.slow
def test_so_they_do_for_the_recipes_that_differ_in_single_layers(make_config: MakeConfig) -> None:
    _require_the_same(make_config, [(recipe, "columns") for recipe in ("no-norm", "no-overlap", "tanh")])


def _require_the_same(make_config: MakeConfig, jobs: list[tuple[str, str]]) -> None:
    named = [(f"{recipe}-{mode}", recipe, mode) for recipe, mode in jobs]
    configs = {name: (make_config(recipe, "fp64", name), mode) for name, recipe, mode in named}
    run_jobs(configs, 2)
    references: dict[str, Path] = {}
    for name, (config, _) in configs.items():
        if config.recipe not in references:
            references[config.recipe] = config.out
            train(config, Ranks.alone(torch.device("cpu")))
        assert distance(references[config.recipe], config.out.with_name(f"{name}-2")) < 1e-12, name


@pytest.mark.slow
def test_four_ranks_train_the_same_net_as_one_in_float64(make_config: MakeConfig) -> None:
    modes = ("columns", "data", "hybrid")
    configs = {mode: (make_config("paper", "fp64", mode), mode) for mode in modes}
    run_jobs(configs, 4)
    alone = make_config("paper", "fp64", "alone")
    train(alone, Ranks.alone(torch.device("cpu")))
    for mode in modes:
        assert distance(alone.out, alone.out.with_name(f"{mode}-4")) < 1e-12, mode


def test_in_float32_they_differ_by_rounding_only_and_send_what_the_account_says(make_config: MakeConfig) -> None:
    modes = ("columns", "data", "hybrid")
    configs = {mode: (make_config("paper", "fp32", mode), mode) for mode in modes}
    sent = run_jobs(configs, 2)
    alone, exact = make_config("paper", "fp32", "alone"), make_config("paper", "fp64", "exact")
    for config in (alone, exact):
        train(config, Ranks.alone(torch.device("cpu")))
    rounding = distance(exact.out, alone.out)
    for mode in modes:
        # As far from one process as that is from float64: 20 steps of float32's rounding, here about 1e-5.
        assert distance(alone.out, alone.out.with_name(f"{mode}-2")) < max(4 * rounding, 1e-6), mode
        assert distance(exact.out, alone.out.with_name(f"{mode}-2")) < 4e-4, mode

    net = check(alone).recipe.net
    for mode, counted in zip(modes, sent, strict=True):
        layout = Layout(mode, 2, 2)
        pictures = STEPS * BATCH
        told = sum(layer.sent_per_picture for layer in account(net, layout, BATCH)) * pictures / 2
        told += crop_bytes(net, layout) * pictures / 2
        # Validation sends too, forward only: of its 7 pictures, in one view.
        forward = 0 if mode == "data" else 7 / pictures * told
        total = sum(counted.values())
        assert told <= total <= told + forward, mode


def test_a_run_of_two_goes_on_alone_and_the_other_way_round(make_config: MakeConfig) -> None:
    whole = make_config("paper", "fp64", "whole")
    whole = replace(whole, epochs=2)
    train(whole, Ranks.alone(torch.device("cpu")))
    first = replace(whole, out=whole.out.with_name("first"), epochs=1)
    train(first, Ranks.alone(torch.device("cpu")))
    (first.out / "manifest.json").unlink()
    go_on = replace(first, epochs=2, resume=True)
    run_ranks(trainings, [Job(go_on, "columns")], find_team("cpu:2", timeout=120))
    assert distance(whole.out, first.out) < 1e-12
    (first.out / "manifest.json").unlink()
    train(replace(go_on, epochs=3), Ranks.alone(torch.device("cpu")))
    train(replace(whole, epochs=3, out=whole.out.with_name("three")), Ranks.alone(torch.device("cpu")))
    assert distance(whole.out.with_name("three"), first.out) < 1e-12


def test_eval_and_pca_over_two_processes_count_each_picture_once(
    make_config: MakeConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_config("paper", "fp32", "run")
    train(config, Ranks.alone(torch.device("cpu")))
    capsys.readouterr()
    answers, scores = [], []
    for devices in ("cpu", "cpu:2"):
        out = str(tmp_path / f"{devices}.h5")
        words = ["eval", str(config.out), str(config.val), "--out", out, "--batch-size", "2", "--devices", devices]
        assert main([*words, "--json", "--quiet"]) == 0
        answers.append(json.loads(capsys.readouterr().out))
        scores.append(read_scores(Path(out))[1])
        words = ["pca", str(config.crops), "--out", str(tmp_path / f"{devices}-pca.h5"), "--devices", devices]
        assert main([*words, "--json", "--quiet"]) == 0
        answers.append(json.loads(capsys.readouterr().out))
    assert answers[0]["pictures"] == answers[2]["pictures"] == 7
    assert answers[0]["top1_error"] == answers[2]["top1_error"]
    # The same mini-batches; torch with other numbers of threads may sum in another order.
    np.testing.assert_allclose(scores[0].probabilities, scores[1].probabilities, rtol=1e-5, atol=1e-7)
    assert answers[1]["digest"] == answers[3]["digest"]


def test_ranks_import_nothing_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("types", "random", "torch"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('somebody else imported')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    assert run_ranks(trainings, [], find_team("cpu:2", timeout=60)) == []


def test_copies_that_change_on_their_way_are_found(tmp_path: Path) -> None:
    verdicts = run_ranks(corrupted_copies, tmp_path, find_team("cpu:2", timeout=60))
    assert verdicts[0] == "true"
    assert "rank 1 sends to rank 0 (cpu) arrive changed (1 bytes)" in verdicts[1]
    assert "NCCL_P2P_DISABLE=1" in verdicts[1]


def test_summary_shows_what_crosses_between_two_devices(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", "--devices", "2", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    sent = {layer["name"]: layer["sent_bytes_per_picture"] for layer in summary["layers"]}
    # Forward and backward, 4 bytes each: conv3 sees 256 maps of 13×13, fc6 9,216 numbers, fc7 and fc8 4,096; and
    # 1,000 logits.
    assert sent == {
        "conv1": 0,
        "conv2": 0,
        "conv3": 2 * 4 * 256 * 13 * 13,
        "conv4": 0,
        "conv5": 0,
        "fc6": 2 * 4 * 9216,
        "fc7": 2 * 4 * 4096,
        "fc8": 2 * 4 * 4096 + 4 * 1000,
    }
    assert summary["held_parameters"] == 60_965_224 // 2
    assert summary["state_bytes"] == 3 * 4 * 60_965_224 // 2
    assert main(["summary", "--compare", "paper,small", "--devices", "2"]) == 0
    text = capsys.readouterr().out
    assert all(f"{name}: 2 ranks, one column each" in text for name in ("paper", "small"))
    assert text.count("30,482,612") == 2, "what each rank holds of either net"
    assert main(["summary", "--devices", "9" * 5000]) == 2
