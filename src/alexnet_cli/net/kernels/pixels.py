"""The same-map norm as compiled loops: the window over pixels is summed down and then along, line by line.

    b = a · s,   d = k + α·Σ a²,   s = d^−¾        Σ over window×window pixels of the same map, as far as they are there
    ∂a = g·s − 1.5·α · a · Σ (g·a·s/d)

Legend: maps are (N, H, W, C) of float32, or of bfloat16 as uint16; a line is W·C of them. Pictures first … last − 1.
"""

# mypy: allow-untyped-defs, allow-untyped-calls

from __future__ import annotations

import numpy as np

from alexnet_cli.compiled import inner, kernel
from alexnet_cli.net.kernels.lines import fourth_root_inverse, squares
from alexnet_cli.net.kernels.numbers import narrow, wide


@inner
def window_line(values, y, half, maps, down, out):
    """out = Σ of the window around line y of values, (H, W·C). down: scratch of W·C."""
    height, count = values.shape
    first, last = max(0, y - half), min(height, y + half + 1)
    for i in range(count):
        down[i] = values[first, i]
    for line in range(first + 1, last):
        for i in range(count):
            down[i] += values[line, i]
    for i in range(count):
        out[i] = down[i]
    for shift in range(1, half + 1):
        gap = shift * maps
        if gap < count:
            nearer, farther = down[: count - gap], down[gap:]
            left, right = out[: count - gap], out[gap:]
            for i in range(count - gap):
                right[i] += nearer[i]
            for i in range(count - gap):
                left[i] += farther[i]


@kernel
def normalised_over_pixels(a, out, k, alpha, half, first, last):
    """b of some pictures."""
    _, height, width, maps = a.shape
    count = width * maps
    squared = np.empty((height, count), np.float32)
    down, sums = np.empty(count, np.float32), np.empty(count, np.float32)
    for n in range(first, last):
        for y in range(height):
            squares(a[n, y].reshape(count), False, squared[y])
        for y in range(height):
            window_line(squared, y, half, maps, down, sums)
            values, result = a[n, y].reshape(count), out[n, y].reshape(count)
            for i in range(count):
                r = fourth_root_inverse(k + alpha * sums[i])
                result[i] = narrow(wide(values[i]) * (r * r * r), result)


@kernel
def normalised_over_pixels_backward(a, g, out, k, alpha, half, first, last):
    """∂a of some pictures, given g = ∂b."""
    _, height, width, maps = a.shape
    count = width * maps
    squared, scaled = np.empty((height, count), np.float32), np.empty((height, count), np.float32)
    weighted = np.empty((height, count), np.float32)
    down, sums = np.empty(count, np.float32), np.empty(count, np.float32)
    factor = np.float32(1.5) * alpha
    for n in range(first, last):
        for y in range(height):
            squares(a[n, y].reshape(count), False, squared[y])
        for y in range(height):
            window_line(squared, y, half, maps, down, sums)
            values, gradients = a[n, y].reshape(count), g[n, y].reshape(count)
            for i in range(count):
                r = fourth_root_inverse(k + alpha * sums[i])
                square = r * r
                first_part = wide(gradients[i]) * (square * r)
                scaled[y, i] = first_part
                weighted[y, i] = first_part * wide(values[i]) * (square * square)
        for y in range(height):
            window_line(weighted, y, half, maps, down, sums)
            values, result = a[n, y].reshape(count), out[n, y].reshape(count)
            for i in range(count):
                result[i] = narrow(scaled[y, i] - factor * wide(values[i]) * sums[i], result)
