"""`make contest`, with a stand-in for `alexnet`; `alexnet contest`: the paper's table, and the plan."""

from __future__ import annotations

import io
import itertools
import json
import os
import re
import shlex
import shutil
import signal
import tarfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stand_in import run_make, write_stand_in

from alexnet_cli.artifacts.scores import Scores, write_scores
from alexnet_cli.class_list import ClassList
from alexnet_cli.cli import main
from alexnet_cli.recipes.net import layers
from alexnet_cli.recipes.read import load_recipe
from alexnet_cli.signals import EndedBySignalError
from alexnet_commands.contest import make as making
from alexnet_commands.contest.rates import pictures_in
from alexnet_stages.ensemble.config import EnsembleConfig
from alexnet_stages.ensemble.run import run as ensemble

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


@dataclass
class Project:
    """A folder with sources, in which the contest's commands are noted and not run."""

    folder: Path
    capsys: pytest.CaptureFixture[str]
    lines: list[str] = field(default_factory=list)
    failing: str = ""

    def run(self, words: Sequence[str]) -> int:
        """In place of a command: note its words; 5 where it is the one that fails."""
        self.lines.append(shlex.join(words))
        return 5 if self.failing and short(self.lines[-1]) == self.failing else 0

    def make(self, *words: str, fail: str = "", code: int = 0) -> list[str]:
        """`alexnet contest contest --update` with more words; the command lines that ran."""
        self.lines, self.failing = [], fail
        words = words if "--data" in words else ("--data", "data", *words)
        self.code = main(["contest", "contest", "--update", "--devices", "cpu", *words])
        shown = self.capsys.readouterr()
        self.output = shown.out + shown.err
        assert self.code == code, self.output
        return self.lines


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Project:
    made = Project(tmp_path, capsys)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(making, "run_command", made.run)
    for name in ("data", "fall"):
        (tmp_path / name).mkdir()
    (tmp_path / "data" / "ILSVRC2012_img_test_v10102019.tar").touch()
    write_net(tmp_path / "contest", "cnn-1", [1, 2, 6, 6])  # something for the table
    return made


def short(line: str) -> str:
    """A command's name and what it writes, without the folders."""
    words = line.split()
    out = Path(words[words.index("--out") + 1])
    return f"{words[0]} {out.parent.name}/{out.stem}" if words[0] == "eval" else f"{words[0]} {out.stem}"


SMALL = ("--members", "2", "--fall2011", "fall")
WHOLE = [
    *("preprocess train", "pca train", "preprocess val", "preprocess test"),
    *("train cnn-1", "eval val/cnn-1", "eval test/cnn-1", "train cnn-2", "eval val/cnn-2", "eval test/cnn-2"),
    *("ensemble 2-val", "ensemble 2-test"),
    *("preprocess fall2011", "pca fall2011", "train pretrained-1"),
    *("train finetuned-1", "eval val/finetuned-1", "eval test/finetuned-1"),
    *("train finetuned-2", "eval val/finetuned-2", "eval test/finetuned-2"),
    *("ensemble 4-val", "ensemble 4-test"),
]


def test_the_whole_entry_runs_in_order_and_shows_the_table(project: Project) -> None:
    lines = project.make(*SMALL)
    assert [short(line) for line in lines] == WHOLE
    assert all("--update" in line.split() for line in lines)
    assert "beside the paper's table 2" in project.output
    assert (project.folder / "contest" / "table.txt").read_text() in project.output
    ran = dict(zip(WHOLE, lines, strict=True))
    assert ran["preprocess train"] == (
        "preprocess data --split train --out contest/crops/train.lmdb --codec raw --expect ilsvrc2012 --update"
    )
    assert "data --split val --out contest/crops/val.lmdb --classes contest/crops/train.lmdb" in ran["preprocess val"]
    assert "--expect" not in ran["preprocess test"]
    assert ran["preprocess fall2011"] == "preprocess fall --out contest/crops/fall2011.lmdb --codec jpeg --update"
    assert ran["train cnn-2"] == (
        "train contest/crops/train.lmdb --val contest/crops/val.lmdb --stats contest/statistics/train.h5 "
        "--recipe source-2012 --devices cpu --precision fp32 --seed 2 --out contest/nets/cnn-2 --update"
    )
    assert ran["train pretrained-1"] == (
        "train contest/crops/fall2011.lmdb --stats contest/statistics/fall2011.h5 --recipe conv6-pretrain "
        "--init-from contest/nets/cnn-1 --devices cpu --precision fp32 --seed 1 "
        "--out contest/nets/pretrained-1 --update"
    )
    assert "--recipe conv6-finetune --init-from contest/nets/pretrained-1" in ran["train finetuned-2"]
    assert "--seed 2" in ran["train finetuned-2"]
    assert ran["ensemble 4-test"] == (
        "ensemble contest/scores/test/cnn-1.h5 contest/scores/test/cnn-2.h5 contest/scores/test/finetuned-1.h5 "
        "contest/scores/test/finetuned-2.h5 --crops contest/crops/test.lmdb --out contest/ensembles/4-test "
        "--submission contest/submission-4.txt --update"
    )
    assert "--submission" not in ran["ensemble 4-val"]


def test_the_entry_has_five_nets_two_fine_tuned_ones_and_ensembles_of_five_and_seven(project: Project) -> None:
    names = [short(line) for line in project.make("--fall2011", "fall")]
    assert [name for name in names if name.startswith("train")] == [
        *(f"train cnn-{number}" for number in range(1, 6)),
        *("train pretrained-1", "train finetuned-1", "train finetuned-2"),
    ]
    assert [name for name in names if name.startswith("ensemble")] == [
        *("ensemble 5-val", "ensemble 5-test", "ensemble 7-val", "ensemble 7-test")
    ]
    assert len([name for name in names if name.startswith("eval")]) == 14, "no net is evaluated twice"


@pytest.mark.parametrize("failing", ["pca train", "train cnn-2", "eval test/cnn-1", "ensemble 4-val"])
def test_a_command_that_fails_ends_the_contest_with_its_code(project: Project, failing: str) -> None:
    lines = project.make(*SMALL, fail=failing, code=5)
    assert [short(line) for line in lines] == WHOLE[: WHOLE.index(failing) + 1]
    assert not (project.folder / "contest" / "table.txt").exists()


def test_two_pretrainings_start_from_two_nets_and_lead_to_one_fine_tuning_each(project: Project) -> None:
    lines = project.make("--pretrained", "2", *SMALL)
    parents = dict(re.findall(r"--init-from \S+/(\S+) .*--out \S+/(\S+) ", "\n".join(lines)))
    assert {child: parent for parent, child in parents.items()} == {
        "pretrained-1": "cnn-1",
        "pretrained-2": "cnn-2",
        "finetuned-1": "pretrained-1",
        "finetuned-2": "pretrained-2",
    }


def test_without_fall_2011_and_test_pictures_there_are_the_five_nets_alone(project: Project) -> None:
    (project.folder / "data" / "ILSVRC2012_img_test_v10102019.tar").unlink()
    names = [short(line) for line in project.make("--members", "2")]
    assert names == [name for name in WHOLE[:12] if "test" not in name]


def test_one_net_can_be_made_alone_with_what_it_needs(project: Project) -> None:
    lines = project.make(*SMALL, "--only", "train cnn-2")
    assert [short(line) for line in lines] == ["preprocess train", "pca train", "preprocess val", "train cnn-2"]
    lines = project.make(*SMALL, "--only", "eval finetuned-1 test")
    assert [short(line) for line in lines] == [
        *("preprocess train", "pca train", "preprocess val", "preprocess test", "train cnn-1"),
        *("preprocess fall2011", "pca fall2011", "train pretrained-1", "train finetuned-1", "eval test/finetuned-1"),
    ]
    project.make(*SMALL, "--only", "train cnn-9", code=2)
    assert "--only train cnn-9: no such step: use one of preprocess train" in project.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--data", "nowhere"), "--data nowhere: no such file or folder"),
        (("--fall2011", "nowhere"), "--fall2011 nowhere: no such file or folder"),
        (("--members", "none"), "Invalid value for '--members'"),
        (("--epochs", "abc"), "Invalid value for '--epochs'"),
        (("--pretrained", "3"), "Invalid value for '--pretrained'"),
        (("--recipe", "papre"), "there is no recipe 'papre'"),
        (("--fall2011", "fall", "--finetune-recipe", "no"), "there is no recipe 'no'"),
        (("--precision", "fp16"), "--precision fp16: unknown"),
        (("--train-options", "--set 'x"), "can't be split into words"),
    ],
)
def test_a_typo_ends_the_contest_before_any_work(project: Project, words: tuple[str, ...], message: str) -> None:
    assert project.make(*words, code=2) == []
    assert message in project.output


def test_a_table_of_ones_own_is_refused_before_any_work_and_ours_is_written_anew(project: Project) -> None:
    table = project.folder / "contest" / "table.txt"
    table.write_text("my own table\n")
    assert not project.make("--members", "2", code=2)
    assert table.read_text() == "my own table\n"
    assert "is not a table of `alexnet contest`" in project.output
    table.unlink()
    for _ in range(2):
        assert project.make("--members", "2")
        assert table.read_text() in project.output


def test_a_folder_inside_a_source_is_refused_before_any_work(project: Project) -> None:
    assert not project.make("--data", "data", "--fall2011", ".", code=2)
    assert "lies inside --fall2011 ., which is read" in project.output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_ends_the_command_that_runs_and_is_the_code(number: signal.Signals) -> None:
    timer = threading.Timer(1.0, os.kill, (os.getpid(), number))
    timer.start()
    start = time.monotonic()
    words = ["time", "--recipe", "small", "--devices", "cpu", "--seconds", "600"]
    try:
        code = making.run_command(words)
    except EndedBySignalError as error:  # it was still starting, and had no time to say so
        code = error.exit_code
    assert code == 128 + number
    assert time.monotonic() - start < 60


# ------------------------------------------------------------------------------------------------------- `make contest`


def made_by_make(folder: Path, *words: str, goal: str = "contest") -> list[str]:
    """The words of the one command that make runs, with a stand-in for `alexnet`."""
    write_stand_in(folder, "*) ;;\n")
    (folder / "alexnet").write_text('#!/bin/bash\nprintf "%s\\n" "$@" > "$LOG"\n')
    done = run_make(folder, goal, *words)
    assert done.returncode == 0, done.stderr
    return (folder / "log").read_text().splitlines()


@needs_make
def test_make_passes_its_variables_on(tmp_path: Path) -> None:
    assert " ".join(made_by_make(tmp_path, "DATA=data")) == (
        "contest contest --data data --members 5 --pretrained 1 --recipe source-2012 --codec raw --fall2011-codec jpeg "
        "--expect ilsvrc2012 --devices auto --precision fp32 --update"
    )
    options = "--set net.fc6.neurons=16 --set net.fc7.neurons=16"
    words = made_by_make(
        tmp_path,
        *("DATA=my data", "FALL2011=fall", "OUT=small", "RECIPE=source-2012", "EPOCHS=3", "PRETRAIN_EPOCHS=1"),
        *(f"TRAIN_OPTIONS={options}", "EXPECT=", "DEVICES=cuda:0,1", "CODEC=jpeg", "FALL2011_CODEC=raw", "TEST=no"),
        *("PREPROCESS_OPTIONS=--allow-bad 3", "DEVKIT=my kit.tar.gz", "MEMBERS=2", "ONLY=train cnn-2"),
    )
    given = dict(itertools.pairwise(words))
    assert words[:2] == ["contest", "small"]
    assert (given["--data"], given["--fall2011"], given["--recipe"]) == ("my data", "fall", "source-2012")
    assert (given["--epochs"], given["--pretrain-epochs"], given["--expect"]) == ("3", "1", "")
    assert (given["--train-options"], given["--preprocess-options"]) == (options, "--allow-bad 3")
    assert (given["--devkit"], given["--only"], given["--members"]) == ("my kit.tar.gz", "train cnn-2", "2")
    assert "--no-test" in words and "--finetune-epochs" not in words


@needs_make
def test_make_shows_the_plan_in_a_dry_run(tmp_path: Path) -> None:
    assert made_by_make(tmp_path, "--dry-run", "DATA=data")[-1] == "--dry-run"
    words = made_by_make(tmp_path, "PLAN_OPTIONS=--images-per-second 9", goal="contest-plan")
    assert words[-3:] == ["--dry-run", "--images-per-second", "9"]


def test_a_dry_run_shows_the_commands_that_would_run(project: Project) -> None:
    ran = project.make(*SMALL)
    rates = [word for name, rate in GIVEN.items() for word in (f"--{name}-per-second", str(rate))]
    words = ["contest", "contest", "--dry-run", "--data", "data", "--devices", "cpu", *SMALL, *rates]
    assert main(words) == 0
    shown = project.capsys.readouterr().out.splitlines()
    assert [line for line in shown if line.startswith("alexnet ")] == [f"alexnet {line}" for line in ran]


# ------------------------------------------------------------------------------------------------ the table of results

CLASSES = ClassList(tuple(f"n{index:08d}" for index in range(8)))


def write_net(out: Path, name: str, ranks: list[int], split: str = "val") -> Path:
    """Scores in which the label of picture i, class 7, is the ranks[i]-th best."""
    probabilities = np.zeros((len(ranks), 8), np.float32)
    for row, rank in zip(probabilities, ranks, strict=True):
        row[:] = 0.01
        row[: rank - 1] = 0.1
        row[7] = 0.05
        row /= row.sum()
    labels = np.full(len(ranks), 7 if split == "val" else -1, np.int64)
    scores = Scores(probabilities, probabilities, labels, [f"{index}.JPEG" for index in range(len(ranks))], CLASSES)
    path = out / "scores" / split / f"{name}.h5"
    write_scores(path, scores, parents={"crops": split}, options={}, overwrite=False)
    return path


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A contest folder with two nets, two fine-tuned ones and the ensemble of two; four pictures."""
    out = tmp_path / "contest"
    cnns = [write_net(out, "cnn-1", [1, 2, 6, 6]), write_net(out, "cnn-2", [1, 1, 1, 6])]
    write_net(out, "finetuned-1", [1, 1, 2, 3])
    write_net(out, "finetuned-2", [1, 1, 1, 1])
    ensemble(EnsembleConfig(members=cnns, out=out / "ensembles" / "2-val"))
    (out / "submission-2.txt").touch()
    return out


def test_the_table_has_ours_beside_the_papers(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["contest", str(finished), "--members", "2", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    rows = {row["model"]: row for row in result["rows"]}
    paper = [(row["paper_top1_error"], row["paper_top5_error"], row["paper_test_top5_error"]) for row in rows.values()]
    assert paper == [(0.407, 0.182, None), (0.381, 0.164, 0.164), (0.39, 0.166, None), (0.367, 0.154, 0.153)]
    first, second, third, fourth = rows
    assert (first, second, third, fourth) == ("1 CNN (mean of 2)", "2 CNNs", "1 CNN* (mean of 2)", "4 CNNs*")
    assert (rows[first]["top1_error"], rows[first]["top5_error"]) == ((0.75 + 0.25) / 2, (0.5 + 0.25) / 2)
    assert (rows[third]["top1_error"], rows[third]["top5_error"]) == ((0.5 + 0) / 2, 0)
    # Averaged, the label's share against the best other's: 0.42 to 0.08; 0.33 to 0.28; 0.25 to 0.13; 0.09 to 0.18, 6th.
    assert (rows[second]["top1_error"], rows[second]["top5_error"]) == (0.25, 0.25)
    assert rows[fourth]["top1_error"] is None
    assert result["nets"]["cnn-2"] == {"top1_error": 0.25, "top5_error": 0.25}
    assert result["submissions"] == [str(finished / "submission-2.txt")]


def test_the_table_is_readable(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["contest", str(finished), "--members", "2"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"1 CNN \(mean of 2\) +50\.00% +40\.7% +37\.50% +18\.2% +– +–", text)
    assert re.search(r"4 CNNs\* +– +36\.7% +– +15\.4% +– +15\.3%", text)
    assert re.search(r"finetuned-1 +50\.00% +0\.00%", text)
    assert "hand in" in text


def test_a_folder_without_scores_has_no_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["contest", str(tmp_path)]) == 4
    assert "has no scores of nets" in capsys.readouterr().err
    assert main(["contest", str(tmp_path / "none")]) == 4
    assert "no such folder" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------------- the plan

GIVEN = {"decoded": 500.0, "read": 4000.0, "images": 1000.0, "evaluated": 250.0}


def planned(capsys: pytest.CaptureFixture[str], out: Path, *words: str) -> dict[str, Any]:
    rates = [word for name, rate in GIVEN.items() for word in (f"--{name}-per-second", str(rate))]
    assert main(["contest", str(out), "--dry-run", "--json", *rates, *words]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_the_plan_counts_pictures_passes_hours_and_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = planned(capsys, tmp_path / "contest", "--test")
    steps = {step["name"]: step for step in result["stages"]}
    assert steps["preprocess train"]["seconds"] == pytest.approx(1_281_167 / 500)
    assert steps["preprocess train"]["bytes"] == 1_281_167 * 200_704
    assert steps["pca train"]["seconds"] == pytest.approx(1_281_167 / 4000)
    training = steps["train cnn-5"]
    # 90 epochs, each followed by the centre view of 50,000 pictures, a tenth of the work of ten views.
    assert training["seconds"] == pytest.approx(90 * (1_281_167 / 1000 + 50_000 / (10 * 250)))
    assert training["bytes"] == 3 * 2 * 4 * 60_965_224
    assert steps["eval cnn-1 val"]["seconds"] == pytest.approx(200)
    assert steps["eval cnn-1 test"]["bytes"] == 100_000 * 1000 * 2 * 4
    assert "ensemble 5-test" in steps
    assert not [name for name in steps if "fall" in name or "tuned" in name]
    assert result["seconds"] == pytest.approx(sum(step["seconds"] for step in steps.values()))
    assert result["bytes"] == sum(step["bytes"] for step in steps.values())
    assert result["rates"]["sources"] == dict.fromkeys(("decoded", "read", "trained", "evaluated"), "given")
    assert not (tmp_path / "contest").exists()


def test_the_plan_knows_what_is_done(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = {step["name"]: step for step in planned(capsys, finished, "--members", "2", "--no-test")["stages"]}
    done = {name for name, step in steps.items() if step["done"]}
    assert done == {"eval cnn-1 val", "eval cnn-2 val", "ensemble 2-val"}
    assert steps["eval cnn-1 val"]["seconds"] == steps["eval cnn-1 val"]["bytes"] == 0
    assert "preprocess test" not in steps


def test_the_plan_has_the_conv6_nets_with_their_own_classes_and_cost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--fall2011", str(tmp_path), "--pretrained", "2", "--fall2011-codec", "raw", "--members", "1")
    result = planned(capsys, tmp_path / "contest", *words)
    steps = {step["name"]: step for step in result["stages"]}
    assert steps["preprocess fall2011"]["bytes"] == 14_197_122 * 200_704
    recipe = load_recipe("conv6-pretrain").with_options(net={"classes": 21_841})
    paper = load_recipe("paper").with_options(net={"classes": 1000})
    work = [sum(layer.multiply_adds for layer in layers(each.net)) for each in (recipe, paper)]
    pretraining = steps["train pretrained-2"]
    assert pretraining["per_second"] == pytest.approx(1000 * work[1] / work[0])
    assert pretraining["passes"] == recipe.training.epochs
    assert {"train finetuned-1", "train finetuned-2", "ensemble 1-val", "ensemble 3-val"} <= set(steps)


def test_a_plan_that_does_not_fit_the_disk_is_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alexnet_commands.contest.run.free_bytes", lambda path: 10**9)
    rates = [word for name, rate in GIVEN.items() for word in (f"--{name}-per-second", str(rate))]
    assert main(["contest", str(tmp_path / "c"), "--dry-run", *rates]) == 0
    shown = capsys.readouterr()
    assert re.search(r"warning: .*needed, 1\.0 GB free: choose another OUT, or codec jpeg", shown.err)
    assert re.search(r"trained +1,000 pictures/s \(given\)", shown.out)
    assert re.search(r"preprocess train +1,281,167 +1 +500/s +0\.71 +257\.1 GB", shown.out)


def test_a_rate_that_cannot_be_meant_and_a_missing_source_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["contest", str(tmp_path), "--dry-run", "--images-per-second", "0"]) == 2
    assert "--images-per-second 0.0: must be positive" in capsys.readouterr().err
    assert main(["contest", str(tmp_path), "--dry-run", "--data", str(tmp_path / "none")]) == 2
    assert "no such file or folder" in capsys.readouterr().err


def tar_with(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def test_pictures_to_measure_on_are_found_in_folders_tars_and_tars_of_tars(tmp_path: Path) -> None:
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "1.JPEG").write_bytes(b"one")
    (tmp_path / "class" / "notes.txt").write_bytes(b"no picture")
    (tmp_path / "flat.tar").write_bytes(tar_with({"2.jpg": b"two", "list.csv": b"no picture"}))
    (tmp_path / "nested.tar").write_bytes(tar_with({"n1.tar": tar_with({"3.JPEG": b"three"}), "n2.tar": b"no tar"}))
    assert sorted(pictures_in(tmp_path)) == [(b"one", ".jpeg"), (b"three", ".jpeg"), (b"two", ".jpg")]
    assert list(pictures_in(tmp_path / "nested.tar")) == [(b"three", ".jpeg")]
    assert list(pictures_in(None)) == []


@pytest.mark.slow
def test_rates_that_are_not_given_are_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--members", "1", "--no-test", "--codec", "jpeg", "--devices", "cpu", "--trial-pictures", "16", "--quiet"]
    assert main(["contest", str(tmp_path / "contest"), "--dry-run", "--json", "--decoded-per-second", "9", *words]) == 0
    rates = json.loads(capsys.readouterr().out)["rates"]
    assert rates["decoded_per_second"] == 9
    assert rates["sources"] == {
        "decoded": "given",
        **dict.fromkeys(("read", "trained", "evaluated"), "measured on 16 generated pictures"),
    }
    assert all(rates[f"{name}_per_second"] > 0 for name in ("read", "trained", "evaluated"))
    assert 4096 < rates["jpeg_bytes"] < 200_704
    assert not (tmp_path / "contest").exists()
