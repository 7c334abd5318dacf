"""Convolution (paper, 3.5): out[n, k, y, x] = bias[k] + Σ weight[k, c, i, j] · in[n, c, y·stride + i, x·stride + j].

The sum goes over the channels c that kernel k sees: all that come in, or those of its own column or group.
"""

from __future__ import annotations

from torch import Tensor

from alexnet_cli.net.kernels.products import convolve
from alexnet_cli.net.weights import Weights
from alexnet_cli.recipes.layers import Convolution as Spec
from alexnet_cli.recipes.net import Layer


class Convolution(Weights):
    """weight: (kernels, channels seen, size, size); bias: (kernels,)."""

    def __init__(self, layer: Layer, rows: slice, columns: int) -> None:
        """columns: how many live here. If kernels see only their own column, these are torch's groups."""
        super().__init__(layer, rows)
        assert isinstance(layer.spec, Spec)
        self.spec = layer.spec
        self.groups = layer.spec.groups * (columns if layer.sees == "column" else 1)

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, H, W) → (N, kernels, H', W')."""
        spec = self.spec
        settings = {"stride": spec.stride, "padding": spec.padding, "overhang": spec.overhang, "groups": self.groups}
        return convolve(maps, self.weight, self.bias, **settings)
