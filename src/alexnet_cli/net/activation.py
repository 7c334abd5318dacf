"""Activations (paper, 3.1): the ReLU max(0, x), and tanh x, which it is compared with. Any shape, kept."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Relu(nn.Module):
    """max(0, x), in place: no layer below needs its outputs for its gradient."""

    def forward(self, numbers: Tensor) -> Tensor:
        """Any shape → the same."""
        return torch.relu_(numbers)


class Tanh(nn.Module):
    """tanh x."""

    def forward(self, numbers: Tensor) -> Tensor:
        """Any shape → the same."""
        return torch.tanh(numbers)
