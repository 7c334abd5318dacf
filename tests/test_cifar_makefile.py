"""`make cifar` and `make figure-1`, with a stand-in for `alexnet` that notes its words."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from stand_in import run_make, write_stand_in

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
CASES = '    *) mkdir -p "$(dirname "$out")"; touch "$out.done" ;;\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_stand_in(tmp_path, CASES)
    (tmp_path / "log").write_text("")
    return tmp_path


def pictures(root: Path) -> Path:
    for part in ("train", "val"):
        (root / part / "cat").mkdir(parents=True)
        (root / part / "cat" / "1.jpg").write_text("a picture")
    return root


def test_cifar_is_preprocessed_at_32_and_its_nets_compared(folder: Path) -> None:
    data = pictures(folder / "cifar 10")
    done = run_make(folder, "cifar", f"DATA={data}")
    assert done.returncode == 0, done.stderr
    lines = (folder / "log").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["preprocess", "preprocess", "pca", "ablate"]
    assert all("--side 32" in line for line in lines[:2])
    assert all("--update" in line for line in lines)
    assert "--recipes cifar-26,cifar-18 --each-own --seeds 1 " in lines[-1]


def test_figure_1_takes_a_tar_as_it_is_and_removes_nothing(folder: Path) -> None:
    made = pictures(folder / "made")
    subprocess.run(["tar", "-cJf", folder / "c.tar.xz", "-C", made, "train", "val"], check=True)
    own = folder / "o/cifar/pictures.part/own.txt"
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    for _ in range(2):
        done = run_make(folder, "figure-1", "DATA=c.tar.xz", "OUT=o")
        assert done.returncode == 0, done.stderr
    lines = (folder / "log").read_text().splitlines()
    assert lines[0].startswith("preprocess c.tar.xz --split train --out o/cifar/train.lmdb")
    assert lines[1].startswith("preprocess c.tar.xz --split val --out o/cifar/val.lmdb")
    assert "--recipes figure-1-relu,figure-1-tanh --train-error 25 --seeds 1,2,3 " in lines[-1]
    assert own.read_text() == "mine"


def test_without_data_it_says_what_is_missing(folder: Path) -> None:
    done = run_make(folder, "cifar")
    assert done.returncode == 2
    assert "DATA is missing" in done.stdout + done.stderr
    assert (folder / "log").read_text() == ""


@pytest.mark.parametrize("value", ["a b", "a;>made", "a'b", 'a"b', "a&>made", "a(b)", "`>made`", "*"])
def test_a_variable_reaches_the_commands_as_it_is(folder: Path, value: str) -> None:
    pictures(folder / "data")
    done = run_make(folder, "cifar", "DATA=data", f"CIFAR={value}", f"SEEDS={value}", f"DEVICES={value}")
    assert done.returncode == 0, done.stderr
    assert not (folder / "made").exists()
    line = (folder / "log").read_text().splitlines()[-1]
    assert f"--seeds {value} --devices {value} " in line and line.endswith(f"--out {value}/nets --update")
