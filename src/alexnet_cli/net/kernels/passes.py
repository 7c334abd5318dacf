"""Norm, ReLU and max pool as passes of compiled loops over the maps, with their gradients for torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from alexnet_cli.compiled import Kernel, array, over, serves, triton_serves
from alexnet_cli.net.norm import Norm
from alexnet_cli.net.pool import Pool
from alexnet_cli.recipes.layers import MapNorm
from alexnet_cli.recipes.layers import Norm as NormSpec

_LARGEST_WINDOW = 15
"""Side: a place in it is one byte, and 255 means nowhere."""


@dataclass(frozen=True)
class Pass:
    """[ReLU] → [norm] → [max pool → [ReLU]]: what one pass over the maps does."""

    relu: bool = False
    norm: bool = False
    size: int = 0
    """Of the pool; 0: none."""
    stride: int = 1
    overhang: bool = False
    relu_after: bool = False
    groups: int = 1
    k: float = 1.0
    alpha: float = 0.0
    """Divided by the window already."""
    half: int = 2
    """Neighbours on each side."""

    @property
    def constants(self) -> tuple[Any, ...]:
        """The norm's numbers, as all kernels take them."""
        return self.groups, np.float32(self.k), np.float32(self.alpha), self.half

    def side(self, below: int) -> int:
        """H' or W' of the pooled maps."""
        return _side(below, self.size, self.stride, self.overhang)


def _side(below: int, size: int, stride: int, overhang: bool) -> int:
    """H' or W' of maps pooled from such a side."""
    steps = below - size
    last = -(-steps // stride) if overhang else steps // stride
    return last + 1 - (last * stride >= below)


def pass_of(modules: Sequence[nn.Module]) -> tuple[Pass, int]:
    """The longest pass over the first of some modules, and how many modules it computes; 0 if it gains nothing."""
    found, taken = Pass(), 0
    for count, module in enumerate(modules, 1):
        if _watched(module):
            break
        if isinstance(module, nn.ReLU) and not (found.relu or found.norm or found.size):
            found = replace(found, relu=True)
        elif isinstance(module, Norm) and not (isinstance(module.spec, MapNorm) or found.norm or found.size):
            if not _fits(module.spec):
                break
            spec = module.spec
            found = replace(
                found, norm=True, groups=module.columns, k=spec.k, alpha=spec.alpha / spec.window, half=spec.window // 2
            )
        elif isinstance(module, Pool) and not found.size:
            pool = module.spec
            if pool.mode != "max" or pool.size > _LARGEST_WINDOW:
                break
            found = replace(found, size=pool.size, stride=pool.stride, overhang=pool.overhang)
        elif isinstance(module, nn.ReLU) and found.size and not found.relu_after:
            found = replace(found, relu_after=True)
        else:
            break
        if found.norm or (found.size and count > 1):
            taken = count
    return found, taken


def _fits(spec: NormSpec) -> bool:
    """Whether the loops can compute this norm."""
    return spec.beta == 0.75 and spec.k > 0


def _watched(module: nn.Module) -> bool:
    """Whether a hook watches what comes in or out."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


def run_together(modules: Sequence[nn.Module], numbers: Tensor) -> tuple[Tensor, int]:
    """What the first of some modules compute in one pass, and how many they are; 0 if a pass gains nothing."""
    first = modules[0]
    if _watched(first):
        return numbers, 0
    if isinstance(first, Norm) and not isinstance(first.spec, MapNorm) and triton_serves(numbers):
        return _on_gpu(numbers, first), 1
    if numbers.dim() != 4 or not serves(numbers):
        return numbers, 0
    if isinstance(first, Norm) and isinstance(first.spec, MapNorm) and _fits(first.spec):
        spec = first.spec
        return over_pixels(numbers, k=spec.k, alpha=spec.alpha, window=spec.window), 1
    if isinstance(first, Pool) and first.spec.mode == "average":
        pool = first.spec
        return average(numbers, size=pool.size, stride=pool.stride, overhang=pool.overhang), 1
    work, count = pass_of(modules)
    return (apply(numbers, work), count) if count else (numbers, 0)


def _on_gpu(maps: Tensor, module: Norm) -> Tensor:
    from alexnet_cli.net.kernels.norm_triton import normalise

    spec = module.spec
    return normalise(maps, groups=module.columns, k=spec.k, alpha=spec.alpha, beta=spec.beta, window=spec.window)


def apply(maps: Tensor, work: Pass) -> Tensor:
    """One pass. maps: (N, G·C, H, W) of float32 or bfloat16 on the CPU; what comes out is channels_last."""
    if work.size:
        return _Pooled.apply(maps, work)  # type: ignore[no-any-return]
    from alexnet_cli.net.kernels.loops import normalised, normalised_backward

    kernels = normalised, normalised_backward
    return _Normalised.apply(maps, kernels, work.relu, *work.constants)  # type: ignore[no-any-return]


def over_pixels(maps: Tensor, *, k: float, alpha: float, window: int) -> Tensor:
    """The same-map norm to the power 0.75. maps: (N, C, H, W) of float32 or bfloat16 on the CPU."""
    from alexnet_cli.net.kernels.pixels import normalised_over_pixels, normalised_over_pixels_backward

    kernels = normalised_over_pixels, normalised_over_pixels_backward
    constants = np.float32(k), np.float32(alpha / window**2), window // 2
    return _Normalised.apply(maps, kernels, *constants)  # type: ignore[no-any-return]


def average(maps: Tensor, *, size: int, stride: int, overhang: bool) -> Tensor:
    """Average pooling; what hangs over the edge is not there. maps: (N, C, H, W) of float32 or bfloat16 on the CPU."""
    return _Averaged.apply(maps, size, stride, overhang)  # type: ignore[no-any-return]


class _Averaged(torch.autograd.Function):
    """Saves nothing."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, size: int, stride: int, overhang: bool) -> Tensor:
        from alexnet_cli.net.kernels.loops import averaged

        maps = maps.contiguous(memory_format=torch.channels_last)
        ctx.settings, ctx.shape = (size, stride), maps.shape
        shape = (*maps.shape[:2], *(_side(side, size, stride, overhang) for side in maps.shape[2:]))
        result = torch.empty(shape, dtype=maps.dtype, memory_format=torch.channels_last)
        over(averaged, len(maps), array(maps), array(result), size, stride)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        from alexnet_cli.net.kernels.loops import averaged_backward

        gradient = gradient.contiguous(memory_format=torch.channels_last)
        result = torch.empty(ctx.shape, dtype=gradient.dtype, memory_format=torch.channels_last)
        over(averaged_backward, len(gradient), array(gradient), array(result), *ctx.settings)
        return result, None, None, None


class _Normalised(torch.autograd.Function):
    """A norm by two kernels, forward and backward, which take the same constants. Saves only its input."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, kernels: tuple[Kernel, Kernel], *constants: Any) -> Tensor:
        maps = maps.contiguous(memory_format=torch.channels_last)
        ctx.save_for_backward(maps)
        ctx.backwards, ctx.constants = kernels[1], constants
        result = torch.empty_like(maps)
        over(kernels[0], len(maps), array(maps), array(result), *constants)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        (maps,) = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        result = torch.empty_like(maps)
        over(ctx.backwards, len(maps), array(maps), array(gradient), array(result), *ctx.constants)
        return result, None, *(None for _ in ctx.constants)


class _Pooled(torch.autograd.Function):
    """[ReLU] → [norm] → max pool → [ReLU]. Saves its input, and of each pooled number a byte: where it came from."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, work: Pass) -> Tensor:
        from alexnet_cli.net.kernels.loops import pooled

        maps = maps.contiguous(memory_format=torch.channels_last)
        shape = (*maps.shape[:2], work.side(maps.shape[2]), work.side(maps.shape[3]))
        result = torch.empty(shape, dtype=maps.dtype, memory_format=torch.channels_last)
        which = torch.empty(shape, dtype=torch.uint8, memory_format=torch.channels_last)
        ctx.save_for_backward(maps, which)
        ctx.work = work
        arrays, flags = (array(maps), array(result), array(which)), (work.relu, work.norm, work.relu_after)
        over(pooled, len(maps), *arrays, work.size, work.stride, *flags, *work.constants)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        from alexnet_cli.net.kernels.loops import pooled_backward

        (maps, which), work = ctx.saved_tensors, ctx.work
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        result = torch.empty_like(maps)
        arrays = array(maps), array(gradient), array(which), array(result)
        over(pooled_backward, len(maps), *arrays, work.size, work.stride, work.relu, work.norm, *work.constants)
        return result, None
