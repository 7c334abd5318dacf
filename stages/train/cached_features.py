"""Training the last layers on a frozen net: the frozen part's outputs are computed once per view, not in every epoch.

The frozen part is every layer below the first one that is ever trained; its outputs are the *features*. They are
computed for some of the ten test views (views.py), and each epoch draws one of a picture's cached views. Unlike a
training from the pictures, this leaves out colour noise, other patch positions, and dropout inside the frozen part.
The dropout of the features themselves (fc7's, if only fc8 is trained) is drawn in every step as usual.

RUN/features/ holds one .npy file for each view, float32 (pictures, numbers), written whole, mapped into memory, and
removed when the training is finished. key.txt says what they were computed from, and each file's SHA-256: a resumed
training computes a changed file again.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet_cli.artifacts.checkpoint import Checkpoint
from alexnet_cli.artifacts.common.manifest import digest_of, digest_of_file
from alexnet_cli.artifacts.common.publish import replacing_inside, write_text
from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.artifacts.run import RunFolder
from alexnet_cli.artifacts.scores import Scores
from alexnet_cli.console import Talk, duration, size
from alexnet_cli.devices import autocast, on_device
from alexnet_cli.errors import ResourceError, UsageError
from alexnet_cli.input.patches import InputTransform
from alexnet_cli.input.views import View, view, views_of
from alexnet_cli.loader import Batch, CropLoader, batches_of
from alexnet_cli.net.dropout import Dropout
from alexnet_cli.net.network import Masks
from alexnet_cli.randomness import cached_views_of
from alexnet_cli.recipes.net import Layer, layers
from alexnet_cli.recipes.recipe import Recipe
from alexnet_cli.signals import StopRequest
from alexnet_stages.train.loop import Training
from alexnet_stages.train.schedule import Schedule
from alexnet_stages.train.setting import Setting

FEATURES = "features"
"""Folder of the features in a run folder."""
_KEY = "key.txt"
_AT_ONCE = 128
"""Pictures in one forward pass of the frozen part."""
_SHORT = 2000
"""Mini-batches; fewer make an epoch of a few seconds."""
_JUDGED_AT_ONCE = 4096
"""Validation pictures in one forward pass of the rest."""


def split(recipe: Recipe) -> tuple[tuple[Layer, ...], tuple[Layer, ...]]:
    """The frozen part, and the rest: from the first layer that is trained in any epoch.

    UsageError if nothing is trained, or a convolution is: then there is no frozen part whose features could be kept.
    """
    net, training = layers(recipe.net), recipe.training
    schedule = Schedule.start(training, recipe.input)
    names = [f"{layer.name}.weight" for layer in net]
    trained: set[str] = set()
    for epoch in range(1, training.epochs + 1):
        schedule.begin_epoch(training, epoch)
        trained |= {name for name, rate in schedule.rates(training, names).items() if rate > 0}
    first = next((number for number, name in enumerate(names) if name in trained), None)
    if first is None:
        raise UsageError(f"recipe {recipe.name} trains no layer: name some in training.trained")
    if net[first].kind == "convolution":
        raise UsageError(
            f"training.cached_features needs all convolutions frozen to the end, and {net[first].name} is trained: "
            'name the trained layers, such as training.trained=["fc8"], or set training.cached_features=false'
        )
    return net[:first], net[first:]


def cached_views(recipe: Recipe, transform: InputTransform) -> list[View]:
    """The cached views: `cached_views` of the ten, without the mirrored ones if the input's `flip` is off."""
    count = recipe.training.cached_views
    places = views_of(1 if count < 5 else 5, side=transform.side, patch=transform.patch, mirrored=False)
    mirrored = (False, True) if count in (2, 10) else (False,)
    return [(row, column, flip) for flip in mirrored for row, column, _ in places if recipe.input.flip or not flip]


def _npy_header(*shape: int) -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return header.getvalue()


class CachedTraining(Training):
    """A training from the frozen part's features in place of pictures. One process, all columns in it."""

    def __init__(self, setting: Setting, folder: RunFolder, talk: Talk, stop: StopRequest) -> None:
        super().__init__(setting, folder, talk, stop)
        if len(self.network.held) < self.recipe.net.columns:
            raise UsageError(
                "training.cached_features works in one process with all columns: give one device in --devices, or "
                "--set training.cached_features=false"
            )
        self.frozen, self.rest = split(self.recipe)
        steps = self.network.steps
        cut = steps.index(self.rest[0].name)
        while isinstance(self.network.get_submodule(steps[cut - 1]), Dropout):  # drawn in every step as usual
            cut -= 1
        self.frozen_steps, self.rest_steps = steps[:cut], steps[cut:]
        self.views = cached_views(self.recipe, self.transform)
        self.features: list[NDArray[np.float32]] = []
        """For each view, (pictures, numbers)."""
        self.validation: NDArray[np.float32] | None = None
        """Of the validation pictures' centre view."""
        self._written: dict[str, str] = {}
        """The SHA-256 of each finished file, by its name."""
        self._unsaved = True
        best = folder.best()
        self._best_saved = None if best is None else best.error

    @property
    def cache(self) -> Path:
        """The folder of the features. The run folder's path may change: it is published under another name."""
        return self.folder.path / FEATURES

    def begin(self, checkpoint: Checkpoint | None) -> None:
        """As any training, but without a progress bar if epochs are too short to read one."""
        super().begin(checkpoint)
        self._loud = self.talk
        if self.batches < _SHORT:
            self.talk = Talk(quiet=True)

    def train(self) -> None:
        """Compute the features, train to the schedule's end, and remove them."""
        if self.folder.published and self.folder.newest() is None:
            self.save()  # so that --resume finds the run, and the views that are finished, from here on
        self._prepare()
        super().train()
        self.features, self.validation = [], None
        shutil.rmtree(self.cache)

    def save(self, *, error: float | None = None, error5: float | None = None) -> None:
        """Save only a new best, the end, a stop, or after `checkpoint_seconds`: writing a checkpoint of the whole net,
        most of which is frozen, takes longer than an epoch."""
        better = error is not None and (self._best_saved is None or error < self._best_saved)
        ends_epoch = self.progress.step > 0 and self.progress.batch == 0
        late = time.monotonic() - self._saved_at > self.setting.checkpoint_seconds
        self._unsaved = ends_epoch and not (better or self.finished or late or self.stop)
        if self._unsaved:
            self.losses.gather()
            return
        super().save(error=error, error5=error5)
        if better:
            self._best_saved = error

    def _stop(self, *, saved: bool = False) -> None:
        super()._stop(saved=saved and not self._unsaved)

    def _prepare(self) -> None:
        """Compute the features that are not there yet, and map all into memory."""
        setting = self.setting
        numbers = self.rest[0].seen
        key = self._forget_others()
        jobs = [(setting.store, which, self.cache / f"view-{at}.npy") for at, which in enumerate(self.views)]
        if setting.val is not None:
            jobs.append((setting.val, self.views[0], self.cache / "validation.npy"))
        missing = [job for job in jobs if not self._is_sound(job[2])]
        bytes_ = sum(4 * numbers * len(store) for store, _, _ in missing)
        free = shutil.disk_usage(self.cache).free
        if bytes_ > free:
            raise ResourceError(
                f"{self.cache}: the frozen layers' features need {size(bytes_)}, and {size(free)} are free: fewer with "
                "--set training.cached_views=2, or none with --set training.cached_features=false"
            )
        self.journal.note(
            f"{self.frozen[0].name} … {self.frozen[-1].name} are frozen to the end: what they give is computed once "
            f"for {len(self.views)} views of each picture ({size(bytes_)}), without colour noise or dropout, and the "
            "rest is trained on that"
        )
        start = time.perf_counter()
        total = sum(len(store) for store, _, _ in missing)
        with self._loud.progress("features", total, unit="views") as advance:
            for store, which, path in missing:
                for count in self._compute(store, which, path):
                    advance(count)
                lines = [key, *(f"{digest}  {name}" for name, digest in self._written.items())]
                write_text(self.cache / _KEY, "\n".join(lines) + "\n")
        if missing:
            self.journal.note(f"features of {total:,} views computed in {duration(time.perf_counter() - start)}")
        mapped = [np.load(path, mmap_mode="r") for _, _, path in jobs]
        self.features = mapped[: len(self.views)]
        self.validation = mapped[-1] if setting.val is not None else None

    def _is_sound(self, path: Path) -> bool:
        """Whether a view's features exist and are unchanged."""
        if not path.exists():
            return False
        sound = digest_of_file(path) == self._written.get(path.name)
        if not sound:
            self.journal.note(f"{path}: is not as it was written, so it is computed again")
        return sound

    def _forget_others(self) -> str:
        """Remove the features of other weights, pictures or views; a digest of what this run's are computed from."""
        setting = self.setting
        parts: list[bytes | str] = [setting.store.digest, setting.val.digest if setting.val else "", setting.precision]
        parts += [setting.device.type, str(self.views)]
        tensors = [self.transform.mean, self.transform.scale]
        for layer in self.frozen:
            weights = self.network.weights(layer.name)
            tensors += [weights.weight.detach(), weights.bias.detach()]
        parts += [tensor.cpu().contiguous().numpy().tobytes() for tensor in tensors]
        key = digest_of(parts)
        try:
            first, *lines = (self.cache / _KEY).read_text(errors="replace").splitlines() or [""]
        except OSError:
            first, lines = "", []
        self._written = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
        if first != key:
            shutil.rmtree(self.cache, ignore_errors=True)
            self.cache.mkdir()
        return key

    def _compute(self, store: CropStore, which: View, path: Path) -> Iterator[int]:
        """Write the features of one view of a store; yields pictures done."""
        setting = self.setting
        batches = batches_of(np.arange(len(store)), _AT_ONCE)
        digest = hashlib.sha256()
        # Written in order, not through a memory map: there, a full disk would kill the process; here it is an error.
        with (
            replacing_inside(path) as work,
            work.open("wb") as file,
            CropLoader(store, batches, device=setting.device, threads=setting.threads) as loader,
        ):
            for number, batch in enumerate(loader):
                rows = self._frozen_outputs(batch.crops, which)
                data = (_npy_header(len(store), rows.shape[1]) if number == 0 else b"") + rows.tobytes()
                digest.update(data)
                file.write(data)
                yield len(batch.indices)
                if self.stop:
                    self._stop()
        self._written[path.name] = digest.hexdigest()

    def _frozen_outputs(self, crops: Tensor, which: View) -> NDArray[np.float32]:
        """(N, numbers): what the first trained layer sees of one view of some crops."""
        with torch.inference_mode(), autocast(self.setting.device, self.setting.precision):
            numbers = self.network.run(view(crops, which, self.transform), None, self.frozen_steps)
        return numbers.float().cpu().numpy()

    @contextmanager
    def _loader(self, batches: list[NDArray[np.int64]]) -> Iterator[Iterable[Batch]]:
        pictures = len(self.setting.store)
        drawn = cached_views_of(self.setting.seed, self.progress.epoch, pictures, len(self.views))
        yield (Batch(indices, self._rows(indices, drawn[indices])) for indices in batches)

    def _rows(self, indices: NDArray[np.int64], drawn: NDArray[np.int64]) -> Tensor:
        """(N, numbers): the features of some pictures, each in the view that is drawn for it."""
        rows = np.empty((len(indices), self.features[0].shape[1]), np.float32)
        for which in np.unique(drawn):
            places = drawn == which
            rows[places] = self.features[which][indices[places]]
        return on_device(rows, self.setting.device)

    def _patches(self, batch: Batch) -> Tensor:
        return batch.crops

    def _logits(self, patches: Tensor, masks: Masks | None, pictures: int) -> Tensor:
        with autocast(self.setting.device, self.setting.precision):
            return self.network.run(patches, masks, self.rest_steps)

    def _scores(self, store: CropStore) -> Scores | None:
        assert self.validation is not None, "whoever validates has features of the validation pictures"
        found = []
        for start in range(0, len(store), _JUDGED_AT_ONCE):
            numbers = torch.from_numpy(np.array(self.validation[start : start + _JUDGED_AT_ONCE]))
            with torch.inference_mode(), autocast(self.setting.device, self.setting.precision):
                logits = self.network.run(numbers.to(self.setting.device), None, self.rest_steps)
            found.append(torch.softmax(logits.float(), 1).cpu().numpy())
        probabilities = np.concatenate(found)
        return Scores(probabilities, probabilities, store.labels, store.names, store.classes)
