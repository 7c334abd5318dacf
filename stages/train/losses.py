"""The losses of a training's steps: added up on the devices, shown now and then, and watched.

A training ends if they are not finite, and warns if they stay at those of a guess.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.parallel.ranks import Ranks
from alexnet_cli.recipes.recipe import Recipe, Training
from alexnet_stages.train.journal import Journal
from alexnet_stages.train.setting import Progress

_LOOK_EVERY = 20
"""Steps between looks at the loss on a CUDA device: each look waits for the device."""
_STUCK_WINDOW = 50
"""Steps over which the loss is averaged before it is compared with ln(classes)."""


class Losses:
    """Sums of losses, wrong and judged pictures over the ranks, into a training's `Progress`."""

    def __init__(self, progress: Progress, recipe: Recipe, ranks: Ranks, journal: Journal, batches: int) -> None:
        """batches: in an epoch."""
        self.progress, self.recipe, self.ranks, self.journal = progress, recipe, ranks, journal
        self.batches, self.stuck_after = batches, recipe.training.stuck_after
        self._pending = torch.zeros(3, dtype=torch.float64, device=ranks.device)
        """Sums of this rank since the last look."""
        self._unseen = 0
        """Steps whose losses are in `_pending`."""

    def add(self, sums: Tensor) -> float | None:
        """Take a step's (3,) loss, wrong and judged pictures; the epoch's mean loss, or None if this step doesn't look.

        On a CUDA device only some steps look. The mean is not finite if one of the losses is not.
        """
        if self.ranks.shares.counts_loss:
            self._pending += sums
        self._unseen += 1
        progress, window = self.progress, self.progress.step - (self.stuck_after - _STUCK_WINDOW)
        on_time = progress.batch % _LOOK_EVERY == 0 or progress.batch == self.batches
        if not (self.ranks.device.type == "cpu" or on_time or 0 <= window <= _STUCK_WINDOW):
            return None
        gathered, steps = self.gather()
        if 0 < window <= _STUCK_WINDOW:
            progress.stuck_sum += gathered
        if progress.step % _LOOK_EVERY == 0 and math.isfinite(progress.loss_sum):
            self.journal.loss(progress.step, gathered / max(steps, 1))
        return progress.loss_sum / progress.batch

    def gather(self) -> tuple[float, int]:
        """Fetch the sum of the losses since the last call from the devices; the sum, and the number of its steps."""
        (gathered, wrong, judged), steps = self.ranks.sum(self._pending.tolist()), self._unseen
        self.progress.loss_sum += gathered
        self.progress.wrong += round(wrong)
        self.progress.judged += round(judged)
        self._pending.zero_()
        self._unseen = 0
        return gathered, steps

    def warn_if_stuck(self) -> None:
        """After `stuck_after` steps: a warning if the net still does no better than a guess."""
        if self.progress.step != self.stuck_after:
            return
        loss = self.progress.stuck_sum / min(_STUCK_WINDOW, self.stuck_after)
        guess = math.log(self.recipe.net.classes)
        if loss >= 0.98 * guess:
            self.journal.warn(
                f"after {self.progress.step:,} steps the loss is {loss:.3f}, still ln(classes) = {guess:.3f}: the net "
                "has not begun to learn. The paper's initial values may need thousands of steps, and some seeds never "
                "start: wait, try another --seed or --rate, or --set training.initial_values=he --set input.divisor=64"
            )


def class_weights(store: CropStore, training: Training, device: torch.device) -> Tensor | None:
    """float32 (classes,): what a picture of each class counts in the loss (`class_weights`); None: all the same."""
    if training.class_weights == "none":
        return None
    counts = np.bincount(store.labels, minlength=len(store.classes))
    return torch.from_numpy((len(store) / (len(counts) * np.maximum(counts, 1))).astype(np.float32)).to(device)
