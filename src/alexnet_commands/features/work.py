"""What each rank does for `alexnet features`: the net up to a layer, on its share of the pictures."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet_cli.artifacts.checkpoint import Checkpoint
from alexnet_cli.artifacts.crops.shards import open_crops
from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.artifacts.features import writing_features
from alexnet_cli.console import Talk
from alexnet_cli.devices import autocast, float_type
from alexnet_cli.evaluation import Net, open_together, require_same_side, shared_batches
from alexnet_cli.input.views import view
from alexnet_cli.parallel.ranks import Ranks
from alexnet_commands.features.config import FeaturesConfig


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
    assert total is not None, "one view at least is requested"
    return (total / len(asked)).cpu().contiguous()


def extract_to_file(job: tuple[FeaturesConfig, str, tuple[int, ...]], ranks: Ranks) -> str:
    """Compute and publish; the first rank talks and writes. Which checkpoint it was, in words.

    job: what is requested, the layer's name, and the shape of all features: (pictures, …).
    """
    config, layer, shape = job
    talk = Talk(quiet=config.quiet or not ranks.first)
    store = open_crops(config.crops)
    net, checkpoint, which = open_together(config.net, config.precision, ranks)
    require_same_side(net.transform, store)
    rows = _file(config, layer, shape, net, store, checkpoint) if ranks.first else nullcontext()
    own: list[tuple[int, Tensor]] = []
    done = 0
    with rows as add, talk.progress("features", len(store)) as advance:

        def take_round(count: int) -> None:
            """The round's features from all ranks to the first; each picture's row is zero on all but one."""
            nonlocal done
            together = torch.zeros(count, *shape[1:])
            for first, numbers in own:
                together[first - done : first - done + len(numbers)] = numbers
            own.clear()
            ranks.sum_to_first(together)
            if add is not None:
                add(together.numpy())
            done += count
            ranks.tick("features")
            advance(count)

        size, threads = config.batch_size, config.workers
        batches = shared_batches(store, ranks, batch_size=size, threads=threads, advance=take_round)
        for indices, crops in batches:
            numbers = outputs_of(net, crops, layer, config.views)
            if ranks.shares.counts_loss:
                own.append((int(indices[0]), numbers))
    ranks.barrier("writing features")
    return which


def _file(
    config: FeaturesConfig, layer: str, shape: tuple[int, ...], net: Net, store: CropStore, checkpoint: Checkpoint
) -> AbstractContextManager[Callable[[NDArray[np.float32]], None]]:
    """The file, which takes the rows in the store's order."""
    return writing_features(
        config.out,
        shape,
        store,
        store.classes if len(store.classes) else net.classes,
        parents={"checkpoint": checkpoint.manifest.digest, "crops": store.digest},
        options={"layer": layer, **config.shaping},
        views_averaged=len(net.views(config.views)),
        overwrite=config.replaces,
    )
