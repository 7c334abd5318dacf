"""`alexnet train --resume`: stopped or killed anywhere, a run ends with the weights that it would have had."""

from __future__ import annotations

import csv
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from alexnet_cli.artifacts.checkpoint import read_checkpoint
from alexnet_cli.artifacts.common.working import mark
from alexnet_cli.artifacts.crops.store import Crop, CropStore
from alexnet_cli.artifacts.crops.ways import SLOW
from alexnet_cli.artifacts.run import RunFolder, Saved
from alexnet_cli.cli import main

MakeStore = Callable[..., CropStore]
Capture = pytest.CaptureFixture[str]
AtRead = Callable[[CropStore, int, Callable[[], None]], None]
STEPS = 6
"""Mini-batches in an epoch: 24 pictures, 4 at a time."""


class Runs:
    """The same training, over and over, into folders of its own."""

    def __init__(self, make_store: MakeStore, make_statistics: Callable[[CropStore], Path], narrow: list[str]) -> None:
        self.train = make_store("train", [index % 3 for index in range(24)])
        self.val = make_store("val", [0, 1, 2] * 3, seed=1)
        self.folder = self.train.path.parent
        self.stats = make_statistics(self.train)
        # Everything that a step depends on is in play: dropout, flips, noise, a drop of the rate, a layer that freezes.
        self.sets = [*narrow, "input.flip=true", "training.changes=[{epoch=2, rate=3e-4, layers={conv2=0.0}}]"]

    def words(self, name: str, *more: object, epochs: int = 3) -> list[str]:
        words: list[object] = ["train", self.train.path, "--val", self.val.path, "--stats", self.stats]
        words += ["--out", self.folder / name, "--devices", "cpu", "--recipe", "quickstart", "--batch-size", 4]
        words += ["--epochs", epochs, "--rate", 0.001, "--seed", 7]
        words += [word for text in self.sets for word in ("--set", text)]
        return [str(word) for word in (*words, *more)]

    def __call__(self, name: str, *more: object, epochs: int = 3) -> int:
        return main(self.words(name, *more, epochs=epochs))

    def newest(self, name: str) -> Saved:
        newest = RunFolder(self.folder / name).newest()
        assert newest is not None
        return newest

    def same(self, name: str, other: str) -> bool:
        """Whether two finished runs agree to the last bit: weights, momentum, and what was measured on the way."""
        one, two = self.newest(name), self.newest(other)
        files = ("model.safetensors", "momentum.safetensors", "input.safetensors")
        odd = [file for file in files if (one.path / file).read_bytes() != (two.path / file).read_bytes()]
        for file in odd:  # shown where a test fails
            first, second = load_file(one.path / file), load_file(two.path / file)
            print(file, {key: np.abs(first[key] - second[key]).max() for key in first})
        print(one.step, two.step, self.measured(name), self.measured(other), sep="\n")
        return one.step == two.step and not odd and self.measured(name) == self.measured(other)

    def measured(self, name: str) -> list[list[str]]:
        """metrics.csv without the times."""
        with (self.folder / name / "metrics.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        return [[row[column] for column in row if column not in ("images_per_second", "seconds")] for row in rows]


@pytest.fixture
def runs(make_store: MakeStore, make_statistics: Callable[[CropStore], Path], narrow: list[str]) -> Runs:
    return Runs(make_store, make_statistics, narrow)


@pytest.fixture
def at_read(monkeypatch: pytest.MonkeyPatch) -> AtRead:
    """at_read(store, n, act): call `act` when the n-th crop of a store is read, counted from 1 from now on."""
    read = CropStore.read_into
    waiting: dict[tuple[Path, int], Callable[[], None]] = {}
    counts: dict[Path, int] = {}

    def read_into(self: CropStore, index: int, out: Crop, *ways: Any) -> None:
        counts[self.path] = counts.get(self.path, 0) + 1
        act = waiting.get((self.path, counts[self.path]))
        if act:
            act()
        read(self, index, out, *ways)

    monkeypatch.setattr(CropStore, "read_into", read_into)
    monkeypatch.setattr("alexnet_cli.loader.fast_ways", lambda *_, **__: SLOW)  # which reads crops one by one

    def plan(store: CropStore, number: int, act: Callable[[], None]) -> None:
        waiting[store.path, number + counts.get(store.path, 0)] = act

    return plan


def sends(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


@pytest.mark.parametrize(
    ("store", "read"),
    [("train", 5), ("train", 24 + 10), ("train", 24 + 22), ("val", 9 + 2)],
    ids=["first epoch", "mid-epoch", "end of the epoch", "validation"],
)
def test_a_run_stopped_by_sigterm_ends_with_75_and_goes_on_bit_for_bit(
    runs: Runs,
    capsys: Capture,
    at_read: AtRead,
    store: str,
    read: int,
) -> None:
    assert runs("whole", "--quiet") == 0
    at_read(runs.train if store == "train" else runs.val, read, sends(signal.SIGTERM))
    capsys.readouterr()
    assert runs("stopped", "--quiet") == 75
    text = capsys.readouterr().err
    stopped = runs.newest("stopped").step
    assert text == f"alexnet: stopped after step {stopped}; saved: continue with the same command and --resume\n"
    assert 0 < stopped < 3 * STEPS
    assert "stopped by SIGTERM" in (runs.folder / "stopped" / "log.txt").read_text()
    assert runs("stopped", "--resume", "--quiet") == 0
    assert runs.same("whole", "stopped")


def test_a_run_killed_after_an_epochs_checkpoint_goes_on_bit_for_bit(runs: Runs) -> None:
    assert runs("whole", "--quiet") == 0
    assert runs("short", "--quiet", epochs=1) == 0
    (runs.folder / "short" / "manifest.json").unlink()
    assert runs.newest("short").step == STEPS
    assert runs("short", "--resume", "--quiet") == 0
    assert runs.same("whole", "short")


def test_a_finished_run_goes_on_to_more_epochs_bit_for_bit(runs: Runs, capsys: Capture) -> None:
    assert runs("whole", "--quiet") == 0
    assert runs("short", "--quiet", epochs=1) == 0
    assert runs("short", "--resume") == 0
    assert "resuming from step-00000006" in capsys.readouterr().err
    assert runs.same("whole", "short")
    assert json.loads((runs.folder / "short" / "config.json").read_text())["recipe"]["training"]["epochs"] == 3
    assert json.loads((runs.folder / "short" / "manifest.json").read_text())["details"]["steps"] == 3 * STEPS


def test_a_run_stopped_twice_in_one_epoch_goes_on_bit_for_bit(runs: Runs, at_read: AtRead) -> None:
    assert runs("whole", "--quiet") == 0
    at_read(runs.train, 24 + 3, sends(signal.SIGTERM))
    assert runs("stopped", "--quiet") == 75
    first = runs.newest("stopped").step
    at_read(runs.train, 11, sends(signal.SIGTERM))
    assert runs("stopped", "--quiet", "--resume") == 75
    assert STEPS < first < runs.newest("stopped").step < 2 * STEPS
    assert runs("stopped", "--quiet", "--resume") == 0
    assert runs.same("whole", "stopped")


def test_a_run_killed_within_an_epoch_goes_on_from_its_last_save_bit_for_bit(runs: Runs) -> None:
    assert runs("whole", "--quiet", epochs=4) == 0
    program = [sys.executable, "-m", "alexnet_cli", *runs.words("killed", "--checkpoint-minutes", 0, epochs=4)]
    with subprocess.Popen(program, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        # Some way into the second epoch, wherever it is just then: in a step, or in the middle of saving.
        # (A checkpoint that was there a moment ago may have been tidied away.)
        saved = runs.folder / "killed" / "checkpoints"
        while not [path for path in saved.glob("step-*") if int(path.name.removeprefix("step-")) >= STEPS + 2]:
            assert process.poll() is None and time.monotonic() < deadline, process.communicate()
            time.sleep(0.001)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert STEPS < runs.newest("killed").step < 4 * STEPS
    assert not (runs.folder / "killed" / "manifest.json").exists()
    assert runs("killed", "--resume", "--quiet", epochs=4) == 0
    assert runs.same("whole", "killed")
    left = [path.name for path in (runs.folder / "killed" / "checkpoints").iterdir()]
    assert not [name for name in left if not name.removeprefix("step-").isdigit()]


def test_a_run_killed_between_its_metrics_and_its_checkpoint_has_each_epoch_once(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert runs("whole", "--quiet") == 0
    write = RunFolder.write_metrics

    def dies(self: RunFolder, rows: list[object]) -> None:
        write(self, rows)  # type: ignore[arg-type]
        if len(rows) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "write_metrics", dies)
        assert runs("killed", "--quiet", "--checkpoint-minutes", 0) == 130
    assert runs.newest("killed").step == 2 * STEPS, "the epoch's last mini-batch is saved, its end is not"
    assert runs("killed", "--quiet", "--resume") == 0
    assert runs.same("whole", "killed")


def test_how_often_a_run_saves_changes_nothing(runs: Runs) -> None:
    assert runs("seldom", "--quiet") == 0
    assert runs("often", "--quiet", "--checkpoint-minutes", 0) == 0
    assert runs.same("seldom", "often")


def test_ctrl_c_once_saves_and_ends_with_130(runs: Runs, capsys: Capture, at_read: AtRead) -> None:
    assert runs("whole", "--quiet") == 0
    at_read(runs.train, 24 + 10, sends(signal.SIGINT))
    capsys.readouterr()
    assert runs("stopped") == 130
    lines = capsys.readouterr().err.splitlines()
    assert "saving, then stopping; Ctrl-C again stops at once" in lines
    assert lines[-1].startswith("alexnet: stopped after step ") and "--resume" in lines[-1]
    assert STEPS < runs.newest("stopped").step < 2 * STEPS
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, "what it was before"
    assert runs("stopped", "--resume", "--quiet") == 0
    assert runs.same("whole", "stopped")


def test_ctrl_c_twice_ends_at_once_and_saves_nothing_more(runs: Runs, capsys: Capture, at_read: AtRead) -> None:
    def twice() -> None:
        usual = signal.getsignal(signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        deadline = time.monotonic() + 30
        # The second one only counts when the first was heard; the main thread waits for this very crop meanwhile.
        while signal.getsignal(signal.SIGINT) is usual and time.monotonic() < deadline:
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)

    at_read(runs.train, 24 + 1, twice)
    assert runs("stopped", "--quiet") == 130
    assert capsys.readouterr().err == "alexnet: interrupted\n"
    assert runs.newest("stopped").step == STEPS
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert runs("stopped", "--resume", "--quiet") == 0


def test_resuming_where_there_is_nothing_starts_at_the_beginning(runs: Runs, capsys: Capture) -> None:
    assert runs("whole", "--quiet") == 0
    assert runs("new", "--quiet", "--resume") == 0
    assert runs.same("whole", "new")
    folder = runs.folder / "empty" / "checkpoints"
    folder.mkdir(parents=True)
    mark(folder.parent, "run", folder.parent)
    (folder / ".step-00000003.alexnet-work").mkdir()
    assert runs("empty", "--resume") == 0
    assert "has no checkpoint: starting at the beginning" in capsys.readouterr().err
    assert runs.same("whole", "empty")


def test_a_finished_run_has_nothing_to_do(runs: Runs, capsys: Capture) -> None:
    assert runs("whole", "--json", "--quiet") == 0
    first = json.loads(capsys.readouterr().out)
    before = (runs.newest("whole").path / "manifest.json").stat().st_mtime_ns
    assert runs("whole", "--json", "--resume") == 0
    printed = capsys.readouterr()
    assert printed.err.splitlines() == [f"{runs.folder / 'whole'} is finished: nothing to do"]
    assert json.loads(printed.out) == first
    assert (runs.newest("whole").path / "manifest.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--seed", "8"], ["--seed 7, not 8"]),
        (["--rate", "0.002"], ["training.rate = 0.001, not 0.002"]),
        (["--batch-size", "6"], ["training.batch_size = 4, not 6"]),
        (["--set", "net.fc7.neurons=17"], ["net.fc7.neurons = 16, not 17"]),
        (["--set", "input.divisor=1"], ["input.divisor = 64.0, not 1.0"]),
    ],
    ids=lambda value: " ".join(value) if value[0].startswith("--") else "",
)
def test_going_on_with_another_option_is_refused_by_its_name(
    runs: Runs, capsys: Capture, at_read: AtRead, words: list[str], parts: list[str]
) -> None:
    at_read(runs.train, 5, sends(signal.SIGTERM))
    assert runs("run", "--quiet") == 75
    step = runs.newest("run").step
    capsys.readouterr()
    assert runs("run", "--quiet", "--resume", *words) == 4
    text = capsys.readouterr().err
    assert len(text.splitlines()) == 1
    for part in (str(runs.folder / "run"), *parts):
        assert part in text
    assert runs.newest("run").step == step, "nothing was lost"


def test_going_on_with_other_pictures_is_refused(
    runs: Runs,
    capsys: Capture,
    make_store: MakeStore,
    make_statistics: Callable[[CropStore], Path],
) -> None:
    assert runs("run", "--quiet") == 0
    (runs.folder / "run" / "manifest.json").unlink()
    other = make_store("other", [0, 1, 2] * 8, seed=3)
    capsys.readouterr()
    assert runs("run", "--quiet", "--resume", "--val", other.path) == 4
    assert "was trained with another validation" in capsys.readouterr().err
    runs.train, runs.stats = other, make_statistics(other)
    assert runs("run", "--quiet", "--resume") == 4
    assert "was trained with another crops" in capsys.readouterr().err


@pytest.mark.parametrize("file", ["momentum.safetensors", "model.safetensors", "state.json", "manifest.json"])
def test_a_damaged_newest_checkpoint_is_told_and_the_one_before_serves(runs: Runs, capsys: Capture, file: str) -> None:
    assert runs("whole", "--quiet") == 0
    assert runs("run", "--quiet") == 0
    (runs.folder / "run" / "manifest.json").unlink()
    newest = runs.newest("run").path
    content = (newest / file).read_bytes()
    (newest / file).write_bytes(content[: len(content) // 2])
    capsys.readouterr()
    assert runs("run", "--quiet", "--resume") == 0
    said = capsys.readouterr().err
    assert said.startswith(f"warning: {newest}")
    assert "going back to step-" in said
    assert f"the damaged one is now {newest.name}.damaged" in said
    assert runs.same("whole", "run")
    assert (newest.parent / f"{newest.name}.damaged").is_dir()


def test_where_all_checkpoints_are_damaged_nothing_begins_anew(runs: Runs, capsys: Capture) -> None:
    assert runs("run", "--quiet") == 0
    (runs.folder / "run" / "manifest.json").unlink()
    for file in (runs.folder / "run").rglob("momentum.safetensors"):
        file.write_bytes(b"x")
    before = sorted((runs.folder / "run/checkpoints").iterdir())
    capsys.readouterr()
    assert runs("run", "--quiet", "--resume") == 4
    assert "momentum.safetensors: is missing or damaged: use another checkpoint" in capsys.readouterr().err
    assert sorted((runs.folder / "run/checkpoints").iterdir()) == before


def test_on_a_full_disk_the_run_ends_with_5_and_goes_on_bit_for_bit_when_there_is_room(
    runs: Runs, capsys: Capture, at_read: AtRead
) -> None:
    assert runs("whole", "--quiet") == 0
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fills_up() -> None:
        # No file may grow beyond this any more: metrics still fit, a checkpoint's mean image does not.
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, usual[1]))

    at_read(runs.train, 24 + 10, fills_up)
    capsys.readouterr()
    try:
        code = runs("full", "--quiet")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    printed = capsys.readouterr()
    assert code == 5, printed.err
    assert len(printed.err.splitlines()) == 1 and "disk" in printed.err and "step-00000012" in printed.err
    assert runs.newest("full").step == STEPS
    assert runs("full", "--resume", "--quiet") == 0
    assert runs.same("whole", "full")


def test_a_checkpoints_momentum_is_of_every_parameter(runs: Runs) -> None:
    """conv2 freezes in the second epoch: its velocity is dropped, and the others' are not."""
    assert runs("run", "--quiet") == 0
    newest = runs.newest("run").path
    momentum, model = load_file(newest / "momentum.safetensors"), load_file(newest / "model.safetensors")
    assert {name: array.shape for name, array in momentum.items()} == {
        name: array.shape for name, array in model.items()
    }
    assert [name for name, array in momentum.items() if not array.any()] == ["conv2.bias", "conv2.weight"]
    assert read_checkpoint(newest).state["progress"]["step"] == 3 * STEPS
