"""Convolutions and the products of fully-connected layers, by the calls that are fast on this processor.

The gradient of conv1's weights is formed in parts of a mini-batch: above a size, oneDNN takes a slow method.

torch multiplies float32 matrices with MKL, which is fast on Intel's processors and slow on AMD's: there oneDNN, which
torch has for convolutions, is up to three times as fast (docs/benchmarks.md). The processor decides, and not a
measurement: a busy machine could decide otherwise when a training resumes, and its weights would differ in the last
bit. benchmarks/kernels.py measures both.
"""

from __future__ import annotations

import os
import platform
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from alexnet_cli.compiled import over, serves
from alexnet_cli.machine import told_by_linux


def convolve(
    maps: Tensor, weight: Tensor, bias: Tensor, *, stride: int, padding: int, overhang: int = 0, groups: int = 1
) -> Tensor:
    """functional.conv2d. maps: (N, C, H, W); weight: (kernels, channels seen, size, size); bias: (kernels,).

    overhang: zeros to the right of and below the padded maps.
    """
    first = maps.shape[1] <= _FEW and not maps.requires_grad and groups == 1 and serves(maps)
    if first and torch.is_autocast_enabled("cpu"):
        maps = maps.to(torch.get_autocast_dtype("cpu"))
    folds = first and maps.dtype == torch.bfloat16 and _pays(weight.shape[2], stride)
    if not folds and overhang:
        maps = functional.pad(maps, (0, overhang, 0, overhang))
    if first and weight.requires_grad and torch.is_grad_enabled():
        fold = (padding, overhang) if folds else None
        return _First.apply(maps, weight, bias, stride, padding, fold)  # type: ignore[no-any-return]
    if folds:
        size = weight.shape[2]
        maps, weight = fold_maps(maps, size, stride, padding, overhang), fold_weight(weight.to(maps.dtype), stride)
        return functional.conv2d(maps, weight, bias.to(maps.dtype))
    return functional.conv2d(maps, weight, bias, stride, padding, groups=groups)


_FEW = 4
"""Channels: of a picture, or a few more. For so few, oneDNN may take its slow method."""
_MOST_BYTES = 96 << 20
"""Of the gradient that comes in, in one part: oneDNN 3.12 takes the fast method for up to 119 MB of it."""


def _pays(size: int, stride: int) -> bool:
    """Whether folding adds few numbers to the kernels: the paper's conv1 gets 12×12 in place of 11×11."""
    return stride > 1 and (-(-size // stride) * stride) ** 2 <= 1.25 * size**2


def fold_maps(maps: Tensor, size: int, stride: int, padding: int, overhang: int) -> Tensor:
    """Squares of stride×stride pixels as one pixel: (N, C, H, W) → (N, stride²·C, H', W'), padding included.

    A convolution of size×size with that stride is then one of ⌈size/stride⌉ with stride 1 over `fold_weight`'s
    kernels: for oneDNN in bfloat16, three channels are too few. On the CPU; what comes out is channels_last.
    """
    from alexnet_cli.net.kernels.loops import folded

    maps = maps.contiguous(memory_format=torch.channels_last)
    count, channels, *sides = maps.shape
    rows, columns = ((side + 2 * padding + overhang - size) // stride + -(-size // stride) for side in sides)
    out = torch.empty(count, rows, columns, stride, stride * channels, dtype=maps.dtype)
    lines, blocks = maps.permute(0, 2, 3, 1).reshape(count, sides[0], -1), out
    before = padding * channels
    eight = 8 // maps.element_size()
    if not any(number % eight for number in (lines.shape[2], stride * channels, before)):
        lines, blocks, before = lines.view(torch.int64), out.view(torch.int64), before // eight
    elif maps.dtype == torch.bfloat16:
        lines, blocks = lines.view(torch.int16), out.view(torch.int16)
    over(folded, count, lines.detach().numpy(), blocks.numpy(), padding, before)
    return out.view(count, rows, columns, -1).permute(0, 3, 1, 2)


def fold_weight(weight: Tensor, stride: int) -> Tensor:
    """(K, C, size, size) → (K, stride²·C, ⌈size/stride⌉, ⌈size/stride⌉) for maps that `fold_maps` made."""
    kernels, channels, size, _ = weight.shape
    side = -(-size // stride)
    whole = functional.pad(weight, (0, side * stride - size) * 2)
    parts = whole.view(kernels, channels, side, stride, side, stride).permute(0, 3, 5, 1, 2, 4)
    return parts.reshape(kernels, -1, side, side).contiguous(memory_format=torch.channels_last)


def unfold_weight(weight: Tensor, size: int, stride: int) -> Tensor:
    """`fold_weight` backwards, without the numbers that it added."""
    kernels, count, side, _ = weight.shape
    parts = weight.reshape(kernels, stride, stride, count // stride**2, side, side).permute(0, 3, 4, 1, 5, 2)
    return parts.reshape(kernels, -1, side * stride, side * stride)[:, :, :size, :size]


class _First(torch.autograd.Function):
    """The first convolution: its inputs' gradient is not needed. Products in the type of the maps, sums in float32."""

    @staticmethod
    def forward(
        ctx: Any,
        maps: Tensor,
        weight: Tensor,
        bias: Tensor,
        stride: int,
        padding: int,
        fold: tuple[int, int] | None,
    ) -> Tensor:
        """fold: padding and overhang, if the maps are to be folded."""
        rounded, size = weight.to(maps.dtype), weight.shape[2]
        ctx.folded = (size, stride) if fold else None
        if fold:
            maps, rounded = fold_maps(maps, size, stride, *fold), fold_weight(rounded, stride)
            stride, padding = 1, 0
        ctx.save_for_backward(maps, rounded)
        ctx.settings = (stride, padding)
        return functional.conv2d(maps, rounded, bias.to(maps.dtype), stride, padding)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        maps, weight = ctx.saved_tensors
        stride, padding = ctx.settings
        parts = -(-gradient.numel() * gradient.element_size() // _MOST_BYTES)
        wanted = [False, *ctx.needs_input_grad[1:3]]
        found = [
            torch.ops.aten.convolution_backward(
                *part, weight, [len(weight)], [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1, wanted
            )[1:]
            for part in zip(gradient.chunk(parts), maps.chunk(parts), strict=True)
        ]
        sums = [sum(one.float() for one in own) if own[0] is not None else None for own in zip(*found, strict=True)]
        if ctx.folded and sums[0] is not None:
            sums[0] = unfold_weight(sums[0], *ctx.folded)
        return None, *sums, None, None, None


def linear(numbers: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """functional.linear. numbers: (N, numbers); weight: (neurons, numbers); bias: (neurons,)."""
    fit = all(tensor.device.type == "cpu" and tensor.dtype == torch.float32 for tensor in (numbers, weight, bias))
    whole = numbers.dim() == 2 and numbers.numel() > 0 and weight.numel() > 0
    if not fit or not whole or torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling() or not onednn():
        return functional.linear(numbers, weight, bias)
    return _Linear.apply(numbers, weight, bias)  # type: ignore[no-any-return]


@cache
def onednn() -> bool:
    """Whether oneDNN multiplies: on x86 processors that are not Intel's, if torch's operation for it still works.

    ALEXNET_PRODUCTS=mkl or onednn overrides the choice.
    """
    wish = os.environ.get("ALEXNET_PRODUCTS", "")
    if wish == "mkl" or (wish != "onednn" and (platform.machine() not in ("x86_64", "AMD64") or _vendor() == _INTEL)):
        return False
    return _works()


_INTEL = "GenuineIntel"


def _vendor() -> str:
    """The processor's maker as it calls itself; Intel if the system does not say."""
    return told_by_linux("vendor_id") or _INTEL


def _works() -> bool:
    """torch's operation is private: it may vanish, or take other arguments."""
    left, right, bias = torch.arange(15.0).reshape(3, 5), torch.arange(10.0).reshape(2, 5), torch.arange(2.0)
    try:
        first, second = times(left, right, bias), times(left.t(), right.new_ones(2, 3))
        return torch.equal(first, left @ right.t() + bias) and torch.equal(second, left.t() @ right.new_ones(3, 2))
    except (AttributeError, RuntimeError, TypeError):
        return False


def times(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    """left · rightᵀ + bias, by oneDNN. AttributeError if torch no longer has this private operation."""
    if not (right.is_contiguous() or right.t().is_contiguous()):  # oneDNN multiplies by others a thousand times slower
        right = right.t().contiguous().t()
    operation: Any = torch.ops.mkldnn._linear_pointwise
    return operation(left, right, bias, "none", [], "")  # type: ignore[no-any-return]


class _Linear(torch.autograd.Function):
    """out = in · weightᵀ + bias;  ∂in = ∂out · weight,  ∂weight = ∂outᵀ · in,  ∂bias = Σ ∂out."""

    @staticmethod
    def forward(ctx: Any, numbers: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(numbers, weight)
        return times(numbers, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        numbers, weight = ctx.saved_tensors
        of_numbers, of_weight, of_bias = ctx.needs_input_grad
        return (
            times(gradient, weight.t()) if of_numbers else None,
            times(gradient.t(), numbers.t()) if of_weight else None,
            gradient.sum(0) if of_bias else None,
        )
