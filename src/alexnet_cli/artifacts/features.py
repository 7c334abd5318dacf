"""Features: what a layer of a net gives for each picture of a store, with labels, names and the class list, in HDF5."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.artifacts.common import hdf5
from alexnet_cli.artifacts.common.manifest import Manifest
from alexnet_cli.artifacts.common.ownership import FEATURES
from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.artifacts.scores import EXPLAINING, classes_of, explaining_arrays
from alexnet_cli.class_list import ClassList
from alexnet_cli.errors import ArtifactError

KIND = "features"
SCHEMA = 2
_ARRAYS = ("features", "labels", "names", "classes")


@dataclass(frozen=True, eq=False)
class Features:
    """A layer's outputs for each picture of a store, in the store's order."""

    features: NDArray[np.float32]
    """(pictures, numbers), or (pictures, channels, rows, columns)."""
    labels: NDArray[np.int64]
    """(pictures,): indices into `classes`, -1 if unknown."""
    names: list[str]
    classes: ClassList
    """The store's; the net's if the store has none."""


@contextmanager
def writing_features(
    path: Path,
    shape: tuple[int, ...],
    store: CropStore,
    classes: ClassList,
    *,
    parents: Mapping[str, str],
    options: Mapping[str, Any],
    views_averaged: int,
    overwrite: bool,
) -> Iterator[Callable[[NDArray[np.float32]], None]]:
    """Publish features: yields a function that takes the next pictures' rows, in the store's order.

    shape: (pictures, numbers), or (pictures, channels, rows, columns). `parents` names the checkpoint and the crop
    store by digest. ArtifactError if a number is not finite. Then, or if rows are missing, nothing is published.
    """
    arrays: dict[str, NDArray[Any]] = {
        "labels": store.labels.astype(np.int64, copy=False),
        "names": np.array(store.names, dtype=object),
        "classes": np.array(classes.names, dtype=object),
    }
    details = {"pictures": shape[0], "shape": list(shape), "views_averaged": views_averaged}
    manifest = Manifest(kind=KIND, schema=SCHEMA, digest="", parents=parents, options=options, details=details)
    done = 0
    with hdf5.publishing_rows(
        path, "features", shape, arrays, manifest, FEATURES, overwrite=overwrite, explaining=explaining_arrays(classes)
    ) as rows:

        def add(features: NDArray[np.float32]) -> None:
            nonlocal done
            finite = np.isfinite(features.reshape(len(features), -1)).all(axis=1)
            if not finite.all():
                name = store.names[done + int(np.argmin(finite))]
                raise ArtifactError(f"{path}: the net's output for {name} is not finite: use another checkpoint")
            rows.add(features)
            done += len(features)

        yield add


def read_features(path: Path) -> tuple[Manifest, Features]:
    """Read features; ArtifactError if the file is not alexnet's, or is damaged."""
    manifest, arrays = hdf5.read_arrays(path, kind=KIND, schema=SCHEMA, names=_ARRAYS, explaining=EXPLAINING)
    pictures = arrays["names"].shape[:1]
    hdf5.require_form(path, arrays, "features", "f4", pictures + arrays["features"].shape[1:])
    hdf5.require_form(path, arrays, "labels", "i8", pictures)
    hdf5.require_form(path, arrays, "names", "O", pictures)
    names = [str(name) for name in arrays["names"]]
    return manifest, Features(arrays["features"], arrays["labels"], names, classes_of(path, arrays))
