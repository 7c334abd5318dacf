"""`alexnet train` through its command line, on a narrow net: what it leaves behind, and what it refuses."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch.nn import functional

from alexnet_cli.artifacts.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from alexnet_cli.artifacts.common.working import only_writer
from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.artifacts.run import RunFolder
from alexnet_cli.artifacts.scores import read_scores
from alexnet_cli.artifacts.statistics import read_statistics
from alexnet_cli.cli import main
from alexnet_cli.net.network import Network
from alexnet_cli.net.whole import load_whole
from alexnet_cli.randomness import draws_of, order_of

MakeStore = Callable[..., CropStore]
Capture = pytest.CaptureFixture[str]


class Bench:
    """A training and a validation store, statistics, and the command line over them."""

    def __init__(self, make_store: MakeStore, make_statistics: Callable[[CropStore], Path], narrow: list[str]) -> None:
        self.train = make_store("train", [index % 3 for index in range(24)])
        self.val = make_store("val", [0, 1, 2] * 3, seed=1)
        self.stats = make_statistics(self.train)
        self.make_store, self.make_statistics = make_store, make_statistics
        self.sets = [*narrow]
        self.folder = self.train.path.parent
        self.out = self.folder / "run"

    def words(self, *more: object, **given: Path | None) -> list[str]:
        """The command's words: 6 mini-batches of 4 an epoch, 2 epochs. given: other stores, out; or None."""
        paths = {"val": self.val.path, "stats": self.stats, "out": self.out, **given}
        words: list[object] = ["train", paths.pop("train", self.train.path), "--devices", "cpu"]
        words += [word for name, path in paths.items() if path is not None for word in (f"--{name}", path)]
        words += ["--recipe", "quickstart", "--batch-size", 4, "--epochs", 2, "--rate", 0.001]
        words += [word for text in self.sets for word in ("--set", text)]
        return [str(word) for word in (*words, *more)]

    def __call__(self, *more: object, **given: Path | None) -> int:
        return main(self.words(*more, **given))

    def rows(self) -> list[dict[str, str]]:
        """metrics.csv, as a spreadsheet would read it."""
        with (self.out / "metrics.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    def last(self, *, to_train: bool = False) -> Checkpoint:
        """The newest checkpoint."""
        newest = RunFolder(self.out).newest()
        assert newest is not None
        return read_checkpoint(newest.path, to_train=to_train)


@pytest.fixture
def bench(make_store: MakeStore, make_statistics: Callable[[CropStore], Path], narrow: list[str]) -> Bench:
    return Bench(make_store, make_statistics, narrow)


def refused(capsys: Capture, code: int, *parts: str) -> Callable[[int], None]:
    """Checks an exit code, and that stderr is one line with these parts."""

    def check(found: int) -> None:
        printed = capsys.readouterr()
        lines = printed.err.splitlines()
        assert found == code, printed.err
        assert len(lines) == 1 and lines[0].startswith("alexnet: "), printed.err
        for part in parts:
            assert part in lines[0]
        assert printed.out == ""

    return check


# ------------------------------------------------------------------------------------------------- what is left behind


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


# --------------------------------------------------------------------------------------------------- what training does


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
    assert bench("--quiet", "--batch-size", 24, "--rate", rate, "--set", "training.weight_decay=0.1") == 0
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


# ------------------------------------------------------------------------------------------------------ what is refused


def test_statistics_of_another_store_are_refused_unless_allowed(bench: Bench, capsys: Capture) -> None:
    other = bench.make_statistics(bench.make_store("other", [0, 1, 2], seed=9))
    refused(capsys, 4, str(other), "another crop store", "alexnet pca", "--allow-other-stats")(
        bench("--quiet", stats=other)
    )
    assert not bench.out.exists()
    assert bench("--quiet", "--allow-other-stats", stats=other) == 0


def test_a_validation_store_of_other_classes_is_refused_with_the_difference(bench: Bench, capsys: Capture) -> None:
    other = bench.make_store("other", [0, 1, 2], classes=("ape", "bat", "dog"))
    refused(capsys, 4, str(other.path), "another class list", "'cat'", "'dog'")(bench("--quiet", val=other.path))


def test_a_plateau_without_validation_pictures_is_refused(bench: Bench, capsys: Capture) -> None:
    refused(capsys, 2, "lowers the rate by the validation error", "--val STORE")(
        bench("--quiet", "--recipe", "paper", val=None)
    )


def test_missing_statistics_are_refused_with_the_command_that_makes_them(bench: Bench, capsys: Capture) -> None:
    refused(capsys, 2, "--stats is missing", f"alexnet pca {bench.train.path}")(bench("--quiet", stats=None))
    refused(capsys, 4, "nowhere.h5", "there is no such statistics file")(
        bench("--quiet", stats=bench.folder / "nowhere.h5")
    )


def test_a_missing_store_is_refused(bench: Bench, capsys: Capture) -> None:
    refused(capsys, 4, "gone.lmdb", "there is no such crop store")(bench("--quiet", train=bench.folder / "gone.lmdb"))
    refused(capsys, 4, "gone.lmdb", "there is no such crop store")(bench("--quiet", val=bench.folder / "gone.lmdb"))


def test_pictures_without_labels_can_not_be_trained_on(bench: Bench, capsys: Capture) -> None:
    unlabelled = bench.make_store("unlabelled", [-1, -1], classes=())
    refused(capsys, 4, str(unlabelled.path), "has no labels")(bench("--quiet", train=unlabelled.path))
    refused(capsys, 4, str(unlabelled.path), "has no labels")(bench("--quiet", val=unlabelled.path))


def test_an_output_that_exists_is_refused_and_kept_unless_overwriting(bench: Bench, capsys: Capture) -> None:
    assert bench("--quiet", "--epochs", 1) == 0
    digest = bench.last().manifest.digest
    capsys.readouterr()
    refused(capsys, 2, str(bench.out), "exists already", "--overwrite")(bench("--quiet", "--seed", 1))
    assert bench.last().manifest.digest == digest
    assert bench("--quiet", "--epochs", 1, "--seed", 1, "--overwrite") == 0
    assert bench.last().manifest.digest != digest
    assert len(bench.rows()) == 1


def test_a_folder_that_is_no_run_is_never_replaced(bench: Bench, capsys: Capture) -> None:
    bench.out.mkdir()
    (bench.out / "thesis.tex").write_text("years of work")
    refused(capsys, 2, "is no run folder", "another --out")(bench("--quiet", "--overwrite"))
    assert (bench.out / "thesis.tex").read_text() == "years of work"


def test_an_output_that_can_not_be_written_is_refused_at_once(bench: Bench, capsys: Capture) -> None:
    (bench.folder / "file").write_text("")
    refused(capsys, 5, "file/run")(bench("--quiet", out=bench.folder / "file" / "run"))
    if os.geteuid() != 0:
        locked = bench.folder / "locked"
        locked.mkdir(mode=0o500)
        refused(capsys, 5, "permission denied")(bench("--quiet", out=locked / "run"))


def test_a_second_training_into_the_same_folder_is_refused(bench: Bench, capsys: Capture) -> None:
    with only_writer(bench.out):
        refused(capsys, 5, "another process", f"pid {os.getpid()}")(bench("--quiet", "--resume"))


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--recipe", "papr"], ["there is no recipe 'papr'", "paper"]),
        (["--set", "net.colums=1"], ["no field 'colums'", "did you mean 'columns'?"]),
        (["--set", "nonsense.columns=1"], ["there is no section 'nonsense'"]),
        (["--set", "columns=1"], ["SECTION.FIELD=VALUE"]),
        (["--set", "training.rate=fast"], ["[training] rate is a number, not 'fast'"]),
        (["--set", "input.flip=False"], ["[input] flip is true or false, not 'False'"]),
        (["--set", "training.batch_size=4.5"], ["[training] batch_size is a whole number, not 4.5"]),
        (["--rate", "-1"], ["--rate -1.0: must be positive"]),
        (["--precision", "fp8"], ["--precision fp8", "fp32"]),
        (["--precision", "tf32"], ["tf32"]),
        (["--devices", "tpu"], ["--devices tpu"]),
        (["--resume", "--overwrite"], ["exclude each other"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) and value[0].startswith("--") else "",
)
def test_an_option_that_can_not_be_meant_is_refused(
    bench: Bench, capsys: Capture, words: list[str], parts: list[str]
) -> None:
    refused(capsys, 2, *parts)(bench("--quiet", *words))
    assert not bench.out.exists()


def test_a_damaged_record_ends_the_training_by_its_name(bench: Bench, capsys: Capture) -> None:
    data, pixels = bench.train.path / "data.mdb", bytes(bench.train.stored(7))
    bench.train.close()
    content = bytearray(data.read_bytes())
    content[content.index(pixels) + 1000] ^= 1
    data.write_bytes(content)
    refused(capsys, 4, "train.lmdb: record 7 (train/0007.JPEG) fails its checksum")(bench("--quiet"))


def test_a_training_can_be_called_from_python(bench: Bench) -> None:
    from alexnet_stages.train.config import TrainConfig
    from alexnet_stages.train.run import run

    options: dict[str, Any] = {"recipe": "quickstart", "epochs": 1, "batch_size": 8, "quiet": True, "devices": "cpu"}
    config = TrainConfig(crops=bench.train.path, stats=bench.stats, out=bench.out, set=bench.sets, **options)
    assert run(config).steps == 3
