"""The loops of cutting.py. Crops are (N, S, 3·S) bytes, patches (N, P, 3·P) of float32, or of bfloat16 as uint16."""

# mypy: allow-untyped-defs, allow-untyped-calls

from __future__ import annotations

import numpy as np

from alexnet_cli.compiled import kernel
from alexnet_cli.net.kernels.numbers import narrow


@kernel
def cut_patches(crops, offsets, flips, mean, scale, shift, centre, out, first, last):
    """out = (value − mean) · scale + shift. scale: (3·P,); shift: (N, 3)."""
    side, width = out.shape[1:]
    edge = (mean.shape[0] - side) // 2
    line, mirrored, added = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32)
    for n in range(first, last):
        row, column, flip = offsets[n, 0], 3 * offsets[n, 1], flips[n]
        for i in range(width):
            added[i] = shift[n, i % 3]
        for y in range(side):
            values, target = crops[n, row + y, column : column + width], out[n, y]
            if centre:
                means = mean[edge + y, 3 * edge : 3 * edge + width]
                for i in range(width):
                    line[i] = np.float32(values[i])
            else:
                means = mean[row + y, column : column + width]
                for i in range(width):
                    line[i] = np.float32(values[i]) - means[i]
            if flip:
                for x in range(side):
                    for colour in range(3):
                        mirrored[3 * x + colour] = line[width - 3 - 3 * x + colour]
            source = mirrored if flip else line
            if centre:
                for i in range(width):
                    target[i] = narrow((source[i] - means[i]) * scale[i] + added[i], target)
            else:
                for i in range(width):
                    target[i] = narrow(source[i] * scale[i] + added[i], target)
