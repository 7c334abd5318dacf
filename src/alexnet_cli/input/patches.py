"""From crops to the net's input: training patches with flips and colour noise (paper, 4.1), and the ten test views.

Legend: N crops; crops are uint8 (N, 256, 256, 3); patches float32 (N, 3, 224, 224) in channels_last memory, which is
the crops' own order, so that nothing is transposed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet_cli.randomness import Draws
from alexnet_cli.recipes.net import PATCH
from alexnet_cli.recipes.recipe import Input

VIEWS = tuple(
    (row, column, flip) for flip in (False, True) for row, column in ((16, 16), (0, 0), (0, 32), (32, 0), (32, 32))
)
"""(row, column, mirrored) of the ten test views: centre, corners, and their mirror images. The first is the centre."""

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
class InputTransform:
    """What turns 0–255 into the net's input: (value + noise − mean) · scale. Travels with every checkpoint."""

    mean: Tensor
    """float32 (256, 256, 3), 0–255."""
    scale: Tensor
    """float32 (3,)."""
    noise: Tensor
    """float32 (3, 3): P·diag(s); α times its transpose is the colour noise, 0–255 (columns of P are eigenvectors)."""

    mean_at: str = "patch"
    """Which 224×224 of the mean is subtracted: that at the patch's place, or always the centre (`input.mean_at`)."""

    def to(self, device: torch.device | str) -> InputTransform:
        """The same on a device."""
        return InputTransform(self.mean.to(device), self.scale.to(device), self.noise.to(device), self.mean_at)

    def mean_of(self, row: int, column: int, flip: bool) -> Tensor:
        """The mean that is subtracted from a patch before it is mirrored, (224, 224, 3). The centre of the mean image
        meets the mirrored patch unmirrored: so it is mirrored here, and once more with the patch."""
        if self.mean_at == "patch":
            return self.mean[row : row + PATCH, column : column + PATCH]
        edge = (len(self.mean) - PATCH) // 2
        centre = self.mean[edge : edge + PATCH, edge : edge + PATCH]
        return centre.flip(1) if flip else centre

    def tensors(self) -> dict[str, Tensor]:
        """By name, for a checkpoint."""
        return {"mean": self.mean, "scale": self.scale, "noise": self.noise}


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
    return InputTransform(tensors[0], tensors[1], tensors[2], recipe.mean_at)


def training_patches(
    crops: Tensor, draws: Draws, transform: InputTransform, *, colour_noise: float, noise_divides: bool = False
) -> Tensor:
    """Cut, mirror, subtract the mean (`mean_at` says which part of it), add colour noise, scale.

    crops: uint8 (N, 256, 256, 3) on the transform's device. draws: of these N pictures. colour_noise: the standard
    deviation of α. noise_divides: divide by 1 + colour_noise while there is noise (2012 source).
    """
    shift = torch.from_numpy(draws.noise).to(crops.device) * colour_noise @ transform.noise.T
    scale = transform.scale
    if noise_divides and colour_noise > 0:
        scale = scale / (1 + colour_noise)
    cut = _cut_each if crops.device.type == "cpu" else _cut_together
    return cut(crops, draws, transform, shift, scale).permute(0, 3, 1, 2)


def views_of(count: int, *, mirrored: bool) -> tuple[tuple[int, int, bool], ...]:
    """The first `count` of VIEWS; without the mirror images for a net that was trained without any (`input.flip`)."""
    return tuple(which for which in VIEWS[:count] if mirrored or not which[2])


def view(crops: Tensor, which: tuple[int, int, bool], transform: InputTransform) -> Tensor:
    """One test view of every crop, (N, 3, 224, 224); `which` is an entry of VIEWS."""
    row, column, flip = which
    count = len(crops)
    same = Draws(np.tile((row, column), (count, 1)), np.full(count, flip), np.zeros((count, 3), np.float32))
    return training_patches(crops, same, transform, colour_noise=0)


def _cut_each(crops: Tensor, draws: Draws, transform: InputTransform, shift: Tensor, scale: Tensor) -> Tensor:
    """One picture after the other: on a CPU each stays in the cache from cut to scale."""
    out = torch.empty(len(crops), PATCH, PATCH, 3, device=crops.device)
    wide_shift = (shift * scale).repeat(1, PATCH)
    wide_scale = scale.repeat(PATCH)
    scaled = replace(transform, mean=transform.mean * scale)
    for index, ((row, column), flip) in enumerate(zip(draws.offsets.tolist(), draws.flips.tolist(), strict=True)):
        rows, columns = slice(row, row + PATCH), slice(column, column + PATCH)
        # Rows of 224·3 numbers: an innermost dimension of 3 would be too short to vectorise.
        target = out[index].view(PATCH, PATCH * 3)
        torch.mul(crops[index, rows, columns].reshape(PATCH, PATCH * 3), wide_scale, out=target)
        target.sub_(scaled.mean_of(row, column, flip).reshape(PATCH, PATCH * 3)).add_(wide_shift[index])
        if flip:
            out[index] = out[index].flip(1)
    return out


def _cut_together(crops: Tensor, draws: Draws, transform: InputTransform, shift: Tensor, scale: Tensor) -> Tensor:
    """All pictures in a few kernels, through index arithmetic."""
    device = crops.device
    places = torch.from_numpy(draws.offsets).to(device)
    mirrored = torch.from_numpy(draws.flips).to(device)
    along = torch.arange(PATCH, device=device)
    rows = (places[:, :1] + along)[:, :, None]
    columns = (places[:, 1:] + torch.where(mirrored[:, None], PATCH - 1 - along, along))[:, None, :]
    picture = torch.arange(len(crops), device=device)[:, None, None]
    patches = crops[picture, rows, columns].float()
    own_place = transform.mean_at == "patch"
    patches = patches.sub_(transform.mean[rows, columns] if own_place else transform.mean_of(0, 0, False)).add_(
        shift[:, None, None, :]
    )
    return patches.mul_(scale)
