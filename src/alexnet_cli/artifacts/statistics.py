"""Statistics of a crop store: the mean image and the RGB covariance (paper, sections 2 and 4.1).

All figures are on the 0–255 scale. README.md in this folder lists every array.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.artifacts.common import hdf5
from alexnet_cli.artifacts.common.manifest import Manifest
from alexnet_cli.artifacts.common.ownership import STATISTICS
from alexnet_cli.class_list import ClassList
from alexnet_cli.errors import ArtifactError

KIND = "statistics"
SCHEMA = 2

Array = NDArray[np.float64]

_SHAPES: dict[str, tuple[int | None, ...]] = {
    "mean_image": (None, None, 3),
    "channel_mean": (3,),
    "channel_std": (3,),
    "covariance": (3, 3),
    "eigenvalues": (3,),
    "eigenvectors": (3, 3),
    "standard_deviations": (3,),
    "pictures": (),
}


@dataclass(frozen=True, eq=False)
class Statistics:
    """float64 throughout. Build it from sums with `from_sums`."""

    mean_image: Array
    """(side, side, 3): mean over the pictures at each pixel and channel."""
    channel_mean: Array
    """(3,): mean over all pixels of all pictures."""
    channel_std: Array
    """(3,): population standard deviation over all pixels."""
    covariance: Array
    """(3, 3): population covariance of the channels over all pixels."""
    eigenvalues: Array
    """(3,): of the covariance, descending."""
    eigenvectors: Array
    """(3, 3): as columns, in the eigenvalues' order; in each the component of largest magnitude is positive."""
    standard_deviations: Array
    """(3,): square roots of the eigenvalues: the scale of the colour noise."""
    pictures: int
    """How many pictures were summed."""

    @property
    def side(self) -> int:
        return len(self.mean_image)

    @property
    def pixels(self) -> int:
        """How many pixels were summed."""
        return self.pictures * (self.mean_image.size // 3)

    @classmethod
    def from_sums(cls, sums: NDArray[np.int64], products: NDArray[np.int64], pictures: int) -> Statistics:
        """From exact integer sums.

        sums: int64 (side, side, 3), over the pictures. products: int64 (3, 3), Σ x_i·x_j over all pixels.
        The covariance is formed in Python's integers: nothing cancels.
        """
        pixels = pictures * sums.shape[0] * sums.shape[1]
        totals = [int(value) for value in sums.reshape(-1, 3).sum(axis=0)]
        exact = [[pixels * int(products[i, j]) - totals[i] * totals[j] for j in range(3)] for i in range(3)]
        covariance = np.array([[value / (pixels * pixels) for value in row] for row in exact])
        values, vectors = np.linalg.eigh(covariance)
        order = np.argsort(values)[::-1]
        values, vectors = np.maximum(values[order], 0.0), vectors[:, order]
        largest = vectors[np.abs(vectors).argmax(axis=0), np.arange(3)]
        vectors = vectors * np.where(largest < 0, -1.0, 1.0)
        return cls(
            mean_image=sums / pictures,
            channel_mean=np.array([total / pixels for total in totals]),
            channel_std=np.sqrt(np.diag(covariance)),
            covariance=covariance,
            eigenvalues=values,
            eigenvectors=vectors,
            standard_deviations=np.sqrt(values),
            pictures=pictures,
        )


def write_statistics(
    path: Path, statistics: Statistics, *, crops: Manifest, classes: ClassList, overwrite: bool, locked: bool = False
) -> Manifest:
    """Publish statistics; their parent is the crop store that they were summed over. locked: as `write_scores`."""
    arrays = {name: np.asarray(getattr(statistics, name)) for name in _SHAPES}
    manifest = Manifest(
        kind=KIND,
        schema=SCHEMA,
        digest="",
        parents={"crops": crops.digest},
        details={"pictures": statistics.pictures, "class_digest": classes.digest},
    )
    return hdf5.write_arrays(path, arrays, manifest, STATISTICS, overwrite=overwrite, locked=locked)


def read_statistics(path: Path) -> tuple[Manifest, Statistics]:
    """Read statistics; ArtifactError if the file is not alexnet's, is damaged, or has impossible values."""
    manifest, arrays = hdf5.read_arrays(path, kind=KIND, schema=SCHEMA, names=tuple(_SHAPES))
    for name, shape in _SHAPES.items():
        hdf5.require_form(path, arrays, name, "i8" if name == "pictures" else "f8", shape)
        if not np.isfinite(arrays[name]).all():
            raise ArtifactError(f"{path}: its {name} is not finite: make it again")
    rows, columns, _ = arrays["mean_image"].shape
    if rows != columns:
        raise ArtifactError(f"{path}: its mean image is {rows}×{columns}, and crops are square: make it again")
    pictures = int(arrays.pop("pictures"))
    if pictures < 1:
        raise ArtifactError(f"{path}: is over {pictures} pictures: make it again")
    return manifest, Statistics(**arrays, pictures=pictures)
