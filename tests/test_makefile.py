"""The Makefile's graph, with a stand-in for `alexnet` that notes its words and makes its outputs."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from stand_in import MAKEFILE, run_make, write_stand_in

CASES = r"""    sample) mkdir -p "$out"/{train,val}/{a,b}; touch "$out/sample.json" ;;
    preprocess) mkdir -p "$out"; digest=$( (echo "$*"; cd "$2"; find . | sort) | cksum)
        echo "  \"digest\": \"$digest\"," > "$out/manifest.json" ;;
    pca|eval) mkdir -p "$(dirname "$out")"; touch "$out" ;;
    train) [[ "$*" == *--resume* ]] || exit 9; [ -e "$out/begun" ] && echo resumed >> "$LOG"
        mkdir -p "$out"; touch "$out/manifest.json" ;;
    ensemble) mkdir -p "$out"; echo "the table" > "$out/table.txt"; touch "$out/manifest.json" ;;
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


WHOLE = ["sample", "preprocess train", "preprocess val", "pca", "train 1", "eval 1", "train 2", "eval 2", "ensemble"]


def test_without_data_the_sample_goes_through_every_stage(project: Project) -> None:
    lines = project.make()
    assert kinds(lines) == WHOLE
    assert lines[0] == "sample out/sample --overwrite"
    assert lines[1] == "preprocess out/sample/train --out out/train.lmdb --codec raw --overwrite"
    assert lines[2] == (
        "preprocess out/sample/val --out out/val.lmdb --classes out/train.lmdb --allow-missing --codec raw --overwrite"
    )
    assert (
        "train out/train.lmdb --val out/val.lmdb --stats out/stats.h5 --recipe quickstart --devices auto "
        "--precision fp32 --seed 2 --out out/runs/2 --resume"
    ) in lines
    assert lines[-1] == "ensemble out/scores/1.h5 out/scores/2.h5 --crops out/val.lmdb --out out/ensemble --overwrite"


def test_a_second_run_does_nothing_and_says_so(project: Project) -> None:
    project.make()
    assert project.make() == []
    assert "everything is up to date: out/ensemble" in project.output
    assert "the table" in project.output
    assert project.run("-q", "full-pipeline").returncode == 0


def test_the_variables_reach_the_commands(project: Project) -> None:
    words = ("RECIPE=paper", "EPOCHS=3", "MEMBERS=3", "DEVICES=cpu", "PRECISION=bf16", "CODEC=jpeg", "OUT=elsewhere")
    lines = project.make(*words)
    assert "train 3" in kinds(lines)
    train = next(line for line in lines if line.startswith("train"))
    assert "--recipe paper --epochs 3 --devices cpu --precision bf16 --seed 1 --out elsewhere/runs/1" in train
    assert "--codec jpeg" in lines[1]
    assert project.make(*words) == []


@pytest.mark.parametrize(
    ("stopped", "rest"),
    [
        ("preprocess*/val*", WHOLE[2:]),
        ("pca*", WHOLE[3:]),
        ("train*runs/1*", WHOLE[4:]),
        ("eval*runs/1*", WHOLE[5:]),
        ("train*runs/2*", WHOLE[6:]),
        ("ensemble*", ["ensemble"]),
    ],
)
def test_an_interrupted_pipeline_goes_on_where_it_stopped(project: Project, stopped: str, rest: list[str]) -> None:
    project.make(fail=stopped, code=2)
    assert kinds([line for line in project.make() if line != "resumed"]) == rest
    assert project.make() == []


def test_an_interrupted_training_is_resumed(project: Project) -> None:
    project.make(fail="train*runs/2*", code=2)
    lines = project.make()
    assert lines[lines.index("resumed") - 1].endswith("--out out/runs/2 --resume")


@pytest.mark.parametrize("change", ["RECIPE=paper", "EPOCHS=2"])
def test_another_recipe_or_number_of_epochs_trains_anew_and_prepares_nothing(project: Project, change: str) -> None:
    project.make()
    (project.folder / "out/runs/1/begun").touch()
    lines = project.make(change)
    assert kinds(lines) == WHOLE[4:]
    assert "resumed" not in lines, "what another recipe left must be gone"
    assert project.make(change) == []
    assert kinds(project.make()) == WHOLE[4:]


def test_an_interrupted_training_with_another_recipe_starts_anew(project: Project) -> None:
    project.make(fail="train*", code=2)
    assert (project.folder / "out/runs/1/begun").exists()
    assert "resumed" not in project.make("RECIPE=paper")


def test_one_more_member_trains_that_member_alone(project: Project) -> None:
    project.make()
    assert kinds(project.make("MEMBERS=3")) == ["train 3", "eval 3", "ensemble"]
    assert kinds(project.make("MEMBERS=1")) == ["ensemble"]


def test_another_codec_makes_all_but_the_sample_anew(project: Project) -> None:
    project.make()
    assert kinds(project.make("CODEC=jpeg")) == WHOLE[1:]


def test_a_dry_run_and_a_change_taken_back_leave_everything_up_to_date(project: Project) -> None:
    project.make()
    assert project.run("-n", "full-pipeline", "RECIPE=paper", "CODEC=jpeg").returncode == 0
    assert project.run("-q", "full-pipeline", "RECIPE=paper").returncode == 1
    assert project.make() == []


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
    assert kinds(lines) == WHOLE[1:]
    assert lines[0].startswith(f"preprocess {pictures}/train --out out/train.lmdb")
    assert lines[1].startswith(f"preprocess {pictures}/validation --out out/val.lmdb")
    assert any("--recipe small" in line for line in lines)
    assert project.make(f"DATA={pictures}") == []


def _later(path: Path) -> None:
    """As if the folder had changed just now; the file system's clock may tick too slowly for a test."""
    stamp = path.stat().st_mtime + 5
    os.utime(path, (stamp, stamp))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda folder: (folder / "train/cat/2.jpg").touch(), WHOLE[1:]),
        (lambda folder: shutil.rmtree(folder / "train/dog"), WHOLE[1:]),
        (lambda folder: (folder / "validation/dog/2.jpg").touch(), [*WHOLE[2:3], *WHOLE[4:]]),
    ],
    ids=["a picture added", "a class removed", "a validation picture added"],
)
def test_changed_pictures_are_noticed(
    project: Project, pictures: Path, change: Callable[[Path], object], expected: list[str]
) -> None:
    project.make(f"DATA={pictures}")
    change(pictures)
    for folder in (pictures / "train", pictures / "train/cat", pictures / "validation/dog"):
        if folder.stat().st_mtime > (project.folder / "out/.settings/val").stat().st_mtime:
            _later(folder)
    assert kinds(project.make(f"DATA={pictures}")) == expected


def test_a_touched_folder_with_the_same_pictures_costs_no_training(project: Project, pictures: Path) -> None:
    project.make(f"DATA={pictures}")
    _later(pictures / "train/cat")
    assert not any(line.startswith("train") for line in project.make(f"DATA={pictures}"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("DATA=nowhere",), "DATA=nowhere: must hold the folders train/<class>/ and val/<class>/"),
        (("MEMBERS=none",), "MEMBERS=none: must be a number, 1 or more"),
        (("OUT=a b",), "must be a path without blanks"),
    ],
)
def test_a_wrong_variable_is_explained(project: Project, words: tuple[str, ...], message: str) -> None:
    assert project.make(*words, code=2) == []
    assert message in project.output


def test_help_lists_every_target(project: Project) -> None:
    shutil.copy(MAKEFILE, project.folder / "Makefile")
    listed = project.run().stdout
    for target in ("setup", "test", "test-all", "test-gpu", "lint", "types", "bench", "clean", "full-pipeline"):
        assert f"make {target} " in listed
