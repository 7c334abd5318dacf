"""Placing a net on a mesh: which parts live in this process, and the exchanges before the layers that see more.

| mode    | lives here                                  | exchanged before                                         |
|---------|---------------------------------------------|----------------------------------------------------------|
| columns | one column                                  | each layer that sees all columns                         |
| hybrid  | all convolutions, and a part of the neurons | each fully-connected layer: before the first the         |
|         | of each fully-connected layer               | mini-batch's pictures are gathered, then all the neurons |

An exchange is an all-gather whose gradient is a reduce-scatter. In both modes the logits are gathered last.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from alexnet_cli.net.network import LOGITS, Here, Network
from alexnet_cli.net.weights import column_rows
from alexnet_cli.parallel.collectives import Group, put_together, put_together_same_loss
from alexnet_cli.parallel.layout import Layout, lengths_of_shares
from alexnet_cli.recipes.net import Layer, Net


def place(net: Net, layout: Layout, rank: int, group: Group, *, pictures: Callable[[], int]) -> Network:
    """The part of a net that a rank holds, in the mode columns or hybrid.

    group: the ranks that hold one copy of the net together. pictures: of the mini-batch that is being worked on.
    """
    part, parts = layout.part(rank)
    hybrid = layout.mode == "hybrid"
    here = Here(part=part, parts=parts) if hybrid else Here(held=layout.held(rank), part=part, parts=parts)
    network = Network(net, here)
    above = network.layers[1:]
    first_linear = next(layer.name for layer in above if layer.kind == "linear")
    for layer in above:
        if hybrid and layer.name == first_linear:
            network.exchanges[layer.name] = partial(_pictures, group=group, count=pictures, what=layer.name)
        elif layer.kind == "linear" if hybrid else layer.sees == "all":
            network.exchanges[layer.name] = partial(_channels, group=group, layer=layer)
    network.exchanges[LOGITS] = partial(_logits, group=group, classes=net.classes)
    return network


def _channels(numbers: Tensor, group: Group, layer: Layer) -> Tensor:
    """(N, c, …) of each rank → (N, C, …) of all, in the ranks' order."""
    return put_together(numbers, group, _widths(layer.seen, group), 1, layer.name)


def _pictures(numbers: Tensor, group: Group, count: Callable[[], int], what: str) -> Tensor:
    """(n, numbers) of each rank's share of the mini-batch → (N, numbers) of all of it."""
    return put_together(numbers, group, lengths_of_shares(count(), group.size), 0, what)


def _logits(logits: Tensor, group: Group, classes: int) -> Tensor:
    """(N, k) → (N, K): every rank computes the same loss from them, so that gradients are not summed."""
    return put_together_same_loss(logits, group, _widths(classes, group), 1, LOGITS)


def _widths(seen: int, group: Group) -> list[int]:
    """How many channels or numbers each rank has of those that are seen."""
    rows = [column_rows(seen, group.size, index) for index in range(group.size)]
    return [row.stop - row.start for row in rows]
