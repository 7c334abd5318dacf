"""What a net says of a store: ten views averaged in probability, and the centre view, in one pass (paper, 4.1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet_cli.artifacts.checkpoint import Checkpoint, read_checkpoint
from alexnet_cli.artifacts.crops import CropStore
from alexnet_cli.artifacts.scores import Scores
from alexnet_cli.class_list import ClassList
from alexnet_cli.console import Talk
from alexnet_cli.devices import autocast
from alexnet_cli.errors import ArtifactError
from alexnet_cli.loader import CropLoader, batches_of
from alexnet_cli.network import Network, load_whole
from alexnet_cli.patches import VIEWS, InputTransform, view

_PATCHES_AT_ONCE = 128
"""Patches in one forward pass on a CPU: more only takes memory."""


@dataclass(frozen=True, eq=False)
class Net:
    """A network ready to be asked, with the input transform that belongs to it."""

    network: Network
    transform: InputTransform
    classes: ClassList
    device: torch.device
    precision: str = "fp32"

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, device: torch.device, precision: str) -> Net:
        """The whole net of a checkpoint on one device."""
        network = Network(checkpoint.recipe.architecture).to(device)
        load_whole(network, checkpoint.model)
        return cls(network, checkpoint.transform.to(device), checkpoint.classes, device, precision)

    def probabilities(self, crops: Tensor, which: tuple[int, int, bool]) -> Tensor:
        """Softmax of one view, float32 (N, classes). crops: uint8 (N, 256, 256, 3) on the device."""
        with autocast(self.device, self.precision):
            logits = self.network(view(crops, which, self.transform))
        return torch.softmax(logits.float(), 1)


def evaluate(
    net: Net,
    store: CropStore,
    *,
    views: int = 10,
    batch_size: int = _PATCHES_AT_ONCE,
    threads: int = 0,
    advance: Callable[[int], None] | None = None,
) -> Scores:
    """The scores of every picture of a store, in its order.

    views: 10, or 1 for the centre alone. batch_size: pictures read and asked for at once. Probabilities are averaged
    in float32 in the order of VIEWS. ArtifactError where a labelled store has another class list than the net.
    """
    require_same_classes(net.classes, store)
    probabilities = np.empty((len(store), len(net.classes)), np.float32)
    centre = np.empty_like(probabilities)
    batches = batches_of(np.arange(len(store)), batch_size)
    with torch.inference_mode(), CropLoader(store, batches, device=net.device, threads=threads) as loader:
        for batch in loader:
            first, mean = _average(net, batch.crops, views)
            centre[batch.indices], probabilities[batch.indices] = first, mean
            if advance:
                advance(len(batch.indices))
    classes = net.classes.explained_by(store.classes)
    return Scores(probabilities, centre, store.labels, store.names, classes)


def _average(net: Net, crops: Tensor, views: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Probabilities of the centre view, and their mean over the views."""
    centre = net.probabilities(crops, VIEWS[0])
    total = centre.clone()
    for which in VIEWS[1:views]:
        total += net.probabilities(crops, which)
    return centre.cpu().numpy(), (total / views).cpu().numpy()


def require_same_classes(classes: ClassList, store: CropStore) -> None:
    """Refuse a labelled store of other classes; one without labels fits any net of the same class list, or none."""
    if store.labelled or len(store.classes):
        classes.require_same(store.classes, "the net", str(store.path))
    if len(store) == 0:
        raise ArtifactError(f"{store.path}: holds no pictures: preprocess some")


def score_checkpoint(
    path: Path,
    store: CropStore,
    *,
    device: torch.device,
    precision: str,
    views: int,
    batch_size: int,
    threads: int,
    talk: Talk,
) -> tuple[Scores, dict[str, str]]:
    """The scores of a checkpoint on a store, and the digests of both, as the scores' parents."""
    checkpoint = read_checkpoint(path)
    net = Net.from_checkpoint(checkpoint, device, precision)
    with talk.progress("evaluating", len(store)) as advance:
        scores = evaluate(net, store, views=views, batch_size=batch_size, threads=threads, advance=advance)
    return scores, {"checkpoint": checkpoint.manifest.digest, "crops": store.digest}
