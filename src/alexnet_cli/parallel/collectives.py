"""Communication between ranks, with its gradients, and a count of every byte that this rank sends.

Legend: P ranks of a group, dimension d the one along which tensors of the ranks are put together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

# New names since torch 2.14; the old ones warn there.
_ALL_GATHER: Any = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
_REDUCE_SCATTER: Any = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor


class Group:
    """Ranks that put tensors together, and what this rank sends them."""

    def __init__(self, group: Any, traffic: Counter[str]) -> None:
        """traffic: counts the bytes that this rank sends, by what they are for. An all-gather sends its own part to
        each of the others; a reduce-scatter sends each of the others its part; a (ring) all-reduce does both, in parts
        of 1/P."""
        self.group = group
        self.traffic = traffic
        self.size = dist.get_world_size(group)
        self.rank = dist.get_rank(group)

    def all_gather(self, own: Tensor, sizes: Sequence[int], dim: int, what: str) -> Tensor:
        """Every rank's tensor put together along `dim`, in the ranks' order; `sizes` are their lengths along it.

        Maps (4 dimensions) travel and arrive in channels_last order.
        """
        if self.size == 1:
            return own
        self.traffic[what] += (self.size - 1) * own.numel() * own.element_size()
        maps = own.dim() == 4 and dim == 1
        along = 3 if maps else dim
        part = _padded(own.permute(0, 2, 3, 1) if maps else own, max(sizes), along).contiguous()
        parts = part.new_empty((self.size, *part.shape))
        _ALL_GATHER(parts.flatten(0, 1), part, group=self.group)
        whole = torch.cat([piece.narrow(along, 0, size) for piece, size in zip(parts, sizes, strict=True)], along)
        return whole.permute(0, 3, 1, 2) if maps else whole

    def reduce_scatter(self, whole: Tensor, sizes: Sequence[int], dim: int, what: str) -> Tensor:
        """The sum over the ranks of this rank's part of `whole` along `dim`."""
        if self.size == 1:
            return whole
        maps = whole.dim() == 4 and dim == 1
        along = 3 if maps else dim
        laid = whole.permute(0, 2, 3, 1) if maps else whole
        parts = torch.stack([_padded(piece, max(sizes), along) for piece in torch.split(laid, list(sizes), along)])
        own = torch.empty_like(parts[0])
        self.traffic[what] += (self.size - 1) * own.numel() * own.element_size()
        _REDUCE_SCATTER(own, parts.flatten(0, 1), group=self.group)
        own = own.narrow(along, 0, sizes[self.rank])
        return own.permute(0, 3, 1, 2) if maps else own


def _padded(part: Tensor, length: int, dim: int) -> Tensor:
    """Zeros after a part that is shorter than the longest: collectives want equal shapes."""
    missing = length - part.shape[dim]
    if missing == 0:
        return part
    shape = list(part.shape)
    shape[dim] = missing
    return torch.cat([part, part.new_zeros(shape)], dim)


def put_together(
    own: Tensor, group: Group, sizes: Sequence[int], dim: int, what: str, *, same_loss: bool = False
) -> Tensor:
    """An all-gather whose gradient is a reduce-scatter: each rank's loss depends on what all ranks sent.

    same_loss: every rank computes the same loss from it, so each keeps its own part of the gradient; none is sent.
    A compiled net is cut here.
    """
    apply = torch.compiler.disable(_PutTogether.apply)  # type: ignore[no-untyped-call]
    return apply(own, group, tuple(sizes), dim, what, same_loss)  # type: ignore[no-any-return]


class _PutTogether(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, *settings: Any) -> Tensor:
        ctx.settings = settings
        group, sizes, dim, what, _ = settings
        return group.all_gather(own, sizes, dim, what)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        group, sizes, dim, what, same_loss = ctx.settings
        if same_loss:
            mine = gradient.narrow(dim, sum(sizes[: group.rank]), sizes[group.rank])
        else:
            mine = group.reduce_scatter(gradient, sizes, dim, what)
        return mine, None, None, None, None, None


def summing_hook(group: Group, what: str) -> Any:
    """A DistributedDataParallel communication hook that sums (each rank's loss is its share of the mean) and counts."""

    def hook(_, bucket):  # type: ignore[no-untyped-def]  # torch looks at annotations, and knows no strings
        buffer = bucket.buffer()
        group.traffic[what] += round(2 * (group.size - 1) / group.size * buffer.numel() * buffer.element_size())
        work = dist.all_reduce(buffer, group=group.group, async_op=True)
        assert work is not None
        return work.get_future().then(lambda done: done.value()[0])

    return hook
