"""The network, written for the columns that live here: all of them in one process, one of two when each GPU holds one.

Legend: N pictures, C channels of all columns held here, K classes. Maps are (N, C, H, W) in channels_last memory.
Knows no device and no process group: which parts live here, and how the others' maps come, is handed in as a Placement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from alexnet_cli.architecture import DROPPED, OVERHANG, Architecture, Layer, layers
from alexnet_cli.errors import UsageError
from alexnet_cli.normalisation import local_response_norm, same_map_norm

Exchange = Callable[[Tensor, str], Tensor]
"""(numbers that live here, name of the layer that is about to see them) → all that it sees."""


def identity(numbers: Tensor, layer: str) -> Tensor:
    """The exchange where everything lives in one process."""
    return numbers


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Which parts of a net live in this process, and how it comes to see the others'.

    The default is the whole net in one process.
    """

    held: tuple[int, ...] | None = None
    """The columns whose convolutions live here, neighbours in order; None: all."""
    part: int = 0
    parts: int = 1
    """Of the fully-connected layers' rows this process holds part `part` of `parts`."""
    splits_pictures: bool = False
    """Convolutions see a share of the mini-batch, fully-connected layers all of it (`to_connected` brings it)."""
    exchange: Exchange = identity
    """Maps of the columns here, (N, c, H, W) → of all columns, (N, C, H, W), column a first."""
    to_connected: Exchange = identity
    """Before the first fully-connected layer: numbers of the pictures here → of the whole mini-batch."""
    gather: Exchange = identity
    """Numbers of this part, (N, n) → of all parts, (N, all), in their order."""
    gather_logits: Exchange = identity
    """The same for the logits, from which every process computes the same loss: gradients are not summed."""


def column_rows(outputs: int, columns: int, column: int) -> slice:
    """Which rows of a whole tensor (dimension 0) belong to a column; the first columns take what doesn't divide."""
    part, rest = divmod(outputs, columns)
    start = column * part + min(column, rest)
    return slice(start, start + part + (column < rest))


class Weights(nn.Module):
    """The rows of one layer's weights and biases that live here."""

    def __init__(self, layer: Layer, rows: slice) -> None:
        super().__init__()
        self.layer = layer
        self.rows = rows
        """Which rows of the whole tensors these are."""
        count = rows.stop - rows.start
        weight = torch.zeros(count, *layer.weight_shape[1:])
        if weight.dim() == 4:
            weight = weight.contiguous(memory_format=torch.channels_last)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(count))


class Network(nn.Module):
    """AlexNet, or the parts of it that live here.

    architecture: what the net is. placement: which parts live here; None for all. Parameters are zero until
    `initial_values` sets them.
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

    def __init__(self, architecture: Architecture, placement: Placement | None = None) -> None:
        super().__init__()
        self.architecture = architecture
        self.placement = placement or Placement()
        held = self.placement.held
        self.held = tuple(range(architecture.columns)) if held is None else tuple(held)
        self.convolved: Callable[[Tensor], Tensor] = self.convolve
        """What `forward` calls for the convolutions: a data-parallel wrapper may stand here."""
        self.layers = layers(architecture)
        for layer in self.layers:
            self.add_module(layer.name, Weights(layer, self.rows(layer)))

    def rows(self, layer: Layer) -> slice:
        """Which rows of a layer's whole tensors (dimension 0) live here."""
        here, columns = self.placement, self.architecture.columns
        if layer.kind == "convolution":
            first, last = (column_rows(layer.outputs, columns, column) for column in (self.held[0], self.held[-1]))
            return slice(first.start, last.stop)
        return column_rows(layer.outputs, here.parts, here.part)

    def weights(self, name: str) -> Weights:
        """The weights of a layer by its name."""
        module = self.get_submodule(name)
        assert isinstance(module, Weights)
        return module

    def forward(self, patches: Tensor, masks: Sequence[Tensor] | None = None) -> Tensor:
        """Logits of all classes, (N, K).

        patches: (N, 3, 224, 224), mean subtracted; where the placement splits pictures, this process's share of them.
        masks: in training, one for fc6 and one for fc7, each (N, neurons held here), 0 or 1/(1 − dropout); None at test
        time.
        """
        return self.connect(self.convolved(patches), masks)

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
        """The fully-connected layers over `convolve`'s numbers: logits of all classes.

        part: some of them in a row, over what the layer below the first gives; None for all.
        """
        here, first = self.placement, self.architecture.fully_connected[0]
        for layer in self.layers if part is None else part:
            if layer.kind != "fully-connected":
                continue
            if layer.name == first and here.splits_pictures:
                numbers = here.to_connected(numbers, layer.name)
            elif self.architecture.sees_all(layer.name) or here.splits_pictures:
                numbers = here.gather(numbers, layer.name)
            mask = masks[DROPPED.index(layer.name)] if masks is not None and layer.name in DROPPED else None
            numbers = self._connect(numbers, layer, self.weights(layer.name), mask)
            if layer.name == "fc8":
                numbers = here.gather_logits(numbers, layer.name)
        return numbers

    def _convolve(self, maps: Tensor, layer: Layer, weights: Weights) -> Tensor:
        sees_all = self.architecture.sees_all(layer.name)
        if sees_all and layer.name != "conv1":
            maps = self.placement.exchange(maps, layer.name)
        groups = 1 if sees_all else len(self.held)
        maps = functional.conv2d(maps, weights.weight, weights.bias, layer.stride, layer.padding, groups=groups)
        for step in layer.after:
            maps = self._follow(step, maps)
        return maps

    def _connect(self, numbers: Tensor, layer: Layer, weights: Weights, mask: Tensor | None) -> Tensor:
        if numbers.shape[1] == layer.inputs:
            numbers = functional.linear(numbers, weights.weight, weights.bias)
        else:
            numbers = self._connect_columns(numbers, layer, weights)
        if "activation" in layer.after:
            numbers = self._follow("activation", numbers)
        return numbers if mask is None else numbers * mask

    def _connect_columns(self, numbers: Tensor, layer: Layer, weights: Weights) -> Tensor:
        """A layer whose neurons see their own column only, where the numbers of all columns are here."""
        columns = self.architecture.columns
        found = []
        for column, own in enumerate(numbers.chunk(columns, 1)):
            rows = column_rows(layer.outputs, columns, column)
            first = max(rows.start, weights.rows.start) - weights.rows.start
            last = min(rows.stop, weights.rows.stop) - weights.rows.start
            if first < last:
                found.append(functional.linear(own, weights.weight[first:last], weights.bias[first:last]))
        return torch.cat(found, 1)

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


def own_rows(network: Network, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The rows held here of whole tensors by parameter name."""
    return {name: whole[network.weights(name.rpartition(".")[0]).rows] for name, whole in tensors.items()}
