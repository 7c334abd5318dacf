"""Caffe's layers in torch's operations, to run a .caffemodel as it was read back: no Caffe is needed to check one.

Written from Caffe's source (src/caffe/layers/*_layer.cpp), not from our layers, which it checks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from alexnet_cli.exchange.caffe import CaffeLayer

Blobs = Sequence[Tensor]


def run_caffe(layers: Sequence[CaffeLayer], data: Tensor) -> Tensor:
    """The last layer's top. data: float32 (N, 3, P, P), for the layer of type Input."""
    there: dict[str, Tensor] = {}
    last = data
    with torch.no_grad():
        for layer in layers:
            if layer.type == "Input":
                outputs: Blobs = [data]
            else:
                weights = [torch.from_numpy(blob) for blob in layer.blobs]
                outputs = _LAYERS[layer.type](layer.numbers, [there[name] for name in layer.bottoms], weights)
            there |= dict(zip(layer.tops, outputs, strict=True))
            last = outputs[0]
    return last


def _one(numbers: Mapping[str, Any], name: str, default: int) -> int:
    """A number that a prototxt may repeat for each direction."""
    value = numbers.get(name, default)
    return int(value[0]) if isinstance(value, list) else int(value)


def _convolution(numbers: Mapping[str, Any], below: Blobs, weights: Blobs) -> Blobs:
    stride, pad = _one(numbers, "stride", 1), _one(numbers, "pad", 0)
    return [functional.conv2d(below[0], weights[0], weights[1], stride, pad, groups=_one(numbers, "group", 1))]


def _pooling(numbers: Mapping[str, Any], below: Blobs, weights: Blobs) -> Blobs:
    """pooling_layer.cpp: ceil((side − size) / stride) + 1 windows, each cut off at the edge."""
    maps, size, stride = below[0], _one(numbers, "kernel_size", 1), _one(numbers, "stride", 1)
    count = math.ceil((maps.shape[2] - size) / stride) + 1
    mean = numbers.get("pool", "MAX") == "AVE"
    rows = []
    for row in range(count):
        line = []
        for column in range(count):
            y, x = row * stride, column * stride
            window = maps[:, :, y : y + size, x : x + size]
            line.append(window.mean((2, 3)) if mean else window.amax((2, 3)))
        rows.append(torch.stack(line, 2))
    return [torch.stack(rows, 2)]


def _lrn(numbers: Mapping[str, Any], below: Blobs, weights: Blobs) -> Blobs:
    """lrn_layer.cpp: across channels, or within one, with a mean over the window in place of the sum, and k = 1."""
    maps, size = below[0], int(numbers.get("local_size", 5))
    alpha, beta = numbers.get("alpha", 1.0), numbers.get("beta", 0.75)
    half = size // 2
    if numbers.get("norm_region") == "WITHIN_CHANNEL":
        padded = functional.pad(maps**2, (half,) * 4)
        sums = padded.unfold(2, size, 1).unfold(3, size, 1).sum((-1, -2)) / size**2
        return [maps * (1 + alpha * sums) ** -beta]
    padded = functional.pad(maps**2, (0, 0, 0, 0, half, half))
    sums = padded.unfold(1, size, 1).sum(-1)
    return [maps * (numbers.get("k", 1.0) + alpha / size * sums) ** -beta]


_LAYERS: Mapping[str, Callable[[Mapping[str, Any], Blobs, Blobs], Blobs]] = {
    "Convolution": _convolution,
    "InnerProduct": lambda numbers, below, weights: [below[0].flatten(1) @ weights[0].T + weights[1]],
    "Pooling": _pooling,
    "LRN": _lrn,
    "Slice": lambda numbers, below, weights: list(
        torch.tensor_split(below[0], numbers["slice_point"], numbers.get("axis", 1))
    ),
    "Bias": lambda numbers, below, weights: [below[0] + weights[0][None]],
    "Scale": lambda numbers, below, weights: [below[0] * weights[0][None, :, None, None]],
    "Power": lambda numbers, below, weights: [
        (numbers.get("shift", 0.0) + numbers.get("scale", 1.0) * below[0]) ** numbers.get("power", 1.0)
    ],
    "ReLU": lambda numbers, below, weights: [below[0].clamp(min=0)],
    "TanH": lambda numbers, below, weights: [below[0].tanh()],
    "Dropout": lambda numbers, below, weights: [below[0]],
    "Concat": lambda numbers, below, weights: [torch.cat(list(below), numbers.get("axis", 1))],
    "Softmax": lambda numbers, below, weights: [below[0].softmax(1)],
}
