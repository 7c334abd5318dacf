"""The ten test views (paper, 4.1): four corners, the centre, and their mirror images."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from alexnet_cli.errors import ArtifactError
from alexnet_cli.input.patches import InputTransform, training_patches
from alexnet_cli.randomness import Draws

View = tuple[int, int, bool]
"""Row and column of a patch in its crop, and whether it is mirrored."""


def views_of(count: int, *, side: int, patch: int, mirrored: bool) -> tuple[View, ...]:
    """The first `count` of the ten views of crops of a side; the centre comes first.

    mirrored: whether there are mirror images; not for a net that was trained without any (`input.flip`). Views that
    are the same appear once: if patches are whole crops, the ten are two.
    """
    far = side - patch
    places = ((far // 2, far // 2), (0, 0), (0, far), (far, 0), (far, far))
    ten = [(row, column, flip) for flip in (False, True) for row, column in places]
    return tuple(dict.fromkeys(which for which in ten[:count] if mirrored or not which[2]))


def view(crops: Tensor, which: View, transform: InputTransform, dtype: torch.dtype = torch.float32) -> Tensor:
    """One view of every crop, (N, 3, P, P): a training patch without noise, always from the same place.

    dtype: as in `training_patches`. ArtifactError for crops of a different side than the transform's.
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
