"""The training loop: epochs, their mini-batches, and the step that is made with each.

All randomness is a function of the seed and of what it is for (alexnet_cli/randomness.py): which pictures come when,
where their patches lie, which neurons are dropped. Validation, checkpoints and stopping are in session.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet_cli.devices import on_device
from alexnet_cli.loader import Batch, CropLoader, batches_of
from alexnet_cli.net.network import Masks
from alexnet_cli.randomness import draws_of, order_of
from alexnet_cli.training_step import descend
from alexnet_stages.train.session import Session


class Training(Session):
    """One rank's training: of one process, or of several that hold columns of the net or shares of the mini-batches."""

    def train(self) -> None:
        """Train to the schedule's end. Raises when stopped by a signal, or when the loss is not finite."""
        while not self.finished:
            self.begin_epoch()
            self._run_epoch()
            self.end_epoch()

    def _run_epoch(self) -> None:
        """A step with each mini-batch of the epoch; a resumed run begins where it was stopped."""
        seed, epoch, input_ = self.setting.seed, self.progress.epoch, self.recipe.input
        order = order_of(seed, epoch, len(self.setting.store))
        positions = self.transform.positions
        self.draws = draws_of(seed, epoch, order, positions=positions, flip=input_.flip, run=input_.patch_run)
        batches = batches_of(order, self.batch_size)[self.progress.batch : self.batches]
        with self.progress_bar() as advance, self._loader(batches) as loader:
            for batch, whole in zip(loader, batches, strict=True):
                self.before_step()
                self.after_step(self._step(batch, whole), len(whole), advance)

    def _loader(self, batches: list[NDArray[np.int64]]) -> AbstractContextManager[Iterable[Batch]]:
        """Of each of the epoch's mini-batches, the crops that this rank's convolutions see."""
        own = [batch[self.ranks.shares.seen(len(batch))] for batch in batches]
        store, device, threads = self.setting.store, self.setting.device, self.setting.threads
        return CropLoader(store, own, device=device, threads=threads, ranks=self.ranks, jpeg_on_device=True)

    def _step(self, batch: Batch, whole: NDArray[np.int64]) -> Tensor:
        """One mini-batch: forward, backward, update; its loss, wrong and judged pictures, on the device.

        batch: the crops that this rank's convolutions see. whole: the indices of the mini-batch. The loss is this
        rank's share of the mini-batch's mean: gradients are sums over the ranks.
        """
        pictures, weights = len(whole), self.class_weights
        everyone = self.labels[on_device(whole, self.setting.device)]
        labels, masks = everyone[self.ranks.shares.results(pictures)], self.parts.masks(self.progress.step, pictures)
        total = float(pictures) if weights is None else weights[everyone].sum()

        def step(patches: Tensor, masks: Masks, labels: Tensor, total: float | Tensor) -> Tensor:
            logits = self._logits(patches, masks, pictures)
            loss = self.parts.loss(logits, labels, total, weights)
            self.require_finite(loss, lambda: self._logits(self._patches(batch), None, pictures))
            descend(loss, self.update)
            wrong = (logits.argmax(1) != labels).sum()
            return torch.stack([loss.detach().double(), wrong.double(), torch.full_like(loss, len(labels)).double()])

        return self.make(step, pictures, self._patches(batch), masks, labels, total)

    def _patches(self, batch: Batch) -> Tensor:
        return self.parts.patches(batch.crops, self.draws.of(batch.indices), self.schedule.colour_noise)

    def _logits(self, patches: Tensor, masks: Masks | None, pictures: int) -> Tensor:
        return self.parts.logits(self.forward, patches, masks, pictures)
