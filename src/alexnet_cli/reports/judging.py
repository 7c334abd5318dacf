"""What scores say beyond the error: confidence intervals, classes, confusions, calibration.

Legend: N pictures, K classes; probabilities float32 (N, K), labels int64 (N,), predicted int64 (N,).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.artifacts.scores import ranks_of_labels

_Z = 1.959963984540054
"""The normal distribution's 97.5% quantile: 95% lie within ± this many standard deviations."""
BINS = 15
"""Of the calibration: of equal width, as Guo et al. (2017) have it."""

Probabilities = NDArray[np.float32]
Labels = NDArray[np.int64]


def wilson_interval(wrong: int, count: int) -> tuple[float, float]:
    """The 95% confidence interval of a share `wrong / count` (Wilson 1927); (0, 1) of nothing.

    Unlike p ± 1.96·√(p(1−p)/n) it stays inside 0 … 1, and has a width if nothing is wrong.
    """
    if count == 0:
        return 0.0, 1.0
    share, square = wrong / count, _Z * _Z
    middle = (share + square / (2 * count)) / (1 + square / count)
    half = _Z / (1 + square / count) * math.sqrt(share * (1 - share) / count + square / (4 * count * count))
    return 0.0 if wrong == 0 else middle - half, 1.0 if wrong == count else middle + half


@dataclass(frozen=True, eq=False)
class ByClass:
    """Of each class, (K,) arrays. A share of nothing is NaN."""

    pictures: NDArray[np.int64]
    """How many have this label."""
    predicted: NDArray[np.int64]
    """Of how many the net says this class."""
    right: NDArray[np.int64]
    """How many have the label and the prediction."""
    in_five: NDArray[np.int64]
    """How many of its pictures have it among their five best."""

    @property
    def recall(self) -> NDArray[np.float64]:
        """Right of those with the label: 1 − top-1 error."""
        return _share(self.right, self.pictures)

    @property
    def precision(self) -> NDArray[np.float64]:
        """Right of those with the prediction."""
        return _share(self.right, self.predicted)


def by_class(probabilities: Probabilities, labels: Labels) -> ByClass:
    """Count each class's pictures, predictions and right ones."""
    classes = probabilities.shape[1]
    predicted = probabilities.argmax(axis=1)
    in_five = ranks_of_labels(probabilities, labels) <= 5

    def count(indices: Labels) -> NDArray[np.int64]:
        return np.bincount(indices, minlength=classes).astype(np.int64)

    return ByClass(count(labels), count(predicted), count(labels[predicted == labels]), count(labels[in_five]))


def confusion(labels: Labels, predicted: Labels, classes: int) -> NDArray[np.int64]:
    """(K, K): how many pictures of the row's class are taken for the column's."""
    flat = np.bincount(labels * classes + predicted, minlength=classes * classes)
    return flat.reshape(classes, classes).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Calibration:
    """Whether of the predictions made with 70% confidence 70% are right. (bins,) arrays; NaN in an empty bin."""

    edges: NDArray[np.float64]
    """(bins + 1,): a bin holds what lies above its first edge, up to its second."""
    pictures: NDArray[np.int64]
    confidence: NDArray[np.float64]
    """Mean of the largest probability."""
    accuracy: NDArray[np.float64]
    """Share of right predictions."""

    @property
    def expected_error(self) -> float:
        """The expected calibration error: mean |accuracy − confidence| of the bins, weighted by their pictures."""
        gaps = np.abs(np.nan_to_num(self.accuracy - self.confidence))
        return float((gaps * self.pictures).sum() / max(1, int(self.pictures.sum())))


def calibration(probabilities: Probabilities, labels: Labels, bins: int = BINS) -> Calibration:
    """Sort the predictions into bins of equal width by their confidence."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = (probabilities.argmax(axis=1) == labels).astype(np.float64)
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    pictures = np.bincount(place, minlength=bins).astype(np.int64)
    return Calibration(
        edges=np.linspace(0, 1, bins + 1),
        pictures=pictures,
        confidence=_share(np.bincount(place, confidence, bins), pictures),
        accuracy=_share(np.bincount(place, right, bins), pictures),
    )


def _share(part: NDArray[np.int64] | NDArray[np.float64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):
        return np.asarray(part / np.where(whole > 0, whole, np.nan), np.float64)
