"""From crops to the net's input: training patches with flips and colour noise (paper, 4.1), and the ten test views.

Legend: N crops of side S, 256 in the paper; patches of side P, 224 in the paper. Crops are uint8 (N, S, S, 3); patches
float32 (N, 3, P, P) in channels_last memory, which is the crops' own order, so that nothing is transposed. Where P
is S, nothing is cut: a patch is the whole crop.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet_cli.compiled import serves, triton_serves
from alexnet_cli.errors import ArtifactError
from alexnet_cli.randomness import Draws
from alexnet_cli.recipes.net import PATCH
from alexnet_cli.recipes.recipe import Input

View = tuple[int, int, bool]
"""Row and column of a patch in its crop, and whether it is mirrored."""

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
    """float32 (S, S, 3), 0–255."""
    scale: Tensor
    """float32 (3,)."""
    noise: Tensor
    """float32 (3, 3): P·diag(s); α times its transpose is the colour noise, 0–255 (columns of P are eigenvectors)."""

    mean_at: str = "patch"
    """Which part of the mean is subtracted: that at the patch's place, or always the centre (`input.mean_at`)."""
    patch: int = PATCH
    """Side of the patches (`input.patch`)."""

    @property
    def side(self) -> int:
        """Side of the crops that it fits."""
        return len(self.mean)

    @property
    def positions(self) -> int:
        """Of a patch in each direction of a crop: 33 for 224 in 256, 1 where nothing is cut."""
        return self.side - self.patch + 1

    def to(self, device: torch.device | str) -> InputTransform:
        """The same on a device."""
        return replace(self, mean=self.mean.to(device), scale=self.scale.to(device), noise=self.noise.to(device))

    def views(self, count: int, *, mirrored: bool) -> tuple[View, ...]:
        """The first `count` of the ten test views of its crops; see `views_of`."""
        return views_of(count, side=self.side, patch=self.patch, mirrored=mirrored)

    def mean_of(self, row: int, column: int, flip: bool) -> Tensor:
        """The mean that is subtracted from a patch before it is mirrored, (P, P, 3). The centre of the mean image
        meets the mirrored patch unmirrored: so it is mirrored here, and once more with the patch."""
        if self.mean_at == "patch":
            return self.mean[row : row + self.patch, column : column + self.patch]
        edge = (self.side - self.patch) // 2
        centre = self.mean[edge : edge + self.patch, edge : edge + self.patch]
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
    return InputTransform(tensors[0], tensors[1], tensors[2], recipe.mean_at, recipe.patch)


def training_patches(
    crops: Tensor,
    draws: Draws,
    transform: InputTransform,
    *,
    colour_noise: float,
    noise_divides: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Cut, mirror, subtract the mean (`mean_at` says which part of it), add colour noise, scale; in float32.

    crops: uint8 (N, S, S, 3) on the transform's device. draws: of these N pictures. colour_noise: the standard
    deviation of α. noise_divides: divide by 1 + colour_noise while there is noise (2012 source). dtype: what the
    float32 numbers are rounded to.
    """
    shift = torch.from_numpy(draws.noise).to(crops.device) * colour_noise @ transform.noise.T
    scale = transform.scale
    if noise_divides and colour_noise > 0:
        scale = scale / (1 + colour_noise)
    if serves(transform.mean) or triton_serves(transform.mean):
        patches = _cut_in_one_pass(crops, draws, transform, shift, scale, dtype)
    else:
        patches = _cut_together(crops, draws, transform, shift, scale)
    return patches.to(dtype).permute(0, 3, 1, 2)


def views_of(count: int, *, side: int, patch: int, mirrored: bool) -> tuple[View, ...]:
    """The first `count` of the ten test views (4.1): centre, corners, and their mirror images; the centre comes first.

    mirrored: whether there are mirror images; not for a net that was trained without any (`input.flip`). A view that
    is another one again is left out: where patches are whole crops, the ten are two.
    """
    far = side - patch
    places = ((far // 2, far // 2), (0, 0), (0, far), (far, 0), (far, far))
    ten = [(row, column, flip) for flip in (False, True) for row, column in places]
    return tuple(dict.fromkeys(which for which in ten[:count] if mirrored or not which[2]))


def view(crops: Tensor, which: View, transform: InputTransform, dtype: torch.dtype = torch.float32) -> Tensor:
    """One test view of every crop, (N, 3, P, P); dtype as in `training_patches`.

    ArtifactError for crops of another side than the transform's.
    """
    if crops.shape[1] != transform.side:
        found, own = (f"{side}×{side}" for side in (crops.shape[1], transform.side))
        raise ArtifactError(
            f"the crops are {found}, and the net was trained on {own}: preprocess --side {transform.side}"
        )
    row, column, flip = which
    count = len(crops)
    same = Draws(np.tile((row, column), (count, 1)), np.full(count, flip), np.zeros((count, 3), np.float32))
    return training_patches(crops, same, transform, colour_noise=0, dtype=dtype)


def _cut_in_one_pass(
    crops: Tensor,
    draws: Draws,
    transform: InputTransform,
    shift: Tensor,
    scale: Tensor,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """All steps in one kernel: compiled loops on a CPU, Triton's on a GPU."""
    dtype = dtype if dtype.itemsize <= 4 else torch.float32
    if crops.device.type == "cpu":
        from alexnet_cli.input.kernels.cutting import cut
    else:
        from alexnet_cli.input.kernels.cutting_triton import cut
    where, constants = (draws.offsets, draws.flips), (transform.mean, scale, shift * scale)
    centre = transform.mean_at == "centre"
    return cut(crops, *where, *constants, side=transform.patch, centre=centre, dtype=dtype)


def _cut_together(crops: Tensor, draws: Draws, transform: InputTransform, shift: Tensor, scale: Tensor) -> Tensor:
    """All pictures in a few kernels, through index arithmetic."""
    device = crops.device
    places = torch.from_numpy(draws.offsets).to(device)
    mirrored = torch.from_numpy(draws.flips).to(device)
    side = transform.patch
    along = torch.arange(side, device=device)
    rows = (places[:, :1] + along)[:, :, None]
    columns = (places[:, 1:] + torch.where(mirrored[:, None], side - 1 - along, along))[:, None, :]
    picture = torch.arange(len(crops), device=device)[:, None, None]
    patches = crops[picture, rows, columns].float()
    own_place = transform.mean_at == "patch"
    patches = patches.sub_(transform.mean[rows, columns] if own_place else transform.mean_of(0, 0, False)).add_(
        shift[:, None, None, :]
    )
    return patches.mul_(scale)
