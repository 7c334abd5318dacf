"""Cut, mirror, subtract the mean, add the colour noise, scale on a GPU: one Triton kernel, bytes in, patches out."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators

from __future__ import annotations

import numpy as np
import torch
import triton
import triton.language as tl
from numpy.typing import NDArray
from torch import Tensor

from alexnet_cli.devices import on_device

_NUMBERS = 1024
"""Of a program."""


@triton.jit
def _cut(
    crops,
    places,
    mean,
    scale,
    shift,
    out,
    width,
    side,
    edge,
    centre: tl.constexpr,
    block: tl.constexpr,
):
    n = tl.program_id(0).to(tl.int64)
    number = tl.program_id(1) * block + tl.arange(0, block)
    inside = number < side * side * 3
    colour, x, y = number % 3, (number // 3) % side, number // (3 * side)
    top, left, flip = tl.load(places + 3 * n), tl.load(places + 3 * n + 1), tl.load(places + 3 * n + 2)
    column = left + tl.where(flip != 0, side - 1 - x, x)
    here = ((top + y) * width + column) * 3 + colour
    value = tl.load(crops + n * width * width * 3 + here, mask=inside, other=0).to(tl.float32)
    there = ((edge + y) * width + edge + x) * 3 + colour if centre else here
    value -= tl.load(mean + there, mask=inside, other=0.0)
    value = value * tl.load(scale + colour) + tl.load(shift + 3 * n + colour)
    tl.store(out + n * side * side * 3 + number, value.to(out.dtype.element_ty), mask=inside)


def cut(
    crops: Tensor,
    offsets: NDArray[np.int64],
    flips: NDArray[np.bool_],
    mean: Tensor,
    scale: Tensor,
    shift: Tensor,
    *,
    side: int,
    centre: bool,
    dtype: torch.dtype,
) -> Tensor:
    """What cutting.py says of its `cut`; the tensors are on the device."""
    count, width = len(crops), crops.shape[1]
    out = torch.empty(count, side, side, 3, dtype=dtype, device=crops.device)
    if not count:
        return out
    places = on_device(np.column_stack([offsets, flips]).astype(np.int32), crops.device)
    edge = (width - side) // 2
    grid = (count, triton.cdiv(side * side * 3, _NUMBERS))
    tensors = crops.contiguous(), places, mean.contiguous(), scale.expand(3).contiguous(), shift.contiguous(), out
    with torch.cuda.device_of(crops):
        _cut[grid](*tensors, width, side, edge, centre, _NUMBERS)
    return out
