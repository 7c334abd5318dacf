"""`alexnet train` on a narrow net: what it leaves in the run folder, and what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_training import Bench, Capture

from alexnet_cli.artifacts.checkpoint import write_checkpoint
from alexnet_cli.artifacts.scores import read_scores
from alexnet_cli.cli import main


def test_the_run_folder_holds_config_metrics_events_checkpoints_filters_log_and_manifest(bench: Bench) -> None:
    assert bench("--quiet", "--seed", 5) == 0
    assert {path.name for path in bench.out.iterdir()} == {
        "config.json",
        "metrics.csv",
        "tensorboard",
        "checkpoints",
        "filters",
        "log.txt",
        "manifest.json",
    }
    config = json.loads((bench.out / "config.json").read_text())
    assert config["seed"] == 5
    assert config["recipe"]["name"] == "quickstart"
    assert config["recipe"]["net"]["classes"] == 3
    assert config["recipe"]["net"]["fc6"]["neurons"] == 16
    assert config["recipe"]["training"]["batch_size"] == 4
    assert config["parents"]["crops"] == bench.train.digest
    assert config["parents"]["validation"] == bench.val.digest
    manifest = json.loads((bench.out / "manifest.json").read_text())
    assert manifest["kind"] == "run" and manifest["parents"] == config["parents"]


def test_metrics_have_a_row_for_each_epoch(bench: Bench) -> None:
    assert bench("--quiet", "--epochs", 4) == 0
    rows = bench.rows()
    assert list(rows[0]) == [
        "epoch",
        "step",
        "rate",
        "train_loss",
        "validation_top1_error",
        "validation_top5_error",
        "images_per_second",
        "seconds",
        "validation_loss",
        "train_top1_error",
    ]
    assert [(row["epoch"], row["step"]) for row in rows] == [("1", "6"), ("2", "12"), ("3", "18"), ("4", "24")]
    assert all(0 <= float(row["validation_top1_error"]) <= 1 for row in rows)
    assert all(float(row["validation_top5_error"]) == 0 for row in rows), "there are three classes"
    assert all(float(row["images_per_second"]) > 0 for row in rows)
    seconds = [float(row["seconds"]) for row in rows]
    assert seconds == sorted(seconds)


def test_tensorboard_can_show_the_losses_and_the_epochs(bench: Bench) -> None:
    from tensorboard.backend.event_processing import event_accumulator

    assert bench("--quiet", "--epochs", 4) == 0
    events = event_accumulator.EventAccumulator(str(bench.out / "tensorboard"))
    events.Reload()
    assert {"train/loss", "epoch/train_loss", "epoch/validation_top1_error", "epoch/rate"} <= set(
        events.Tags()["scalars"]
    )
    rows = bench.rows()
    shown = events.Scalars("epoch/train_loss")
    assert [event.step for event in shown] == [6, 12, 18, 24]
    assert [event.value for event in shown] == pytest.approx([float(row["train_loss"]) for row in rows])


def test_the_json_result_has_the_keys_that_others_rely_on(bench: Bench, capsys: Capture) -> None:
    assert bench("--json") == 0
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert {"run", "steps", "best_epoch", "top1_error", "top5_error", "images_per_second"} <= set(result)
    assert result["run"] == str(bench.out)
    assert result["steps"] == 12
    rows = bench.rows()
    errors = [float(row["validation_top1_error"]) for row in rows]
    assert result["top1_error"] == min(errors)
    assert result["best_epoch"] == errors.index(min(errors)) + 1
    assert "epoch 2/2" in printed.err, "progress goes to stderr"


def test_without_validation_pictures_there_is_no_best_epoch(bench: Bench, capsys: Capture) -> None:
    assert bench("--json", "--quiet", val=None) == 0
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert (result["best_epoch"], result["top1_error"], result["top5_error"]) == (None, None, None)
    assert printed.err == ""
    assert {row["validation_top1_error"] for row in bench.rows()} == {""}


def test_the_validation_error_is_the_centre_views_error_that_eval_finds(bench: Bench, capsys: Capture) -> None:
    assert bench("--quiet", "--epochs", 1) == 0
    capsys.readouterr()
    words = [bench.last().path, bench.val.path, "--out", bench.folder / "s.h5", "--json", "--quiet"]
    assert main(["eval", *map(str, words)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["centre_top1_error"] == float(bench.rows()[0]["validation_top1_error"])
    scores = read_scores(bench.folder / "s.h5")[1]
    own = scores.centre_probabilities.astype(np.float64)[np.arange(len(scores.labels)), scores.labels]
    assert float(bench.rows()[0]["validation_loss"]) == pytest.approx(np.mean(-np.log(own)), rel=1e-6)


def test_the_first_epochs_filters_stay_when_its_checkpoint_is_gone(bench: Bench) -> None:
    assert bench("--quiet", "--epochs", 1) == 0
    kept = load_file(bench.out / "filters/first-epoch.safetensors")["conv1.weight"]
    assert torch.equal(kept, bench.last().model["conv1.weight"])
    assert bench("--quiet", "--epochs", 5, "--resume") == 0
    assert torch.equal(load_file(bench.out / "filters/first-epoch.safetensors")["conv1.weight"], kept)
    assert not torch.equal(bench.last().model["conv1.weight"], kept)


def test_the_first_epochs_filters_are_there_before_its_checkpoint_is(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training that goes on from that checkpoint never writes them again."""
    there: dict[str, bool] = {}

    def noted(path: Path, **given: Any) -> Any:
        there[path.name] = any((path.parents[1] / "filters").glob("first-epoch.safetensors"))
        return write_checkpoint(path, **given)

    monkeypatch.setattr("alexnet_stages.train.session.write_checkpoint", noted)
    assert bench("--quiet", "--epochs", 1, "--checkpoint-minutes", 0) == 0
    assert len(there) > 1 and [name for name, is_there in there.items() if is_there] == [max(there)]


def test_a_checkpoint_says_how_its_pictures_were_cut_and_the_run_on_what_machine(bench: Bench) -> None:
    assert bench("--quiet", "--epochs", 1) == 0
    assert "cutting" not in bench.last().manifest.details, "the store of this test was cut by nobody"
    machine = json.loads((bench.out / "config.json").read_text())["machine"]
    assert (
        machine["devices"] == ["CPU"] and machine["cores"] >= 1 and machine["torch"] == torch.__version__.split("+")[0]
    )


def test_the_pictures_that_make_no_whole_mini_batch_are_explained(bench: Bench, capsys: Capture) -> None:
    left = len(bench.train) % 5
    assert left
    assert bench("--epochs", 1, "--batch-size", 5) == 0
    pictures = len(bench.train)
    told = f"an epoch is {pictures - left} of {pictures} pictures: the {left} that make no whole mini-batch"
    assert told in capsys.readouterr().err


def test_an_epoch_is_told_with_loss_rate_and_error_and_logged(bench: Bench, capsys: Capture) -> None:
    assert bench() == 0
    text = capsys.readouterr().err
    for part in ("epoch 1/2: ", "pictures/s", " left", "run ", "epoch 1: loss ", "validation error "):
        assert part in text
    assert "epoch 2: loss" in (bench.out / "log.txt").read_text()
