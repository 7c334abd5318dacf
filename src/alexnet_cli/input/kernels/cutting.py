"""Cut, mirror, subtract the mean, add the colour noise, scale: one pass from the crops' bytes to the batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet_cli.compiled import array, over


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
    """(value − mean) · scale + shift of a patch of each crop: (N, P, P, 3) of float32 or bfloat16.

    crops: uint8 (N, S, S, 3). offsets: (N, 2), row and column of each patch; flips: (N,). mean: (S, S, 3).
    scale: () or (3,); shift: (N, 3). centre: the mean's centre is subtracted from the patch as it comes out; else the
    part at the patch's place, mirrored with it. dtype: float64 counts as float32. ValueError for shapes that don't fit
    one another: the loops look at no bounds. On a GPU, cutting_triton.py's kernel does the work.
    """
    dtype = dtype if dtype.itemsize <= 4 else torch.float32
    count, width = len(crops), crops.shape[1]
    shapes = (tuple(crops.shape[1:]), tuple(mean.shape), offsets.shape, flips.shape, tuple(shift.shape))
    square = (width, width, 3)
    if shapes != (square, square, (count, 2), (count,), (count, 3)):
        raise ValueError(f"crops, mean, offsets, flips and shift of shapes {shapes} don't fit one another")
    if count and not (offsets.min() >= 0 and offsets.max() <= width - side):
        raise ValueError(f"patches of {side} at {offsets.min()} … {offsets.max()} don't lie inside {width}")
    if crops.device.type == "cuda":
        from alexnet_cli.input.kernels.cutting_triton import cut as cut_on_gpu

        return cut_on_gpu(crops, offsets, flips, mean, scale, shift, side=side, centre=centre, dtype=dtype)
    from alexnet_cli.input.kernels.loops import cut_patches

    out = torch.empty(count, side, side, 3, dtype=dtype)
    lines: Any = crops.contiguous().view(count, width, width * 3)
    over(
        cut_patches,
        count,
        array(lines),
        np.ascontiguousarray(offsets, np.int64),
        np.ascontiguousarray(flips, np.bool_),
        array(mean.contiguous().view(width, width * 3)),
        array(scale.expand(3).repeat(side)),
        array(shift.contiguous()),
        centre,
        array(out.view(count, side, side * 3)),
    )
    return out
