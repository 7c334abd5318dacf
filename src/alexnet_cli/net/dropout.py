"""Dropout (paper, 4.2): training sets each number to 0 with probability p; at test time all are kept, times 1 − p.

Nets of older versions and of other programs have another convention ("inverted"): training divides what stays by
1 − p, and at test time nothing happens. The layers above then see numbers of another scale while they train.
"""

from __future__ import annotations

from torch import Tensor, nn

from alexnet_cli.recipes.layers import Dropout as Spec


class Dropout(nn.Module):
    """Draws no masks itself: they are a function of the seed, the step, the layer and the column (randomness.py)."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.at_test = 1.0 - spec.probability if spec.convention == "2012" else 1.0

    def forward(self, numbers: Tensor, mask: Tensor | None = None) -> Tensor:
        """Any shape → the same. mask: in training, of the same shape; None at test time."""
        if mask is not None:
            return numbers * mask
        return numbers if self.at_test == 1 else numbers * self.at_test
