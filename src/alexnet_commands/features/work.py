"""What each rank does for `alexnet features`: the net up to a layer, on its share of the pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from alexnet_cli.artifacts.crops.shards import open_crops
from alexnet_cli.artifacts.features import Features, write_features
from alexnet_cli.console import Talk
from alexnet_cli.devices import autocast, float_type, prepare
from alexnet_cli.evaluation import Net, read_together, require_same_side, shared_batches
from alexnet_cli.input.patches import view
from alexnet_cli.parallel.ranks import Ranks


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """A layer of a net, a store, and where its features go."""

    net: Path
    """A run or a checkpoint."""
    crops: Path
    out: Path
    layer: str
    views: int
    precision: str
    batch_size: int
    threads: int
    overwrite: bool
    quiet: bool


@torch.inference_mode()
def outputs_of(net: Net, crops: Tensor, layer: str, views: int) -> Tensor:
    """What a layer gives of some crops, averaged over the views in float32: (N, …) on the CPU.

    crops: uint8 (N, side, side, 3) on the net's device.
    """
    steps = net.network.steps[: net.network.steps.index(layer) + 1]
    asked = net.views(views)
    total: Tensor | None = None
    for which in asked:
        with autocast(net.device, net.precision):
            patches = view(crops, which, net.transform).to(float_type(net.precision))
            numbers = net.network.run(patches, None, steps).float()
        total = numbers if total is None else total + numbers
    assert total is not None, "one view at least is asked for"
    return (total / len(asked)).cpu().contiguous()


def extract_to_file(job: Extraction, ranks: Ranks) -> str:
    """Compute and publish; the first rank talks and writes. Which checkpoint it was, in words."""
    talk = Talk(quiet=job.quiet or not ranks.first)
    store = open_crops(job.crops)
    checkpoint, which = read_together(job.net, ranks)
    prepare(ranks.device, job.precision, processes=ranks.local_world)
    net = Net.from_checkpoint(checkpoint, ranks.device, job.precision)
    require_same_side(net.transform, store)
    features: Tensor | None = None
    with talk.progress("features", len(store)) as advance:

        def move(count: int) -> None:
            ranks.tick("features")
            advance(count)

        batches = shared_batches(store, ranks, batch_size=job.batch_size, threads=job.threads, advance=move)
        for indices, crops in batches:
            numbers = outputs_of(net, crops, job.layer, job.views)
            if features is None:
                features = torch.zeros(len(store), *numbers.shape[1:])
            if ranks.shares.counts_loss:
                features[torch.from_numpy(indices)] = numbers
    if features is None:  # a rank without a picture
        features = torch.zeros(len(store), *outputs_of(net, _one_crop(net), job.layer, 1).shape[1:])
    # Every picture's row is zero on all ranks but one: the sum is exact.
    features = ranks.sum_tensor(features)
    if ranks.first:
        classes = store.classes if len(store.classes) else net.classes
        write_features(
            job.out,
            Features(features.numpy(), store.labels, store.names, classes),
            parents={"checkpoint": checkpoint.manifest.digest, "crops": store.digest},
            options={"layer": job.layer, "views": job.views, "precision": job.precision},
            views_averaged=len(net.views(job.views)),
            overwrite=job.overwrite,
        )
    ranks.barrier("writing features")
    return which


def _one_crop(net: Net) -> Tensor:
    side = net.transform.side
    return torch.zeros(1, side, side, 3, dtype=torch.uint8, device=net.device)
