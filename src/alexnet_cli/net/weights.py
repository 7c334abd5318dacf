"""Weights and biases of one layer, or the rows of them that live in this process."""

from __future__ import annotations

import torch
from torch import nn

from alexnet_cli.recipes.net import Layer


def column_rows(outputs: int, columns: int, column: int) -> slice:
    """Which rows of a whole tensor (dimension 0) belong to a column; the first columns have one more if need be."""
    part, rest = divmod(outputs, columns)
    start = column * part + min(column, rest)
    return slice(start, start + part + (column < rest))


class Weights(nn.Module):
    """What convolutions and fully-connected layers have in common. Parameters are zero until `initialise` sets them."""

    def __init__(self, layer: Layer, rows: slice) -> None:
        super().__init__()
        self.layer = layer
        self.rows = rows
        """Which rows of the whole tensors these are. In a whole tensor column a's rows come first."""
        count = rows.stop - rows.start
        weight = torch.zeros(count, *layer.weight_shape[1:])
        if weight.dim() == 4:
            weight = weight.contiguous(memory_format=torch.channels_last)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(count))
