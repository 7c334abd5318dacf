"""The input transform of a net that comes with no statistics of its training pictures: a mean, and no colour noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.input.normalisation import KnownStatistics, input_transform
from alexnet_cli.input.patches import InputTransform
from alexnet_cli.recipes.recipe import Input

CROP = 256
"""Side of the crops that other programs cut their patches from."""


def transform_of(recipe: Input, mean: NDArray[np.float64] | None = None) -> InputTransform:
    """The transform of a recipe over a mean image (S, S, 3), R, G, B, 0–255; None: the recipe needs none."""
    image = np.zeros((CROP, CROP, 3)) if mean is None else mean
    return input_transform(KnownStatistics(image, np.zeros(3), np.eye(3), np.zeros(3)), recipe)
