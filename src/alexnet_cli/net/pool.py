"""Pooling (paper, 3.4): the largest number, or the mean, of size×size pixels of each map, every `stride` pixels."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from alexnet_cli.recipes.layers import Pool as Spec


class Pool(nn.Module):
    """Windows overlap where stride < size, as the paper's do (3 and 2)."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C, H', W'). What hangs over the edge is not there: no window counts it."""
        spec = self.spec
        if spec.mode == "max":
            return functional.max_pool2d(maps, spec.size, spec.stride, ceil_mode=spec.overhang)
        return functional.avg_pool2d(maps, spec.size, spec.stride, ceil_mode=spec.overhang, count_include_pad=False)
