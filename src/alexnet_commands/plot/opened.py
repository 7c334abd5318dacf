"""What the figures show: a net from a run or checkpoint, some pictures of a store, a layer's activations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet_cli.artifacts.checkpoint import Checkpoint
from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.devices import choose_device, prepare
from alexnet_cli.errors import UsageError
from alexnet_cli.evaluation import Net
from alexnet_cli.input.views import view
from alexnet_cli.loader import CropLoader, batches_of
from alexnet_cli.net.network import Network
from alexnet_cli.recipes.named import layer_named

_SATURATING = ("relu", "tanh")


def net_of(checkpoint: Checkpoint, devices: str) -> Net:
    """A checkpoint's net on the first device that `--devices` names."""
    device = choose_device(devices)
    prepare(device, "fp32")
    return Net.from_checkpoint(checkpoint, device, "fp32")


def centre(net: Net, crops: Tensor) -> Tensor:
    """The centre view of crops as the net's input. crops: uint8 (N, side, side, 3) on the net's device."""
    return view(crops, net.views(1)[0], net.transform)


def chosen(store: CropStore, asked: Sequence[str], count: int, seed: int) -> list[int]:
    """The indices of the requested pictures; without any, `count` of them by seed, of different classes first.

    UsageError if one is neither an index nor a name, or the end of several names.
    """
    if asked:
        return [_index(store, word) for word in asked]
    order = np.random.default_rng(seed).permutation(len(store))
    seen: dict[int, int] = {}
    rank = {}
    for index in order.tolist():
        label = int(store.labels[index])
        rank[index] = seen[label] = seen.get(label, -1) + 1
    return sorted(order.tolist(), key=lambda index: rank[index])[:count]


def _index(store: CropStore, word: str) -> int:
    """The index of a picture by its name, the end of its name, or its index."""
    if word in store.names:
        return store.names.index(word)
    ending = [index for index, name in enumerate(store.names) if name.endswith(f"/{word}")]
    if len(ending) == 1:
        return ending[0]
    if len(ending) > 1:
        raise UsageError(
            f"{word}: is the name of {len(ending)} pictures, such as {store.names[ending[0]]}: name it whole"
        )
    if word.isdecimal() and len(word) < 20 and int(word) < len(store):
        return int(word)
    raise UsageError(f"{word}: is not a picture of {store.path}: give a name in it, or an index below {len(store)}")


def read_some(store: CropStore, indices: Sequence[int]) -> NDArray[np.uint8]:
    """Crops, uint8 (N, side, side, 3)."""
    return np.stack([store.read(index) for index in indices])


def steps_to(network: Network, name: str | None) -> tuple[str, list[str]]:
    """A layer's name, and the steps that give its activations: up to the ReLU or tanh behind it.

    None: the last hidden fully-connected layer, or what `layer_named` says. UsageError for a name that the net does not
    have.
    """
    steps, kinds = network.steps, {spec.name: spec.kind for spec in network.net.layers}
    name = layer_named(network.net, name)
    end = steps.index(name) + 1
    if end < len(steps) and kinds.get(steps[end]) in _SATURATING:
        end += 1
    return name, steps[:end]


def activations(
    net: Net, store: CropStore, indices: NDArray[np.int64], steps: list[str], batch_size: int
) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
    """Mini-batches of indices, and the numbers that some first steps give of their centre views: (N, …) flattened."""
    batches = batches_of(indices, batch_size)
    with torch.inference_mode(), CropLoader(store, batches, device=net.device) as loader:
        for batch in loader:
            yield batch.indices, net.network.run(centre(net, batch.crops), None, steps).flatten(1)
