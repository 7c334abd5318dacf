"""Both norms as torch operations, forward and backward by hand: for float64, torch.compile, devices without kernels of
their own, and installations without numba.

    b = a · d^−β,   d = k + α·Σ a²        Σ over a window of neighbouring maps, or of neighbouring pixels of one map
    ∂a = g·d^−β − 2αβ · a · Σ (g·a·d^−β−1)

The window over maps is a banded matrix product over channels_last rows, and on the CPU the work goes through the maps
in blocks that stay in the cache: torch's own operation is the slowest of the whole net (docs/benchmarks.md).

Legend: N pictures, C maps of one column, G columns, H×W positions, R = N·H·W·G rows of C.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_BLOCK_FLOATS = 512 * 1024
"""Numbers in a block: 2 MB in float32, the fastest of 64k … 1M that were measured: most passes hit the cache."""


def local_response_norm(maps: Tensor, *, groups: int, k: float, alpha: float, beta: float, window: int) -> Tensor:
    """Normalise over `window` neighbouring maps at one position; the window stays inside a column.

    maps: (N, G·C, H, W), any float dtype; the sums are formed in float32 (float64 for float64).
    groups: how many columns lie in the channels. alpha is divided by `window`, also at a column's edges.
    """
    return _Norm.apply(maps, groups, k, alpha / window, beta, window, "maps")  # type: ignore[no-any-return]


def same_map_norm(maps: Tensor, *, k: float, alpha: float, beta: float, window: int) -> Tensor:
    """Normalise over window×window pixels of the same map; alpha is divided by the window's pixels.

    maps: (N, C, H, W). Outside the map reads as zero (2012 source, "rnorm ... same map" of net 145's layer 2).
    """
    return _Norm.apply(maps, 1, k, alpha / window**2, beta, window, "pixels")  # type: ignore[no-any-return]


class _Norm(torch.autograd.Function):
    """b = a·d^−β for both windows. Saves only its input."""

    @staticmethod
    def forward(
        ctx: Any, maps: Tensor, groups: int, k: float, alpha: float, beta: float, window: int, over: str
    ) -> Tensor:
        maps = maps.contiguous(memory_format=torch.channels_last)
        ctx.save_for_backward(maps)
        ctx.settings = (groups, k, alpha, beta, window, over)
        result = torch.empty_like(maps)
        summed = _window_sum(maps, groups, window, over)
        for a, out in _blocks(maps, result, groups=groups, over=over):
            _, scale = _scale(a, summed, k, alpha, beta)
            out.copy_(scale.mul_(a))
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        (maps,) = ctx.saved_tensors
        groups, k, alpha, beta, window, over = ctx.settings
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        result = torch.empty_like(maps)
        summed = _window_sum(maps, groups, window, over)
        for a, g, out in _blocks(maps, gradient, result, groups=groups, over=over):
            a, g = _wide(a), _wide(g)
            denominator, scale = _scale(a, summed, k, alpha, beta)
            first = scale.mul_(g)
            inner = torch.div(first, denominator).mul_(a)
            out.copy_(torch.sub(first, summed(inner).mul_(a), alpha=2 * alpha * beta))
        return result, None, None, None, None, None, None


def _scale(a: Tensor, summed: Any, k: float, alpha: float, beta: float) -> tuple[Tensor, Tensor]:
    """d and d^−β, in float32 or wider."""
    a = _wide(a)
    denominator = summed(a * a).mul_(alpha).add_(k)
    if beta == 0.75:  # two square roots cost a tenth of a power
        root = torch.rsqrt(denominator)
        return denominator, root.mul_(root.sqrt())
    return denominator, denominator.pow(-beta)


def _wide(values: Tensor) -> Tensor:
    return values if values.dtype in (torch.float32, torch.float64) else values.float()


def _window_sum(maps: Tensor, groups: int, window: int, over: str) -> Any:
    """The function that sums squares over the window, for blocks as `_blocks` cuts them."""
    if over == "pixels":
        pixels, half = window * window, window // 2
        return lambda block: functional.avg_pool2d(block, window, 1, half).mul_(pixels)
    dtype = torch.float64 if maps.dtype == torch.float64 else torch.float32
    index = torch.arange(maps.shape[1] // groups, device=maps.device)
    band = ((index[:, None] - index[None, :]).abs() <= window // 2).to(dtype)

    def summed(block: Tensor) -> Tensor:
        with torch.autocast(block.device.type, enabled=False):  # else the squares would be rounded to bfloat16
            return block @ band

    return summed


def _blocks(*tensors: Tensor, groups: int, over: str) -> Any:
    """The same blocks of several channels_last tensors: rows of C maps, or whole pictures if pixels are summed."""
    if over == "maps":
        width = tensors[0].shape[1] // groups
        views = [tensor.permute(0, 2, 3, 1).reshape(-1, width) for tensor in tensors]
    else:
        views = list(tensors)
    first = views[0]
    if first.device.type != "cpu" or not len(first) or torch.compiler.is_compiling():
        return [tuple(views)]
    step = max(1, _BLOCK_FLOATS // max(1, first[0].numel()))
    return zip(*(torch.split(view, step) for view in views), strict=True)
