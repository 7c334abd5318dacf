"""A net's probabilities for a store: ten views averaged, and the centre view, in one pass (paper, 4.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet_cli.artifacts.checkpoint import Checkpoint, read_checkpoint
from alexnet_cli.artifacts.common.working import only_writer
from alexnet_cli.artifacts.crops.shards import open_crops
from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.artifacts.run import read_found
from alexnet_cli.artifacts.scores import Scores, write_scores
from alexnet_cli.class_list import ClassList
from alexnet_cli.console import Talk
from alexnet_cli.devices import autocast, float_type, patch_type, prepare
from alexnet_cli.errors import ArtifactError, UsageError
from alexnet_cli.input.patches import InputTransform
from alexnet_cli.input.views import View, view, views_of
from alexnet_cli.loader import CropLoader, batches_of
from alexnet_cli.net.network import Network
from alexnet_cli.net.whole import load_whole
from alexnet_cli.options import NetOptions
from alexnet_cli.parallel.ranks import Ranks

_PATCHES_AT_ONCE = {"cpu": 128, "cuda": 1280}
"""Patches in one forward pass: more only takes memory. Of fewer pictures, several views make up the number."""


@dataclass(frozen=True, eq=False)
class Net:
    """A trained network with its input transform: crops in, probabilities out."""

    network: Network
    transform: InputTransform
    classes: ClassList
    device: torch.device
    precision: str = "fp32"
    mirrored: bool = True
    """Whether it was trained on mirror images: otherwise evaluation shows it none."""

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, device: torch.device, precision: str) -> Net:
        """The whole net of a checkpoint on one device. ArtifactError if its weights are not its recipe's."""
        network = Network(checkpoint.recipe.net).to(device, float_type(precision))
        try:
            load_whole(network, checkpoint.model)
        except UsageError as error:  # its own recipe says a different net than its weights are
            raise ArtifactError(f"{checkpoint.path}: is damaged ({error}): use another") from None
        transform, mirrored = checkpoint.transform.to(device), checkpoint.recipe.input.flip
        return cls(network, transform, checkpoint.classes, device, precision, mirrored)

    def views(self, count: int) -> tuple[View, ...]:
        """Which of the first `count` test views it is shown; the centre comes first."""
        return views_of(count, side=self.transform.side, patch=self.transform.patch, mirrored=self.mirrored)

    def probabilities(self, crops: Tensor, which: View, pictures: int | None = None) -> Tensor:
        """Softmax of one view, float32 (N, classes). crops: uint8 (N, side, side, 3) on the device.

        pictures: how many the mini-batch has, if the crops are a rank's share of it.
        """
        return self._softmax(view(crops, which, self.transform, patch_type(self.precision)), pictures)

    def probabilities_of_views(
        self, crops: Tensor, asked: Sequence[View], pictures: int | None = None
    ) -> Iterator[Tensor]:
        """The same for each of several views, in their order; as many of them in one forward pass as make a full one.

        Where other ranks hold a part of the net, each view has a pass of its own: what they exchange is a mini-batch.
        """
        full = _PATCHES_AT_ONCE.get(self.device.type, 128)
        at_once = 1 if self.network.exchanges else max(1, full // max(1, len(crops)))
        for start in range(0, len(asked), at_once):
            some = asked[start : start + at_once]
            if len(some) == 1:
                yield self.probabilities(crops, some[0], pictures)
                continue
            dtype = patch_type(self.precision)
            patches = torch.cat([view(crops, which, self.transform, dtype) for which in some])
            yield from torch.split(self._softmax(patches, None), len(crops))

    def _softmax(self, patches: Tensor, pictures: int | None) -> Tensor:
        with autocast(self.device, self.precision):
            logits = self.network(patches, None, pictures)
        return torch.softmax(logits, 1, dtype=torch.promote_types(logits.dtype, torch.float32)).float()


def evaluate(
    net: Net,
    store: CropStore,
    *,
    views: int = 10,
    batch_size: int = 128,
    threads: int = 0,
    ranks: Ranks | None = None,
    advance: Callable[[int], None] | None = None,
) -> Scores:
    """The scores of every picture of a store, in its order.

    views: 10, or 1 for the centre alone; of the ten, the five mirror images are left out if the net was trained
    without any, and if it sees whole crops, views that are the same again. batch_size: pictures read and requested at
    once. ranks: who shares the work; each picture is counted once, in the same mini-batches as by one process, and
    every rank gets all scores. Probabilities are averaged in float32 in the order of the views. advance: called on
    every rank equally often.
    ArtifactError if a labelled store has a different class list than the net, or crops of another side.
    """
    require_same_classes(net.classes, store)
    require_same_side(net.transform, store)
    probabilities = torch.zeros(len(store), len(net.classes))
    centre = torch.zeros_like(probabilities)
    ranks = ranks or Ranks.alone(net.device)
    for asked, crops in shared_batches(store, ranks, batch_size=batch_size, threads=threads, advance=advance):
        first, mean = average_views(net, crops, views, len(asked))
        if ranks.shares.counts_loss:
            indices = torch.from_numpy(asked)
            centre[indices], probabilities[indices] = first, mean
    # Every picture's row is zero on all ranks but one: the sums are exact.
    probabilities, centre = ranks.sum_tensor(probabilities), ranks.sum_tensor(centre)
    classes = net.classes.explained_by(store.classes)
    return Scores(probabilities.numpy(), centre.numpy(), store.labels, store.names, classes)


def shared_batches(
    store: CropStore,
    ranks: Ranks,
    *,
    batch_size: int,
    threads: int = 0,
    advance: Callable[[int], None] | None = None,
) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
    """A rank's mini-batches of a store: their indices, and the crops on its device. For inference.

    Each picture comes once, in the same mini-batches as for one process. advance: called on every rank equally often.
    """
    rounds = ranks.shares.rounds(batches_of(np.arange(len(store)), batch_size))
    feeds = [batch[ranks.shares.fed(len(batch))] for batch, _ in rounds]
    with CropLoader(store, feeds, device=ranks.device, threads=threads, ranks=ranks) as loader:
        for batch, (asked, together) in zip(loader, rounds, strict=True):
            if len(asked):
                yield asked, batch.crops
            if advance:
                advance(together)


@torch.inference_mode()
def average_views(net: Net, crops: Tensor, views: int, pictures: int | None = None) -> tuple[Tensor, Tensor]:
    """Probabilities of the centre view, and their mean over the views; on the CPU.

    pictures: how many the mini-batch has, if the crops are a rank's share of it.
    """
    asked = net.views(views)
    found = net.probabilities_of_views(crops, asked, pictures)
    centre = next(found)
    total = centre.clone()
    for probabilities in found:
        total += probabilities
    return centre.cpu(), (total / len(asked)).cpu()


def require_same_classes(classes: ClassList, store: CropStore) -> None:
    """Refuse a labelled store of other classes; one without labels fits any net of the same class list, or none."""
    if store.labelled or len(store.classes):
        classes.require_same(store.classes, "the net", str(store.path))
    if len(store) == 0:
        raise ArtifactError(f"{store.path}: holds no pictures: preprocess some")


def require_same_side(transform: InputTransform, store: CropStore) -> None:
    """ArtifactError if a net was trained on crops of a different side than a store's."""
    if transform.side != store.side:
        sides = f"{store.side}×{store.side}, and the net was trained on {transform.side}×{transform.side}"
        raise ArtifactError(
            f"{store.path}: its crops are {sides}: make them with `alexnet preprocess … --side {transform.side}`"
        )


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """A net to score on a store, and the file to write."""

    net: Path
    """A run folder, of which the best checkpoint is scored, or a checkpoint."""
    crops: Path
    out: Path
    options: NetOptions
    overwrite: bool


def open_together(path: Path, precision: str, ranks: Ranks) -> tuple[Net, Checkpoint, str]:
    """The net that a path stands for, on each rank's own device, which is prepared; its checkpoint, and which it is.

    All ranks get the same checkpoint, even if a run in training gets a better one meanwhile.
    """
    while True:
        checkpoint, which = read_found(path, read_checkpoint)
        mine = float(int(checkpoint.manifest.digest[:12], 16))  # 48 bits, exact in a float
        first = ranks.sum([mine if ranks.first else 0.0])[0]
        if not ranks.sum([mine != first])[0]:
            break
    prepare(ranks.device, precision, processes=ranks.local_world)
    return Net.from_checkpoint(checkpoint, ranks.device, precision), checkpoint, which


def score_to_file(job: Scoring, ranks: Ranks) -> str:
    """Score a net and publish the scores; what each rank does. The first talks, and holds the output's lock.

    Which checkpoint it was, in words.
    """
    asked = job.options
    talk = Talk(quiet=asked.quiet or not ranks.first)
    with only_writer(job.out) if ranks.first else nullcontext():
        store = open_crops(job.crops)
        net, checkpoint, which = open_together(job.net, asked.precision, ranks)
        with talk.progress("evaluating", len(store)) as advance:

            def move(count: int) -> None:
                ranks.tick("evaluation")
                advance(count)

            how = {"views": asked.views, "batch_size": asked.batch_size, "threads": asked.workers}
            scores = evaluate(net, store, **how, ranks=ranks, advance=move)
        if ranks.first:
            write_scores(
                job.out,
                scores,
                parents={"checkpoint": checkpoint.manifest.digest, "crops": store.digest},
                options=asked.shaping,
                overwrite=job.overwrite,
                views_averaged=len(net.views(asked.views)),
                checkpoint=checkpoint.path,
                locked=True,
            )
        ranks.barrier("writing scores")
    if ranks.device.type == "cuda":
        torch.cuda.empty_cache()
    return which
