"""torch.export (.pt2), TorchScript (.pt), and a state_dict for torchvision.models.alexnet (.safetensors), as bytes."""

from __future__ import annotations

import dataclasses
import io
import json
import warnings

import torch
from torch import Tensor

from alexnet_cli.errors import UsageError
from alexnet_cli.exchange.notes import notes
from alexnet_cli.exchange.torchvision import NAMES, RECIPE, load_torchvision
from alexnet_cli.exchange.transforms import transform_of
from alexnet_cli.recipes.layers import Dropout, Spec
from alexnet_cli.recipes.net import Net
from alexnet_cli.recipes.read import load_recipe
from alexnet_cli.recipes.recipe import Input
from alexnet_commands.export.plan import Plan
from alexnet_commands.export.torch_net import Exported

ABOUT = "alexnet.json"
"""The extra file of a .pt2 or .pt: `Plan.about` as JSON."""
_CLOSE = 1e-6
"""Relative: of means and scales that count as torchvision's."""


def _example(plan: Plan) -> Tensor:
    side = plan.patch
    return torch.zeros(2, 3, side, side) if plan.raw else torch.zeros(2, side, side, 3, dtype=torch.uint8)


def torch_export(plan: Plan) -> bytes:
    """A program of torch.export, for any number of pictures."""
    batch = torch.export.Dim("N", min=1, max=1 << 20)
    with torch.no_grad():
        program = torch.export.export(Exported(plan).train(False), (_example(plan),), dynamic_shapes=({0: batch},))
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={ABOUT: json.dumps(plan.about, ensure_ascii=False)})
    return buffer.getvalue()


def run_torch_export(content: bytes, inputs: Tensor) -> Tensor:
    """What the program of a .pt2 says."""
    with torch.no_grad():
        return torch.export.load(io.BytesIO(content)).module()(inputs)  # type: ignore[no-any-return]


def torchscript(plan: Plan) -> bytes:
    """A traced module, for any number of pictures."""
    buffer = io.BytesIO()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that TorchScript is old
        traced = torch.jit.trace(Exported(plan).train(False), _example(plan))  # type: ignore[no-untyped-call]
        torch.jit.save(traced, buffer, _extra_files={ABOUT: json.dumps(plan.about, ensure_ascii=False)})
    return buffer.getvalue()


def run_torchscript(content: bytes, inputs: Tensor) -> Tensor:
    """What the module of a .pt says."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.load(io.BytesIO(content))(inputs)  # type: ignore[no-any-return, no-untyped-call]


def torchvision_weights(plan: Plan) -> bytes:
    """The state_dict of torchvision.models.alexnet. UsageError if the net or its input is another."""
    from safetensors.torch import save

    theirs = load_recipe(RECIPE)
    if _without_dropout(plan.recipe.net) != _without_dropout(
        theirs.with_options(net={"classes": len(plan.classes)}).net
    ):
        raise UsageError(
            f"--format torchvision: recipe {plan.recipe.name} is not torchvision's alexnet, which recipe "
            f"{RECIPE} has: train that, or choose another --format"
        )
    if not plan.raw and not _same_input(plan, theirs.input):
        raise UsageError(
            f"--format torchvision: the net's input is not transformed as torchvision's is (recipe {RECIPE}), and "
            "a state_dict can't hold that: give --raw for the weights alone"
        )
    tensors = {}
    for step in plan.steps:
        if step.weight is not None and step.bias is not None:
            tensors[f"{NAMES[step.name]}.weight"], tensors[f"{NAMES[step.name]}.bias"] = step.weight, step.bias
    about = {name: json.dumps(value, ensure_ascii=False) for name, value in plan.about.items()}
    return save(tensors, metadata={"format": "pt", **about, **notes(plan.recipe, plan.classes, plan.transform)})


def run_torchvision(content: bytes, patches: Tensor, classes: int) -> Tensor:
    """The logits of torchvision.models.alexnet with these weights. patches: float32 (N, 3, 224, 224), transformed."""
    from safetensors.torch import load

    model = load_torchvision().models.alexnet(weights=None, num_classes=classes)
    model.load_state_dict(load(content))
    with torch.no_grad():
        return model.train(False)(patches)  # type: ignore[no-any-return]


def _without_dropout(net: Net) -> tuple[int, tuple[Spec, ...]]:
    """What decides about the outputs: the layers, dropout with its place alone."""
    plain = (Dropout(name=spec.name) if isinstance(spec, Dropout) else spec for spec in net.layers)
    return net.columns, tuple(dataclasses.replace(spec, name="") for spec in plain)


def _same_input(plan: Plan, theirs: Input) -> bool:
    transform = transform_of(theirs)
    mean, scale = transform.mean[: plan.patch, : plan.patch], transform.scale
    return torch.allclose(plan.mean, mean, rtol=_CLOSE) and torch.allclose(plan.scale, scale, rtol=_CLOSE)
