"""From crops to the net's input: cut a patch, mirror it, subtract the mean, add colour noise (paper, 2 and 4.1).

Legend: N crops of side S, 256 in the paper; patches of side P, 224 in the paper. Crops are uint8 (N, S, S, 3); patches
float32 (N, 3, P, P) in channels_last memory, which is the crops' own order: nothing is transposed. If P is S, nothing
is cut: a patch is the whole crop.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from alexnet_cli.compiled import serves, triton_serves
from alexnet_cli.devices import on_device
from alexnet_cli.input.kernels.cutting import cut
from alexnet_cli.randomness import Draws
from alexnet_cli.recipes.net import PATCH


@dataclass(frozen=True, eq=False)
class InputTransform:
    """What turns 0–255 into the net's input: (value + noise − mean) · scale. Each checkpoint holds one."""

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
        """Of a patch in each direction of a crop: 33 for 224 in 256, 1 if nothing is cut."""
        return self.side - self.patch + 1

    @property
    def centre(self) -> Tensor:
        """The centre of the mean, (P, P, 3)."""
        edge = (self.side - self.patch) // 2
        return self.mean[edge : edge + self.patch, edge : edge + self.patch]

    def to(self, device: torch.device | str) -> InputTransform:
        """The same on a device."""
        return replace(self, mean=self.mean.to(device), scale=self.scale.to(device), noise=self.noise.to(device))

    def tensors(self) -> dict[str, Tensor]:
        """By name, for a checkpoint."""
        return {"mean": self.mean, "scale": self.scale, "noise": self.noise}


def training_patches(
    crops: Tensor,
    draws: Draws,
    transform: InputTransform,
    *,
    colour_noise: float,
    noise_divides: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """The net's input (N, 3, P, P), computed in float32.

    crops: uint8 (N, S, S, 3) on the transform's device. draws: of these N pictures. colour_noise: the standard
    deviation of α. noise_divides: divide by 1 + colour_noise while there is noise (2012 source). dtype: what the
    float32 numbers are rounded to.
    """
    noise = on_device(draws.noise, crops.device) * colour_noise @ transform.noise.T
    scale = transform.scale
    if noise_divides and colour_noise > 0:
        scale = scale / (1 + colour_noise)
    if serves(transform.mean) or triton_serves(transform.mean):  # the same function as one compiled loop
        constants, centre = (transform.mean, scale, noise * scale), transform.mean_at == "centre"
        patches = cut(crops, draws.offsets, draws.flips, *constants, side=transform.patch, centre=centre, dtype=dtype)
    else:
        patches = _cut_by_index(crops, draws, transform, noise, scale)
    return patches.to(dtype).permute(0, 3, 1, 2)


def _cut_by_index(crops: Tensor, draws: Draws, transform: InputTransform, noise: Tensor, scale: Tensor) -> Tensor:
    """(N, P, P, 3). noise: (N, 3), a colour for each picture. A mirrored patch reads its columns from right to left."""
    device, side = crops.device, transform.patch
    corners, flips = on_device(draws.offsets, device), on_device(draws.flips, device)
    along = torch.arange(side, device=device)
    rows = (corners[:, :1] + along)[:, :, None]
    columns = (corners[:, 1:] + torch.where(flips[:, None], side - 1 - along, along))[:, None, :]
    pictures = torch.arange(len(crops), device=device)[:, None, None]
    # The mean at the patch's place is mirrored with the patch; the centre is subtracted as it is.
    mean = transform.mean[rows, columns] if transform.mean_at == "patch" else transform.centre
    return crops[pictures, rows, columns].float().sub_(mean).add_(noise[:, None, None]).mul_(scale)
