"""Caffe's .caffemodel: the layers as the file has them (exchange/caffe.py says what they mean), B, G, R."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from alexnet_cli.exchange.caffe import CaffeLayer, read_caffemodel
from alexnet_cli.recipes.layers import Dropout, MapNorm, Norm, Pool, Relu, Tanh
from alexnet_commands.import_.found import Row, short

_ASIDE = {"Data", "ImageData", "MemoryData", "WindowData", "Input", "Accuracy", "Flatten"}
_LAST = {"Softmax", "SoftmaxWithLoss"}


def read_caffe(row: Row) -> None:
    """Fill a row from its file; ArtifactError if its layers do not form a chain, or one has no counterpart here."""
    last: str | None = None
    other_names: dict[str, str] = {}
    for layer in read_caffemodel(row.path):
        if layer.type in _ASIDE or layer.type in _LAST:
            continue
        below = other_names.get(layer.bottoms[0], layer.bottoms[0]) if layer.bottoms else ""
        if layer.type == "Split":  # one blob under several names
            other_names |= dict.fromkeys(layer.tops, below)
            continue
        if last is not None and below != last:
            raise row.wrong(f"its layer {layer.name} reads '{below}', not '{last}' of the layer before")
        _add(row, layer)
        last = layer.tops[0] if layer.tops else ""


def _add(row: Row, layer: CaffeLayer) -> None:
    numbers = layer.numbers
    match layer.type:
        case "Convolution":
            weight, bias = _weights(row, layer)
            if _one(row, layer, "dilation", 1) != 1:
                raise row.wrong(f"its layer {layer.name} is dilated")
            stride, pad = _one(row, layer, "stride", 1), _one(row, layer, "pad", 0)
            row.convolution(weight, bias, stride=stride, padding=pad, groups=int(numbers.get("group", 1)))
        case "InnerProduct":
            weight, bias = _weights(row, layer)
            weight = weight.reshape(weight.shape[-2:]) if weight.dim() > 1 else weight
            row.linear(weight.T.contiguous() if numbers.get("transpose") else weight, bias)
        case "ReLU" if not numbers.get("negative_slope"):
            row.add(Relu)
        case "TanH":
            row.add(Tanh)
        case "LRN":
            _add_norm(row, layer)
        case "Pooling":
            _add_pool(row, layer)
        case "Dropout":
            row.add(Dropout, probability=float(numbers.get("dropout_ratio", 0.5)), convention="inverted")
        case _:
            raise row.wrong(f"its layer {layer.name} is of type {layer.type or 'unknown'}, which no layer here is")


def _add_norm(row: Row, layer: CaffeLayer) -> None:
    numbers = layer.numbers
    alpha, beta = short(numbers.get("alpha", 1.0)), short(numbers.get("beta", 0.75))
    window = int(numbers.get("local_size", 5))
    if numbers.get("norm_region", "ACROSS_CHANNELS") == "ACROSS_CHANNELS":
        row.add(Norm, k=short(numbers.get("k", 1.0)), alpha=alpha, beta=beta, window=window)
    else:
        row.add(MapNorm, k=1.0, alpha=alpha, beta=beta, window=window)


def _add_pool(row: Row, layer: CaffeLayer) -> None:
    mode = {"MAX": "max", "AVE": "average"}.get(layer.numbers.get("pool", "MAX"))
    if mode is None or layer.numbers.get("global_pooling") or _one(row, layer, "pad", 0):
        raise row.wrong(f"its pooling {layer.name} is of a kind that no layer here is")
    size, stride = _one(row, layer, "kernel_size", 0), _one(row, layer, "stride", 1)
    row.add(Pool, size=size, stride=stride, mode=mode, overhang=layer.numbers.get("round_mode", "CEIL") == "CEIL")


def _weights(row: Row, layer: CaffeLayer) -> tuple[Tensor, Tensor | None]:
    if not layer.blobs:
        raise row.wrong(f"its layer {layer.name} has no weights")
    blobs: Sequence[Tensor] = [torch.from_numpy(blob.copy()) for blob in layer.blobs]
    return blobs[0], blobs[1] if len(blobs) > 1 else None


def _one(row: Row, layer: CaffeLayer, name: str, default: int) -> int:
    """A number for both directions, however the file gives it: `pad`, or `pad_h` and `pad_w`."""
    short = name.removesuffix("_size")
    given = [*layer.numbers.get(name, ()), *(layer.numbers.get(f"{short}_{way}") for way in "hw")]
    values = {value for value in given if value is not None} or {default}
    if len(values) > 1:
        raise row.wrong(f"its layer {layer.name} has different numbers of {name} in the two directions")
    return int(values.pop())
