"""Scores: each picture's class probabilities, with labels, names and the class list, in HDF5."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.artifacts import hdf5
from alexnet_cli.artifacts.manifest import Manifest
from alexnet_cli.artifacts.ownership import SCORES
from alexnet_cli.class_list import ClassList

KIND = "scores"
SCHEMA = 2
_ARRAYS = ("probabilities", "centre_probabilities", "labels", "names", "classes")
_EXPLAINING = ("words", "ids")


@dataclass(frozen=True, eq=False)
class Scores:
    """What a net, or an average of nets, says of each picture of a store, in the store's order."""

    probabilities: NDArray[np.float32]
    """(pictures, classes): mean over the views."""
    centre_probabilities: NDArray[np.float32]
    """(pictures, classes): of the centre view alone."""
    labels: NDArray[np.int64]
    """(pictures,): class indices, -1 where unknown."""
    names: list[str]
    classes: ClassList

    @property
    def labelled(self) -> bool:
        """Whether errors can be computed."""
        return len(self.labels) > 0 and bool((self.labels >= 0).all())

    def error(self, k: int, *, centre: bool = False) -> float | None:
        """Top-k error as a fraction; None without labels."""
        if not self.labelled:
            return None
        return top_k_error(self.centre_probabilities if centre else self.probabilities, self.labels, k)

    def errors(self) -> dict[str, float | None]:
        """The four errors, under the names that `--json` uses."""
        return {
            "top1_error": self.error(1),
            "top5_error": self.error(5),
            "centre_top1_error": self.error(1, centre=True),
            "centre_top5_error": self.error(5, centre=True),
        }

    def class_errors(self) -> dict[str, float]:
        """Top-1 error by class name, of the classes that have pictures; empty without labels."""
        if not self.labelled:
            return {}
        found = {}
        for index, name in enumerate(self.classes.names):
            own = self.labels == index
            if own.any():
                found[name] = top_k_error(self.probabilities[own], self.labels[own], 1)
        return found


def top_k_error(probabilities: NDArray[np.float32], labels: NDArray[np.int64], k: int) -> float:
    """Fraction of pictures whose label is not among the k most probable classes.

    A class that ties with the label's counts as above it where its index is smaller, as a stable sort would have it.
    With k or fewer classes the error is 0.
    """
    rows = np.arange(len(labels))
    own = probabilities[rows, labels][:, None]
    earlier = np.arange(probabilities.shape[1])[None, :] < labels[:, None]
    above = (probabilities > own) | ((probabilities == own) & earlier)
    return float((above.sum(axis=1) >= k).mean())


def write_scores(
    path: Path,
    scores: Scores,
    *,
    parents: Mapping[str, str],
    options: Mapping[str, Any],
    overwrite: bool,
    views_averaged: int | None = None,
) -> Manifest:
    """Publish scores. `parents` names the checkpoint (or members) and the crop store by digest."""
    arrays: dict[str, NDArray[Any]] = {
        "probabilities": scores.probabilities.astype(np.float32, copy=False),
        "centre_probabilities": scores.centre_probabilities.astype(np.float32, copy=False),
        "labels": scores.labels.astype(np.int64, copy=False),
        "names": np.array(scores.names, dtype=object),
        "classes": np.array(scores.classes.names, dtype=object),
    }
    manifest = Manifest(
        kind=KIND,
        schema=SCHEMA,
        digest="",
        parents=parents,
        options=options,
        details={
            "pictures": len(scores.names),
            "classes": len(scores.classes),
            **({} if views_averaged is None else {"views_averaged": views_averaged}),
            **scores.errors(),
        },
    )
    classes = scores.classes
    explaining: dict[str, NDArray[Any]] = {}
    if classes.words:
        explaining["words"] = np.array(classes.words, dtype=object)
    if classes.ids:
        explaining["ids"] = np.array(classes.ids, np.int64)
    return hdf5.write_arrays(path, arrays, manifest, SCORES, overwrite=overwrite, explaining=explaining)


def read_scores_manifest(path: Path) -> Manifest:
    """The manifest of a scores file alone: to see whether it is still true before reading it."""
    return hdf5.read_manifest(path, kind=KIND, schema=SCHEMA)


def read_scores(path: Path) -> tuple[Manifest, Scores]:
    """Read scores; ArtifactError where the file is not one of ours, or damaged."""
    manifest, arrays = hdf5.read_arrays(path, kind=KIND, schema=SCHEMA, names=_ARRAYS, explaining=_EXPLAINING)
    return manifest, Scores(
        probabilities=arrays["probabilities"],
        centre_probabilities=arrays["centre_probabilities"],
        labels=arrays["labels"],
        names=[str(name) for name in arrays["names"]],
        classes=ClassList(
            tuple(str(name) for name in arrays["classes"]),
            words=tuple(str(words) for words in arrays.get("words", ())),
            ids=tuple(int(number) for number in arrays.get("ids", ())),
        ),
    )
