"""The products of a fully-connected layer, by the library that is faster on this processor.

torch multiplies float32 matrices with MKL, which is fast on Intel's processors and slow on AMD's: there oneDNN, which
torch has for convolutions, is up to three times as fast (docs/benchmarks.md). The processor decides, and not a
measurement: a busy machine could decide otherwise when a training goes on, and its weights would differ in the last
bit. benchmarks/products.py measures both.
"""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def linear(numbers: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """functional.linear. numbers: (N, numbers); weight: (neurons, numbers); bias: (neurons,)."""
    fit = all(tensor.device.type == "cpu" and tensor.dtype == torch.float32 for tensor in (numbers, weight, bias))
    whole = numbers.dim() == 2 and numbers.numel() > 0 and weight.numel() > 0
    if not fit or not whole or torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling() or not onednn():
        return functional.linear(numbers, weight, bias)
    return _Linear.apply(numbers, weight, bias)  # type: ignore[no-any-return]


@cache
def onednn() -> bool:
    """Whether oneDNN serves: on x86 processors that are not Intel's, where torch's operation for it is what it was.

    ALEXNET_PRODUCTS=mkl or onednn overrides the choice.
    """
    wish = os.environ.get("ALEXNET_PRODUCTS", "")
    if wish == "mkl" or (wish != "onednn" and (platform.machine() not in ("x86_64", "AMD64") or _vendor() == _INTEL)):
        return False
    return _works()


_INTEL = "GenuineIntel"


def _vendor() -> str:
    """The processor's maker as it calls itself; Intel where the system does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return _INTEL
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id")), _INTEL)


def _works() -> bool:
    """torch's operation is private: it may vanish, or want other arguments."""
    left, right, bias = torch.arange(15.0).reshape(3, 5), torch.arange(10.0).reshape(2, 5), torch.arange(2.0)
    try:
        first, second = _times(left, right, bias), _times(left.t(), right.new_ones(2, 3))
        return torch.equal(first, left @ right.t() + bias) and torch.equal(second, left.t() @ right.new_ones(3, 2))
    except (AttributeError, RuntimeError, TypeError):
        return False


def _times(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    """left · rightᵀ + bias, by oneDNN."""
    operation: Any = torch.ops.mkldnn._linear_pointwise
    return operation(left, right, bias, "none", [], "")  # type: ignore[no-any-return]


class _Linear(torch.autograd.Function):
    """out = in · weightᵀ + bias;  ∂in = ∂out · weight,  ∂weight = ∂outᵀ · in,  ∂bias = Σ ∂out."""

    @staticmethod
    def forward(ctx: Any, numbers: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(numbers, weight)
        return _times(numbers, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        numbers, weight = ctx.saved_tensors
        of_numbers, of_weight, of_bias = ctx.needs_input_grad
        return (
            _times(gradient, weight.t()) if of_numbers else None,
            _times(gradient.t(), numbers.t()) if of_weight else None,
            gradient.sum(0) if of_bias else None,
        )
