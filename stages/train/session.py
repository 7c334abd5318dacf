"""The training loop: mini-batches to steps, steps to epochs, and checkpoints that can be continued anywhere.

All randomness is a function of the seed and of what it is for (alexnet_cli/randomness.py), so the state of a training
is only what `Progress`, `Schedule`, weights and momentum hold.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from alexnet_cli.artifacts.checkpoint import Checkpoint, write_checkpoint
from alexnet_cli.artifacts.crops import CropStore
from alexnet_cli.artifacts.run_folder import RunFolder
from alexnet_cli.console import Advance, Talk, percent
from alexnet_cli.devices import autocast
from alexnet_cli.errors import InterruptedBySaveError, StoppedBySignalError, TrainingError
from alexnet_cli.evaluation import Net, evaluate
from alexnet_cli.initial_values import initialise
from alexnet_cli.loader import Batch, CropLoader, batches_of
from alexnet_cli.network import Network, load_whole
from alexnet_cli.patches import InputTransform, training_patches
from alexnet_cli.randomness import draws_of, dropout_masks, order_of
from alexnet_cli.recipe import Recipe
from alexnet_cli.update_rule import UpdateRule
from stages.train.init_from import Origin
from stages.train.journal import Journal
from stages.train.schedule import Schedule
from stages.train.signals import StopRequest

_LOOK_EVERY = 20
"""Steps between looks at the loss on a CUDA device: each look waits for the device."""
_STUCK_WINDOW = 50
"""Steps over which the loss is averaged before it is compared with ln(classes)."""


@dataclass
class Progress:
    """Where a training stands."""

    epoch: int = 1
    """The current epoch, counted from 1."""
    batch: int = 0
    """Mini-batches done in it."""
    step: int = 0
    """Mini-batches done in all."""
    loss_sum: float = 0.0
    """Sum of the losses of this epoch's steps."""
    stuck_sum: float = 0.0
    """Sum of the losses in the window that ends at `stuck_after`."""
    epoch_seconds: float = 0.0
    """Time of this epoch's steps."""
    seconds: float = 0.0
    """Time of all steps."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a session works with."""

    recipe: Recipe
    store: CropStore
    val: CropStore | None
    transform: InputTransform
    device: torch.device
    precision: str
    compile: bool
    seed: int
    threads: int
    checkpoint_seconds: float
    parents: dict[str, str]
    origin: Origin | None = None
    """Where the first values come from (`--init-from`)."""


class Session:
    """One process's training."""

    def __init__(self, setting: Setting, folder: RunFolder, talk: Talk, stop: StopRequest) -> None:
        self.setting, self.folder, self.talk, self.stop = setting, folder, talk, stop
        self.recipe = setting.recipe
        self.training = setting.recipe.training
        self.transform = setting.transform.to(setting.device)
        self.labels = torch.from_numpy(setting.store.labels).to(setting.device)
        self.network = Network(self.recipe.architecture)
        self.forward: Callable[..., Tensor] = self.network
        self.progress = Progress()
        self.schedule = Schedule.start(self.training, self.recipe.input)
        pictures = len(setting.store)
        self.batch_size = min(self.training.batch_size, pictures)
        self.batches = pictures // self.batch_size
        """Whole mini-batches in an epoch; the pictures left over are others in every epoch."""
        self.journal: Journal
        self._pending = torch.zeros((), dtype=torch.float64, device=setting.device)
        self._saved_at = time.monotonic()

    def begin(self, checkpoint: Checkpoint | None) -> None:
        """Set parameters and state: initial values, or a checkpoint's."""
        if checkpoint is None:
            initialise(self.network, self.training.initial_values, self.setting.seed)
            if self.setting.origin is not None:
                self.setting.origin.load_into(self.network)
        else:
            load_whole(self.network, checkpoint.model)
            self.progress = Progress(**checkpoint.state["progress"])
            self.schedule = Schedule.from_dict(checkpoint.state["schedule"])
        self.network.to(self.setting.device)
        self.parameters = dict(self.network.named_parameters())
        self.update = UpdateRule(self.parameters, momentum=self.training.momentum, decay=self.training.weight_decay)
        self.update.set_rates(self._rates())
        if checkpoint is not None:
            self.update.load_buffers(checkpoint.momentum)
        if self.setting.compile:
            self.forward = torch.compile(self.network)
        self.journal = Journal(self.folder, self.talk, self.progress.step)
        if checkpoint is None and self.setting.origin is not None:
            self.setting.origin.tell(self.journal)

    def train(self) -> None:
        """Train to the schedule's end. Raises when stopped by a signal, or when the loss is not finite."""
        while not self.schedule.finished and self.progress.epoch <= self.training.epochs:
            if self.progress.batch == 0:
                for reason in self.schedule.begin_epoch(self.training, self.progress.epoch):
                    self.journal.note(reason)
                self.update.set_rates(self._rates())
            self._run_epoch()
            self._end_epoch()

    def _run_epoch(self) -> None:
        progress, setting = self.progress, self.setting
        order = order_of(setting.seed, progress.epoch, len(setting.store))
        self.draws = draws_of(
            setting.seed, progress.epoch, order, flip=self.recipe.input.flip, run=self.recipe.input.patch_run
        )
        batches = batches_of(order, self.batch_size)[progress.batch : self.batches]
        label = f"epoch {progress.epoch}/{self.training.epochs}"
        total, done = self.batches * self.batch_size, progress.batch * self.batch_size
        with (
            self.talk.progress(label, total, unit="images", done=done) as advance,
            self._loader(batches) as loader,
        ):
            for batch in loader:
                self._timed_step(batch, advance)
                if self.stop:
                    self._stop()
                if time.monotonic() - self._saved_at > setting.checkpoint_seconds:
                    self.save()

    def _loader(self, batches: list[NDArray[np.int64]]) -> AbstractContextManager[Iterable[Batch]]:
        """The epoch's mini-batches."""
        setting = self.setting
        return CropLoader(setting.store, batches, device=setting.device, threads=setting.threads)

    def _timed_step(self, batch: Batch, advance: Advance) -> None:
        progress = self.progress
        start = time.perf_counter()
        loss = self._step(batch)
        self._pending += loss
        progress.step += 1
        progress.batch += 1
        if self.training.stuck_after - _STUCK_WINDOW < progress.step <= self.training.stuck_after:
            progress.stuck_sum += float(loss)
        note = ""
        if self.setting.device.type == "cpu" or progress.batch % _LOOK_EVERY == 0 or progress.batch == self.batches:
            self._look(float(loss))
            note = f"loss {progress.loss_sum / progress.batch:.3f}"
        passed = time.perf_counter() - start
        progress.epoch_seconds += passed
        progress.seconds += passed
        advance(len(batch.indices), note=note)
        if progress.step == self.training.stuck_after:
            self._warn_if_stuck()

    def _step(self, batch: Batch) -> Tensor:
        """One mini-batch: forward, backward, update; the loss, on the device."""
        setting = self.setting
        indices = torch.from_numpy(batch.indices).to(setting.device)
        logits = self._logits(batch, self._masks(len(batch.indices)))
        loss = functional.cross_entropy(logits.float(), self.labels[indices])
        loss.backward()  # type: ignore[no-untyped-call]
        self.update.step()
        self.update.clear()
        return loss.detach()

    def _logits(self, batch: Batch, masks: list[Tensor] | None) -> Tensor:
        """What the net says of a mini-batch's training patches."""
        setting, recipe = self.setting, self.recipe
        patches = training_patches(
            batch.crops,
            self.draws.of(batch.indices),
            self.transform,
            colour_noise=self.schedule.colour_noise,
            noise_divides=recipe.input.noise_divides,
        )
        with autocast(setting.device, setting.precision):
            return self.forward(patches, masks)

    def _masks(self, pictures: int) -> list[Tensor] | None:
        """The dropout masks of the next step."""
        setting = self.setting
        return dropout_masks(
            self.recipe.architecture, self.network.held, setting.seed, self.progress.step, pictures, setting.device
        )

    def _look(self, loss: float) -> None:
        """Gather the losses since the last look; a sum that is not finite ends the training."""
        progress = self.progress
        self._gather_loss()
        if not math.isfinite(progress.loss_sum):
            newest = self.folder.newest()
            where = f"the last good checkpoint is {newest.path}" if newest else "there is no checkpoint yet"
            raise TrainingError(
                f"the loss is not finite at step {progress.step} (epoch {progress.epoch}); {where}: "
                f"try a lower --rate than {self.training.rate:g}"
            )
        if progress.step % _LOOK_EVERY == 0:
            self.journal.loss(progress.step, loss)

    def _gather_loss(self) -> None:
        """Bring the sum of the losses since the last call over from the device."""
        self.progress.loss_sum += float(self._pending)
        self._pending.zero_()

    def _warn_if_stuck(self) -> None:
        window = min(_STUCK_WINDOW, self.training.stuck_after)
        loss, guess = self.progress.stuck_sum / window, math.log(self.recipe.architecture.classes)
        if loss < 0.98 * guess:
            return
        self.journal.warn(
            f"after {self.progress.step:,} steps the loss is {loss:.3f}, still ln(classes) = {guess:.3f}: the net has "
            "not begun to learn. The paper's initial values may need thousands of steps, and some seeds never start: "
            "wait, try another --seed or --rate, or --set training.initial_values=he --set input.divisor=64"
        )

    def _end_epoch(self) -> None:
        progress = self.progress
        error = error5 = None
        if self.setting.val is not None:
            error, error5 = self._validate(self.setting.val)
            if self.stop and error is None:
                self._stop()
        images = self.batches * self.batch_size
        rate = images / max(progress.epoch_seconds, 1e-9)
        row: dict[str, Any] = {
            "epoch": progress.epoch,
            "step": progress.step,
            "rate": self.schedule.rate,
            "train_loss": progress.loss_sum / self.batches,
            "validation_top1_error": error,
            "validation_top5_error": error5,
            "images_per_second": rate,
            "seconds": progress.seconds,
        }
        self.journal.epoch({name: "" if value is None else value for name, value in row.items()})
        text = f"epoch {progress.epoch}: loss {row['train_loss']:.4f}, {rate:,.1f} images/s"
        if error is not None:
            text += f", validation error {percent(error)} (top-5 {percent(error5)})"
        self.journal.note(text)
        reason = self.schedule.end_epoch(self.training, progress.epoch, error)
        if reason:
            self.journal.note(reason)
        progress.epoch += 1
        progress.batch, progress.loss_sum, progress.epoch_seconds = 0, 0.0, 0.0
        self.save(error=error, error5=error5)
        if self.stop:
            self._stop(saved=True)

    def _validate(self, store: CropStore) -> tuple[float | None, float | None]:
        """Top-1 and top-5 error of the centre view; None where a signal came meanwhile."""
        net = Net(self.network, self.transform, store.classes, self.setting.device, self.setting.precision)
        with self.talk.progress("validation", len(store)) as advance:

            def move(count: int) -> None:
                advance(count)
                if self.stop:
                    raise _StopValidationError

            try:
                scores = evaluate(net, store, views=1, threads=self.setting.threads, advance=move)
            except _StopValidationError:
                return None, None
        return scores.error(1, centre=True), scores.error(5, centre=True)

    def save(self, *, error: float | None = None, error5: float | None = None) -> None:
        """Write a checkpoint, unless the weights are not finite, and keep the newest two and the best."""
        self._gather_loss()
        for name, parameter in self.parameters.items():
            if not bool(torch.isfinite(parameter).all()):
                raise TrainingError(f"{name} is not finite after step {self.progress.step}: try a lower --rate")
        details: dict[str, Any] = {
            "step": self.progress.step,
            "epoch": self.progress.epoch - (self.progress.batch == 0),
        }
        if error is not None:
            details |= {"validation_top1_error": error, "validation_top5_error": error5}
        write_checkpoint(
            self.folder.checkpoint_path(self.progress.step),
            recipe=self.recipe,
            classes=self.setting.store.classes,
            model=self.parameters,
            momentum=self.update.buffers(),
            transform=self.setting.transform,
            state={"progress": asdict(self.progress), "schedule": self.schedule.to_dict(), "seed": self.setting.seed},
            parents=self.setting.parents,
            details=details,
        )
        self.folder.tidy()
        self._saved_at = time.monotonic()

    def _stop(self, *, saved: bool = False) -> None:
        """Save and end, as the signal asked."""
        if not saved:
            self.save()
        step = self.progress.step
        self.journal.note(
            f"stopped by {self.stop.signal.name if self.stop.signal else 'request'} after step {step}; saved"
        )
        text = f"stopped after step {step}; saved: go on with the same command and --resume"
        if self.stop.signal and self.stop.signal.name == "SIGTERM":
            raise StoppedBySignalError(text)
        raise InterruptedBySaveError(text)

    def _rates(self) -> dict[str, float]:
        names = [name for name, _ in self.network.named_parameters()]
        return self.schedule.rates(self.training, names)


class _StopValidationError(Exception):
    """A signal came during validation: it starts again when the run is resumed."""
