"""The pipeline in small: twelve pictures of two classes, a net of a few kernels, one epoch of two steps.

Each stage has an older artifact of its own to replace, and the same command always gives the same digest.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from faults.server import Fault, Found, Outcome, Server

NARROW = [
    "net.conv1.kernels=4",
    *(f"net.conv{number}.kernels=8" for number in range(2, 6)),
    *(f"net.fc{number}.neurons=16" for number in (6, 7)),
    "net.conv1.stride=8",
]
"""A whole AlexNet, only narrower and coarser: `--set` values."""
NET = [word for option in NARROW for word in ("--set", option)]
COLOURS = {"ant": (60, 190, 60), "bee": (190, 60, 60)}
OUT = "{out}"
STAGES = ("preprocess", "pca", "train", "eval", "ensemble", "sample")
MODES = ("new", "overwrite", "update")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A stage, its command, and what made the older artifact at its name."""

    stage: str
    kind: str
    name: str
    words: Sequence[object]
    older: Sequence[object]
    resumes: Sequence[str] = ()
    """What is added where nothing is there before: how the command goes on after a kill."""
    more: Sequence[object] = field(default=())
    """What is added with --update, where that may not change what the older artifact was made by."""

    def command(self, out: Path, mode: str) -> list[object]:
        """The command of one mode."""
        added: Sequence[object] = {"new": self.resumes, "overwrite": ("--overwrite",), "update": ("--update",)}[mode]
        base = self.older if mode == "update" and self.more else self.words
        return [out if word == OUT else word for word in [*base, *(self.more if mode == "update" else ())]] + list(
            added
        )

    def older_command(self, out: Path) -> list[object]:
        """What makes the older artifact."""
        return [out if word == OUT else word for word in self.older]


def draw(root: Path, count: int, seed: int) -> None:
    """JPEGs of noise in their class's colour."""
    draws = np.random.default_rng(seed)
    for name, colour in COLOURS.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = np.clip(draws.normal(colour, 30, (40 + number, 60, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.jpg", quality=95)


def cases(base: Path) -> dict[str, Case]:
    """By stage."""
    train, val, stats = base / "train.lmdb", base / "val.lmdb", base / "stats.h5"
    training = ["train", train, "--val", val, "--stats", stats, "--recipe", "quickstart", *NET, "--batch-size", "6"]
    training += ["--set", "training.changes=[]", "--devices", "cpu", "--workers", "1", "--quiet", "--out", OUT]
    cropping = ["preprocess", base / "pictures" / "train", "--codec", "jpeg", "--workers", "1", "--quiet", "--out", OUT]
    scoring = ["eval", base / "run-1", val, "--devices", "cpu", "--workers", "1", "--quiet", "--out", OUT]
    joining = ["ensemble", base / "run-1", base / "scores-2.h5", "--crops", val, "--devices", "cpu", "--workers", "1"]
    joining += ["--quiet", "--out", OUT]
    made = [
        Case(
            stage="preprocess", kind="crops", name="made.lmdb", words=cropping, older=[*cropping, "--filter", "nearest"]
        ),
        Case(
            stage="pca",
            kind="statistics",
            name="made.h5",
            words=["pca", train, "--quiet", "--out", OUT],
            older=["pca", val, "--quiet", "--out", OUT],
        ),
        Case(
            stage="train",
            kind="run",
            name="run",
            words=[*training, "--epochs", "1", "--seed", "5"],
            older=[*training, "--epochs", "1", "--seed", "6"],
            more=["--epochs", "2"],
            resumes=["--resume"],
        ),
        Case(stage="eval", kind="scores", name="scores.h5", words=scoring, older=[*scoring, "--views", "1"]),
        Case(stage="ensemble", kind="ensemble", name="ensemble", words=joining, older=[*joining, "--weights", "1,3"]),
        Case(
            stage="sample",
            kind="sample",
            name="pictures",
            words=["sample", OUT, "--quiet"],
            older=["sample", OUT, "--quiet"],
        ),
    ]
    return {case.stage: case for case in made}


@dataclass(frozen=True)
class Undisturbed:
    """What a command gives when nothing goes wrong."""

    older: Found
    newer: Found
    tree: frozenset[str]
    """What is in the folder then, with what the older artifact left there."""


class Pipeline:
    """Finished inputs in `base`, and a sandbox in which the commands under test write."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server, self.base, self.sandbox = server, folder / "base", folder / "sandbox"
        self.older = folder / "older"
        self.cases = cases(self.base)
        self._undisturbed: dict[tuple[str, str], Undisturbed] = {}
        self._make_inputs()

    def _make_inputs(self) -> None:
        base = self.base
        draw(base / "pictures" / "train", 6, 0)
        draw(base / "pictures" / "val", 2, 1)
        cropping: list[object] = ["--workers", "1", "--quiet", "--codec", "jpeg"]
        self.succeed(["preprocess", base / "pictures" / "train", "--out", base / "train.lmdb", *cropping])
        self.succeed(["preprocess", base / "pictures" / "val", "--out", base / "val.lmdb", *cropping])
        self.succeed(["pca", base / "train.lmdb", "--out", base / "stats.h5", "--quiet"])
        training = self.cases["train"].words
        for seed in (1, 2):
            run, scores = base / f"run-{seed}", base / f"scores-{seed}.h5"
            self.succeed([run if word == OUT else word for word in training] + ["--seed", seed])
            words = ["eval", run, base / "val.lmdb", "--out", scores, "--devices", "cpu", "--workers", "1", "--quiet"]
            self.succeed(words)
        for case in self.cases.values():
            self.succeed(case.older_command(self.older / case.stage / case.name))

    @property
    def has_update(self) -> bool:
        """Whether the stages know --update."""
        return "--update" in self.server.command(["pca", "--help"]).out

    def succeed(self, words: Sequence[object]) -> Outcome:
        """Run a command that must succeed."""
        outcome = self.server.command(words)
        assert outcome.code == 0, (words, outcome)
        return outcome

    def prepare(self, case: Case, mode: str) -> Path:
        """An empty sandbox, or one that holds the older artifact and somebody's note; the artifact's path."""
        shutil.rmtree(self.sandbox, ignore_errors=True)
        self.sandbox.mkdir(parents=True)
        if mode != "new":
            shutil.copytree(self.older / case.stage, self.sandbox, dirs_exist_ok=True)
        (self.sandbox / "note.txt").write_text("mine")
        return self.sandbox / case.name

    def undisturbed(self, case: Case, mode: str) -> Undisturbed:
        """The command without a fault."""
        key = case.stage, mode
        if key not in self._undisturbed:
            out = self.prepare(case, mode)
            older = self.server.look(case.kind, out)
            self.succeed(case.command(out, mode))
            self._undisturbed[key] = Undisturbed(older, self.server.look(case.kind, out), tree_of(self.sandbox))
        return self._undisturbed[key]

    def count(self, case: Case, mode: str, classes: int, *, root: Path | None = None) -> int:
        """How many calls of these classes the command makes."""
        out = self.prepare(case, mode)
        fault = Fault(root=root or self.sandbox, classes=classes)
        outcome = self.server.command(case.command(out, mode), fault=fault)
        assert outcome.code == 0, outcome
        return outcome.count

    def run(self, case: Case, mode: str, fault: Fault | None = None) -> Outcome:
        """The command in the sandbox as it stands."""
        return self.server.command(case.command(self.sandbox / case.name, mode), fault=fault)

    def look(self, case: Case) -> Found:
        """What a reader finds in the sandbox."""
        return self.server.look(case.kind, self.sandbox / case.name)

    def wrong_after_rerun(self, case: Case, mode: str) -> str:
        """Run the same command again; what is wrong then, or nothing."""
        expected = self.undisturbed(case, mode)
        again = self.run(case, mode)
        found = self.look(case)
        complete = found.get("digest") == expected.newer["digest"] and bool(found["finished"])
        if again.code == 2 and mode == "new" and complete and not case.resumes:
            again = self.run(case, "overwrite")  # all was done but the tidying, so it exists already
        if again.code != 0:
            return f"the rerun ends with {again.code}: {again.err.strip()[-300:]}"
        if not complete:
            return f"after the rerun there is {found}, not {expected.newer['digest']}"
        left = tree_of(self.sandbox) ^ expected.tree
        if left:
            return f"after the rerun the folder differs by {sorted(left)[:4]}"
        return ""


def tree_of(folder: Path) -> frozenset[str]:
    """Every path below; the moment and the process in the names of TensorBoard's files do not count."""
    found = set()
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        found.add(name.partition("tfevents")[0] + "tfevents" if "tfevents" in name else name)
    return frozenset(found)


def snapshot(folder: Path) -> dict[str, tuple[str, int, bytes]]:
    """Every path below with its type, mode and bytes."""
    found = {}
    for path in [folder, *folder.rglob("*")]:
        status = path.lstat()
        if path.is_symlink():
            what, data = "link", os.fsencode(path.readlink())
        elif path.is_dir():
            what, data = "folder", b""
        elif path.is_file():
            what, data = "file", path.read_bytes()
        else:
            what, data = "other", b""
        found[str(path.relative_to(folder))] = what, status.st_mode, data
    return found


def weights_of(run: Path) -> dict[str, str]:
    """The digest of each file of the run's newest checkpoint, by its name."""
    manifests = sorted((run / "checkpoints").glob("step-*/manifest.json"))
    files: dict[str, str] = json.loads(manifests[-1].read_text())["details"]["files"]
    return {name: digest for name, digest in files.items() if name.endswith(".safetensors")}


def judge(name: str, tried: int, wrong: Sequence[str], **more: object) -> None:
    """Fail where something was wrong; first note the figures in the file that FAULTS_FIGURES names."""
    if path := os.environ.get("FAULTS_FIGURES"):
        line = {"test": name, "at": time.strftime("%F %T"), **more, "tried": tried, "wrong": len(wrong)}
        with Path(path).open("a") as file:
            file.write(json.dumps({**line, **({"problems": list(wrong[:12])} if wrong else {})}) + "\n")
    assert not wrong, f"{len(wrong)} of {tried}: " + "\n".join(wrong[:12])


NAMES = {number: signal.Signals(number).name for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGHUP)}
