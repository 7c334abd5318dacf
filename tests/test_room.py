"""`alexnet train` sees before its first step that its checkpoints do not fit on the disk."""

from __future__ import annotations

import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import MakeStore

from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.cli import main
from alexnet_cli.console import counted
from alexnet_cli.recipes.read import load_recipe
from alexnet_stages.train.room import checkpoint_bytes

Usage = namedtuple("Usage", "total used free")


def test_a_checkpoint_of_the_paper_is_its_parameters_twice() -> None:
    # Table of layers in the README: 60,965,224 parameters, with their momentum.
    assert checkpoint_bytes(load_recipe("paper")) == 8 * 60_965_224 + (1 << 20)


def test_a_full_disk_is_known_before_the_first_step(
    make_store: MakeStore,
    make_statistics: Callable[[CropStore], Path],
    narrow: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = make_store("train", [0, 1, 2] * 4)
    words = [store.path, "--stats", make_statistics(store), "--recipe", "quickstart", "--batch-size", 4, "--epochs", 1]
    words += ["--out", tmp_path / "run", "--quiet", *(word for text in narrow for word in ("--set", text))]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9, 10**6))
    assert main(["train", *map(str, words)]) == 5
    said = capsys.readouterr().err
    assert said.startswith(f"alexnet: {tmp_path}/run: the disk is too full: 2 checkpoints of recipe quickstart")
    assert not (tmp_path / "run").exists()


def test_one_is_singular() -> None:
    assert [counted(count, "picture") for count in (0, 1, 1408)] == ["0 pictures", "1 picture", "1,408 pictures"]
