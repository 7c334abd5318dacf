"""What surrounds the training loop (loop.py): set-up, the ends of steps and epochs, validation, checkpoints, stopping.

All randomness is a function of the seed and of what it is for (alexnet_cli/randomness.py), so the state of a training
is only what `Progress`, `Schedule`, weights and momentum hold.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from alexnet_cli.artifacts.checkpoint import Checkpoint, write_checkpoint
from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.artifacts.filters import keep_filters
from alexnet_cli.artifacts.run import METRICS_DETAIL, RunFolder, vouch_for
from alexnet_cli.artifacts.scores import Scores
from alexnet_cli.console import Advance, Talk, duration, percent
from alexnet_cli.cutting import DETAIL as CUTTING
from alexnet_cli.cutting import cutting_of
from alexnet_cli.devices import float_type
from alexnet_cli.errors import InterruptedBySaveError, StoppedBySignalError, TrainingError
from alexnet_cli.evaluation import Net, evaluate
from alexnet_cli.finite import not_finite, not_finite_layer
from alexnet_cli.net.initial import initialise
from alexnet_cli.net.update import UpdateRule
from alexnet_cli.net.whole import load_whole, own_rows
from alexnet_cli.parallel.place import gather_whole, place, replicate
from alexnet_cli.signals import StopRequest
from alexnet_cli.step_graph import Input, Step, StepGraph, recorder_for
from alexnet_cli.training_step import TrainingStep
from alexnet_stages.train.journal import Journal
from alexnet_stages.train.losses import Losses, class_weights
from alexnet_stages.train.schedule import Schedule
from alexnet_stages.train.setting import Progress, Setting


class _StopError(Exception):
    """A signal came during validation: it starts again when the run is resumed."""


class Session:
    """One rank's training without its steps, which `Training` adds."""

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
        self.parts = TrainingStep(
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
        self._saved_at = self._step_began = time.monotonic()
        self._began: tuple[float, int] | None = None
        """When this process began to train, and after how many steps."""

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
            self.schedule = Schedule(**checkpoint.state["schedule"])
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
        self.losses = Losses(self.progress, self.recipe, self.ranks, self.journal, self.batches)
        self._graph = self._graph_of_step()
        if checkpoint is None and self.setting.origin is not None:
            self.setting.origin.tell(self.journal)

    @property
    def finished(self) -> bool:
        """Whether the last epoch is done, by the schedule or by `epochs`."""
        return self.schedule.finished or self.progress.epoch > self.training.epochs

    def begin_epoch(self) -> None:
        """Set the epoch's rates; not again if a run resumes in the middle of it."""
        self._began = self._began or (time.monotonic(), self.progress.step)
        if self.progress.batch == 0:
            for reason in self.schedule.begin_epoch(self.training, self.progress.epoch):
                self.journal.note(reason)
            self._set_rates()

    def progress_bar(self) -> AbstractContextManager[Advance]:
        """Of the epoch's pictures."""
        label = f"epoch {self.progress.epoch}/{self.training.epochs}"
        return self.talk.progress(label, self.epoch_pictures, done=self.progress.batch * self.batch_size)

    def before_step(self) -> None:
        """Note when a step begins."""
        self.ranks.tick(f"step {self.progress.step + 1}")
        self._step_began = time.perf_counter()

    def make(self, step: Step, pictures: int, *inputs: Input) -> Tensor:
        """What `step(*inputs)` gives; whole mini-batches by a CUDA graph, if there is one (step_graph.py)."""
        if self._graph is None or pictures != self.batch_size:
            return step(*inputs)
        return self._graph(step, tuple(self.update.rates.values()), *inputs)

    def require_finite(self, loss: Tensor, forward: Callable[[], object]) -> None:
        """TrainingError if a loss is not finite, before the update. Only on one CPU: a GPU would have to wait.

        forward: repeats the pass that the loss came from.
        """
        if self.setting.device.type == "cpu" and self.ranks.world == 1 and not math.isfinite(float(loss.detach())):
            self.forward = self.network  # what torch.compile makes of it can't be watched
            raise self._not_finite(self.progress.step + 1, forward)

    def after_step(self, sums: Tensor, pictures: int, advance: Advance) -> None:
        """Count a step and its losses; save or stop when it is time to. sums: as `Losses.add` takes them."""
        progress = self.progress
        progress.step += 1
        progress.batch += 1
        mean = self.losses.add(sums)
        if mean is not None and not math.isfinite(mean):
            raise self._not_finite(progress.step)
        # One small sum in each step: all ranks stop and save after the same one.
        overdue = time.monotonic() - self._saved_at > self.setting.checkpoint_seconds
        stops, saves = self.ranks.sum([bool(self.stop), self.ranks.first and overdue])
        passed = time.perf_counter() - self._step_began
        progress.epoch_seconds += passed
        progress.seconds += passed
        advance(pictures, note="" if mean is None else f"loss {mean:.3f}, {self._time_left()}")
        self.losses.warn_if_stuck()
        if stops:
            self._stop()
        if saves:
            self.save()

    def _not_finite(self, step: int, forward: Callable[[], object] | None = None) -> TrainingError:
        """The error for a loss that is not finite; it names the first parameter or layer that is not, if known.

        forward: repeats the step's forward pass, not compiled, while the parameters are still those of the step.
        """
        name = not_finite(self.parameters)
        if name is None and forward is not None:
            name = not_finite_layer(self.parameters.items(), forward)
        first = f"; the first to be so is {name}" if name is not None else ""
        newest = self.folder.newest()
        where = f"the last good checkpoint is {newest.path}" if newest else "there is no checkpoint yet"
        return TrainingError(
            f"the loss is not finite at step {step} (epoch {self.progress.epoch}){first}; {where}: try a lower --rate "
            f"than {self.training.rate:g}"
        )

    def _time_left(self) -> str:
        """How much longer the run takes at most, validation and checkpoints included, at the pace so far."""
        began_at, began_step = self._began or (time.monotonic(), self.progress.step)
        done = self.progress.step - began_step
        left = max(0, self.training.epochs * self.batches - self.progress.step)
        return f"run {duration((time.monotonic() - began_at) * left / max(done, 1))} left"

    def end_epoch(self) -> None:
        """Validate, write the epoch's row of metrics.csv, and save."""
        progress = self.progress
        loss = error = error5 = None
        if self.setting.val is not None:
            scores = self._scores(self.setting.val)
            if scores is None:
                self._stop()
            else:
                self._require_finite_scores(scores)
                loss, error, error5 = scores.loss(), scores.error(1), scores.error(5)
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

    def _scores(self, store: CropStore) -> Scores | None:
        """The scores of the centre view; None if a signal came in the meantime."""
        net = Net(self.network, self.transform, store.classes, self.setting.device, self.setting.precision)

        def move(count: int) -> None:
            advance(count)
            self.ranks.tick(f"validation after step {self.progress.step}")
            if self.ranks.sum([bool(self.stop)])[0]:
                raise _StopError

        with self.talk.progress("validation", len(store)) as advance:
            try:
                return evaluate(net, store, views=1, threads=self.setting.threads, ranks=self.ranks, advance=move)
            except _StopError:
                return None

    def _require_finite_scores(self, scores: Scores) -> None:
        picture = scores.first_not_finite()
        if picture is None:
            return
        name, step = not_finite(self.parameters), self.progress.step
        first = f"; the first weight to be so is {name}" if name is not None else ""
        raise TrainingError(
            f"the net's output for {picture} is not finite after step {step}{first}: try a lower --rate"
        )

    def save(self, *, error: float | None = None, error5: float | None = None) -> None:
        """Write a checkpoint, and keep the newest two and the best. TrainingError if the weights are not finite."""
        self.ranks.tick(f"saving after step {self.progress.step}")
        self.losses.gather()
        bad = not_finite(self.parameters)
        if self.ranks.sum([bad is not None])[0]:
            name = bad or "a weight of another rank"
            raise TrainingError(f"{name} is not finite after step {self.progress.step}: try a lower --rate")
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
                # Before the checkpoint: a training that resumes from it does not end the first epoch again.
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
                    "schedule": asdict(self.schedule),
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

    def _stop(self, *, saved: bool = False) -> None:
        """Save and end, as the signal asked."""
        if not saved:
            self.save()
        step = self.progress.step
        self.journal.note(
            f"stopped by {self.stop.signal.name if self.stop.signal else 'request'} after step {step}; saved"
        )
        text = f"stopped after step {step}; saved: continue with the same command and --resume"
        if self.stop.signal and self.stop.signal.name == "SIGINT":
            raise InterruptedBySaveError(text)
        raise StoppedBySignalError(text)

    def _graph_of_step(self) -> StepGraph | None:
        """What makes the steps of `--cuda-graph`."""
        if not self.setting.cuda_graph:
            return None
        recorder = recorder_for(self.setting.device, self.ranks.world)
        if recorder is None:
            self.journal.note("--cuda-graph is for one CUDA device: training continues without a graph")
            return None
        return StepGraph(recorder, tell=self.journal.warn, undo=self.update.clear)

    def _set_rates(self) -> None:
        """Set the schedule's rates; if they freeze or thaw layers, set up the ranks' summing of gradients again."""
        frozen = {name for name, rate in self.update.rates.items() if rate == 0}
        first = not self.update.rates
        self.update.set_rates(self.schedule.rates(self.training, list(self.parameters)))
        if first or frozen != {name for name, rate in self.update.rates.items() if rate == 0}:
            self.forward = replicate(self.network, self._compiled, self.ranks)
