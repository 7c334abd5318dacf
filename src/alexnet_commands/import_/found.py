"""What a file holds: layers in a row with their weights; and the recipe that they make.

`Row.add` names layers as recipes do: conv1 … conv5, fc6 …, and others after the last one with weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet_cli.errors import ArtifactError
from alexnet_cli.exchange.notes import Noted
from alexnet_cli.net.weights import column_rows
from alexnet_cli.recipes.fields import FieldError
from alexnet_cli.recipes.layers import Convolution, Dropout, Linear, Norm, Pool, Spec
from alexnet_cli.recipes.net import Layer, Net, layers, shapes
from alexnet_cli.recipes.read import load_recipe
from alexnet_cli.recipes.recipe import Input, Recipe

KNOWN = ("torchvision", "caffe-alexnet", "caffenet")
"""Recipes whose net a file may hold."""
_SHORT = {"convolution": "conv", "linear": "fc", "map_norm": "map_norm"}


@dataclass(eq=False)
class Row:
    """Layers from the picture on, and their weights by our names."""

    path: Path
    """The file, for errors."""
    specs: list[Spec] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    patch: int | None = None
    """Side of the input, if the file says it."""
    mean: NDArray[np.float32] | None = None
    """(P, P, 3), R, G, B: if the file itself subtracts it from the centre patch."""
    scale: NDArray[np.float32] | None = None
    """(3,): if the file itself multiplies by it."""
    columns: int = 1
    """More than one if the file keeps the columns' maps apart."""
    noted: Noted | None = None
    """What `alexnet export` noted of the net in the file, true or not."""
    _weighted: int = 0

    def add(
        self, make: Callable[..., Spec], weight: Tensor | None = None, bias: Tensor | None = None, **fields: Any
    ) -> None:
        """Add the next layer, with weights if it has some."""
        kind = str(getattr(make, "kind", ""))
        self._weighted += weight is not None
        name = f"{_SHORT.get(kind, kind)}{self._weighted}"
        taken = {spec.name for spec in self.specs}
        name = next(free for free in (name, *(f"{name}_{count}" for count in range(2, 1000))) if free not in taken)
        try:
            self.specs.append(make(name=name, **fields))
        except FieldError as error:
            raise self.wrong(f"its layer {name} can't be ({error.words})") from None
        if weight is not None:
            outputs = weight.shape[0]
            self.tensors[f"{name}.weight"] = weight
            self.tensors[f"{name}.bias"] = torch.zeros(outputs) if bias is None else bias.reshape(-1)

    def convolution(self, weight: Tensor, bias: Tensor | None, **fields: Any) -> None:
        """A convolution, its numbers of kernels and pixels taken from the weights (kernels, channels, size, size)."""
        if weight.dim() != 4 or weight.shape[2] != weight.shape[3]:
            raise self.wrong(f"a convolution's weights are {_shape(weight)}, no square kernels")
        sees = "all" if self._weighted else "picture"
        self.add(Convolution, weight, bias, kernels=weight.shape[0], size=weight.shape[2], sees=sees, **fields)

    def linear(self, weight: Tensor, bias: Tensor | None) -> None:
        """A fully-connected layer of weights (neurons, numbers)."""
        if weight.dim() != 2:
            raise self.wrong(f"a fully-connected layer's weights are {_shape(weight)}")
        self.add(Linear, weight, bias, neurons=weight.shape[0], sees="all")

    def split(self, columns: int) -> None:
        """Divide a file's layers among several columns: a convolution's groups become columns."""
        self.columns = columns
        for place, spec in enumerate(self.specs):
            if isinstance(spec, Convolution):
                if spec.groups not in (1, columns) or spec.kernels % columns:
                    raise self.wrong(f"its {spec.name} has {spec.groups} groups, and its norms {columns} columns")
                sees = spec.sees if spec.groups == 1 else "column"
                self.specs[place] = dataclasses.replace(spec, kernels=spec.kernels // columns, groups=1, sees=sees)
            elif isinstance(spec, Linear) and place + 1 < len(self.specs):
                if spec.neurons == "classes" or spec.neurons % columns:
                    raise self.wrong(f"its {spec.name} has {spec.neurons} neurons, and its norms {columns} columns")
                self.specs[place] = dataclasses.replace(spec, neurons=spec.neurons // columns)

    def turn_channels(self) -> None:
        """B, G, R of the picture → R, G, B: the first layer's channels the other way round."""
        first = next(iter(self.tensors), None)
        if first is not None and self.tensors[first].dim() == 4:
            self.tensors[first] = self.tensors[first].flip(1).contiguous()

    def wrong(self, why: str) -> ArtifactError:
        """An error of this file."""
        return ArtifactError(f"{self.path}: {why}: it is not an AlexNet that can be imported")


def recipe_of(row: Row, input_: Input) -> Recipe:
    """The recipe of a row: one of the project's if the net is the same, else a new one.

    ArtifactError if the layers do not fit one another, or the weights do not fit the layers.
    """
    if not row.specs or not isinstance(row.specs[-1], Linear):
        raise row.wrong("its layers do not end with a fully-connected one")
    classes = int(row.specs[-1].neurons)
    specs = (*row.specs[:-1], dataclasses.replace(row.specs[-1], neurons="classes"))
    try:
        net = Net(columns=row.columns, classes=classes, layers=specs, patch=input_.patch)
    except FieldError as error:
        raise row.wrong(f"its layers don't fit one another at patches of {input_.patch} ({error.words})") from None
    _require_shapes(row, net)
    for name in KNOWN:
        known = load_recipe(name).with_options(net={"classes": classes}, input={"patch": input_.patch})
        if known.net.columns == net.columns and _function(known.net) == _function(net):
            return dataclasses.replace(known, input=input_)
    about = f"{row.path.name}, imported"
    return Recipe(name="imported", about=about, net=net, input=input_)


def weights_as_noted(row: Row, noted: Recipe) -> dict[str, Tensor] | None:
    """The tensors of a row by the names of the recipe that was exported; None if its net is another.

    An export's weights hold the 2012 convention's × (1 − p), and 0 if a neuron does not see the other column.
    """
    if row.patch not in (None, noted.net.patch):
        return None
    found = recipe_of(row, noted.input).net
    apart = any(type(spec) is Norm for spec in found.layers)
    if _function(found) != _function(noted.net) or (apart and found.columns != noted.net.columns):
        return None
    tensors, given, owed = {}, iter(row.tensors.values()), 1.0
    for layer in shapes(noted.net):
        if isinstance(layer.spec, Dropout):
            owed = 1.0 - layer.spec.probability if layer.spec.convention == "2012" else 1.0
        if not layer.weighted:
            continue
        weight, bias = next(given), next(given)
        if tuple(weight.shape) != layer.weight_shape:
            whole, weight = weight, _own_columns(layer, weight)
            if whole.count_nonzero() != weight.count_nonzero():
                return None
        tensors[f"{layer.name}.weight"], tensors[f"{layer.name}.bias"] = weight / owed, bias
        owed = 1.0
    return tensors


def _own_columns(layer: Layer, weight: Tensor) -> Tensor:
    """Of a fully-connected layer's weights (neurons, all numbers below): those to each neuron's own column."""
    rows = [column_rows(layer.outputs, layer.columns, column) for column in range(layer.columns)]
    count = layer.inputs
    return torch.cat([weight[own, place * count : (place + 1) * count] for place, own in enumerate(rows)])


def _function(net: Net) -> list[tuple[Spec, int, int]]:
    """What each layer gives at test time, its outputs and groups: without names, dropout and columns."""
    plain: list[tuple[Spec, int, int]] = []
    for layer in shapes(net):
        spec = dataclasses.replace(layer.spec, name="")
        if isinstance(spec, Dropout):
            continue
        if isinstance(spec, Pool) and (layer.input_side - spec.size) % spec.stride == 0:
            spec = dataclasses.replace(spec, overhang=False)  # nothing hangs over
        if isinstance(spec, Convolution):
            spec = dataclasses.replace(spec, kernels=1, groups=1, sees="all")
        if isinstance(spec, Linear):
            spec = dataclasses.replace(spec, neurons=1, sees="all")
        if isinstance(spec, Norm):
            spec = dataclasses.replace(spec, k=short(spec.k), alpha=short(spec.alpha), beta=short(spec.beta))
        plain.append((spec, layer.outputs, layer.groups if isinstance(spec, Convolution) else 1))
    return plain


def short(value: float) -> float:
    """The shortest number that is this one in float32: files hold 0.0001 as 9.99999974e-05."""
    return float(str(np.float32(value)))


def _require_shapes(row: Row, net: Net) -> None:
    for layer in layers(net):
        for part, shape in (("weight", layer.weight_shape), ("bias", (layer.outputs,))):
            tensor = row.tensors[f"{layer.name}.{part}"]
            if tuple(tensor.shape) != shape:
                wanted = "×".join(map(str, shape))
                raise row.wrong(f"{layer.name}.{part} is {_shape(tensor)}, and {wanted} at patches of {net.patch}")


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape))
