"""Local response normalisation (paper, 3.3) and the 2012 source's same-map normalisation.

    b = a / (k + α·Σ a²)^β        Σ over a window of neighbouring maps, or of neighbouring pixels of one map

`over_maps` and `over_pixels` are the formula as one would write it. Training uses what `net/kernels/` has for the same
function: torch's own operations take longer for the norm than for everything else together (docs/benchmarks.md).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from alexnet_cli.net.kernels.blocks import local_response_norm, same_map_norm
from alexnet_cli.recipes.layers import MapNorm
from alexnet_cli.recipes.layers import Norm as NormSpec


def over_maps(maps: Tensor, *, groups: int, k: float, alpha: float, beta: float, window: int) -> Tensor:
    """Normalise over `window` neighbouring maps at one position; the window stays inside one of `groups` columns.

    maps: (N, G·C, H, W). alpha is divided by `window`, also at a column's edges, where fewer maps are there.
    """
    found = []
    for own in maps.chunk(groups, 1):
        padded = functional.pad(own.square(), (0, 0, 0, 0, window // 2, window // 2))
        near = [padded[:, shift : shift + own.shape[1]] for shift in range(window)]
        found.append(own / (k + alpha / window * torch.stack(near).sum(0)) ** beta)
    return torch.cat(found, 1)


def over_pixels(maps: Tensor, *, k: float, alpha: float, beta: float, window: int) -> Tensor:
    """Normalise over window×window pixels of the same map; alpha is divided by the window's pixels.

    maps: (N, C, H, W). Outside the map reads as zero (2012 source, "rnorm ... same map" of net 145's layer 2).
    """
    mean_of_squares = functional.avg_pool2d(maps.square(), window, 1, window // 2)
    return maps / (k + alpha * mean_of_squares) ** beta


class Norm(nn.Module):
    """The layer: over neighbouring maps of each column, or, for a `map_norm`, over neighbouring pixels of each map."""

    def __init__(self, spec: NormSpec, columns: int) -> None:
        super().__init__()
        self.spec, self.columns = spec, columns

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, H, W) → the same shape."""
        spec = self.spec
        if isinstance(spec, MapNorm):
            return same_map_norm(maps, k=spec.k, alpha=spec.alpha, beta=spec.beta, window=spec.window)
        return local_response_norm(
            maps, groups=self.columns, k=spec.k, alpha=spec.alpha, beta=spec.beta, window=spec.window
        )
