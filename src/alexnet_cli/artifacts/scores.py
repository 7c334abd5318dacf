"""Scores: each picture's class probabilities, with labels, names and the class list, in HDF5."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.artifacts.common import hdf5
from alexnet_cli.artifacts.common.manifest import Manifest
from alexnet_cli.artifacts.common.ownership import SCORES
from alexnet_cli.class_list import ClassList
from alexnet_cli.errors import ArtifactError

KIND = "scores"
SCHEMA = 2
CHECKPOINT_PATH = "checkpoint_path"
"""In the details: where the net that was scored lies, as a path from the folder of the scores."""
_ARRAYS = ("probabilities", "centre_probabilities", "labels", "names", "classes")
EXPLAINING = ("words", "ids")
ERRORS = {
    "top1_error": (1, False),
    "top5_error": (5, False),
    "centre_top1_error": (1, True),
    "centre_top5_error": (5, True),
}
"""Name → k, and whether it is the centre view's."""
_ROWS_AT_ONCE = 4096
_SUM_TOLERANCE = 1e-3
"""How far from 1 a picture's probabilities may sum up to: they are float32, and averages of float32."""


@dataclass(frozen=True, eq=False)
class Scores:
    """The probabilities that a net, or an average of nets, gives each picture of a store, in the store's order."""

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

    def loss(self) -> float | None:
        """The mean cross-entropy; None without labels."""
        return mean_loss(self.probabilities, self.labels) if self.labelled else None

    def first_not_finite(self) -> str | None:
        """The name of the first picture that has a probability which is not finite."""
        finite = np.isfinite(self.probabilities).all(axis=1) & np.isfinite(self.centre_probabilities).all(axis=1)
        return None if finite.all() else self.names[int(np.argmin(finite))]

    def errors(self) -> dict[str, float | None]:
        """The four errors, under the names that `--json` uses."""
        return {name: self.error(k, centre=centre) for name, (k, centre) in ERRORS.items()}

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
    With k or fewer classes the error is 0. A picture whose probabilities are not all finite is always wrong.
    """
    finite = np.isfinite(probabilities).all(axis=1)
    return float(((ranks_of_labels(probabilities, labels) > k) | ~finite).mean())


def ranks_of_labels(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The label's rank, 1 for the most probable; of equals the smaller class index comes first."""
    own = probabilities[np.arange(len(labels)), labels][:, None]
    earlier = np.arange(probabilities.shape[1])[None, :] < labels[:, None]
    above = (probabilities > own) | ((probabilities == own) & earlier)
    return np.asarray(above.sum(axis=1) + 1, np.int64)


def best_classes(probabilities: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """(N, k) class indices of (N, classes), the most probable first; of equals the smaller index comes first."""
    parts = [
        np.argsort(-probabilities[start : start + _ROWS_AT_ONCE], axis=1, kind="stable")[:, :k]
        for start in range(0, len(probabilities), _ROWS_AT_ONCE)
    ]
    return np.concatenate(parts)


def mean_loss(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """The mean over the pictures of −ln(probability of the label), in float64.

    A probability below float32's smallest normal number, such as 0, counts as that: so the loss stays finite.
    """
    own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(own, np.finfo(np.float32).tiny)).mean())


def path_from(folder: Path, path: Path) -> str:
    """A path as seen from a folder, so that both can move together; links are followed first."""
    return os.path.relpath(os.path.realpath(path), os.path.realpath(folder))


def write_scores(
    path: Path,
    scores: Scores,
    *,
    parents: Mapping[str, str],
    options: Mapping[str, Any],
    overwrite: bool,
    views_averaged: int | None = None,
    checkpoint: Path | None = None,
    locked: bool = False,
) -> Manifest:
    """Publish scores. `parents` names the checkpoint (or members) and the crop store by digest.

    checkpoint: where the net lies; it is recorded relative to the scores.
    locked: the caller holds `only_writer` on them.

    ArtifactError where a probability is not finite.
    """
    if (name := scores.first_not_finite()) is not None:
        raise ArtifactError(f"{path}: the net's output for {name} is not finite: use another checkpoint")
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
            **({} if checkpoint is None else {CHECKPOINT_PATH: path_from(path.parent, checkpoint)}),
            **scores.errors(),
        },
    )
    explaining = explaining_arrays(scores.classes)
    return hdf5.write_arrays(path, arrays, manifest, SCORES, overwrite=overwrite, explaining=explaining, locked=locked)


def explaining_arrays(classes: ClassList) -> dict[str, NDArray[Any]]:
    """Words and IDs of a class list, where it has any: arrays outside the digest."""
    found = {"words": np.array(classes.words, dtype=object), "ids": np.array(classes.ids, np.int64)}
    return {name: array for name, array in found.items() if len(array)}


def read_scores_manifest(path: Path) -> Manifest:
    """The manifest of a scores file alone: to see whether it is still true before reading it."""
    return hdf5.read_manifest(path, kind=KIND, schema=SCHEMA)


def read_scores(path: Path) -> tuple[Manifest, Scores]:
    """Read scores; ArtifactError where the file is not one of ours, damaged, or holds what can't be scores."""
    manifest, arrays = hdf5.read_arrays(path, kind=KIND, schema=SCHEMA, names=_ARRAYS, explaining=EXPLAINING)
    _require_shapes(path, arrays)
    scores = Scores(
        probabilities=arrays["probabilities"],
        centre_probabilities=arrays["centre_probabilities"],
        labels=arrays["labels"],
        names=[str(name) for name in arrays["names"]],
        classes=classes_of(path, arrays),
    )
    _require_sense(path, scores)
    return manifest, scores


def classes_of(path: Path, arrays: Mapping[str, NDArray[Any]]) -> ClassList:
    """The class list in a file's arrays; ArtifactError where one of them is another's."""
    count = arrays["classes"].shape[:1]
    for name, kind in (("classes", "O"), ("words", "O"), ("ids", "i8")):
        if name in arrays:
            hdf5.require_form(path, arrays, name, kind, count)
    return ClassList(
        tuple(str(name) for name in arrays["classes"]),
        words=tuple(str(words) for words in arrays.get("words", ())),
        ids=tuple(int(number) for number in arrays.get("ids", ())),
    )


def _require_shapes(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """ArtifactError unless every array has its type and the number of pictures or classes that the others have."""
    pictures, classes = arrays["names"].shape[:1], arrays["classes"].shape[:1]
    hdf5.require_form(path, arrays, "probabilities", "f4", pictures + classes)
    hdf5.require_form(path, arrays, "centre_probabilities", "f4", pictures + classes)
    hdf5.require_form(path, arrays, "labels", "i8", pictures)
    hdf5.require_form(path, arrays, "names", "O", pictures)


def _require_sense(path: Path, scores: Scores) -> None:
    """ArtifactError where labels, classes or probabilities are invalid, naming the class or the picture."""
    advice = "make it again"
    if len(set(scores.classes.names)) < len(scores.classes):
        seen: set[str] = set()
        twice = next(name for name in scores.classes.names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ArtifactError(f"{path}: has the class '{twice}' twice: {advice}")
    odd = np.flatnonzero((scores.labels < -1) | (scores.labels >= len(scores.classes)))
    if len(odd):
        at = int(odd[0])
        raise ArtifactError(
            f"{path}: {scores.names[at]} has label {scores.labels[at]} of {len(scores.classes)} classes: {advice}"
        )
    if (name := scores.first_not_finite()) is not None:
        raise ArtifactError(f"{path}: the probabilities of {name} are not finite: evaluate another checkpoint")
    for values in (scores.probabilities, scores.centre_probabilities):
        outside = (values < 0).any(axis=1) | (values > 1 + _SUM_TOLERANCE).any(axis=1)
        outside |= np.abs(values.sum(axis=1, dtype=np.float64) - 1) > _SUM_TOLERANCE
        if outside.any():
            name = scores.names[int(np.argmax(outside))]
            raise ArtifactError(f"{path}: the probabilities of {name} do not sum to 1: {advice}")
