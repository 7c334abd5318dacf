"""The network: the recipe's layers in a row, written for the columns that live in this process.

Legend: N pictures, C channels of all columns held here, K classes. Maps are (N, C, H, W) in channels_last memory.
It knows no device and no process group. If each GPU holds one column (`Here`), `exchanges` fetch the maps of the
other before the layers that see both (parallel/place.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from alexnet_cli.net.convolution import Convolution
from alexnet_cli.net.dropout import Dropout
from alexnet_cli.net.kernels.passes import run_together
from alexnet_cli.net.linear import Linear
from alexnet_cli.net.norm import Norm
from alexnet_cli.net.pool import Pool
from alexnet_cli.net.weights import Weights, column_rows
from alexnet_cli.recipes import layers as specs
from alexnet_cli.recipes.net import Layer, Net, shapes

FLATTEN = "flatten"
"""The step that turns maps into rows (N, C·H·W), before the first fully-connected layer or the dropout below it."""
LOGITS = "logits"
"""The key in `exchanges` of the exchange that follows the last layer."""

Exchange = Callable[[Tensor, int], Tensor]
"""(activations of this process, pictures in the whole mini-batch) → all activations that the next layer sees."""
Masks = Mapping[str, Tensor]
"""Dropout masks by layer name, each of the shape of its layer's input."""


@dataclass(frozen=True, kw_only=True)
class Here:
    """Which parts of a net live in this process. The default is the whole net."""

    held: tuple[int, ...] | None = None
    """The columns whose convolutions live here, neighbours in order; None: all."""
    part: int = 0
    parts: int = 1
    """Of the fully-connected layers' rows this process holds part `part` of `parts`."""


class Network(nn.Module):
    """The net of a recipe, or the parts of it that live here. Parameters are zero until `initialise` sets them."""

    def __init__(self, net: Net, here: Here | None = None) -> None:
        super().__init__()
        self.net, self.here = net, here or Here()
        self.held = tuple(range(net.columns)) if self.here.held is None else tuple(self.here.held)
        self.layers = tuple(layer for layer in shapes(net) if layer.weighted)
        self.exchanges: dict[str, Exchange] = {}
        """By layer name: fetches the other processes' activations before that layer runs."""
        self.steps: list[str] = []
        """The names of all layers, and FLATTEN, in order."""
        for layer in shapes(net):
            if layer.kind in ("linear", "dropout") and FLATTEN not in self.steps:
                self._add(FLATTEN, nn.Flatten())
            self._add(layer.name, self._module(layer))

    def forward(self, patches: Tensor, masks: Masks | None = None, pictures: int | None = None) -> Tensor:
        """Logits of all classes, (N, K).

        patches: (N, 3, P, P), P = 224 in the paper, mean subtracted. masks: in training, one for each dropout layer,
        (N, neurons held here); None at test time. pictures: how many the mini-batch has, if the patches are a share
        of it.
        """
        return self.run(patches, masks, self.steps, pictures)

    def run(self, numbers: Tensor, masks: Masks | None, steps: list[str], pictures: int | None = None) -> Tensor:
        """Run the layers `steps`, in order. After the net's last layer the logits are those of all classes."""
        pictures = len(numbers) if pictures is None else pictures
        done = 0
        while done < len(steps):
            numbers, together = self.advance(numbers, masks, steps[done:], pictures)
            done += together
        return numbers

    def advance(self, numbers: Tensor, masks: Masks | None, steps: list[str], pictures: int) -> tuple[Tensor, int]:
        """Run the first of `steps`, or the first few that one compiled pass computes together; and how many ran."""
        name, together = steps[0], 1
        if name in self.exchanges:
            numbers = self.exchanges[name](numbers, pictures)
        layer = self.get_submodule(name)
        if isinstance(layer, Dropout):
            numbers = layer(numbers, None if masks is None else masks[name])
        else:
            numbers, together = run_together([self.get_submodule(step) for step in steps], numbers)
            if not together:
                numbers, together = layer(numbers), 1
        if steps[together - 1] == self.steps[-1] and LOGITS in self.exchanges:
            numbers = self.exchanges[LOGITS](numbers, pictures)
        return numbers, together

    def weights(self, name: str) -> Weights:
        """The weights of a layer by its name."""
        module = self.get_submodule(name)
        assert isinstance(module, Weights)
        return module

    def _add(self, name: str, module: nn.Module) -> None:
        self.add_module(name, module)
        self.steps.append(name)

    def _module(self, layer: Layer) -> nn.Module:
        """The module of a layer: the part of it that lives here."""
        spec, columns = layer.spec, len(self.held)
        match spec:
            case specs.Convolution():
                first, last = (column_rows(layer.outputs, layer.columns, self.held[at]) for at in (0, -1))
                return Convolution(layer, slice(first.start, last.stop), columns)
            case specs.Linear():
                return Linear(layer, column_rows(layer.outputs, self.here.parts, self.here.part))
            case specs.Relu():
                return nn.ReLU(inplace=layer.below in ("convolution", "linear", "pool"))  # others need their output
            case specs.Tanh():
                return nn.Tanh()
            case specs.Norm():
                return Norm(spec, columns)
            case specs.Pool():
                return Pool(spec)
            case specs.Dropout():
                return Dropout(spec)
        raise AssertionError(f"no module for a layer of kind {spec.kind}")
