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
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet_cli.artifacts.checkpoint import Checkpoint, write_checkpoint
from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.artifacts.filters import keep_filters
from alexnet_cli.artifacts.run import METRICS_DETAIL, RunFolder, vouch_for
from alexnet_cli.artifacts.scores import mean_loss, top_k_error
from alexnet_cli.console import Advance, Talk, duration, percent
from alexnet_cli.cutting import DETAIL as CUTTING
from alexnet_cli.cutting import cutting_of
from alexnet_cli.devices import float_type
from alexnet_cli.errors import InterruptedBySaveError, StoppedBySignalError, TrainingError
from alexnet_cli.evaluation import Net, evaluate
from alexnet_cli.finite import not_finite, not_finite_layer
from alexnet_cli.input.patches import InputTransform
from alexnet_cli.loader import Batch, CropLoader, batches_of
from alexnet_cli.net.initial import initialise
from alexnet_cli.net.network import Masks
from alexnet_cli.net.update import UpdateRule
from alexnet_cli.net.whole import load_whole, own_rows
from alexnet_cli.parallel.place import gather_whole, place, replicate
from alexnet_cli.parallel.ranks import Ranks
from alexnet_cli.randomness import draws_of, order_of
from alexnet_cli.recipes.recipe import Recipe, Training
from alexnet_cli.signals import StopRequest
from alexnet_cli.training_step import TrainingStep, descend
from alexnet_stages.train.init_from import Origin
from alexnet_stages.train.journal import Journal
from alexnet_stages.train.schedule import Schedule

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
    wrong: int = 0
    """Training patches of this epoch whose class the net did not tell, as it was when it saw them."""
    judged: int = 0
    """Of so many patches; fewer than were trained on in the epoch that an older version had begun."""
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
    ranks: Ranks
    precision: str
    compile: bool
    seed: int
    threads: int
    checkpoint_seconds: float
    parents: dict[str, str]
    origin: Origin | None = None
    """Where the first values come from (`--init-from`)."""
    log: tuple[str, ...] = ()
    """Names of loggers."""

    @property
    def device(self) -> torch.device:
        """This process's."""
        return self.ranks.device


class Session:
    """One rank's training: of one process, or of several that hold columns of the net or shares of the mini-batches."""

    def __init__(self, setting: Setting, folder: RunFolder, talk: Talk, stop: StopRequest) -> None:
        self.setting, self.folder, self.talk, self.stop = setting, folder, talk, stop
        self.recipe = setting.recipe
        self.training = setting.recipe.training
        self.transform = setting.transform.to(setting.device)
        self.class_weights = class_weights(setting.store, self.training, setting.device)
        self.labels = torch.from_numpy(setting.store.labels).to(setting.device)
        self.ranks = setting.ranks
        self.network = place(self.recipe.net, self.ranks)
        self.forward: Callable[..., Tensor] = self.network
        self._compiled: Callable[..., Tensor] = self.network
        self.step = TrainingStep(
            recipe=self.recipe,
            network=self.network,
            transform=self.transform,
            ranks=self.ranks,
            precision=setting.precision,
            seed=setting.seed,
        )
        self.progress = Progress()
        self.schedule = Schedule.start(self.training, self.recipe.input)
        pictures = len(setting.store)
        self.batch_size = min(self.training.batch_size, pictures)
        partial = self.training.partial_batch and pictures % self.batch_size > 0
        self.batches = pictures // self.batch_size + partial
        """Mini-batches in an epoch. Without `partial_batch` the pictures left over are others in every epoch."""
        self.epoch_pictures = pictures if partial else self.batches * self.batch_size
        self.journal: Journal
        self._pending = torch.zeros(3, dtype=torch.float64, device=setting.device)
        """Sums of this rank since the last look: losses, wrong and judged pictures."""
        self._unseen = 0
        """Steps whose losses are in `_pending`."""
        self._stop_asked = self._save_due = False
        self._saved_at = time.monotonic()
        self._began_at, self._began_step = time.monotonic(), 0

    def begin(self, checkpoint: Checkpoint | None) -> None:
        """Set parameters and state: initial values, or a checkpoint's."""
        self.network.to(dtype=float_type(self.setting.precision))
        if checkpoint is None:
            training = self.training
            initialise(self.network, training.initial_values, self.setting.seed, training.initial_deviations)
            if self.setting.origin is not None:
                self.setting.origin.load_into(self.network)
        else:
            load_whole(self.network, checkpoint.model)
            self.progress = Progress(**checkpoint.state["progress"])
            self.schedule = Schedule.from_dict(checkpoint.state["schedule"])
        self.network.to(self.setting.device)
        self.parameters = dict(self.network.named_parameters())
        self.update = UpdateRule(
            self.parameters,
            momentum=self.training.momentum,
            decay=self.training.weight_decay,
            decays=self.training.layer_decays,
        )
        if self.setting.compile:
            self._compiled = torch.compile(self.network)
        self._set_rates()
        if checkpoint is not None:
            self.update.load_buffers(own_rows(self.network, checkpoint.momentum))
        self.journal = Journal(
            self.folder, self.talk, self.progress.step, writes=self.ranks.first, log=self.setting.log
        )
        if checkpoint is None and self.setting.origin is not None:
            self.setting.origin.tell(self.journal)

    def train(self) -> None:
        """Train to the schedule's end. Raises when stopped by a signal, or when the loss is not finite."""
        self._began_at, self._began_step = time.monotonic(), self.progress.step
        while not self.schedule.finished and self.progress.epoch <= self.training.epochs:
            if self.progress.batch == 0:
                for reason in self.schedule.begin_epoch(self.training, self.progress.epoch):
                    self.journal.note(reason)
                self._set_rates()
            self._run_epoch()
            self._end_epoch()

    def _run_epoch(self) -> None:
        progress, setting = self.progress, self.setting
        order = order_of(setting.seed, progress.epoch, len(setting.store))
        input_, positions = self.recipe.input, self.transform.positions
        self.draws = draws_of(
            setting.seed, progress.epoch, order, positions=positions, flip=input_.flip, run=input_.patch_run
        )
        batches = batches_of(order, self.batch_size)[progress.batch : self.batches]
        label = f"epoch {progress.epoch}/{self.training.epochs}"
        total, done = self.epoch_pictures, progress.batch * self.batch_size
        with (
            self.talk.progress(label, total, done=done) as advance,
            self._loader(batches) as loader,
        ):
            for batch, whole in zip(loader, batches, strict=True):
                self.ranks.tick(f"step {progress.step + 1}")
                self._timed_step(batch, whole, advance)
                if self._stop_asked:
                    self._stop()
                if self._save_due:
                    self.save()

    def _loader(self, batches: list[NDArray[np.int64]]) -> AbstractContextManager[Iterable[Batch]]:
        """Of each of the epoch's mini-batches, the crops that this rank's convolutions see."""
        setting = self.setting
        own = [batch[self.ranks.shares.seen(len(batch))] for batch in batches]
        return CropLoader(setting.store, own, device=setting.device, threads=setting.threads, ranks=self.ranks)

    def _timed_step(self, batch: Batch, whole: NDArray[np.int64], advance: Advance) -> None:
        progress, ranks = self.progress, self.ranks
        start = time.perf_counter()
        sums = self._step(batch, whole)
        if ranks.shares.counts_loss:
            self._pending += sums
        progress.step += 1
        progress.batch += 1
        note = ""
        looks = self.setting.device.type == "cpu" or progress.batch % _LOOK_EVERY == 0 or progress.batch == self.batches
        self._unseen += 1
        if looks or 0 <= progress.step - (self.training.stuck_after - _STUCK_WINDOW) <= _STUCK_WINDOW:
            note = f"loss {self._look():.3f}, {self._time_left()}"
        # One small sum for each step, so that all ranks stop and save after the same one.
        overdue = time.monotonic() - self._saved_at > self.setting.checkpoint_seconds
        stops, saves = ranks.sum([bool(self.stop), ranks.first and overdue])
        self._stop_asked, self._save_due = stops > 0, saves > 0
        passed = time.perf_counter() - start
        progress.epoch_seconds += passed
        progress.seconds += passed
        advance(len(whole), note=note)
        if progress.step == self.training.stuck_after:
            self._warn_if_stuck()

    def _time_left(self) -> str:
        """How long the run goes on at the latest, validation and checkpoints included, at the pace so far."""
        done = self.progress.step - self._began_step
        left = max(0, self.training.epochs * self.batches - self.progress.step)
        return f"run {duration((time.monotonic() - self._began_at) * left / max(done, 1))} left"

    def _step(self, batch: Batch, whole: NDArray[np.int64]) -> Tensor:
        """One mini-batch: forward, backward, update; its loss, wrong and judged pictures, on the device.

        batch: the crops that this rank's convolutions see. whole: the indices of the mini-batch. The loss is this
        rank's share of the mini-batch's mean: gradients are sums over the ranks.
        """
        rows = self.ranks.shares.results(len(whole))
        everyone = self.labels[torch.from_numpy(whole).to(self.setting.device)]
        labels, weights = everyone[rows], self.class_weights
        logits = self._logits(batch, self.step.masks(self.progress.step, len(whole)), len(whole))
        loss = self.step.loss(logits, labels, len(whole) if weights is None else weights[everyone].sum(), weights)
        if self.setting.device.type == "cpu" and self.ranks.world == 1 and not math.isfinite(float(loss.detach())):
            raise self._not_finite(self.progress.step + 1, lambda: self._logits(batch, None, len(whole)))
        descend(loss, self.update)
        with torch.no_grad():
            wrong = (logits.argmax(1) != labels).sum()
            return torch.stack([loss.double(), wrong.double(), torch.full_like(loss, len(labels)).double()])

    def _logits(self, batch: Batch, masks: Masks | None, pictures: int) -> Tensor:
        """What the net says of training patches, of a mini-batch with so many pictures."""
        patches = self.step.patches(batch.crops, self.draws.of(batch.indices), self.schedule.colour_noise)
        return self.step.logits(self.forward, patches, masks, pictures)

    def _look(self) -> float:
        """Gather the losses since the last look; the epoch's mean. A sum that is not finite ends the training."""
        progress = self.progress
        gathered, steps = self._gather_loss()
        if self.training.stuck_after - _STUCK_WINDOW < progress.step <= self.training.stuck_after:
            progress.stuck_sum += gathered
        if not math.isfinite(progress.loss_sum):
            raise self._not_finite(progress.step)
        if progress.step % _LOOK_EVERY == 0:
            self.journal.loss(progress.step, gathered / max(steps, 1))
        return progress.loss_sum / progress.batch

    def _not_finite(self, step: int, forward: Callable[[], object] | None = None) -> TrainingError:
        """What to end with where the loss is not finite, with the parameter or layer where that can be told.

        forward: gives the numbers once more, where their parameters are still those of the step.
        """
        name = not_finite(self.parameters)
        if name is None and forward is not None:
            compiled, self.forward = self.forward, self.network
            name = not_finite_layer(self.parameters.items(), forward)
            self.forward = compiled
        newest = self.folder.newest()
        where = f"the last good checkpoint is {newest.path}" if newest else "there is no checkpoint yet"
        first = f"; the first to be so is {name}" if name is not None else ""
        return TrainingError(
            f"the loss is not finite at step {step} (epoch {self.progress.epoch}){first}; {where}: "
            f"try a lower --rate than {self.training.rate:g}"
        )

    def _require_finite_scores(self, name: str | None) -> None:
        """TrainingError where the net says of a validation picture, of this name, what is not finite."""
        if name is None:
            return
        parameter = not_finite(self.parameters)
        first = f"; the first weight to be so is {parameter}" if parameter is not None else ""
        raise TrainingError(
            f"what the net says of {name} is not finite after step {self.progress.step}{first}: try a lower --rate"
        )

    def _gather_loss(self) -> tuple[float, int]:
        """Bring the sum of the losses since the last call over from the devices; and of how many steps it is."""
        (gathered, wrong, judged), steps = self.ranks.sum(self._pending.tolist()), self._unseen
        self.progress.loss_sum += gathered
        self.progress.wrong += round(wrong)
        self.progress.judged += round(judged)
        self._pending.zero_()
        self._unseen = 0
        return gathered, steps

    def _warn_if_stuck(self) -> None:
        window = min(_STUCK_WINDOW, self.training.stuck_after)
        loss, guess = self.progress.stuck_sum / window, math.log(self.recipe.net.classes)
        if loss < 0.98 * guess:
            return
        self.journal.warn(
            f"after {self.progress.step:,} steps the loss is {loss:.3f}, still ln(classes) = {guess:.3f}: the net has "
            "not begun to learn. The paper's initial values may need thousands of steps, and some seeds never start: "
            "wait, try another --seed or --rate, or --set training.initial_values=he --set input.divisor=64"
        )

    def _end_epoch(self) -> None:
        progress = self.progress
        loss = error = error5 = None
        if self.setting.val is not None:
            validation = self._validate(self.setting.val)
            if validation is None:
                self._stop()
            else:
                loss, error, error5 = validation
        images = self.epoch_pictures
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
            "validation_loss": loss,
            "train_top1_error": progress.wrong / progress.judged if progress.judged else None,
        }
        self.journal.epoch({name: "" if value is None else value for name, value in row.items()})
        text = f"epoch {progress.epoch}: loss {row['train_loss']:.4f}, {rate:,.1f} pictures/s"
        if error is not None:
            text += f", validation error {percent(error)} (top-5 {percent(error5)})"
        self.journal.note(text)
        reason = self.schedule.end_epoch(self.training, progress.epoch, error)
        if reason:
            self.journal.note(reason)
        progress.epoch += 1
        progress.batch, progress.loss_sum, progress.epoch_seconds = 0, 0.0, 0.0
        progress.wrong = progress.judged = 0
        self.save(error=error, error5=error5)
        if self.ranks.sum([bool(self.stop)])[0]:
            self._stop(saved=True)

    def _validate(self, store: CropStore) -> Validation | None:
        """Loss and errors of the centre view; None where a signal came meanwhile."""
        net = Net(self.network, self.transform, store.classes, self.setting.device, self.setting.precision)
        with self.talk.progress("validation", len(store)) as advance:

            def move(count: int) -> None:
                advance(count)
                self.ranks.tick(f"validation after step {self.progress.step}")
                if self.ranks.sum([bool(self.stop)])[0]:
                    raise _StopValidationError

            try:
                scores = evaluate(net, store, views=1, threads=self.setting.threads, ranks=self.ranks, advance=move)
            except _StopValidationError:
                return None
        self._require_finite_scores(scores.first_not_finite())
        return Validation.of(scores.centre_probabilities, scores.labels)

    def save(self, *, error: float | None = None, error5: float | None = None) -> None:
        """Write a checkpoint, unless the weights are not finite, and keep the newest two and the best."""
        self.ranks.tick(f"saving after step {self.progress.step}")
        self._gather_loss()
        self._require_finite()
        details: dict[str, Any] = {
            "step": self.progress.step,
            "epoch": self.progress.epoch - (self.progress.batch == 0),
        }
        if error is not None:
            details |= {"validation_top1_error": error, "validation_top5_error": error5}
        details[METRICS_DETAIL] = vouch_for(self.journal.rows)
        if cutting := cutting_of(self.setting.store):
            details[CUTTING] = cutting
        model = gather_whole(self.network, self.parameters, self.ranks)
        momentum = gather_whole(self.network, self.update.buffers(), self.ranks)
        if self.ranks.first:
            if self.progress.epoch == 2 and self.progress.batch == 0:
                # Before the checkpoint: a training that goes on from that does not end the first epoch again.
                keep_filters(self.folder.path, self.recipe.net, model)
            write_checkpoint(
                self.folder.checkpoint_path(self.progress.step),
                recipe=self.recipe,
                classes=self.setting.store.classes,
                model=model,
                momentum=momentum,
                transform=self.setting.transform,
                state={
                    "progress": asdict(self.progress),
                    "schedule": self.schedule.to_dict(),
                    "seed": self.setting.seed,
                    "precision": self.setting.precision,
                },
                parents=self.setting.parents,
                details=details,
            )
            self.folder.tidy()
            if self.progress.batch == 0:
                self.journal.filters(self.progress.step, self.recipe.net, model)
            if not self.folder.published:
                self.journal.close()
                self.folder.publish()
                self.journal.reopen(self.progress.step)
        self.ranks.barrier(f"saving after step {self.progress.step}")
        self.folder.path = self.folder.out  # of the other ranks too
        self._saved_at = time.monotonic()

    def _require_finite(self) -> None:
        bad = not_finite(self.parameters)
        if self.ranks.sum([bad is not None])[0]:
            name = bad or "a weight of another rank"
            raise TrainingError(f"{name} is not finite after step {self.progress.step}: try a lower --rate")

    def _stop(self, *, saved: bool = False) -> None:
        """Save and end, as the signal asked."""
        if not saved:
            self.save()
        step = self.progress.step
        self.journal.note(
            f"stopped by {self.stop.signal.name if self.stop.signal else 'request'} after step {step}; saved"
        )
        text = f"stopped after step {step}; saved: go on with the same command and --resume"
        if self.stop.signal and self.stop.signal.name == "SIGINT":
            raise InterruptedBySaveError(text)
        raise StoppedBySignalError(text)

    def _set_rates(self) -> None:
        """The schedule's rates; where they freeze or thaw layers, the ranks' summing of gradients is set up anew."""
        frozen = {name for name, rate in self.update.rates.items() if rate == 0}
        first = not self.update.rates
        self.update.set_rates(self.schedule.rates(self.training, list(self.parameters)))
        if first or frozen != {name for name, rate in self.update.rates.items() if rate == 0}:
            self.forward = replicate(self.network, self._compiled, self.ranks)


class Validation(NamedTuple):
    """What the validation pictures' centre views say of an epoch."""

    loss: float
    """Mean cross-entropy."""
    top1_error: float
    top5_error: float

    @classmethod
    def of(cls, probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> Validation:
        """Judge probabilities (pictures, classes)."""
        top1, top5 = (top_k_error(probabilities, labels, k) for k in (1, 5))
        return cls(mean_loss(probabilities, labels), top1, top5)


def class_weights(store: CropStore, training: Training, device: torch.device) -> Tensor | None:
    """float32 (classes,): what a picture of each class counts in the loss (`class_weights`); None: all the same."""
    if training.class_weights == "none":
        return None
    counts = np.bincount(store.labels, minlength=len(store.classes))
    return torch.from_numpy((len(store) / (len(counts) * np.maximum(counts, 1))).astype(np.float32)).to(device)


class _StopValidationError(Exception):
    """A signal came during validation: it starts again when the run is resumed."""
