"""What a layout costs before anything runs: bytes sent per picture and layer, and memory of each device.

Forward and backward of one training step in float32; `benchmarks/parallel.py` counts the same bytes as they are sent.
"""

from __future__ import annotations

from dataclasses import dataclass

from alexnet_cli.artifacts.crops.store import SIDE, raw_bytes
from alexnet_cli.net.weights import column_rows
from alexnet_cli.parallel.layout import Layout, Shares
from alexnet_cli.recipes.net import PATCH, Layer, Net, layers

_FLOAT = 4
_STATES = 3
"""Weights, gradients, momentum."""


@dataclass(frozen=True, kw_only=True)
class LayerAccount:
    """One layer on several devices."""

    name: str
    parameters: int
    """Held by the first device."""
    sent_per_picture: float
    """Bytes that all devices together send for one picture, forward and backward."""


def account(net: Net, layout: Layout, batch_size: int) -> list[LayerAccount]:
    """Layer by layer. Gradients that are summed over devices count for the mini-batch: divided by its pictures."""
    found = []
    last = layers(net)[-1].name
    for layer in layers(net):
        held = _held_parameters(layer, layout)
        sent = _crossing(net, layer, layout)
        if layer.name == last:  # the logits are gathered; their gradient is not sent
            sent += (layout.part(0)[1] - 1) * net.classes * _FLOAT
        summed = layout.data_size if layer.kind == "convolution" or layout.mode != "hybrid" else 1
        # A ring sends each number 2·(D−1)/D times from each of D devices; every column of each copy does.
        sent += 2 * (summed - 1) * held * layout.column_size * _FLOAT / batch_size
        found.append(LayerAccount(name=layer.name, parameters=held, sent_per_picture=sent))
    return found


def crop_bytes(net: Net, layout: Layout) -> int:
    """Bytes of each picture's crop that devices send one another: each loads a share of the crops that all columns see.

    Crops have 256×256 pixels; for a net whose patches are not 224×224, they are as large as its patches.
    """
    side = SIDE if net.patch == PATCH else net.patch
    return (layout.column_size - 1) * raw_bytes(side)


def state_bytes(net: Net, layout: Layout) -> int:
    """Bytes of weights, gradients and momentum on the first device."""
    return _STATES * _FLOAT * sum(_held_parameters(layer, layout) for layer in layers(net))


def map_bytes(net: Net, layout: Layout, batch_size: int) -> int:
    """Bytes of the layers' outputs that the first device keeps for the backward pass of a mini-batch."""
    share = Shares(layout, 0).seen(batch_size)
    seen = max(1, share.stop - share.start)
    total = 0
    for layer in layers(net):
        pictures = seen if layer.kind == "convolution" or layout.mode != "hybrid" else batch_size
        numbers = _held_rows(layer, layout) * layer.output_side * layer.output_side
        total += _FLOAT * pictures * numbers
    return total


def _held_parameters(layer: Layer, layout: Layout) -> int:
    return _held_rows(layer, layout) * layer.parameters // layer.outputs


def _held_rows(layer: Layer, layout: Layout) -> int:
    if layer.kind == "convolution":
        return layer.outputs * len(layout.held(0)) // layout.columns
    part, parts = layout.part(0)
    rows = column_rows(layer.outputs, parts, part)
    return int(rows.stop - rows.start)


def _crossing(net: Net, layer: Layer, layout: Layout) -> float:
    """Bytes of a layer's inputs that are sent: an all-gather forward, a reduce-scatter of as much backward."""
    others = layout.part(0)[1] - 1
    exchanged = layer.kind == "linear" if layout.mode == "hybrid" else layer.sees == "all"
    if not exchanged or layer.name == layers(net)[0].name:
        return 0.0
    side = layer.input_side if layer.kind == "convolution" else 1
    return 2.0 * others * layer.seen * side**2 * _FLOAT
