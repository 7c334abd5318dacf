"""`make contest`, with a stand-in for `alexnet`; `alexnet contest`: the paper's table, and the plan."""

from __future__ import annotations

import io
import json
import re
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stand_in import run_make, write_stand_in

from alexnet_cli.artifacts.scores import Scores, write_scores
from alexnet_cli.class_list import ClassList
from alexnet_cli.cli import main
from alexnet_cli.commands.contest.rates import pictures_in
from alexnet_cli.recipes.net import layers
from alexnet_cli.recipes.read import load_recipe
from alexnet_stages.ensemble.config import EnsembleConfig
from alexnet_stages.ensemble.run import run as ensemble

CASES = r"""    preprocess|train) [ -e "$out/begun" ] && echo resumed >> "$LOG"
        mkdir -p "$out"
        digest=$( (echo "$*"; for word in "$@"; do cat "$word/manifest.json" || true; done) 2> /dev/null | cksum)
        echo "  \"digest\": \"$digest\"," > "$out/manifest.json" ;;
    pca|eval) mkdir -p "$(dirname "$out")"; touch "$out" ;;
    ensemble) mkdir -p "$out"; touch "$out/manifest.json" ;;
    contest) case "$*" in *--dry-run*) echo "the plan" ;; *) echo "the table" ;; esac ;;
"""


needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


@dataclass
class Project:
    """A folder with a stand-in for `alexnet`, sources, and the real Makefile."""

    folder: Path

    def make(self, *words: str, goal: str = "contest", fail: str = "", code: int = 0) -> list[str]:
        """Run `make contest` with more words; the command lines that ran."""
        log = self.folder / "log"
        log.write_text("")
        done = run_make(self.folder, goal, "DATA=data", *words, fail=fail)
        self.output = done.stdout + done.stderr
        assert done.returncode == code, self.output
        return log.read_text().splitlines()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    write_stand_in(tmp_path, CASES)
    (tmp_path / "data").mkdir()
    (tmp_path / "fall").mkdir()
    (tmp_path / "data" / "ILSVRC2012_img_test_v10102019.tar").touch()
    return Project(tmp_path)


def short(line: str) -> str:
    """A command's name and what it writes, without the folders."""
    words = line.split()
    if "--out" not in words:
        return words[0]
    out = Path(words[words.index("--out") + 1])
    return f"{words[0]} {out.parent.name}/{out.stem}" if words[0] == "eval" else f"{words[0]} {out.stem}"


FALL = "FALL2011=fall"
SMALL = ("MEMBERS=2", FALL)
WHOLE = [
    "preprocess train",
    "pca train",
    "preprocess val",
    *("train cnn-1", "eval val/cnn-1", "train cnn-2", "eval val/cnn-2"),
    "ensemble 2-val",
    "preprocess test",
    *("eval test/cnn-1", "eval test/cnn-2"),
    "ensemble 2-test",
    *("preprocess fall2011", "pca fall2011", "train pretrained-1"),
    *("train finetuned-1", "eval val/finetuned-1", "train finetuned-2", "eval val/finetuned-2"),
    "ensemble 4-val",
    *("eval test/finetuned-1", "eval test/finetuned-2"),
    "ensemble 4-test",
    "contest",
]


@needs_make
def test_the_whole_entry_runs_in_order_and_shows_the_table(project: Project) -> None:
    lines = project.make(*SMALL)
    assert [short(line) for line in lines] == WHOLE
    assert "the table" in project.output
    ran = dict(zip(WHOLE, lines, strict=True))
    assert ran["preprocess train"] == (
        "preprocess data --split train --out contest/crops/train.lmdb --codec raw --expect ilsvrc2012 --overwrite"
    )
    assert "data --split val --out contest/crops/val.lmdb --classes contest/crops/train.lmdb" in ran["preprocess val"]
    assert "--expect" not in ran["preprocess test"]
    assert ran["preprocess fall2011"] == "preprocess fall --out contest/crops/fall2011.lmdb --codec jpeg --overwrite"
    assert ran["train cnn-2"] == (
        "train contest/crops/train.lmdb --val contest/crops/val.lmdb --stats contest/statistics/train.h5 "
        "--recipe paper --devices auto --precision fp32 --seed 2 --out contest/nets/cnn-2 --resume"
    )
    assert ran["train pretrained-1"] == (
        "train contest/crops/fall2011.lmdb --stats contest/statistics/fall2011.h5 --recipe conv6-pretrain "
        "--init-from contest/nets/cnn-1 --devices auto --precision fp32 --seed 1 "
        "--out contest/nets/pretrained-1 --resume"
    )
    assert "--recipe conv6-finetune --init-from contest/nets/pretrained-1" in ran["train finetuned-2"]
    assert "--seed 2" in ran["train finetuned-2"]
    assert ran["ensemble 4-test"] == (
        "ensemble contest/scores/test/cnn-1.h5 contest/scores/test/cnn-2.h5 contest/scores/test/finetuned-1.h5 "
        "contest/scores/test/finetuned-2.h5 --crops contest/crops/test.lmdb --out contest/ensembles/4-test "
        "--submission contest/submission-4.txt --overwrite"
    )
    assert "--submission" not in ran["ensemble 4-val"]


@needs_make
def test_the_entry_has_five_nets_two_fine_tuned_ones_and_ensembles_of_five_and_seven(project: Project) -> None:
    names = [short(line) for line in project.make(FALL)]
    assert [name for name in names if name.startswith("train")] == [
        *(f"train cnn-{number}" for number in range(1, 6)),
        *("train pretrained-1", "train finetuned-1", "train finetuned-2"),
    ]
    assert [name for name in names if name.startswith("ensemble")] == [
        *("ensemble 5-val", "ensemble 5-test", "ensemble 7-val", "ensemble 7-test")
    ]
    assert len([name for name in names if name.startswith("eval")]) == 14, "no net is evaluated twice"


@needs_make
def test_a_second_contest_does_nothing_but_show_the_table(project: Project) -> None:
    project.make(*SMALL)
    assert project.make(*SMALL) == []
    assert "the table" in project.output
    assert project.make("-q", *SMALL) == []


@needs_make
@pytest.mark.parametrize(
    "stopped",
    ["pca train", "train cnn-2", "eval test/cnn-1", "preprocess fall2011", "train pretrained-1", "ensemble 4-val"],
)
def test_an_interrupted_contest_goes_on_where_it_stopped(project: Project, stopped: str) -> None:
    kind, name = stopped.split()
    split, _, net = name.rpartition("/")
    project.make(*SMALL, fail=f"{kind}*{net}*{split and split + '.lmdb'}*", code=2)
    lines = project.make(*SMALL)
    assert [short(line) for line in lines if line != "resumed"] == WHOLE[WHOLE.index(stopped) :]
    assert ("resumed" in lines) == (kind == "train")
    assert project.make(*SMALL) == []


@needs_make
def test_two_pretrainings_start_from_two_nets_and_lead_to_one_fine_tuning_each(project: Project) -> None:
    lines = project.make("PRETRAINED=2", *SMALL)
    parents = dict(re.findall(r"--init-from \S+/(\S+) .*--out \S+/(\S+) ", "\n".join(lines)))
    assert {child: parent for parent, child in parents.items()} == {
        "pretrained-1": "cnn-1",
        "pretrained-2": "cnn-2",
        "finetuned-1": "pretrained-1",
        "finetuned-2": "pretrained-2",
    }


@needs_make
def test_without_fall_2011_and_test_pictures_there_are_the_five_nets_alone(project: Project) -> None:
    (project.folder / "data" / "ILSVRC2012_img_test_v10102019.tar").unlink()
    names = [short(line) for line in project.make("MEMBERS=2")]
    assert names == [*WHOLE[:8], "contest"]


@needs_make
def test_the_variables_of_contest_reach_the_commands(project: Project) -> None:
    options = "--set net.fc6.neurons=16 --set net.conv1.kernels=4"
    words = (
        *("RECIPE=source-2012", "EPOCHS=3", "PRETRAIN_EPOCHS=1", f"TRAIN_OPTIONS={options}", "EXPECT=", "OUT=small"),
        "DEVICES=cuda:0,1",
        "CODEC=jpeg",
        "FALL2011_CODEC=raw",
        "PREPROCESS_OPTIONS=--allow-bad 3",
        "TEST=no",
    )
    lines = project.make(*words, *SMALL)
    ran = {short(line): line for line in lines}
    assert "--recipe source-2012 --epochs 3 --devices cuda:0,1" in ran["train cnn-1"]
    assert options in ran["train cnn-1"]
    assert "--recipe conv6-pretrain --epochs 1" in ran["train pretrained-1"]
    assert "--recipe conv6-finetune --init-from" in ran["train finetuned-1"]
    assert ran["preprocess train"] == (
        "preprocess data --split train --out small/crops/train.lmdb --codec jpeg --allow-bad 3 --overwrite"
    )
    assert "--codec raw --allow-bad 3" in ran["preprocess fall2011"]
    assert "preprocess test" not in ran
    assert project.make(*words, *SMALL) == []


@needs_make
def test_one_net_can_be_made_alone_with_what_it_needs(project: Project) -> None:
    lines = project.make(*SMALL, goal="contest/nets/cnn-2/manifest.json")
    assert [short(line) for line in lines] == ["preprocess train", "pca train", "preprocess val", "train cnn-2"]
    assert [short(line) for line in project.make(*SMALL)] == [name for name in WHOLE[3:] if name != "train cnn-2"]


@needs_make
def test_a_devkit_goes_to_the_submissions(project: Project) -> None:
    lines = [line for line in project.make("DEVKIT=my kit.tar.gz", "MEMBERS=1") if line.startswith("ensemble")]
    assert ["--devkit my kit.tar.gz" in line for line in lines] == [False, True]


@needs_make
def test_another_fine_tuning_makes_nothing_else_anew(project: Project) -> None:
    project.make(*SMALL, "TEST=no")
    (project.folder / "contest/nets/finetuned-1/begun").touch()
    lines = project.make(*SMALL, "TEST=no", "FINETUNE_EPOCHS=2")
    assert [short(line) for line in lines] == [
        *("train finetuned-1", "eval val/finetuned-1", "train finetuned-2", "eval val/finetuned-2"),
        *("ensemble 4-val", "contest"),
    ]
    assert "resumed" not in lines, "what other options left must be gone"


@needs_make
def test_another_first_net_is_pretrained_and_fine_tuned_anew(project: Project) -> None:
    project.make(*SMALL, "TEST=no")
    shutil.rmtree(project.folder / "contest/nets/cnn-1")
    names = [short(line) for line in project.make(*SMALL, "TEST=no")]
    assert [name for name in names if name.startswith("train")] == ["train cnn-1"], "the same digest: nothing follows"
    lines = project.make(*SMALL, "TEST=no", "EPOCHS=4")
    assert [short(line) for line in lines if line.startswith("train")] == [
        *("train cnn-1", "train cnn-2", "train pretrained-1", "train finetuned-1", "train finetuned-2")
    ]


@needs_make
def test_a_dry_run_shows_commands_and_plan_and_writes_nothing(project: Project) -> None:
    (line,) = project.make("--dry-run", *SMALL)
    assert line == (
        "contest contest --dry-run --data data --fall2011 fall --pretrained 1 --pretrain-recipe conv6-pretrain "
        "--finetune-recipe conv6-finetune --fall2011-codec jpeg --members 2 --recipe paper --codec raw --test "
        "--devices auto --precision fp32"
    )
    assert "the plan" in project.output
    assert "train contest/crops/fall2011.lmdb" in project.output
    assert not (project.folder / "contest").exists()
    assert project.make(*SMALL, "PLAN_OPTIONS=--images-per-second 9", goal="contest-plan")[0].endswith("-second 9")


@needs_make
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("DATA=",), "DATA: must name the folder of ILSVRC-2012"),
        (("DATA=nowhere",), "DATA=nowhere: there is no such folder"),
        (("FALL2011=nowhere",), "FALL2011=nowhere: there is no such folder"),
        (("MEMBERS=none",), "MEMBERS=none: must be a number, 1 or more"),
        (("PRETRAINED=3",), "PRETRAINED=3: must be 1 or 2"),
        (("OUT=a b",), "must be a path without blanks"),
    ],
)
def test_a_wrong_variable_of_contest_is_explained(project: Project, words: tuple[str, ...], message: str) -> None:
    assert project.make(*words, code=2) == []
    assert message in project.output


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
    # Averaged: picture 1 has rank 1 or 2 (0.05 against 0.055: rank 2), picture 2 the same five times, picture 3 rank 6.
    assert (rows[second]["top1_error"], rows[second]["top5_error"]) == (0.75, 0.5)
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
    assert "there is no such folder" in capsys.readouterr().err


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
    monkeypatch.setattr("alexnet_cli.commands.contest.rates.free_bytes", lambda path: 10**9)
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
    assert "there is no such file or folder" in capsys.readouterr().err


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
