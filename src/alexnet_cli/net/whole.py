"""Copy whole tensors, as checkpoints hold them, into the rows of a network that live in this process."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from alexnet_cli.errors import UsageError
from alexnet_cli.net.network import Network


def load_whole(network: Network, tensors: Mapping[str, Tensor]) -> None:
    """Copy the rows held here out of whole tensors named `conv1.weight` …; UsageError if one does not fit."""
    wanted = {name for name, _ in network.named_parameters()}
    if wanted != set(tensors):
        odd = sorted(wanted ^ set(tensors))[0]
        side = "has no" if odd in wanted else "has, and this net has not,"
        raise UsageError(f"the weights are of another net: it {side} '{odd}'")
    with torch.no_grad():
        for layer in network.layers:
            weights = network.weights(layer.name)
            for kind, parameter in (("weight", weights.weight), ("bias", weights.bias)):
                whole = tensors[f"{layer.name}.{kind}"]
                shape = layer.weight_shape if kind == "weight" else (layer.outputs,)
                if tuple(whole.shape) != shape:
                    found = f"{layer.name}.{kind} is {tuple(whole.shape)}, not {shape}"
                    raise UsageError(f"the weights are of another net: {found}")
                parameter.copy_(whole[weights.rows])


def own_rows(network: Network, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The rows held here of whole tensors by parameter name."""
    return {name: whole[network.weights(name.rpartition(".")[0]).rows] for name, whole in tensors.items()}
