"""The plan as modules of torch's own, which torch.export and torch.jit.trace follow for any number of pictures."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from alexnet_cli.recipes import layers as specs
from alexnet_cli.recipes.net import Layer
from alexnet_commands.export.plan import Plan, Step


class NormOverMaps(nn.Module):
    """a / (k + α/n·Σ a²)^β; the sum over neighbouring maps is a convolution of 1×1 with a band of ones."""

    band: Tensor

    def __init__(self, spec: specs.Norm, layer: Layer) -> None:
        super().__init__()
        self.k, self.beta, self.groups = spec.k, spec.beta, layer.columns
        place = torch.arange(layer.outputs // layer.columns)
        near = ((place[:, None] - place).abs() <= spec.window // 2).float() * (spec.alpha / spec.window)
        self.register_buffer("band", near.repeat(layer.columns, 1)[:, :, None, None])

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, H, W) → the same."""
        return maps * (functional.conv2d(maps * maps, self.band, groups=self.groups) + self.k) ** -self.beta


class NormWithinMaps(nn.Module):
    """The same over window×window pixels of each map; outside it reads as zero."""

    def __init__(self, spec: specs.MapNorm) -> None:
        super().__init__()
        self.spec = spec

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, H, W) → the same."""
        mean = functional.avg_pool2d(maps * maps, self.spec.window, 1, self.spec.window // 2)
        return maps * (mean * self.spec.alpha + self.spec.k) ** -self.spec.beta


class Times(nn.Module):
    """× a constant: dropout of the 2012 convention at test time."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, numbers: Tensor) -> Tensor:
        """Any shape → the same."""
        return numbers * self.factor


class Exported(nn.Module):
    """What a file of torch's holds: pictures in and probabilities out, or with `raw` patches in and logits out."""

    mean: Tensor
    scale: Tensor

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.raw = plan.raw
        if not self.raw:
            self.register_buffer("mean", plan.mean)
            self.register_buffer("scale", plan.scale)
        layers = nn.Sequential()
        for step in plan.steps:
            flat = isinstance(step.spec, (specs.Linear, specs.Dropout))
            if flat and "flatten" not in dict(layers.named_children()):
                layers.add_module("flatten", nn.Flatten())
            layers.add_module(step.name, _module(step))
        self.layers = layers

    def forward(self, pictures: Tensor) -> Tensor:
        """uint8 (N, P, P, 3), R, G, B → probabilities (N, K); with `raw` float32 (N, 3, P, P), transformed → logits."""
        if self.raw:
            return self.layers(pictures)  # type: ignore[no-any-return]
        patches = ((pictures.float() - self.mean) * self.scale).permute(0, 3, 1, 2)
        return torch.softmax(self.layers(patches), 1)


def _module(step: Step) -> nn.Module:
    match step.spec:
        case specs.Convolution() as spec:
            convolution = nn.Conv2d(
                step.layer.input_channels,
                step.layer.outputs,
                spec.size,
                spec.stride,
                spec.padding,
                groups=step.layer.groups,
            )
            _fill(convolution, step)
            if not spec.overhang:
                return convolution
            return nn.Sequential(nn.ZeroPad2d((0, spec.overhang, 0, spec.overhang)), convolution)
        case specs.Linear():
            return _fill(nn.Linear(step.layer.seen, step.layer.outputs), step)
        case specs.Relu():
            return nn.ReLU()
        case specs.Tanh():
            return nn.Tanh()
        case specs.MapNorm() as spec:
            return NormWithinMaps(spec)
        case specs.Norm() as spec:
            return NormOverMaps(spec, step.layer)
        case specs.Pool() as spec if spec.mode == "max":
            return nn.MaxPool2d(spec.size, spec.stride, ceil_mode=spec.overhang)
        case specs.Pool() as spec:
            return nn.AvgPool2d(spec.size, spec.stride, ceil_mode=spec.overhang, count_include_pad=False)
        case specs.Dropout():
            return nn.Identity() if step.factor == 1 else Times(step.factor)
    raise AssertionError(f"no module for a layer of kind {step.spec.kind}")


def _fill(module: nn.Conv2d | nn.Linear, step: Step) -> nn.Module:
    assert step.weight is not None and step.bias is not None
    with torch.no_grad():
        module.weight.copy_(step.weight)
        assert module.bias is not None
        module.bias.copy_(step.bias)
    return module
