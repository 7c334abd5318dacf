"""Placing a net on a mesh: which parts live in this process, and the exchanges before the layers that see more.

| mode    | lives here                                  | exchanged before                                         |
|---------|---------------------------------------------|----------------------------------------------------------|
| columns | one column                                  | each layer that sees all columns                         |
| hybrid  | all convolutions, and a part of the neurons | each fully-connected layer: before the first the         |
|         | of each fully-connected layer               | mini-batch's pictures are gathered, then all the neurons |

An exchange is an all-gather whose gradient is a reduce-scatter. In both modes the logits are gathered last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from alexnet_cli.net.network import LOGITS, Here, Masks, Network
from alexnet_cli.net.weights import column_rows
from alexnet_cli.parallel.collectives import Group, put_together, summing_hook
from alexnet_cli.parallel.layout import lengths_of_shares
from alexnet_cli.parallel.ranks import Ranks
from alexnet_cli.recipes.net import Layer, Net


def place(net: Net, ranks: Ranks) -> Network:
    """The part of a net that lives on this rank, with the exchanges that fetch the other ranks' activations."""
    layout = ranks.layout
    hybrid = layout.mode == "hybrid"
    group = ranks.all if hybrid else ranks.column
    if group is None or layout.mode not in ("columns", "hybrid"):
        return Network(net)
    part, parts = layout.part(ranks.rank)
    network = Network(net, Here(held=None if hybrid else layout.held(ranks.rank), part=part, parts=parts))
    first_linear = next(layer.name for layer in network.layers if layer.kind == "linear")
    for layer in network.layers[1:]:
        if hybrid and layer.name == first_linear:
            network.exchanges[layer.name] = partial(_pictures, group=group, what=layer.name)
        elif layer.kind == "linear" if hybrid else layer.sees == "all":
            network.exchanges[layer.name] = partial(_channels, group=group, layer=layer)
    network.exchanges[LOGITS] = partial(_logits, group=group, classes=net.classes)
    return network


def replicate(network: Network, forward: Callable[..., Tensor], ranks: Ranks) -> Callable[..., Tensor]:
    """The forward pass with gradients summed over the ranks that hold the same weights (DistributedDataParallel).

    forward: the network, or what torch.compile made of it. To be called again when layers are frozen or thawed.
    """
    group = ranks.data
    if group is None or group.size == 1:
        return forward
    module = forward if isinstance(forward, nn.Module) else network
    apart = {layer.name for layer in network.layers if layer.kind == "linear" and ranks.layout.mode == "hybrid"}
    own = [name for name, _ in module.named_parameters() if name.split(".")[-2] in apart]
    # What it ignores is not a replica: each rank has neurons of its own.
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(module, own)  # type: ignore[no-untyped-call]
    shared = [weights for name, weights in module.named_parameters() if name not in own]
    if not any(weights.requires_grad for weights in shared):
        return forward
    wrapped = DistributedDataParallel(module, process_group=group.group, gradient_as_bucket_view=True)
    wrapped.register_comm_hook(None, summing_hook(group, "gradients"))
    return wrapped


def own_masks(masks: Masks, network: Network, ranks: Ranks, pictures: int) -> Masks:
    """The dropout masks of this rank's pictures and neurons, out of those of a mini-batch of `pictures`.

    masks: (pictures, neurons of the columns held here) by layer.
    """
    if ranks.layout.mode != "hybrid":
        return {name: mask[ranks.shares.results(pictures)] for name, mask in masks.items()}
    first_linear = next(layer.name for layer in network.layers if layer.kind == "linear")
    below, here = network.steps[: network.steps.index(first_linear)], network.here
    parts = {name: column_rows(mask.shape[1], here.parts, here.part) for name, mask in masks.items()}
    seen = ranks.shares.seen(pictures)
    return {name: mask[seen] if name in below else mask[:, parts[name]] for name, mask in masks.items()}


def gather_whole(network: Network, tensors: Mapping[str, Tensor], ranks: Ranks) -> dict[str, Tensor]:
    """Whole tensors on the CPU, put together from the ranks' parts; empty on all ranks but the first.

    tensors: this rank's rows by parameter name (`conv1.weight`), in the same order on every rank.
    """
    found = {}
    for name, own in tensors.items():
        weights = network.weights(name.rpartition(".")[0])
        rows, outputs = weights.rows, weights.layer.outputs
        here = together = own.detach().cpu()
        if ranks.world > 1 and rows != slice(0, outputs):
            together = torch.zeros((outputs, *own.shape[1:]), dtype=own.dtype)
            # Of the ranks that hold the same rows, the first gives them; zeros add nothing.
            if ranks.layout.mode == "hybrid" or ranks.layout.data_index(ranks.rank) == 0:
                together[rows] = here
            together = ranks.sum_to_first(together)
        if ranks.first:
            found[name] = together
    return found


def _channels(numbers: Tensor, pictures: int, *, group: Group, layer: Layer) -> Tensor:
    """(N, c, …) of each rank → (N, C, …) of all, in the ranks' order."""
    return put_together(numbers, group, _widths(layer.seen, group), 1, layer.name)


def _pictures(numbers: Tensor, pictures: int, *, group: Group, what: str) -> Tensor:
    """(n, numbers) of each rank's share of the mini-batch → (N, numbers) of all of it."""
    return put_together(numbers, group, lengths_of_shares(pictures, group.size), 0, what)


def _logits(logits: Tensor, pictures: int, *, group: Group, classes: int) -> Tensor:
    """(N, k) → (N, K): every rank computes the same loss from them, so gradients are not summed."""
    return put_together(logits, group, _widths(classes, group), 1, LOGITS, same_loss=True)


def _widths(seen: int, group: Group) -> list[int]:
    """How many of the channels or numbers that are seen each rank holds."""
    rows = [column_rows(seen, group.size, index) for index in range(group.size)]
    return [row.stop - row.start for row in rows]
