"""The run folder: what one training leaves behind, and which of its checkpoints to use."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet_cli.artifacts.checkpoint import KIND as CHECKPOINT_KIND
from alexnet_cli.artifacts.checkpoint import SCHEMA as CHECKPOINT_SCHEMA
from alexnet_cli.artifacts.manifest import MANIFEST_FILE, Manifest
from alexnet_cli.artifacts.publish import PARTIAL, write_text
from alexnet_cli.errors import ArtifactError
from alexnet_cli.reading import read_regular

KIND = "run"
SCHEMA = 1
CONFIG = "config.json"
METRICS = "metrics.csv"
CHECKPOINTS = "checkpoints"
LOG = "log.txt"
TENSORBOARD = "tensorboard"
RANK_LOGS = "ranks"
"""What ranks other than the first have to say, a file for each."""

COLUMNS = (
    "epoch",
    "step",
    "rate",
    "train_loss",
    "validation_top1_error",
    "validation_top5_error",
    "images_per_second",
    "seconds",
)


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
        self.path = path

    @property
    def finished(self) -> bool:
        """Whether the training came to its end."""
        return (self.path / MANIFEST_FILE).is_file()

    def manifest(self) -> Manifest:
        """The manifest of a finished run."""
        return Manifest.from_json((self.path / MANIFEST_FILE).read_bytes(), kind=KIND, schema=SCHEMA, path=self.path)

    def finish(self, manifest: Manifest) -> None:
        """Mark the run as finished: the manifest is written last."""
        write_text(self.path / MANIFEST_FILE, manifest.to_json())

    def reopen(self) -> None:
        """Let a finished run go on."""
        (self.path / MANIFEST_FILE).unlink()

    def checkpoint_path(self, step: int) -> Path:
        """Where the checkpoint after `step` steps lies."""
        return self.path / CHECKPOINTS / f"step-{step:08d}"

    def saved(self) -> list[Saved]:
        """The finished checkpoints, oldest first."""
        found = []
        for manifest in (self.path / CHECKPOINTS).glob(f"step-*/{MANIFEST_FILE}"):
            folder = manifest.parent
            if not folder.name.endswith((PARTIAL, ".old")):
                text = manifest.read_bytes()
                read = Manifest.from_json(text, kind=CHECKPOINT_KIND, schema=CHECKPOINT_SCHEMA, path=folder)
                found.append(Saved(folder, read))
        return sorted(found, key=lambda saved: saved.step)

    def newest(self) -> Saved | None:
        """The checkpoint to go on from."""
        saved = self.saved()
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
            if folder not in keep:
                shutil.rmtree(folder)

    def metrics(self) -> list[dict[str, str]]:
        """The rows of metrics.csv; ArtifactError where it is none of ours."""
        path = self.path / METRICS
        if not path.exists():
            return []
        try:
            rows = list(csv.DictReader(io.StringIO(read_regular(path).decode(), newline=""), strict=True))
        except (UnicodeDecodeError, csv.Error) as error:
            raise ArtifactError(f"{path}: is damaged ({error}): remove it, or put the old one back") from None
        for line, row in enumerate(rows, 2):
            whole = not set(row) ^ set(COLUMNS) and None not in row.values()
            if not whole or not (row["step"].isdecimal() and row["epoch"].isdecimal()):
                raise ArtifactError(f"{path}, line {line}: is no row of ours: remove it, or put the old file back")
        return rows

    def write_metrics(self, rows: list[Mapping[str, Any]]) -> None:
        """Replace metrics.csv."""
        lines = [",".join(COLUMNS)]
        lines += [",".join(str(row[column]) for column in COLUMNS) for row in rows]
        write_text(self.path / METRICS, "\n".join(lines) + "\n")


def find_checkpoint(path: Path) -> tuple[Path, str]:
    """The checkpoint that a run folder or a checkpoint folder stands for, and in words which one it is.

    Of a run: the best by validation error, else the newest. ArtifactError where there is none.
    """
    if not path.exists():
        raise ArtifactError(f"{path}: there is no such run or checkpoint: check the path")
    if not (path / CHECKPOINTS).is_dir():
        if (path / "model.safetensors").is_file():
            return path, f"checkpoint {path.name}"
        raise ArtifactError(f"{path}: is neither a run folder nor a checkpoint: check the order of the arguments")
    run = RunFolder(path)
    best = run.best()
    if best:
        return best.path, f"the best checkpoint, {best.path.name}"
    newest = run.newest()
    if newest is None:
        raise ArtifactError(f"{path}: the run has no finished checkpoint yet: go on with `alexnet train … --resume`")
    return newest.path, f"the newest checkpoint, {newest.path.name}"
