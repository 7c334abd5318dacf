"""The work of `alexnet ensemble`: gather the members' scores, average, write the table."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_cli.artifacts.checkpoint import read_checkpoint_manifest
from alexnet_cli.artifacts.crops import CropStore, open_crops
from alexnet_cli.artifacts.manifest import MANIFEST_FILE, Manifest
from alexnet_cli.artifacts.publish import only_writer, partial_of, publish_folder, refuse_existing
from alexnet_cli.artifacts.run_folder import find_checkpoint
from alexnet_cli.artifacts.scores import Scores, read_scores, read_scores_manifest, write_scores
from alexnet_cli.console import Talk, percent
from alexnet_cli.devices import choose_devices
from alexnet_cli.errors import ArtifactError, UsageError
from alexnet_cli.evaluation import Scoring, score_to_file
from alexnet_cli.parallel.launch import devices_of_ranks, run_ranks
from alexnet_cli.parallel.layout import Layout
from stages.ensemble.config import EnsembleConfig

KIND = "ensemble"
SCHEMA = 1
SCORES = "scores.h5"
MEMBERS = "members"


@dataclass(frozen=True, eq=False)
class Member:
    """One net's say."""

    name: str
    weight: float
    manifest: Manifest
    """Of its scores."""
    scores: Scores

    def as_json(self) -> dict[str, Any]:
        """For `--json` and members.json."""
        return {
            "name": self.name,
            "weight": self.weight,
            "scores_digest": self.manifest.digest,
            "checkpoint_digest": self.manifest.parents.get("checkpoint"),
            "crops_digest": self.manifest.parents.get("crops"),
            "pictures": len(self.scores.names),
            **self.scores.errors(),
        }


@dataclass(frozen=True)
class Result:
    """The average, and what it is made of."""

    ensemble: Path
    pictures: int
    members: list[dict[str, Any]]
    errors: dict[str, float | None]
    table: str

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {"ensemble": str(self.ensemble), "pictures": self.pictures, "members": self.members, **self.errors}


def run(config: EnsembleConfig) -> Result:
    """Average and publish; raises ArtifactError where members don't belong together."""
    talk = Talk(quiet=config.quiet)
    refuse_existing(config.out, overwrite=config.overwrite)
    store = None if config.crops is None else open_crops(config.crops)
    with only_writer(config.out):
        partial = partial_of(config.out)
        (partial / MEMBERS).mkdir(parents=True, exist_ok=True)
        members = _gather(config, store, partial, talk)
        average = _average(members)
        table = _table(members, average)
        parents = {f"member {number}": member.manifest.digest for number, member in enumerate(members, 1)}
        crops = members[0].manifest.parents.get("crops")
        if crops:
            parents["crops"] = crops
        options = {"weights": [member.weight for member in members]}
        written = write_scores(partial / SCORES, average, parents=parents, options=options, overwrite=True)
        listed = [member.as_json() for member in members]
        (partial / "members.json").write_text(json.dumps(listed, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        (partial / "table.txt").write_text(table, encoding="utf-8")
        manifest = Manifest(
            kind=KIND,
            schema=SCHEMA,
            digest=written.digest,
            options=options,
            parents=parents,
            details={"pictures": len(average.names), **average.errors()},
        )
        (partial / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
        publish_folder(partial, config.out)
    return Result(config.out, len(average.names), listed, average.errors(), table)


def _gather(config: EnsembleConfig, store: CropStore | None, partial: Path, talk: Talk) -> list[Member]:
    """Every member's scores, checked against one another."""
    members: list[Member] = []
    for number, (path, weight) in enumerate(zip(config.members, config.normalised_weights(), strict=True), 1):
        if path.is_file():
            manifest, scores = read_scores(path)
            name = path.stem
        else:
            manifest, scores = _scores_of(config, path, store, partial / MEMBERS / f"{number}.h5", talk)
            name = path.name
        if store is not None and manifest.parents.get("crops") != store.digest:
            raise ArtifactError(
                f"{path}: are scores of other pictures than {store.path}: {_store_difference(scores, store)}; "
                "give the run in place of its scores, or evaluate it again"
            )
        if members:
            _require_same_pictures(members[0], scores, path)
        members.append(Member(name, weight, manifest, scores))
    return members


def _scores_of(
    config: EnsembleConfig, path: Path, store: CropStore | None, target: Path, talk: Talk
) -> tuple[Manifest, Scores]:
    """A run's or checkpoint's scores: those of an earlier call where they are still true, else new ones."""
    checkpoint, which = find_checkpoint(path)
    if store is None:
        raise UsageError(f"{path}: has to be evaluated: give --crops STORE, or its scores file")
    digest = read_checkpoint_manifest(checkpoint).digest
    wanted = {"checkpoint": digest, "crops": store.digest}
    options = {"views": config.views, "precision": config.precision}
    for earlier in (target, *sorted((config.out / MEMBERS).glob("*.h5"))):
        if earlier.is_file() and _still_true(earlier, wanted, options):
            talk.say(f"{path}: {which}, scored before")
            if earlier != target:
                shutil.copyfile(earlier, target)
            return read_scores(target)
    talk.say(f"{path}: {which}")
    devices, world = devices_of_ranks(choose_devices(config.devices))
    scoring = Scoring(
        checkpoint=checkpoint,
        crops=store.path,
        out=target,
        views=config.views,
        precision=config.precision,
        batch_size=config.batch_size,
        threads=config.workers,
        overwrite=True,
        quiet=config.quiet,
    )
    run_ranks(score_to_file, scoring, devices, Layout("data", world), timeout=config.timeout)
    return read_scores(target)


def _still_true(path: Path, parents: dict[str, str], options: dict[str, Any]) -> bool:
    try:
        manifest = read_scores_manifest(path)
    except ArtifactError:
        return False
    return dict(manifest.parents) == parents and dict(manifest.options) == options


def _require_same_pictures(first: Member, scores: Scores, path: Path) -> None:
    first.scores.classes.require_same(scores.classes, first.name, str(path))
    if len(scores.names) != len(first.scores.names):
        raise ArtifactError(
            f"{path}: scores of {len(scores.names):,} pictures, but {first.name} of {len(first.scores.names):,}: "
            "evaluate all members on the same store"
        )
    for mine, other in zip(first.scores.names, scores.names, strict=True):
        if mine != other:
            raise ArtifactError(f"{path}: scores of other pictures than {first.name}: '{other}' in place of '{mine}'")
    different = np.flatnonzero(first.scores.labels != scores.labels)
    if len(different):
        name = scores.names[int(different[0])]
        raise ArtifactError(f"{path}: has another label for '{name}' than {first.name}")


def _store_difference(scores: Scores, store: CropStore) -> str:
    """In a few words, how the scored pictures differ from a store's."""
    if len(scores.names) != len(store):
        return f"{len(scores.names):,} pictures against {len(store):,}"
    for mine, other in zip(scores.names, store.names, strict=True):
        if mine != other:
            return f"'{mine}' in place of '{other}'"
    return scores.classes.difference(store.classes) or "the same names with other pixels or labels"


def _average(members: list[Member]) -> Scores:
    """Weighted mean of the probabilities, summed in float64 in the members' order."""
    first = members[0].scores
    ten = np.zeros(first.probabilities.shape)
    centre = np.zeros(first.probabilities.shape)
    for member in members:
        ten += member.weight * member.scores.probabilities
        centre += member.weight * member.scores.centre_probabilities
    return Scores(ten.astype(np.float32), centre.astype(np.float32), first.labels, first.names, first.classes)


def _table(members: list[Member], average: Scores) -> str:
    """In the form of the paper's table 2: a line for each net, then the average."""
    heads = ("Model", "Top-1, 1 view", "Top-5, 1 view", "Top-1, 10 views", "Top-5, 10 views")
    keys = ("centre_top1_error", "centre_top5_error", "top1_error", "top5_error")
    rows: list[tuple[str, ...]] = [heads]
    for member in members:
        errors = member.scores.errors()
        rows.append((f"1 CNN ({member.name})", *(percent(errors[key]) for key in keys)))
    errors = average.errors()
    count = f"{len(members)} CNN{'s' if len(members) != 1 else ''}"
    rows.append((f"{count}, averaged", *(percent(errors[key]) for key in keys)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    lines = [f"Error rates on {len(average.names):,} pictures of {len(average.classes):,} classes", ""]
    for number, row in enumerate(rows):
        cells = [row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells))
        if number in (0, len(rows) - 2):
            lines.append("─" * (sum(widths) + 2 * (len(widths) - 1)))
    return "\n".join(lines) + "\n"
