"""The members of an ensemble: whether their scores belong together, and their average."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_cli.artifacts.common.manifest import Manifest
from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.artifacts.scores import Scores
from alexnet_cli.errors import ArtifactError


@dataclass(frozen=True, eq=False)
class Member:
    """One net's scores, and their weight in the average."""

    name: str
    weight: float
    manifest: Manifest
    """Of its scores."""
    scores: Scores
    checkpoint: str | None = None
    """Where its net lies, as a path from the ensemble's folder; None if its scores do not say."""

    def as_json(self) -> dict[str, Any]:
        """For `--json` and members.json."""
        return {
            "name": self.name,
            "weight": self.weight,
            "scores_digest": self.manifest.digest,
            "checkpoint_digest": self.manifest.parents.get("checkpoint"),
            "checkpoint_path": self.checkpoint,
            "crops_digest": self.manifest.parents.get("crops"),
            "pictures": len(self.scores.names),
            **self.scores.errors(),
        }


def require_same_pictures(first: Member, scores: Scores, path: Path) -> None:
    """ArtifactError if scores are of other pictures, classes or labels than the first member's."""
    first.scores.classes.require_same(scores.classes, first.name, str(path))
    if len(scores.names) != len(first.scores.names):
        raise ArtifactError(
            f"{path}: scores of {len(scores.names):,} pictures, but {first.name} of {len(first.scores.names):,}: "
            "evaluate all members on the same store"
        )
    for mine, other in zip(first.scores.names, scores.names, strict=True):
        if mine != other:
            raise ArtifactError(
                f"{path}: scores of different pictures than {first.name}: '{other}' in place of '{mine}'"
            )
    different = np.flatnonzero(first.scores.labels != scores.labels)
    if len(different):
        name = scores.names[int(different[0])]
        raise ArtifactError(f"{path}: has another label for '{name}' than {first.name}")


def store_difference(scores: Scores, store: CropStore) -> str:
    """In a few words, how the scored pictures differ from a store's."""
    if len(scores.names) != len(store):
        return f"{len(scores.names):,} pictures against {len(store):,}"
    for mine, other in zip(scores.names, store.names, strict=True):
        if mine != other:
            return f"'{mine}' in place of '{other}'"
    return scores.classes.difference(store.classes) or "the same names with other pixels or labels"


def average_of(members: list[Member], weights: Sequence[float]) -> Scores:
    """Weighted mean of the probabilities, summed in float64 in the members' order."""
    first = members[0].scores
    ten = np.zeros(first.probabilities.shape)
    centre = np.zeros(first.probabilities.shape)
    for member, weight in zip(members, weights, strict=True):
        ten += weight * member.scores.probabilities
        centre += weight * member.scores.centre_probabilities
    return Scores(ten.astype(np.float32), centre.astype(np.float32), first.labels, first.names, first.classes)
