"""The Makefile's graph, with a stand-in for `alexnet` that notes its words and makes its outputs."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from stand_in import MAKEFILE, run_make, write_stand_in

CASES = r"""    sample) mkdir -p "$out"/{train,val} ;;
    check) ;;
    *) mkdir -p "$(dirname "$out")"; touch "$out.done" ;;
"""

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


@dataclass
class Project:
    """A folder with the Makefile and the stand-in."""

    folder: Path

    def make(self, *words: str, fail: str = "", code: int = 0) -> list[str]:
        """Run `make full-pipeline` with more words; the commands that ran, by name and output."""
        log = self.folder / "log"
        log.write_text("")
        done = self.run("full-pipeline", *words, fail=fail)
        self.output = done.stdout + done.stderr
        assert done.returncode == code, self.output
        return log.read_text().splitlines()

    def run(self, *words: str, fail: str = "") -> subprocess.CompletedProcess[str]:
        return run_make(self.folder, *words, fail=fail)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    write_stand_in(tmp_path, CASES)
    return Project(tmp_path)


def kinds(lines: list[str]) -> list[str]:
    """Each command's name, with the member's number where it has one."""
    names = []
    for line in lines:
        words = line.split()
        out = Path(words[words.index("--out") + 1]) if "--out" in words else Path()
        names.append(f"{words[0]} {out.stem}" if words[0] in ("train", "eval", "preprocess") else words[0])
    return names


WHOLE = ["check", "sample", "preprocess train", "preprocess val", "pca"]
WHOLE += ["train 1", "eval 1", "train 2", "eval 2", "ensemble"]


def test_without_data_the_sample_goes_through_every_stage(project: Project) -> None:
    lines = project.make()
    assert kinds(lines) == WHOLE
    assert lines[0] == "check --recipe quickstart --members 2 --devices auto --precision fp32 --codec raw"
    assert lines[1] == "sample out/sample --update"
    assert lines[2] == "preprocess out/sample/train --out out/train.lmdb --codec raw --update"
    assert lines[3] == (
        "preprocess out/sample/val --out out/val.lmdb --classes out/train.lmdb --allow-missing --codec raw --update"
    )
    assert (
        "train out/train.lmdb --val out/val.lmdb --stats out/stats.h5 --recipe quickstart --devices auto "
        "--precision fp32 --seed 2 --out out/runs/2 --update"
    ) in lines
    assert lines[-1] == "ensemble out/scores/1.h5 out/scores/2.h5 --crops out/val.lmdb --out out/ensemble --update"
    assert "everything is up to date: out/ensemble/table.txt" in project.output


def test_the_variables_reach_the_commands(project: Project) -> None:
    words = ("RECIPE=paper", "EPOCHS=3", "MEMBERS=3", "DEVICES=cpu", "PRECISION=bf16", "CODEC=jpeg", "OUT=elsewhere")
    lines = project.make(*words)
    assert lines[0] == "check --recipe paper --members 3 --epochs 3 --devices cpu --precision bf16 --codec jpeg"
    assert "train 3" in kinds(lines)
    train = next(line for line in lines if line.startswith("train"))
    assert "--recipe paper --epochs 3 --devices cpu --precision bf16 --seed 1 --out elsewhere/runs/1" in train
    assert "--codec jpeg" in lines[2]


@pytest.mark.parametrize("value", ["a;>made", "a'b", 'a"b', "a&>made", "a(b)", "`>made`", "*", "~"])
def test_a_variable_reaches_the_commands_as_it_is(project: Project, value: str) -> None:
    names = ("OUT", "RECIPE", "EPOCHS", "DEVICES", "PRECISION", "CODEC")
    lines = project.make(*(f"{name}={value}" for name in names), "MEMBERS=2")
    assert kinds(lines) == WHOLE
    assert not (project.folder / "made").exists()
    assert (
        f"train {value}/train.lmdb --val {value}/val.lmdb --stats {value}/stats.h5 --recipe {value} --epochs {value} "
        f"--devices {value} --precision {value} --seed 1 --out {value}/runs/1 --update"
    ) in lines
    assert f"--codec {value} --update" in lines[2]
    assert lines[-1] == (
        f"ensemble {value}/scores/1.h5 {value}/scores/2.h5 --crops {value}/val.lmdb --out {value}/ensemble --update"
    )


def test_no_variable_is_run_by_a_shell(project: Project) -> None:
    project.make("MEMBERS=1; touch made", fail="check*", code=2)
    assert not (project.folder / "made").exists()


@pytest.mark.parametrize(
    ("failing", "ran"),
    [
        ("check*", WHOLE[:1]),
        ("preprocess*/val*", WHOLE[:4]),
        ("train*runs/1*", WHOLE[:6]),
        ("eval*runs/1*", WHOLE[:7]),
        ("ensemble*", WHOLE),
    ],
)
def test_a_command_that_fails_ends_the_pipeline(project: Project, failing: str, ran: list[str]) -> None:
    lines = project.make(fail=failing, code=2)
    assert kinds(lines) == ran
    assert "everything is up to date" not in project.output


def test_make_removes_and_keeps_account_of_nothing() -> None:
    for name in ("Makefile", "contest.mk", "cifar.mk"):
        text = (MAKEFILE.parent / name).read_text()
        recipes = text[text.index("full-pipeline:") if name == "Makefile" else 0 :]
        for word in ("rm -", "touch", "cmp", "$(eval", ".settings", "-nt ", "-newer", "mv "):
            assert word not in recipes, f"{name}: {word}"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A tree of one's own, in a folder whose name has a blank and a quote."""
    folder = tmp_path / "my friend's pictures"
    for name in ("train/cat", "train/dog", "validation/cat", "validation/dog"):
        (folder / name).mkdir(parents=True)
        (folder / name / "1.jpg").touch()
    return folder


def test_data_of_ones_own_is_used_instead_of_the_sample(project: Project, pictures: Path) -> None:
    lines = project.make(f"DATA={pictures}")
    assert kinds(lines) == [name for name in WHOLE if name != "sample"]
    assert lines[0].startswith(f"check --data {pictures} --holdout 0.1 --recipe small")
    assert lines[1].startswith(f"preprocess {pictures}/train --out out/train.lmdb")
    assert lines[2].startswith(f"preprocess {pictures}/validation --out out/val.lmdb")


@pytest.mark.parametrize("form", ["folder", "archive"])
def test_of_one_folder_of_classes_a_part_is_held_out(project: Project, form: str) -> None:
    data = project.folder / "my friend's pictures"
    if form == "folder":
        (data / "cat").mkdir(parents=True)
    else:
        data.touch()
    lines = project.make(f"DATA={data}", "HOLDOUT=0.2")
    assert kinds(lines) == [name for name in WHOLE if name not in ("sample", "preprocess val")]
    assert lines[0].startswith(f"check --data {data} --holdout 0.2 --recipe small")
    assert lines[1] == (
        f"preprocess {data} --out out/train.lmdb --holdout 0.2 --holdout-out out/val.lmdb --codec raw --update"
    )
    assert "train out/train.lmdb --val out/val.lmdb" in lines[3]


# ------------------------------------------------------------------------------------------------ with the real command


@pytest.fixture
def real(project: Project) -> Project:
    """The same with the real `alexnet`."""
    program = project.folder / "alexnet"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m alexnet_cli "$@"\n')
    return project


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("EPOCHS=abc",), "Invalid value for '--epochs'"),
        (("MEMBERS=none",), "Invalid value for '--members'"),
        (("MEMBERS=0",), "Invalid value for '--members'"),
        (("MEMBERS=9999999999",), "Invalid value for '--members'"),
        (("PRECISION=fp16",), "--precision fp16: unknown"),
        (("RECIPE=papre",), "there is no recipe 'papre'"),
        (("DEVICES=cuda:96,97",), "this machine has"),
        (("DEVICES=gpu",), "--devices gpu: not understood"),
        (("CODEC=png",), "--codec png: must be raw or jpeg"),
        (("DATA=nowhere",), "nowhere: no such folder or archive"),
        (("DATA=out",), "out: holds train/ and no val/ or validation/: add it, or give out/train, of which"),
        (("DATA=out/runs/1", "HOLDOUT=2"), "--holdout 2: must lie between 0 and 1"),
        (("OUT=a b",), "must be a path without blanks"),
    ],
)
def test_a_typo_in_any_variable_ends_at_once_with_everything_as_it_was(
    real: Project, words: tuple[str, ...], message: str
) -> None:
    own = real.folder / "out/runs/1"
    own.mkdir(parents=True)
    (own / "manifest.json").write_text("{}")
    (real.folder / "out/train").mkdir()
    before = sorted(real.folder.rglob("*"))
    real.make(*words, code=2)
    assert message in real.output
    said = [line for line in real.output.splitlines() if not line.startswith("make")]
    assert len(said) <= 1, real.output
    assert [path for path in sorted(real.folder.rglob("*")) if path.name != "log"] == [
        path for path in before if path.name != "log"
    ]


def write_pictures(root: Path) -> None:
    rng = np.random.default_rng(0)
    for part, count in (("train", 6), ("val", 2)):
        for name in ("cat", "dog"):
            (root / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (40, 50, 3), np.uint8)
                Image.fromarray(pixels).save(root / part / name / f"{number}.png")


@pytest.mark.slow
def test_a_second_pipeline_does_nothing_says_so_and_is_quick(real: Project) -> None:
    write_pictures(real.folder / "data")
    words = ("DATA=data", "MEMBERS=1", "EPOCHS=1", "DEVICES=cpu")
    real.make(*words)
    outputs = [real.folder / "out" / name for name in ("train.lmdb", "val.lmdb", "stats.h5", "runs", "ensemble")]
    files = [path for out in outputs for path in [out, *out.rglob("*")] if path.is_file()]
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}
    start = time.perf_counter()
    real.make(*words)
    assert time.perf_counter() - start < 10
    assert real.output.count("up to date") >= 7
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files} == before
    real.make(*words, "RECIPE=quickstart", code=2)
    assert "out/runs/1: was trained by recipe small" in real.output
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files} == before


@pytest.mark.slow
def test_one_folder_of_classes_is_enough(real: Project) -> None:
    write_pictures(real.folder / "parts")
    (real.folder / "parts/train").rename(real.folder / "data")
    real.make("DATA=data", "HOLDOUT=0.3", "MEMBERS=1", "EPOCHS=1", "DEVICES=cpu")
    assert (real.folder / "out/val.lmdb").is_dir()
    assert (real.folder / "out/ensemble/table.txt").is_file()


def test_help_lists_every_target(project: Project) -> None:
    shutil.copy(MAKEFILE, project.folder / "Makefile")
    listed = project.run().stdout
    for target in (
        "setup",
        "test",
        "test-all",
        "test-gpu",
        "lint",
        "types",
        "bench",
        "bench-gpu",
        "clean",
        "full-pipeline",
    ):
        assert f"make {target} " in listed
