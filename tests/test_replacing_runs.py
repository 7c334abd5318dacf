"""`alexnet train --overwrite`: the old run goes when the new one has its first checkpoint, and not before."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alexnet_cli.artifacts.common.working import begin_work, work_of
from alexnet_cli.artifacts.crops.store import Crop, CropStore
from alexnet_cli.artifacts.crops.ways import SLOW
from alexnet_cli.artifacts.run import RunFolder
from alexnet_cli.cli import main

Capture = pytest.CaptureFixture[str]
STEPS = 3


class Bench:
    """A small training of one epoch of three steps."""

    def __init__(self, make_store: Callable[..., CropStore], make_statistics: Callable[..., Path], narrow: list[str]):
        self.store = make_store("train", [index % 3 for index in range(12)])
        self.stats = make_statistics(self.store)
        self.folder = self.store.path.parent
        self.out = self.folder / "run"
        self.narrow = narrow

    def __call__(self, *more: object, seed: int = 0) -> int:
        words: list[object] = ["train", self.store.path, "--stats", self.stats, "--out", self.out, "--quiet"]
        words += ["--devices", "cpu", "--recipe", "quickstart", "--batch-size", 4, "--epochs", 1, "--seed", seed]
        words += [word for text in self.narrow for word in ("--set", text)]
        return main([str(word) for word in (*words, *more)])

    def content(self) -> dict[str, bytes]:
        """The run's files."""
        return {
            path.relative_to(self.out).as_posix(): path.read_bytes() for path in self.out.rglob("*") if path.is_file()
        }

    def neighbours(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir() if path.name.startswith("."))


@pytest.fixture
def bench(make_store: Callable[..., CropStore], make_statistics: Callable[..., Path], narrow: list[str]) -> Bench:
    return Bench(make_store, make_statistics, narrow)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--rate", 1e30), 6),
        (("--recipe", "papper"), 2),
        (("--set", "input.normalisation='none'", "--stats", "nowhere.h5"), 4),
        (("--devices", "cuda:99"), 5),
    ],
)
def test_a_training_that_fails_before_its_first_checkpoint_leaves_the_old_run_as_it_was(
    bench: Bench, words: tuple[object, ...], code: int
) -> None:
    assert bench() == 0
    before = bench.content()
    assert bench("--overwrite", *words) in (code, 2)
    assert bench.content() == before
    assert bench.neighbours() == []


def test_the_old_run_is_there_and_whole_until_the_new_one_has_a_checkpoint(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bench() == 0
    before, seen = bench.content(), []
    read = CropStore.read_into

    def read_into(store: CropStore, index: int, out: Crop, *ways: Any) -> None:
        seen.append(bench.content() == before)
        read(store, index, out, *ways)

    monkeypatch.setattr(CropStore, "read_into", read_into)
    monkeypatch.setattr("alexnet_cli.loader.fast_ways", lambda *_, **__: SLOW)  # which reads crops one by one
    assert bench("--overwrite", seed=1) == 0
    assert len(seen) == STEPS * 4 and all(seen)
    after = bench.content()
    assert json.loads(after["config.json"])["seed"] == 1
    assert json.loads(after["manifest.json"])["details"]["steps"] == STEPS
    assert not set(before) & {name for name in after if name.startswith("tensorboard/")}
    assert "alexnet-unfinished.json" not in after
    assert bench.neighbours() == []


def test_a_stopped_replacement_has_taken_the_place_with_its_checkpoint_and_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bench() == 0
    read, count = CropStore.read_into, [0]

    def read_into(store: CropStore, index: int, out: Crop, *ways: Any) -> None:
        count[0] += 1
        if count[0] == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        read(store, index, out, *ways)

    monkeypatch.setattr(CropStore, "read_into", read_into)
    monkeypatch.setattr("alexnet_cli.loader.fast_ways", lambda *_, **__: SLOW)  # which reads crops one by one
    assert bench("--overwrite", seed=1) == 75
    run = RunFolder(bench.out)
    newest = run.newest()
    assert newest is not None and 0 < newest.step < STEPS and not run.finished
    assert (bench.out / "alexnet-unfinished.json").is_file()
    assert bench("--resume", seed=1) == 0
    assert RunFolder(bench.out).finished and bench.neighbours() == []


def test_what_a_killed_replacement_left_is_removed_by_the_next_command(bench: Bench) -> None:
    assert bench() == 0
    for words in (("--overwrite",), ("--resume",)):
        work = begin_work(bench.out, "run")
        (work / "checkpoints").mkdir()
        (work / "log.txt").write_text("half")
        (bench.out / ".metrics.csv.alexnet-work").write_text("half")
        assert bench(*words) == 0
        assert not work_of(bench.out).exists()
        assert not (bench.out / ".metrics.csv.alexnet-work").exists()


def test_a_run_is_not_replaced_by_one_that_starts_from_it(bench: Bench, capsys: Capture) -> None:
    assert bench() == 0
    before = bench.content()
    capsys.readouterr()
    checkpoint = next((bench.out / "checkpoints").iterdir())
    for origin in (bench.out, checkpoint):
        assert bench("--overwrite", "--init-from", origin) == 2
        assert "--init-from" in capsys.readouterr().err
    assert bench.content() == before


def test_a_run_may_lie_behind_a_link_and_the_link_stays(bench: Bench) -> None:
    (bench.folder / "disk").mkdir()
    bench.out.symlink_to(bench.folder / "disk" / "run")
    assert bench() == 0
    assert bench("--overwrite", seed=1) == 0
    assert bench.out.is_symlink()
    assert sorted(path.name for path in (bench.folder / "disk").iterdir()) == ["run"]
    assert json.loads((bench.out / "config.json").read_text())["seed"] == 1


def test_every_file_of_a_run_has_the_users_umask(bench: Bench) -> None:
    before = os.umask(0o022)
    try:
        assert bench() == 0
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in bench.out.rglob("*") if path.is_file()}
    assert set(modes.values()) == {0o644}, modes
