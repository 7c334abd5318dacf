"""Features: what a layer of a net gives for each picture of a store, with labels, names and the class list, in HDF5."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.artifacts.common import hdf5
from alexnet_cli.artifacts.common.manifest import Manifest
from alexnet_cli.artifacts.common.ownership import FEATURES
from alexnet_cli.class_list import ClassList
from alexnet_cli.errors import ArtifactError

KIND = "features"
SCHEMA = 2
_ARRAYS = ("features", "labels", "names", "classes")
_EXPLAINING = ("words", "ids")


@dataclass(frozen=True, eq=False)
class Features:
    """A layer's outputs for each picture of a store, in the store's order."""

    features: NDArray[np.float32]
    """(pictures, numbers), or (pictures, channels, rows, columns)."""
    labels: NDArray[np.int64]
    """(pictures,): indices into `classes`, -1 where unknown."""
    names: list[str]
    classes: ClassList
    """The store's; the net's where the store has none."""


def write_features(
    path: Path,
    features: Features,
    *,
    parents: Mapping[str, str],
    options: Mapping[str, Any],
    views_averaged: int,
    overwrite: bool,
) -> Manifest:
    """Publish features. `parents` names the checkpoint and the crop store by digest.

    ArtifactError where a number is not finite.
    """
    finite = np.isfinite(features.features.reshape(len(features.names), -1)).all(axis=1)
    if not finite.all():
        name = features.names[int(np.argmin(finite))]
        raise ArtifactError(f"{path}: what the net says of {name} is not finite: use another checkpoint")
    arrays: dict[str, NDArray[Any]] = {
        "features": features.features.astype(np.float32, copy=False),
        "labels": features.labels.astype(np.int64, copy=False),
        "names": np.array(features.names, dtype=object),
        "classes": np.array(features.classes.names, dtype=object),
    }
    explaining: dict[str, NDArray[Any]] = {}
    if features.classes.words:
        explaining["words"] = np.array(features.classes.words, dtype=object)
    if features.classes.ids:
        explaining["ids"] = np.array(features.classes.ids, np.int64)
    details = {
        "pictures": len(features.names),
        "shape": list(features.features.shape),
        "views_averaged": views_averaged,
    }
    manifest = Manifest(kind=KIND, schema=SCHEMA, digest="", parents=parents, options=options, details=details)
    return hdf5.write_arrays(path, arrays, manifest, FEATURES, overwrite=overwrite, explaining=explaining)


def read_features_manifest(path: Path) -> Manifest:
    """The manifest of a features file alone."""
    return hdf5.read_manifest(path, kind=KIND, schema=SCHEMA)


def read_features(path: Path) -> tuple[Manifest, Features]:
    """Read features; ArtifactError where the file is not one of ours, or damaged."""
    manifest, arrays = hdf5.read_arrays(path, kind=KIND, schema=SCHEMA, names=_ARRAYS, explaining=_EXPLAINING)
    pictures, classes = arrays["names"].shape[:1], arrays["classes"].shape[:1]
    hdf5.require_form(path, arrays, "features", "f4", pictures + arrays["features"].shape[1:])
    hdf5.require_form(path, arrays, "labels", "i8", pictures)
    hdf5.require_form(path, arrays, "names", "O", pictures)
    hdf5.require_form(path, arrays, "classes", "O", classes)
    explained = ClassList(
        tuple(str(name) for name in arrays["classes"]),
        words=tuple(str(words) for words in arrays.get("words", ())),
        ids=tuple(int(number) for number in arrays.get("ids", ())),
    )
    names = [str(name) for name in arrays["names"]]
    return manifest, Features(arrays["features"], arrays["labels"], names, explained)
