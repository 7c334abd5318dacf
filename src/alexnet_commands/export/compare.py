"""The pictures that an exported net is tried on, and the net's own outputs for them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from alexnet_cli.errors import ArtifactError
from alexnet_cli.evaluation import Net
from alexnet_cli.input.views import view

ALLOWED = 5e-4
"""The largest difference that is not a mistake, in parts of the largest number; float32's rounding through eight layers
gives some 1e-6."""


def sample_crops(side: int) -> Tensor:
    """Five different crops, uint8 (5, S, S, 3): noise, a slope, black, white, soft blotches."""
    rng = np.random.default_rng(2012)
    noise = rng.integers(0, 256, (side, side, 3))
    slope = np.linspace(0, 255, side)[:, None, None] * np.array([1.0, 0.5, 0.2]) + np.arange(side)[None, :, None] % 50
    coarse = rng.integers(0, 256, (8, 8, 3)).repeat(-(-side // 8), 0).repeat(-(-side // 8), 1)[:side, :side]
    flat = np.zeros((side, side, 3))
    crops = np.stack([noise, slope, flat, flat + 255, 0.8 * coarse + 0.2 * noise])
    return torch.from_numpy(crops.clip(0, 255).astype(np.uint8))


def said_here(net: Net, crops: Tensor, *, raw: bool) -> Tensor:
    """Logits (`raw`) or probabilities of the centre view, by the net that `eval` runs: float32 (N, K)."""
    edge = (crops.shape[1] - net.transform.patch) // 2
    centre = (edge, edge, False)
    with torch.inference_mode():
        return net.network(view(crops, centre, net.transform)) if raw else net.probabilities(crops, centre)


def difference(mine: Tensor, theirs: Tensor, *, engine: str) -> float:
    """The largest absolute difference; ArtifactError if it is more than rounding."""
    if mine.shape != theirs.shape:
        raise ArtifactError(
            f"{engine} gives {tuple(theirs.shape)} numbers, and the net {tuple(mine.shape)}: nothing was written"
        )
    largest = float((mine.double() - theirs.double()).abs().max())
    allowed = ALLOWED * float(mine.abs().max())
    if not largest <= allowed:
        raise ArtifactError(
            f"{engine} gives different numbers than the net: they differ by {largest:.2g}, and rounding explains "
            f"{allowed:.0e}: nothing was written; please report it"
        )
    return largest
