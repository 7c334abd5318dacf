"""The run folder: what one training leaves behind, and which of its checkpoints to use."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from alexnet_cli.artifacts.checkpoint import KIND as CHECKPOINT_KIND
from alexnet_cli.artifacts.checkpoint import MODEL, verify_checkpoint
from alexnet_cli.artifacts.checkpoint import SCHEMA as CHECKPOINT_SCHEMA
from alexnet_cli.artifacts.common.manifest import MANIFEST_FILE, Manifest
from alexnet_cli.artifacts.common.ownership import RUN, files_below
from alexnet_cli.artifacts.common.publish import publish_folder, write_text
from alexnet_cli.artifacts.common.steady import read_newest, steadily
from alexnet_cli.artifacts.common.working import (
    MARK,
    OLD,
    WORK,
    begin_work,
    beside,
    end_work,
    is_working_name,
    manifest_kind,
    mark,
    remove_tree,
)
from alexnet_cli.artifacts.ensemble import KIND as ENSEMBLE_KIND
from alexnet_cli.errors import ArtifactError, ResourceError, describe_os_error
from alexnet_cli.reading import read_regular

T = TypeVar("T")

KIND = "run"
SCHEMA = 2
CONFIG = "config.json"
METRICS = "metrics.csv"
METRICS_DETAIL = "metrics"
"""Of a checkpoint's manifest: what it says of the rows of metrics.csv, see `vouch_for`."""
CHECKPOINTS = "checkpoints"
LOG = "log.txt"
TENSORBOARD = "tensorboard"
LOGS = "logs"
"""What other loggers write, a folder for each (alexnet_cli/loggers)."""
RANK_LOGS = "ranks"
"""The output of the ranks other than the first, a file for each."""

DAMAGED = ".damaged"
"""Behind the name of a checkpoint that a run went back from."""
_STEP = re.compile(r"step-\d+")
_OURS = re.compile(rf"step-\d+(\.partial|\.\d+\.old)?|\.step-\d+({WORK}|{OLD})")
"""A checkpoint's name, or that of one that a killed command left unfinished."""
_OTHERS = {
    ".caffemodel": "caffe",
    ".onnx": "onnx",
    **dict.fromkeys((".pth", ".pt", ".safetensors", ".bin"), "torchvision"),
}
"""How other programs' files of weights end, and what `alexnet import` calls the program."""

COLUMNS = (
    "epoch",
    "step",
    "rate",
    "train_loss",
    "validation_top1_error",
    "validation_top5_error",
    "images_per_second",
    "seconds",
    "validation_loss",
    "train_top1_error",
)
_SINCE_THEN = frozenset({"validation_loss", "train_top1_error"})
"""Columns that the files of older versions lack; their values read as empty."""


@dataclass(frozen=True)
class Saved:
    """A finished checkpoint of a run, by its manifest."""

    path: Path
    manifest: Manifest

    @property
    def step(self) -> int:
        """Steps done when it was saved."""
        step = self.manifest.details.get("step")
        if not isinstance(step, int):
            raise ArtifactError(f"{self.path}: does not say after which step it was saved, it is damaged: remove it")
        return step

    @property
    def error(self) -> float | None:
        """The validation top-1 error, where the checkpoint ends an epoch."""
        value = self.manifest.details.get("validation_top1_error")
        if value is not None and not (isinstance(value, (int, float)) and 0 <= value <= 1):
            raise ArtifactError(f"{self.path}: its validation error is {value!r}, it is damaged: remove it")
        return None if value is None else float(value)


class RunFolder:
    """Paths and bookkeeping of one run."""

    def __init__(self, path: Path) -> None:
        self.out = path
        """The run's name."""
        self.path = path
        """Where it lies: under its name, or beside it until it may take the place of an older run."""

    @property
    def finished(self) -> bool:
        """Whether the training is finished."""
        return (self.path / MANIFEST_FILE).is_file()

    def manifest(self) -> Manifest:
        """The manifest of a finished run."""
        return Manifest.from_json((self.path / MANIFEST_FILE).read_bytes(), kind=KIND, schema=SCHEMA, path=self.path)

    def begin(self, config: str, *, replaces: bool) -> None:
        """Make the folder anew with its config.json. Hold `only_writer` on its name.

        replaces: another run has the name, and keeps it until this one's `publish`.
        """
        work = begin_work(self.out, KIND)
        write_text(work / CONFIG, config)
        (work / CHECKPOINTS).mkdir()
        self.path = work
        if not replaces:
            self.publish()

    @property
    def published(self) -> bool:
        """Whether the run has its name."""
        return self.path == self.out

    def publish(self) -> None:
        """Give the run its name, in the place of an older one. ResourceError where the disk fails."""
        if not self.published:
            try:
                publish_folder(self.path, self.out, RUN, unfinished=True)
            except OSError as error:
                raise ResourceError(describe_os_error(error, self.out)) from error
            self.path = self.out

    def finish(self, manifest: Manifest) -> None:
        """Mark the run as finished: the manifest is written last."""
        write_text(self.path / MANIFEST_FILE, manifest.to_json())
        self.sweep()

    def reopen(self) -> None:
        """Let a finished run be resumed."""
        mark(self.path, KIND, self.out)
        (self.path / MANIFEST_FILE).unlink()

    def left(self) -> list[Path]:
        """What a killed command left in the folder: temporary files, and the mark in a run that is finished."""
        mark = [self.path / MARK] if self.finished and (self.path / MARK).exists() else []
        return [*mark, *(self.path / name for name in files_below(self.path) if is_working_name(Path(name).name))]

    def sweep(self) -> None:
        """Remove what a killed command left in the folder. Hold `only_writer` on its name."""
        for file in self.left():
            file.unlink()

    def checkpoint_path(self, step: int) -> Path:
        """Where the checkpoint after `step` steps lies."""
        return self.path / CHECKPOINTS / f"step-{step:08d}"

    def saved(self) -> list[Saved]:
        """The finished checkpoints, oldest first; ArtifactError where a manifest is damaged."""
        whole, damaged = self.listed()
        if damaged:
            raise damaged[0][1]
        return whole

    def listed(self) -> tuple[list[Saved], list[tuple[Path, ArtifactError]]]:
        """The finished checkpoints, oldest first, and those whose manifests are damaged, with what is wrong."""
        found, damaged = [], []
        for manifest in (self.path / CHECKPOINTS).glob(f"step-*/{MANIFEST_FILE}"):
            folder = manifest.parent
            if _STEP.fullmatch(folder.name):
                try:
                    text = manifest.read_bytes()
                except FileNotFoundError:  # the training removed it a moment ago
                    continue
                try:
                    read = Manifest.from_json(text, kind=CHECKPOINT_KIND, schema=CHECKPOINT_SCHEMA, path=folder)
                    saved = Saved(folder, read)
                    _ = saved.step, saved.error
                except ArtifactError as error:
                    damaged.append((folder, error))
                else:
                    found.append(saved)
        return sorted(found, key=lambda saved: saved.step), damaged

    def set_aside(self, checkpoint: Path) -> Path:
        """Rename a damaged checkpoint, so that the run no longer counts it; its new path."""
        aside = checkpoint.with_name(f"{checkpoint.name}{DAMAGED}")
        number = 2
        while aside.exists():
            aside = checkpoint.with_name(f"{checkpoint.name}{DAMAGED}-{number}")
            number += 1
        checkpoint.rename(aside)
        return aside

    def newest(self) -> Saved | None:
        """The newest checkpoint with a whole manifest; ArtifactError where there are only damaged ones."""
        saved, damaged = self.listed()
        if damaged and not saved:
            raise damaged[0][1]
        return saved[-1] if saved else None

    def best(self) -> Saved | None:
        """The checkpoint with the lowest validation error, the earliest of equals."""
        judged = [(saved.error, saved.step, saved) for saved in self.saved() if saved.error is not None]
        return min(judged, key=lambda entry: entry[:2])[2] if judged else None

    def tidy(self) -> None:
        """Keep the newest two checkpoints and the best; drop what an interrupted save left."""
        best, newest = self.best(), self.saved()[-2:]
        keep = {saved.path for saved in newest} | ({best.path} if best else set())
        for folder in (self.path / CHECKPOINTS).iterdir():
            if folder not in keep and _OURS.fullmatch(folder.name):
                left = beside(folder, WORK) if _STEP.fullmatch(folder.name) else folder
                if left != folder:  # a half removed one must not have a checkpoint's name
                    end_work(folder)
                    folder.rename(left)
                remove_tree(left)

    def metrics(self) -> list[dict[str, str]]:
        """The rows of metrics.csv, none where it is missing; ArtifactError where it is damaged or not ours.

        The newest checkpoint vouches for the rows that were there when it was saved.
        """
        path = self.path / METRICS
        newest = self.newest()  # first: what it vouches for is in the file by then
        if not path.exists():
            return []
        try:
            rows = list(csv.DictReader(io.StringIO(read_regular(path).decode(), newline=""), strict=True))
        except (UnicodeDecodeError, csv.Error) as error:
            raise ArtifactError(f"{path}: is damaged ({error}): remove it, or put the old one back") from None
        for line, row in enumerate(rows, 2):
            odd = set(row) ^ set(COLUMNS)
            whole = odd <= _SINCE_THEN - set(row) and None not in row.values()
            if not whole or not (row["step"].isdecimal() and row["epoch"].isdecimal()):
                raise ArtifactError(
                    f"{path}, line {line}: is not a row of metrics: remove it, or put the old file back"
                )
        rows = [dict.fromkeys(COLUMNS, "") | row for row in rows]
        vouched = newest.manifest.details.get(METRICS_DETAIL) if newest else None
        if isinstance(vouched, dict) and vouched != vouch_for(rows[: vouched.get("rows")]):
            raise ArtifactError(
                f"{path}: is not as the training wrote it, it is damaged: put the old file back, or remove it to "
                "continue without"
            )
        return rows

    def write_metrics(self, rows: list[Mapping[str, Any]]) -> None:
        """Replace metrics.csv."""
        lines = [",".join(COLUMNS)]
        lines += [",".join(str(row[column]) for column in COLUMNS) for row in rows]
        write_text(self.path / METRICS, "\n".join(lines) + "\n")


def vouch_for(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a checkpoint says of the metrics so far: how many rows, and a SHA-256 over what they say.

    An empty value says nothing, so that a column which later versions add changes no row of before.
    """
    said = [{name: str(value) for name, value in row.items() if str(value)} for row in rows]
    text = json.dumps(said, sort_keys=True, separators=(",", ":"))
    return {"rows": len(rows), "sha256": hashlib.sha256(text.encode()).hexdigest()}


def find_checkpoint(path: Path) -> tuple[Path, str]:
    """The checkpoint that a run folder or a checkpoint folder stands for, and in words which one it is.

    Of a run: the best by validation error, else the newest, of those that are whole. ArtifactError where there is none.
    """
    return steadily(path, lambda: _find_checkpoint(path))


def read_found(path: Path, read: Callable[[Path], T]) -> tuple[T, str]:
    """What `read` makes of the checkpoint that `path` stands for, and in words which one that is.

    A run in training removes checkpoints: where `find_checkpoint` finds another meanwhile, that one is read.
    """
    (_, which), made = read_newest(find_checkpoint(path), lambda: find_checkpoint(path), lambda found: read(found[0]))
    return made, which


def in_words(path: Path, which: str) -> str:
    """A net in a message: `the best checkpoint, step-00000020 of out/runs/1`, or `checkpoint step-00000020` alone."""
    return which if (path / MODEL).is_file() else f"{which} of {path}"


def _find_checkpoint(path: Path) -> tuple[Path, str]:
    if not path.exists():
        raise ArtifactError(f"{path}: no such run or checkpoint: check the path")
    if manifest_kind(path) == ENSEMBLE_KIND:
        raise ArtifactError(f"{path}: is an ensemble, and one net is wanted here: give a member's run")
    if not (path / CHECKPOINTS).is_dir():
        if (path / MODEL).is_file():
            return path, f"checkpoint {path.name}"
        if path.suffix.lower() in _OTHERS and path.is_file():
            raise ArtifactError(
                f"{path}: is another program's file: make a checkpoint of it first: `alexnet import {path} --from "
                f"{_OTHERS[path.suffix.lower()]} -o NET`"
            )
        below = sorted(found.parent for name in (CHECKPOINTS, MODEL) for found in path.glob(f"*/{name}"))
        what = f"it holds some: give one, such as {below[-1]}" if below else "check the order of the arguments"
        raise ArtifactError(f"{path}: is neither a run folder nor a checkpoint: {what}")
    saved, damaged = RunFolder(path).listed()
    judged = sorted((entry.error, entry.step) for entry in saved if entry.error is not None)
    by_step = {entry.step: entry for entry in saved}
    order = [by_step[step] for _, step in judged] or list(reversed(saved))
    what = "best" if judged else "newest"
    lost = [(folder.name, error) for folder, error in damaged]
    for entry in order:
        try:
            verify_checkpoint(entry.path)
        except ArtifactError as error:
            if not entry.path.exists():  # the training removed it a moment ago, since it has a better one
                return _find_checkpoint(path)
            lost.append((entry.path.name, error))
            continue
        others = f" of those that are whole ({', '.join(name for name, _ in lost)} damaged)" if lost else ""
        return entry.path, f"the {what} checkpoint{others}, {entry.path.name}"
    if lost:
        raise lost[0][1]
    raise ArtifactError(f"{path}: the run has no finished checkpoint yet: continue with `alexnet train … --resume`")
