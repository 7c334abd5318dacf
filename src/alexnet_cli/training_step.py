"""One training step: patches, forward, loss, backward, update. `alexnet train` makes it, `alexnet time` measures it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from alexnet_cli.devices import autocast, float_type, patch_type
from alexnet_cli.input.patches import InputTransform, training_patches
from alexnet_cli.net.network import Masks, Network
from alexnet_cli.net.update import UpdateRule
from alexnet_cli.parallel.place import own_masks
from alexnet_cli.parallel.ranks import Ranks
from alexnet_cli.randomness import Draws, dropout_masks
from alexnet_cli.recipes.recipe import Recipe


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingStep:
    """The parts of a step on one rank, in the order in which they are called."""

    recipe: Recipe
    network: Network
    transform: InputTransform
    """On the rank's device."""
    ranks: Ranks
    precision: str
    seed: int

    def patches(self, crops: Tensor, draws: Draws, colour_noise: float) -> Tensor:
        """The net's input (N, 3, 224, 224), of uint8 crops (N, 256, 256, 3) and their draws."""
        divides = self.recipe.input.noise_divides
        dtype = patch_type(self.precision)
        return training_patches(
            crops, draws, self.transform, colour_noise=colour_noise, noise_divides=divides, dtype=dtype
        )

    def masks(self, step: int, pictures: int) -> Masks:
        """The dropout masks of the pictures and neurons here, cut out of those of the whole mini-batch and net.

        step: how many steps were made before. pictures: in the whole mini-batch.
        """
        whole = dropout_masks(self.recipe.net, self.network.held, self.seed, step, pictures, self.ranks.device)
        own = own_masks(whole, self.network, self.ranks, pictures)
        return {name: mask.to(float_type(self.precision)) for name, mask in own.items()}

    def logits(self, forward: Callable[..., Tensor], patches: Tensor, masks: Masks | None, pictures: int) -> Tensor:
        """Forward pass: logits (N, K). forward: the network, or what torch wrapped around it. pictures: as above."""
        with autocast(self.ranks.device, self.precision):
            return forward(patches, masks, pictures)

    def loss(self, logits: Tensor, labels: Tensor, total: float | Tensor, weights: Tensor | None = None) -> Tensor:
        """This rank's share of the mean cross-entropy over the whole mini-batch: gradients are summed over the ranks.

        weights: of a picture, by its class; None: all 1. total: sum of the weights over the whole mini-batch.
        """
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        weights = None if weights is None else weights.to(logits.dtype)
        return functional.cross_entropy(logits, labels, weights, reduction="sum") / total


def descend(loss: Tensor, update: UpdateRule, between: Callable[[], None] = lambda: None) -> None:
    """Backward pass, then the update. between: called between the two."""
    loss.backward()  # type: ignore[no-untyped-call]
    between()
    update.step()
    update.clear()
