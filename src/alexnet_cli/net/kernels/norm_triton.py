"""Local response normalisation on a GPU: one Triton kernel forward, one backward; maps of any float, sums in float32.

    b = a · d^−β,   d = k + α·Σ a²                        Σ over the window of neighbouring maps of a column
    ∂a = g·d^−β − 2αβ · a · Σ (g·a·d^−β−1)

A program takes some positions and all maps of one column. Neighbours are loaded once more: they are in the cache.
A kernel is compiled once for all numbers of positions: the last mini-batch has fewer.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

_NUMBERS = 512
"""Of a program. With 2,048 an H100 has too few registers for the backward kernel, and compiling takes twice as long."""


@triton.jit
def _denominator(a, row, c, there, maps, k, alpha, half: tl.constexpr):
    """d at the maps c: 0 squares are added for maps outside the column."""
    total = tl.zeros([row.shape[0], c.shape[0]], tl.float32)
    for shift in tl.static_range(2 * half + 1):
        near = c + (shift - half)
        inside = there[:, None] & ((near >= 0) & (near < maps))[None, :]
        value = tl.load(a + row[:, None] + near[None, :], mask=inside, other=0.0).to(tl.float32)
        total += value * value
    return k + alpha * total


@triton.jit(do_not_specialize=["positions"])
def _forward(
    a,
    out,
    positions,
    groups,
    maps,
    k,
    alpha,
    beta,
    half: tl.constexpr,
    block_positions: tl.constexpr,
    block_maps: tl.constexpr,
):
    position = tl.program_id(0).to(tl.int64) * block_positions + tl.arange(0, block_positions)
    there, c = position < positions, tl.arange(0, block_maps)
    row = (position * groups + tl.program_id(1)) * maps
    d = _denominator(a, row, c, there, maps, k, alpha, half)
    place, inside = row[:, None] + c[None, :], there[:, None] & (c < maps)[None, :]
    value = tl.load(a + place, mask=inside, other=0.0).to(tl.float32)
    result = value * tl.exp2(-beta * tl.log2(d))
    tl.store(out + place, result.to(out.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["positions"])
def _backward(
    a,
    gradient,
    out,
    positions,
    groups,
    maps,
    k,
    alpha,
    beta,
    half: tl.constexpr,
    block_positions: tl.constexpr,
    block_maps: tl.constexpr,
):
    position = tl.program_id(0).to(tl.int64) * block_positions + tl.arange(0, block_positions)
    there, c = position < positions, tl.arange(0, block_maps)
    row = (position * groups + tl.program_id(1)) * maps
    total = tl.zeros([block_positions, block_maps], tl.float32)
    for shift in tl.static_range(2 * half + 1):
        near = c + (shift - half)
        inside = there[:, None] & ((near >= 0) & (near < maps))[None, :]
        place = row[:, None] + near[None, :]
        value = tl.load(a + place, mask=inside, other=0.0).to(tl.float32)
        g = tl.load(gradient + place, mask=inside, other=0.0).to(tl.float32)
        d = _denominator(a, row, near, there, maps, k, alpha, half)
        total += g * value * tl.exp2(-(beta + 1) * tl.log2(d))
    d = _denominator(a, row, c, there, maps, k, alpha, half)
    place, inside = row[:, None] + c[None, :], there[:, None] & (c < maps)[None, :]
    value = tl.load(a + place, mask=inside, other=0.0).to(tl.float32)
    g = tl.load(gradient + place, mask=inside, other=0.0).to(tl.float32)
    result = g * tl.exp2(-beta * tl.log2(d)) - 2 * alpha * beta * value * total
    tl.store(out + place, result.to(out.dtype.element_ty), mask=inside)


def normalise(maps: Tensor, *, groups: int, k: float, alpha: float, beta: float, window: int) -> Tensor:
    """`local_response_norm` of net/norm.py. maps: (N, G·C, H, W) of float32, bfloat16 or float16."""
    return _Normalised.apply(maps, groups, k, alpha / window, beta, window // 2)  # type: ignore[no-any-return]


def _launch(kernel: Any, groups: int, constants: tuple[Any, ...], *maps: Tensor) -> None:
    """Run a kernel over channels_last maps. constants: k, alpha, beta, half."""
    count, channels, height, width = maps[0].shape
    each, positions = channels // groups, count * height * width
    block_maps = triton.next_power_of_2(each)
    block_positions = max(1, _NUMBERS // block_maps)
    grid = (triton.cdiv(positions, block_positions), groups)
    with torch.cuda.device_of(maps[0]):
        kernel[grid](*maps, positions, groups, each, *constants, block_positions, block_maps)


class _Normalised(torch.autograd.Function):
    """Saves only its input."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, groups: int, *constants: Any) -> Tensor:
        maps = maps.contiguous(memory_format=torch.channels_last)
        ctx.save_for_backward(maps)
        ctx.settings = groups, constants
        result = torch.empty_like(maps)
        _launch(_forward, groups, constants, maps, result)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        (maps,) = ctx.saved_tensors
        groups, constants = ctx.settings
        result = torch.empty_like(maps)
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        _launch(_backward, groups, constants, maps, gradient, result)
        return result, None, None, None, None, None
