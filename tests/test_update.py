"""`--update`: nothing is done where the output was made from the same, and torch is not even loaded."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alexnet_cli.artifacts.common.working import mark
from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.artifacts.run import RunFolder
from alexnet_cli.cli import main

MakeStore = Callable[..., CropStore]
Capture = pytest.CaptureFixture[str]

LOADED = """
import sys
from alexnet_cli.cli import main
code = main(sys.argv[1:])
print("TORCH" if "torch" in sys.modules else "LIGHT", file=sys.stderr)
raise SystemExit(code)
"""


def bytes_of(root: Path) -> dict[str, bytes]:
    """Every file below a folder, or the file itself, with its bytes."""
    files = [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root.parent)): path.read_bytes() for path in files}


class Update:
    """A command with --update, and what it says."""

    def __init__(self, capsys: Capture) -> None:
        self.capsys = capsys

    def __call__(self, *words: object, code: int = 0) -> dict[str, Any]:
        """Run it with --json; the result, or the error's line under `error`."""
        self.capsys.readouterr()
        assert main([*map(str, words), "--update", "--json"]) == code
        shown = self.capsys.readouterr()
        self.said = shown.err
        if code:
            assert shown.out == ""
            assert len(shown.err.strip().splitlines()) == 1, shown.err
            return {"error": shown.err}
        result: dict[str, Any] = json.loads(shown.out)
        return result

    def does_nothing(self, out: Path, *words: object) -> None:
        """It says `up to date`, changes no byte, and loads no torch."""
        before = bytes_of(out)
        result = self(*words)
        assert result["up_to_date"] is True
        assert f"{out}: up to date" in self.said
        assert bytes_of(out) == before
        program = [sys.executable, "-c", LOADED, *map(str, words), "--update"]
        done = subprocess.run(program, capture_output=True, text=True, check=True)
        assert done.stderr.splitlines()[-2:] == [f"{out}: up to date", "LIGHT"]
        assert bytes_of(out) == before

    def works(self, out: Path, *words: object) -> dict[str, Any]:
        """It makes the output, whole."""
        result = self(*words)
        assert "up_to_date" not in result
        assert out.exists()
        return result


@pytest.fixture
def update(capsys: Capture) -> Update:
    return Update(capsys)


class Artifacts:
    """Stores, statistics and a training of a second."""

    def __init__(self, make_store: MakeStore, make_statistics: Callable[[CropStore], Path], narrow: list[str]) -> None:
        self.make_store = make_store
        self.train = make_store("train", [index % 3 for index in range(12)])
        self.val = make_store("val", [0, 1, 2] * 2, seed=1)
        self.folder = self.train.path.parent
        self.stats = make_statistics(self.train)
        self.narrow = narrow

    def training(self, name: str, *more: object, epochs: int = 1) -> list[object]:
        words: list[object] = ["train", self.train.path, "--val", self.val.path, "--stats", self.stats]
        words += ["--out", self.folder / name, "--devices", "cpu", "--recipe", "quickstart", "--batch-size", 4]
        sets = [word for text in (*self.narrow, "training.changes=[]") for word in ("--set", text)]
        return [*words, "--epochs", epochs, "--seed", 7, *sets, *more]


@pytest.fixture
def made(make_store: MakeStore, make_statistics: Callable[[CropStore], Path], narrow: list[str]) -> Artifacts:
    return Artifacts(make_store, make_statistics, narrow)


# ----------------------------------------------------------------------------------------------------------- preprocess


def test_a_crop_store_of_the_same_pictures_and_options_is_up_to_date(
    update: Update, tree: Path, tmp_path: Path
) -> None:
    out = tmp_path / "crops.lmdb"
    words = ["preprocess", tree, "--out", out, "--workers", 1]
    update.works(out, *words)
    update.does_nothing(out, *words)
    update.does_nothing(out, *words, "--workers", 2)


@pytest.mark.parametrize("change", ["codec", "a picture more", "a picture less", "a picture changed"])
def test_a_crop_store_of_other_pictures_or_options_is_made_anew(
    update: Update, tree: Path, tmp_path: Path, change: str
) -> None:
    out = tmp_path / "crops.lmdb"
    words: list[object] = ["preprocess", tree, "--out", out, "--workers", 1]
    before = update.works(out, *words)
    if change == "codec":
        words += ["--codec", "jpeg"]
    elif change == "a picture more":
        shutil.copy(tree / "cat/1.jpg", tree / "cat/2.jpg")
    elif change == "a picture less":
        (tree / "cat/1.jpg").unlink()
    else:
        shutil.copyfile(tree / "ape/c.bmp", tree / "ape/b.png")
    after = update.works(out, *words)
    assert after["digest"] != before["digest"]
    assert "is made again (" in update.said
    update.does_nothing(out, *words)


def test_a_picture_that_comes_back_as_it_was_costs_nothing(update: Update, tree: Path, tmp_path: Path) -> None:
    out, words = tmp_path / "crops.lmdb", ["preprocess", tree, "--out", tmp_path / "crops.lmdb", "--workers", 1]
    update.works(out, *words)
    os.utime(tree / "cat")  # the folder's time says nothing
    update.does_nothing(out, *words)


def test_an_old_store_stays_until_the_new_one_is_whole(update: Update, tree: Path, tmp_path: Path) -> None:
    out, words = tmp_path / "crops.lmdb", ["preprocess", tree, "--out", tmp_path / "crops.lmdb", "--workers", 1]
    update.works(out, *words)
    before = (out / "manifest.json").read_bytes()
    (tree / "cat" / "9.jpg").write_bytes(b"no picture")
    update(*words, "--quiet", code=3)
    assert (out / "manifest.json").read_bytes() == before


# ------------------------------------------------------------------------------------------------ pca, eval, ensemble


def test_statistics_follow_the_store_that_they_are_of(update: Update, made: Artifacts, tmp_path: Path) -> None:
    out = tmp_path / "own.h5"
    words = ["pca", made.train.path, "--out", out, "--workers", 1]
    digest = update.works(out, *words)["digest"]
    update.does_nothing(out, *words)
    update.does_nothing(out, *words, "--workers", 2)
    assert update.works(out, "pca", made.val.path, "--out", out)["digest"] != digest


def test_scores_follow_checkpoint_pictures_views_and_precision(
    update: Update, made: Artifacts, make_checkpoint: Callable[..., Path]
) -> None:
    checkpoint = make_checkpoint("run/checkpoints/step-00000006", made.train, made.stats, seed=1)
    out = made.folder / "scores.h5"
    words = ["eval", made.folder / "run", made.val.path, "--out", out, "--devices", "cpu"]
    update.works(out, *words)
    update.does_nothing(out, *words)
    update.does_nothing(out, *words, "--workers", 1, "--batch-size", 2)
    update.works(out, *words, "--views", 1)
    assert "views was 10 and is 1 now" in update.said
    update.works(out, *words, "--precision", "bf16")
    words = [*words, "--precision", "bf16"]
    update.works(out, "eval", checkpoint, made.train.path, *words[3:])
    assert "other crops" in update.said
    shutil.rmtree(checkpoint)
    make_checkpoint("run/checkpoints/step-00000006", made.train, made.stats, seed=2)
    update.works(out, *words)


def test_an_ensemble_follows_its_members_and_weights(
    update: Update, made: Artifacts, make_checkpoint: Callable[..., Path]
) -> None:
    files = []
    for seed in (1, 2):
        run = make_checkpoint(f"run-{seed}/checkpoints/step-00000006", made.train, made.stats, seed=seed).parent.parent
        files.append(made.folder / f"{seed}.h5")
        assert main(["eval", str(run), str(made.val.path), "--out", str(files[-1]), "--devices", "cpu", "-q"]) == 0
    out = made.folder / "together"
    words = ["ensemble", *files, "--crops", made.val.path, "--out", out]
    first = update.works(out, *words)
    update.does_nothing(out, *words)
    again = update(*words)
    assert {**first, "up_to_date": True} == again, "what it says is what it said"
    update.works(out, *words, "--weights", "1,3")
    update.does_nothing(out, *words, "--weights", "1,3")
    update.works(out, "ensemble", files[0], "--crops", made.val.path, "--out", out)
    runs = [made.folder / "run-1", made.folder / "run-2"]
    words = ["ensemble", *runs, "--crops", made.val.path, "--out", out, "--devices", "cpu"]
    update.works(out, *words)
    update.does_nothing(out, *words)
    update.works(out, *words, "--views", 1)


# ---------------------------------------------------------------------------------------------------------------- train


def test_a_finished_run_is_up_to_date(update: Update, made: Artifacts) -> None:
    out = made.folder / "run"
    update.works(out, *made.training("run", "--quiet"))
    update.does_nothing(out, *made.training("run"))
    update.does_nothing(out, *made.training("run", "--workers", 1, "--checkpoint-minutes", 3, "--compile"))


@pytest.mark.parametrize("how", ["--update", "--resume"])
def test_a_finished_run_loses_the_mark_that_a_killed_command_left(made: Artifacts, how: str, capsys: Capture) -> None:
    out = made.folder / "run"
    words = [str(word) for word in made.training("run", "--quiet")]
    assert main(words) == 0
    before = bytes_of(out)
    mark(out, "run", out)
    (out / ".manifest.json.alexnet-work").write_text("{")
    (out / "filters" / ".first-epoch.safetensors.alexnet-work").write_bytes(b"half")
    assert main([*words, how]) == 0
    assert bytes_of(out) == before


def test_more_epochs_go_on_and_fewer_are_up_to_date(update: Update, made: Artifacts) -> None:
    out = made.folder / "run"
    update.works(out, *made.training("run", "--quiet"))
    first = RunFolder(out).newest()
    assert update.works(out, *made.training("run", epochs=2))["steps"] == 6
    assert "resuming from" in update.said
    assert first is not None and first.path.exists(), "the checkpoint is still there"
    update.does_nothing(out, *made.training("run", epochs=2))
    update.does_nothing(out, *made.training("run", epochs=1))


def test_an_unfinished_run_goes_on(update: Update, made: Artifacts) -> None:
    out = made.folder / "run"
    update.works(out, *made.training("run", "--quiet"))
    (out / "manifest.json").unlink()
    update.works(out, *made.training("run"))
    assert "resuming from step-00000003" in update.said


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--rate", "0.5"), "training.rate"),
        (("--seed", "8"), "--seed 7, not 8"),
        (("--precision", "bf16"), "--precision fp32, not bf16"),
        (("--set", "input.flip=true"), "input.flip"),
        (("--recipe", "small"), "by recipe quickstart"),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_a_trained_net_is_kept_where_another_is_asked_for(
    update: Update, made: Artifacts, more: tuple[str, ...], words: str, finished: bool
) -> None:
    out = made.folder / "run"
    update.works(out, *made.training("run", "--quiet"))
    if not finished:
        (out / "manifest.json").unlink()
    before = bytes_of(out)
    error = update(*made.training("run", *more), code=2)["error"]
    assert words in error and str(out) in error and "--overwrite" in error
    assert bytes_of(out) == before


def test_a_net_of_other_crops_is_kept(update: Update, made: Artifacts) -> None:
    out = made.folder / "run"
    update.works(out, *made.training("run", "--quiet"))
    before = bytes_of(out)
    shutil.rmtree(made.val.path)
    made.make_store("val", [0, 1, 2] * 2, seed=9)
    assert "another validation" in update(*made.training("run"), code=2)["error"]
    assert bytes_of(out) == before


def test_resume_refuses_another_precision(made: Artifacts, capsys: Capture) -> None:
    assert main([str(word) for word in made.training("run", "--quiet")]) == 0
    assert main([str(word) for word in made.training("run", "--resume", "--precision", "bf16")]) == 4
    assert "was trained with --precision fp32, not bf16" in capsys.readouterr().err


def test_a_folder_of_ones_own_is_never_taken_for_a_run(update: Update, made: Artifacts) -> None:
    own = made.folder / "proj" / "runs" / "1"
    own.mkdir(parents=True)
    (own / "thesis.tex").write_text("years of work")
    assert "proj/runs/1" in update(*made.training("proj/runs/1"), code=2)["error"]
    assert (own / "thesis.tex").read_text() == "years of work"


# --------------------------------------------------------------------------------------------------------------- others


def test_a_sample_is_made_once(update: Update, tmp_path: Path) -> None:
    out = tmp_path / "sample"
    update.works(out, "sample", out)
    update.does_nothing(out, "sample", out)
    first, second, *_ = (out / "train").glob("*/*.JPEG")
    whole = first.read_bytes()
    first.write_bytes(whole[:-1])
    second.unlink()
    update.works(out, "sample", out)
    assert first.read_bytes() == whole and second.is_file()
    (out / "manifest.json").unlink()  # as samples were before they had one
    (out / "sample.json").write_text('{"source": "scikit-learn load_digits", "train": 1437, "val": 360, "classes": 10}')
    update.works(out, "sample", out)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pca", "x", "--out", "y", "--update", "--overwrite"], "--update and --overwrite exclude each other"),
        (["train", "x", "--out", "y", "--update", "--resume"], "leave --resume out"),
    ],
)
def test_options_that_contradict_update_are_refused(words: list[str], message: str, capsys: Capture) -> None:
    assert main(words) == 2
    assert message in capsys.readouterr().err
