"""What a net says of a store: ten views averaged in probability, and the centre view, in one pass (paper, 4.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from alexnet_cli.artifacts.checkpoint import Checkpoint, read_checkpoint
from alexnet_cli.artifacts.crops.shards import open_crops
from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.artifacts.scores import Scores, write_scores
from alexnet_cli.class_list import ClassList
from alexnet_cli.console import Talk
from alexnet_cli.devices import autocast, float_type, prepare
from alexnet_cli.errors import ArtifactError, UsageError
from alexnet_cli.input.patches import InputTransform, view, views_of
from alexnet_cli.loader import CropLoader, batches_of
from alexnet_cli.net.network import Network, load_whole
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
    """Whether it was trained on mirror images: else it is shown none."""

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, device: torch.device, precision: str) -> Net:
        """The whole net of a checkpoint on one device. ArtifactError where its weights are not its recipe's."""
        network = Network(checkpoint.recipe.net).to(device, float_type(precision))
        try:
            load_whole(network, checkpoint.model)
        except UsageError as error:  # its own recipe says another net than its weights are
            raise ArtifactError(f"{checkpoint.path}: is damaged ({error}): use another") from None
        transform, mirrored = checkpoint.transform.to(device), checkpoint.recipe.input.flip
        return cls(network, transform, checkpoint.classes, device, precision, mirrored)

    def probabilities(self, crops: Tensor, which: tuple[int, int, bool], pictures: int | None = None) -> Tensor:
        """Softmax of one view, float32 (N, classes). crops: uint8 (N, 256, 256, 3) on the device.

        pictures: how many the mini-batch has, where the crops are a rank's share of it.
        """
        return self._softmax(view(crops, which, self.transform), pictures)

    def probabilities_of_views(
        self, crops: Tensor, asked: Sequence[tuple[int, int, bool]], pictures: int | None = None
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
            patches = torch.cat([view(crops, which, self.transform) for which in some])
            yield from torch.split(self._softmax(patches, None), len(crops))

    def _softmax(self, patches: Tensor, pictures: int | None) -> Tensor:
        with autocast(self.device, self.precision):
            logits = self.network(patches.to(float_type(self.precision)), None, pictures)
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

    views: 10, or 1 for the centre alone; of the ten, the five mirror images are left out where the net was trained
    without any. batch_size: pictures read and asked for at once. ranks: who shares the work; each picture is counted
    once, in the same mini-batches as by one process, and every rank gets all scores. Probabilities are averaged in
    float32 in the order of VIEWS. advance: called on every rank equally often.
    ArtifactError where a labelled store has another class list than the net.
    """
    require_same_classes(net.classes, store)
    probabilities = torch.zeros(len(store), len(net.classes))
    centre = torch.zeros_like(probabilities)
    ranks = ranks or Ranks.alone(net.device)
    rounds = ranks.shares.rounds(batches_of(np.arange(len(store)), batch_size))
    feeds = [batch[ranks.shares.fed(len(batch))] for batch, _ in rounds]
    with (
        torch.inference_mode(),
        CropLoader(store, feeds, device=net.device, threads=threads, ranks=ranks) as loader,
    ):
        for batch, (asked, together) in zip(loader, rounds, strict=True):
            if len(asked):
                first, mean = _average(net, batch.crops, views, len(asked))
                if ranks.shares.counts_loss:
                    indices = torch.from_numpy(asked)
                    centre[indices], probabilities[indices] = first, mean
            if advance:
                advance(together)
    # Every picture's row is zero on all ranks but one: the sums are exact.
    probabilities, centre = ranks.sum_tensor(probabilities), ranks.sum_tensor(centre)
    classes = net.classes.explained_by(store.classes)
    return Scores(probabilities.numpy(), centre.numpy(), store.labels, store.names, classes)


def _average(net: Net, crops: Tensor, views: int, pictures: int) -> tuple[Tensor, Tensor]:
    """Probabilities of the centre view, and their mean over the views; on the CPU."""
    asked = views_of(views, mirrored=net.mirrored)
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


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """A checkpoint to score on a store, and where to."""

    checkpoint: Path
    crops: Path
    out: Path
    views: int
    precision: str
    batch_size: int
    threads: int
    overwrite: bool
    quiet: bool

    @property
    def options(self) -> dict[str, Any]:
        """What shapes the scores."""
        return {"views": self.views, "precision": self.precision}


def score_to_file(job: Scoring, ranks: Ranks) -> None:
    """Score a checkpoint and publish the scores; what each rank does. The first talks and writes."""
    talk = Talk(quiet=job.quiet or not ranks.first)
    store = open_crops(job.crops)
    checkpoint = read_checkpoint(job.checkpoint)
    prepare(ranks.device, job.precision, processes=ranks.local_world)
    net = Net.from_checkpoint(checkpoint, ranks.device, job.precision)
    with talk.progress("evaluating", len(store)) as advance:

        def move(count: int) -> None:
            ranks.tick("evaluation")
            advance(count)

        scores = evaluate(
            net,
            store,
            views=job.views,
            batch_size=job.batch_size,
            threads=job.threads,
            ranks=ranks,
            advance=move,
        )
    if ranks.first:
        parents = {"checkpoint": checkpoint.manifest.digest, "crops": store.digest}
        averaged = len(views_of(job.views, mirrored=net.mirrored))
        write_scores(
            job.out, scores, parents=parents, options=job.options, overwrite=job.overwrite, views_averaged=averaged
        )
    ranks.barrier("writing scores")
    if ranks.device.type == "cuda":
        torch.cuda.empty_cache()
