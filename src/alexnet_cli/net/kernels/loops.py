"""Kernels over whole maps, picture by picture: the norm, and what lies between two convolutions in one pass.

    normalised:  [ReLU] → norm                              normalised_backward
    pooled:      [ReLU] → [norm] → max pool → [ReLU]        pooled_backward

`pooled` reads the convolution's maps once and writes the pooled ones; its gradient reads them again. What lies between
stays in the cache, a few lines of one picture. Function and gradient are those of the modules one after the other. If
numbers in a window are equal, the first gets the gradient, as in torch.

Legend: maps are (N, H, W, C), C those of all G columns; pooled ones (N, H', W', C). first … last − 1 are the pictures.
"""

# mypy: allow-untyped-defs, allow-untyped-calls

from __future__ import annotations

import numpy as np

from alexnet_cli.compiled import inner, kernel
from alexnet_cli.net.kernels.lines import (
    add_scaled,
    neighbours,
    norm_line,
    norm_line_backward,
    pool_across,
    pool_down,
    relu_line,
    relu_line_backward,
    spread_line,
)
from alexnet_cli.net.kernels.numbers import narrow

NOWHERE = 255
"""In `which`: the ReLU after the pool gave 0, and no number in the window has a gradient."""


@inner
def flat(line):
    """(W, C) → (W·C,)."""
    return line.reshape(line.size)


@inner
def prepared(groups, maps, half):
    """`inside` and `scratch` for lines of so many maps: some positions at once, about 500 numbers, which all stay in
    the first cache."""
    positions = max(1, 512 // maps)
    inside = neighbours(groups, maps // groups, half, positions)
    return inside, np.zeros((4, inside.shape[1] + 2 * half), np.float32)


@kernel
def normalised(a, out, relu, groups, k, alpha, half, first, last):
    """[ReLU] → norm."""
    _, height, _, maps = a.shape
    inside, scratch = prepared(groups, maps, half)
    for n in range(first, last):
        for y in range(height):
            norm_line(flat(a[n, y]), flat(out[n, y]), relu, k, alpha, half, inside, scratch)


@kernel
def normalised_backward(a, g, out, relu, groups, k, alpha, half, first, last):
    """∂a from g, the gradient of what came out."""
    _, height, _, maps = a.shape
    inside, scratch = prepared(groups, maps, half)
    for n in range(first, last):
        for y in range(height):
            norm_line_backward(flat(a[n, y]), flat(g[n, y]), flat(out[n, y]), relu, k, alpha, half, inside, scratch)


@kernel
def pooled(a, out, which, size, stride, relu, norm, relu_after, groups, k, alpha, half, first, last):
    """out, and for each number its place in its window, row by row (uint8)."""
    _, height, width, maps = a.shape
    inside, scratch = prepared(groups, maps, half)
    line = np.empty((width, maps), np.float32)
    values = np.empty((size, *out.shape[2:]), np.float32)  # the last `size` lines, pooled along
    places = np.empty((size, *out.shape[2:]), np.int32)
    count = out.shape[2] * maps
    flat_values, flat_places = values.reshape((size, count)), places.reshape((size, count))
    best, place = np.empty(count, np.float32), np.empty(count, np.int32)
    zero = np.float32(0)
    for n in range(first, last):
        ready = 0
        for row in range(out.shape[1]):
            top = row * stride
            bottom = min(top + size, height)
            for y in range(max(ready, top), bottom):
                if norm:
                    norm_line(flat(a[n, y]), flat(line), relu, k, alpha, half, inside, scratch)
                else:
                    relu_line(flat(a[n, y]), flat(line), relu)
                pool_across(line, values[y % size], places[y % size], size, stride)
            ready = bottom
            pool_down(flat_values, flat_places, top, bottom - top, size, best, place)
            result, numbers = flat(out[n, row]), flat(which[n, row])
            for i in range(count):
                below = relu_after and best[i] <= zero
                result[i] = narrow(zero if below else best[i], result)
                numbers[i] = np.uint8(NOWHERE if below else place[i])


@kernel
def pooled_backward(a, g, which, out, size, stride, relu, norm, groups, k, alpha, half, first, last):
    """∂a from g, the gradient of what came out, and `which`."""
    _, height, width, maps = a.shape
    inside, scratch = prepared(groups, maps, half)
    line = np.empty((width, maps), np.float32)  # ∂ of one line after the norm
    for n in range(first, last):
        for y in range(height):
            line[:] = np.float32(0)
            for row in range(max(0, (y - size + stride) // stride), min(g.shape[1], y // stride + 1)):
                spread_line(g[n, row], which[n, row], line, y - row * stride, size, stride)
            if norm:
                norm_line_backward(flat(a[n, y]), flat(line), flat(out[n, y]), relu, k, alpha, half, inside, scratch)
            else:
                relu_line_backward(flat(a[n, y]), flat(line), flat(out[n, y]), relu)


@kernel
def averaged(a, out, size, stride, first, last):
    """The mean of each window, of the numbers that are there."""
    _, height, width, maps = a.shape
    sums = np.empty((width, maps), np.float32)
    along, one = np.empty(maps, np.float32), np.float32(1)
    for n in range(first, last):
        for row in range(out.shape[1]):
            top, bottom = row * stride, min(row * stride + size, height)
            sums[:] = np.float32(0)
            for y in range(top, bottom):
                add_scaled(flat(a[n, y]), one, flat(sums))
            for column in range(out.shape[2]):
                left, right = column * stride, min(column * stride + size, width)
                along[:] = np.float32(0)
                for x in range(left, right):
                    add_scaled(sums[x], one, along)
                share = np.float32(1 / ((bottom - top) * (right - left)))
                result = out[n, row, column]
                for c in range(maps):
                    result[c] = narrow(along[c] * share, result)


@kernel
def averaged_backward(g, out, size, stride, first, last):
    """∂a from g, the gradient of what came out: each number's share of its windows' gradients."""
    _, height, width, maps = out.shape
    shares = np.empty((g.shape[2], maps), np.float32)
    line = np.empty((width, maps), np.float32)
    for n in range(first, last):
        for y in range(height):
            shares[:], line[:] = np.float32(0), np.float32(0)
            for row in range(max(0, (y - size + stride) // stride), min(g.shape[1], y // stride + 1)):
                part = np.float32(1 / (min(row * stride + size, height) - row * stride))
                add_scaled(flat(g[n, row]), part, flat(shares))
            for column in range(g.shape[2]):
                left, right = column * stride, min(column * stride + size, width)
                share = np.float32(1 / (right - left))
                for x in range(left, right):
                    for c in range(maps):
                        line[x, c] += shares[column, c] * share
            relu_line(flat(line), flat(out[n, y]), False)


@kernel
def folded(lines, out, above, before, first, last):
    """Squares of pixels as one pixel: out[n, Y, X, dy] = what begins at X·B − before of line Y·S + dy − above, else 0.

    lines: (N, H, numbers); out: (N, H', W', S, B). above: lines of zeros; before: numbers of zeros.
    """
    _, height, count = lines.shape
    _, rows, columns, stride, block = out.shape
    for n in range(first, last):
        for y in range(rows * stride):
            row, dy, source = y // stride, y % stride, y - above
            there = 0 <= source < height
            for column in range(columns):
                start = column * block - before
                if there and start >= 0 and start + block <= count:
                    for i in range(block):
                        out[n, row, column, dy, i] = lines[n, source, start + i]
                    continue
                for i in range(block):
                    inside = there and 0 <= start + i < count
                    out[n, row, column, dy, i] = lines[n, source, start + i] if inside else 0
