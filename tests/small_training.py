"""A small training through `alexnet train`'s command line: what the tests of training share."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from alexnet_cli.artifacts.checkpoint import Checkpoint, read_checkpoint
from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.artifacts.run import RunFolder
from alexnet_cli.cli import main

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
