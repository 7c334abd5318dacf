"""Randomness as a function, not a state: every choice follows from the seed and what it is for.

Order = f(seed, epoch); patch, flip, colour noise and cached view = f(seed, epoch, picture); dropout = f(seed, step,
layer, column); initial values = f(seed, layer). So the numbers of threads, ranks or restarts change nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet_cli.recipes.layers import Dropout
from alexnet_cli.recipes.net import Net, shapes

# What a stream is for: part of its key: no two purposes share one.
ORDER, PATCHES, INITIAL, DROPOUT, CACHED_VIEWS = range(5)


def numpy_generator(*key: int) -> np.random.Generator:
    """A stream that is a function of its key."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def torch_generator(device: torch.device | str, *key: int) -> torch.Generator:
    """The same for torch: a generator on `device`, seeded from the key. Devices of different kinds draw differently."""
    generator = torch.Generator(device=device)
    generator.manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1)))
    return generator


def order_of(seed: int, epoch: int, pictures: int) -> NDArray[np.int64]:
    """A permutation of the pictures: the order of one epoch."""
    return numpy_generator(seed, ORDER, epoch).permutation(pictures)


@dataclass(frozen=True, eq=False)
class Draws:
    """What is drawn for each picture of a store in one epoch, indexed by picture."""

    offsets: NDArray[np.int64]
    """(pictures, 2): row and column of the patch, from 0 on."""
    flips: NDArray[np.bool_]
    """(pictures,): whether the patch is mirrored."""
    noise: NDArray[np.float32]
    """(pictures, 3): α, standard normal, before the multiplication by the noise's size."""

    def of(self, indices: NDArray[np.int64]) -> Draws:
        """The draws of some pictures, in their order."""
        return Draws(self.offsets[indices], self.flips[indices], self.noise[indices])


def draws_of(seed: int, epoch: int, order: NDArray[np.int64], *, positions: int, flip: bool, run: int = 1) -> Draws:
    """Patch, flip and noise of every picture in one epoch.

    order: the epoch's order. positions: of a patch in each direction of a crop: 33 for 224 in 256, 1 if nothing is
    cut. flip: whether patches are mirrored with probability ½. run: the source draws one patch and
    flip for each run of 32 pictures in order, the paper (1) for each picture. Noise is always drawn for each picture.
    """
    pictures = len(order)
    generator = numpy_generator(seed, PATCHES, epoch)
    noise = generator.standard_normal((pictures, 3), dtype=np.float32)
    draws = -(-pictures // run)
    offsets = generator.integers(0, positions, (draws, 2))
    flips = generator.integers(0, 2, draws).astype(bool) & flip
    if run > 1:
        place = np.empty(pictures, np.int64)
        place[order] = np.arange(pictures) // run
        offsets, flips = offsets[place], flips[place]
    return Draws(offsets, flips, noise)


def cached_views_of(seed: int, epoch: int, pictures: int, views: int) -> NDArray[np.int64]:
    """Which of its cached views stands for each picture in one epoch, (pictures,), 0 … views − 1."""
    return numpy_generator(seed, CACHED_VIEWS, epoch).integers(0, views, pictures)


def dropout_masks(
    net: Net, held: tuple[int, ...], seed: int, step: int, batch: int, device: torch.device | str
) -> dict[str, Tensor]:
    """The masks of every dropout layer for one step, by its name, each (batch, numbers of the columns held here).

    0 or 1; under the convention "inverted" 0 or 1/(1 − p) (net/dropout.py).
    """
    masks: dict[str, Tensor] = {}
    for layer in shapes(net):
        if not isinstance(layer.spec, Dropout):
            continue
        p = layer.spec.probability
        own = layer.outputs // net.columns * layer.output_side**2
        parts = []
        for column in held:
            generator = torch_generator(device, seed, DROPOUT, step, len(masks), column)
            drawn = torch.rand(batch, own, generator=generator, device=device)
            drawn.ge_(p)
            parts.append(drawn.mul_(1 / (1 - p)) if layer.spec.convention == "inverted" else drawn)
        masks[layer.name] = torch.cat(parts, 1) if len(parts) > 1 else parts[0]
    return masks
