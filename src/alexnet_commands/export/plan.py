"""The net as every format needs it: its layers in order with the weights that they use, and what surrounds them.

Every format is written from a plan, none from the modules in `net/`: comparing the two finds mistakes in either.

Legend: N pictures, P side of a patch, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from alexnet_cli.artifacts.checkpoint import Checkpoint
from alexnet_cli.class_list import ClassList
from alexnet_cli.input.patches import InputTransform
from alexnet_cli.net.weights import column_rows
from alexnet_cli.recipes.layers import Convolution, Dropout, Linear, Spec
from alexnet_cli.recipes.net import Layer, shapes
from alexnet_cli.recipes.recipe import Recipe


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """One layer in its place."""

    layer: Layer
    weight: Tensor | None = None
    """float32; of a fully-connected layer always (neurons, all numbers below), 0 for what a neuron does not see."""
    bias: Tensor | None = None
    factor: float = 1.0
    """Of dropout: what it multiplies by at test time, if that is not in the weights above it."""

    @property
    def name(self) -> str:
        """As the recipe calls it."""
        return self.layer.name

    @property
    def spec(self) -> Spec:
        """Its numbers."""
        return self.layer.spec


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """What is exported."""

    recipe: Recipe
    steps: tuple[Step, ...]
    mean: Tensor
    """float32 (P, P, 3), R, G, B, 0–255: what is subtracted from the centre view."""
    scale: Tensor
    """float32 (3,): what the rest is multiplied by."""
    transform: InputTransform
    """Whole: of every view, and the colour noise."""
    classes: ClassList
    raw: bool
    """Without the input transform and the softmax: from (N, 3, P, P), transformed, to logits."""
    digest: str
    """Of the checkpoint."""

    @property
    def patch(self) -> int:
        """P."""
        return self.mean.shape[0]

    @property
    def edge(self) -> int:
        """Row and column of the centre view in a crop."""
        return (self.transform.side - self.transform.patch) // 2

    @property
    def about(self) -> dict[str, Any]:
        """What a file of any format says of itself."""
        inside = f"uint8 (N, {self.patch}, {self.patch}, 3): R, G, B, rows first, the central patch of a crop"
        outside = f"float32 (N, 3, {self.patch}, {self.patch}): R, G, B, (value - mean) * scale"
        return {
            "made by": "alexnet export",
            "recipe": self.recipe.name,
            "checkpoint": self.digest,
            "input": outside if self.raw else inside,
            "output": "logits" if self.raw else "probabilities",
            "classes": list(self.classes.names),
            "words": list(self.classes.words),
            "mirror images": self.recipe.input.flip,
        }

    def transformed(self, pictures: Tensor) -> Tensor:
        """uint8 (N, P, P, 3) → what the first layer sees, float32 (N, 3, P, P)."""
        return ((pictures.float() - self.mean) * self.scale).permute(0, 3, 1, 2).contiguous()


def plan_of(checkpoint: Checkpoint, *, raw: bool) -> Plan:
    """The plan of a checkpoint."""
    transform = checkpoint.transform
    return Plan(
        recipe=checkpoint.recipe,
        steps=_steps(shapes(checkpoint.recipe.net), checkpoint.model),
        mean=transform.centre.float().contiguous(),
        transform=transform,
        scale=transform.scale.float().expand(3).contiguous(),
        classes=checkpoint.classes,
        raw=raw,
        digest=checkpoint.manifest.digest,
    )


def _steps(layers: Sequence[Layer], model: dict[str, Tensor]) -> tuple[Step, ...]:
    """The 2012 convention's × (1 − p) goes into the weights that read what is dropped."""
    found: list[Step] = []
    owed = 1.0
    for place, layer in enumerate(layers):
        spec, factor = layer.spec, 1.0
        if isinstance(spec, Dropout) and spec.convention == "2012":
            above = layers[place + 1].spec if place + 1 < len(layers) else None
            if isinstance(above, Linear):
                owed = 1.0 - spec.probability
            else:
                factor = 1.0 - spec.probability
        weight = bias = None
        if isinstance(spec, (Convolution, Linear)):
            weight, bias = (model[f"{layer.name}.{part}"].detach().float() for part in ("weight", "bias"))
            weight = (_whole(layer, weight) if isinstance(spec, Linear) else weight).contiguous()
            weight, owed = (weight if owed == 1 else weight * owed), 1.0
        found.append(Step(layer=layer, weight=weight, bias=bias, factor=factor))
    return tuple(found)


def _whole(layer: Layer, weight: Tensor) -> Tensor:
    """A fully-connected layer's weights to all numbers below: 0 to those of other columns."""
    if layer.groups == 1:
        return weight
    whole = torch.zeros(layer.outputs, layer.seen)
    for column in range(layer.columns):
        rows = column_rows(layer.outputs, layer.columns, column)
        whole[rows, column * layer.inputs : (column + 1) * layer.inputs] = weight[rows]
    return whole
