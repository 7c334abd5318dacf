"""The network, written for the columns that live here: all of them in one process, one of two when each GPU holds one.

Legend: N pictures, C channels of all columns held here, K classes. Maps are (N, C, H, W) in channels_last memory.
Knows no device and no process group: `exchange` is handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from alexnet_cli.architecture import DROPPED, OVERHANG, Architecture, Layer, layers
from alexnet_cli.errors import UsageError
from alexnet_cli.normalisation import local_response_norm, same_map_norm

Exchange = Callable[[Tensor], Tensor]
"""(N, channels of the columns here, …) → (N, channels of all columns, …), column a first."""


def identity(maps: Tensor) -> Tensor:
    """The exchange where all columns live in one process."""
    return maps


def column_rows(outputs: int, columns: int, column: int) -> slice:
    """Which rows of a whole tensor (dimension 0) belong to a column; the first columns take what doesn't divide."""
    part, rest = divmod(outputs, columns)
    start = column * part + min(column, rest)
    return slice(start, start + part + (column < rest))


class Weights(nn.Module):
    """The rows of one layer's weights and biases that belong to the columns held here."""

    def __init__(self, layer: Layer, columns: int, held: Sequence[int]) -> None:
        super().__init__()
        self.layer = layer
        self.rows = slice(
            column_rows(layer.outputs, columns, held[0]).start, column_rows(layer.outputs, columns, held[-1]).stop
        )
        """Which rows of the whole tensors these are."""
        rows = self.rows.stop - self.rows.start
        weight = torch.zeros(rows, *layer.weight_shape[1:])
        if weight.dim() == 4:
            weight = weight.contiguous(memory_format=torch.channels_last)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(rows))


class Network(nn.Module):
    """AlexNet, or one of its columns.

    architecture: what the net is. held: the columns that live here, neighbours in order; None for all.
    exchange: makes all columns' maps from those held here. Parameters are zero until `initial_values` sets them.
    """

    conv1: Weights
    conv2: Weights
    conv3: Weights
    conv4: Weights
    conv5: Weights
    conv6: Weights
    fc6: Weights
    fc7: Weights
    bottleneck: Weights
    fc8: Weights

    def __init__(
        self, architecture: Architecture, held: Sequence[int] | None = None, exchange: Exchange = identity
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.held = tuple(range(architecture.columns)) if held is None else tuple(held)
        self.exchange = exchange
        self.layers = layers(architecture)
        for layer in self.layers:
            self.add_module(layer.name, Weights(layer, architecture.columns, self.held))

    def weights(self, name: str) -> Weights:
        """The weights of a layer by its name."""
        module = self.get_submodule(name)
        assert isinstance(module, Weights)
        return module

    def forward(self, patches: Tensor, masks: Sequence[Tensor] | None = None) -> Tensor:
        """Logits of the classes held here, (N, K): of all classes where all columns live here.

        patches: (N, 3, 224, 224), mean subtracted. masks: in training, one for fc6 and one for fc7, each
        (N, neurons held here), 0 or 1/(1 − dropout); None at test time.
        """
        return self.connect(self.convolve(patches), masks)

    def convolve(self, patches: Tensor) -> Tensor:
        """The convolutional layers: (N, numbers of the columns held here)."""
        maps = functional.pad(patches, (0, OVERHANG, 0, OVERHANG))
        for layer in self.layers:
            if layer.kind == "convolution":
                maps = self._convolve(maps, layer, self.weights(layer.name))
        return maps.flatten(1)

    def connect(
        self, numbers: Tensor, masks: Sequence[Tensor] | None = None, part: Sequence[Layer] | None = None
    ) -> Tensor:
        """The fully-connected layers over `convolve`'s numbers: logits. part: some of them in a row, over what the
        layer below the first gives; None for all."""
        for layer in self.layers if part is None else part:
            if layer.kind == "fully-connected":
                mask = masks[DROPPED.index(layer.name)] if masks is not None and layer.name in DROPPED else None
                numbers = self._connect(numbers, layer, self.weights(layer.name), mask)
        return numbers

    def _convolve(self, maps: Tensor, layer: Layer, weights: Weights) -> Tensor:
        sees_all = self.architecture.sees_all(layer.name)
        if sees_all and layer.name != "conv1":
            maps = self.exchange(maps)
        groups = 1 if sees_all else len(self.held)
        maps = functional.conv2d(maps, weights.weight, weights.bias, layer.stride, layer.padding, groups=groups)
        for step in layer.after:
            maps = self._follow(step, maps)
        return maps

    def _connect(self, numbers: Tensor, layer: Layer, weights: Weights, mask: Tensor | None) -> Tensor:
        if self.architecture.sees_all(layer.name):
            numbers = functional.linear(self.exchange(numbers), weights.weight, weights.bias)
        else:
            columns = len(self.held)
            own = numbers.reshape(len(numbers), columns, -1).transpose(0, 1)
            kernels = weights.weight.reshape(columns, -1, layer.inputs).transpose(1, 2)
            numbers = torch.bmm(own, kernels).transpose(0, 1).flatten(1) + weights.bias
        if "activation" in layer.after:
            numbers = self._follow("activation", numbers)
        return numbers if mask is None else numbers * mask

    def _follow(self, step: str, maps: Tensor) -> Tensor:
        net = self.architecture
        if step == "activation":
            return torch.relu_(maps) if net.activation == "relu" else torch.tanh(maps)
        if step == "pool":
            return functional.max_pool2d(maps, 3 if net.overlapping_pooling else 2, 2)
        if step == "norm":
            return local_response_norm(
                maps,
                groups=len(self.held),
                k=net.norm_k,
                alpha=net.norm_alpha,
                beta=net.norm_beta,
                window=net.norm_window,
            )
        assert step == "map norm", step
        return same_map_norm(maps, k=1.0, alpha=net.map_norm_alpha, beta=0.75, window=5)


def load_whole(network: Network, tensors: dict[str, Tensor]) -> None:
    """Copy the rows held here out of whole tensors named `conv1.weight` …; UsageError where one does not fit."""
    wanted = {name for name, _ in network.named_parameters()}
    if wanted != set(tensors):
        odd = sorted(wanted ^ set(tensors))[0]
        raise UsageError(f"the weights are of another architecture: '{odd}' is in only one of both")
    with torch.no_grad():
        for layer in network.layers:
            weights = network.weights(layer.name)
            for kind, parameter in (("weight", weights.weight), ("bias", weights.bias)):
                whole = tensors[f"{layer.name}.{kind}"]
                shape = layer.weight_shape if kind == "weight" else (layer.outputs,)
                if tuple(whole.shape) != shape:
                    found = f"{layer.name}.{kind} is {tuple(whole.shape)}, not {shape}"
                    raise UsageError(f"the weights are of another architecture: {found}")
                parameter.copy_(whole[weights.rows])
