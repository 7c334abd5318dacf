"""Initial values of every layer.

| scheme        | weights                                       | biases                                     |
|---------------|-----------------------------------------------|--------------------------------------------|
| `paper`       | N(0, 0.01²) (section 5)                       | 1 in conv2, conv4, conv5, fc6, fc7; else 0 |
| `source-2012` | N(0, 0.03²) in conv3 … conv6; N(0, 0.01²) else | as the paper; conv6 1                      |
| `he`          | N(0, 2/inputs) (He et al. 2015)               | 0                                          |
| `lecun`       | N(0, 1/inputs) (LeCun et al. 1998)            | 0                                          |
| `gaussian`    | N(0, 0.01²)                                   | 0                                          |

conv6 is not a layer of the paper's plain net: `paper` gives it the source's bias of 1.
A recipe's `training.initial_deviations` gives layers different standard deviations than their scheme.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

import torch

from alexnet_cli.net.network import Network
from alexnet_cli.randomness import INITIAL, torch_generator
from alexnet_cli.recipes.net import Layer

_ONES = {"conv2", "conv4", "conv5", "conv6", "fc6", "fc7"}
_WIDE = {"conv3", "conv4", "conv5", "conv6"}


def deviation(scheme: str, layer: Layer, deviations: Mapping[str, float] = MappingProxyType({})) -> float:
    """Standard deviation of a layer's initial weights: that in `deviations`, by layer, in place of the scheme's."""
    if layer.name in deviations:
        return deviations[layer.name]
    if scheme in ("he", "lecun"):
        return math.sqrt((2 if scheme == "he" else 1) / (layer.inputs * layer.size**2))
    return 0.03 if scheme == "source-2012" and layer.name in _WIDE else 0.01


def bias(scheme: str, layer: Layer) -> float:
    """A layer's initial bias."""
    return 1.0 if scheme in ("paper", "source-2012") and layer.name in _ONES else 0.0


def initialise(
    network: Network, scheme: str, seed: int, deviations: Mapping[str, float] = MappingProxyType({})
) -> None:
    """Set all parameters. Whole tensors are drawn per layer: a column has the same values wherever it lives.

    deviations: standard deviations of the weights by layer, in place of the scheme's.
    """
    with torch.no_grad():
        for number, layer in enumerate(network.layers):
            generator = torch_generator("cpu", seed, INITIAL, number)
            whole = torch.empty(layer.weight_shape)
            whole.normal_(0.0, deviation(scheme, layer, deviations), generator=generator)
            weights = network.weights(layer.name)
            weights.weight.copy_(whole[weights.rows])
            weights.bias.fill_(bias(scheme, layer))
