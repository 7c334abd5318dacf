"""Fully-connected layer (paper, 3.5): out = in · weightᵀ + bias."""

from __future__ import annotations

import torch
from torch import Tensor

from alexnet_cli.net.kernels.products import linear
from alexnet_cli.net.weights import Weights, column_rows


class Linear(Weights):
    """weight: (neurons, numbers seen); bias: (neurons,)."""

    def forward(self, numbers: Tensor) -> Tensor:
        """(N, numbers) → (N, neurons)."""
        if numbers.shape[1] == self.layer.inputs:
            return linear(numbers, self.weight, self.bias)
        return self._by_column(numbers)

    def _by_column(self, numbers: Tensor) -> Tensor:
        """The numbers of all columns are here, and each neuron sees those of its own column."""
        columns, found = self.layer.columns, []
        for column, own in enumerate(numbers.chunk(columns, 1)):
            rows = column_rows(self.layer.outputs, columns, column)
            first = max(rows.start, self.rows.start) - self.rows.start
            last = min(rows.stop, self.rows.stop) - self.rows.start
            if first < last:
                found.append(linear(own, self.weight[first:last], self.bias[first:last]))
        return torch.cat(found, 1)
