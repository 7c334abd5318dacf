"""The input transform of a recipe: mean and colour noise from a training set's statistics, or ImageNet's known mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from alexnet_cli.input.patches import InputTransform
from alexnet_cli.recipes.recipe import Input

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


class Statistics(Protocol):
    """What is taken from a training set's statistics (artifacts/statistics.py)."""

    @property
    def mean_image(self) -> NDArray[np.float64]: ...
    @property
    def eigenvalues(self) -> NDArray[np.float64]: ...
    @property
    def eigenvectors(self) -> NDArray[np.float64]: ...
    @property
    def standard_deviations(self) -> NDArray[np.float64]: ...


@dataclass(frozen=True, eq=False)
class KnownStatistics:
    """What stands in for a training set's statistics if there are none."""

    mean_image: NDArray[np.float64]
    eigenvalues: NDArray[np.float64]
    eigenvectors: NDArray[np.float64]
    standard_deviations: NDArray[np.float64]


def input_transform(statistics: Statistics, recipe: Input) -> InputTransform:
    """The transform of a recipe over a training set's statistics."""
    if recipe.normalisation == "mean-image":
        mean, scale = statistics.mean_image, np.full(3, 1 / recipe.divisor)
    else:
        mean = np.broadcast_to(np.array(_IMAGENET_MEAN) * 255, statistics.mean_image.shape)
        scale = 1 / (np.array(_IMAGENET_STD) * 255 * recipe.divisor)
    eigenvalue = recipe.noise_scale == "eigenvalue"
    size = statistics.eigenvalues if eigenvalue else statistics.standard_deviations
    noise = statistics.eigenvectors * size
    tensors = [torch.from_numpy(np.array(array, np.float32)) for array in (mean, scale, noise)]
    return InputTransform(tensors[0], tensors[1], tensors[2], recipe.mean_at, recipe.patch)
