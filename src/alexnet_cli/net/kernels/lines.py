"""One line of maps in compiled loops: local response normalisation forward and backward, and max pooling.

    b = a · s,   d = k + α·Σ a²,   s = d^−¾        Σ over the window of neighbouring maps
    ∂a = g·s − 1.5·α · a · Σ (g·a·s/d)

Legend: a line is W positions side by side, at each the C maps of G columns: W·G·C numbers in a row, of float32, or of
bfloat16 as uint16. Scratch and sums are float32. Where `relu` is set, max(0, a) stands for a.

The innermost loops are long, and index by plain loop variables: so they become vector instructions.
"""

# mypy: allow-untyped-defs, allow-untyped-calls

from __future__ import annotations

import numpy as np

from alexnet_cli.compiled import inner
from alexnet_cli.net.kernels.numbers import narrow, wide


@inner
def rectified(value, relu):
    """max(0, value) where relu is set; NaN stays NaN."""
    zero = np.float32(0)
    return zero if relu and value < zero else value


@inner
def neighbours(groups, maps, half, positions):
    """What `window_sum` multiplies with: (2·half + 1, positions·G·C), 1 where the neighbour at that distance, −half …
    half, is in the same column, else 0."""
    inside = np.zeros((2 * half + 1, positions * groups * maps), np.float32)
    for shift in range(2 * half + 1):
        for i in range(inside.shape[1]):
            neighbour = i % maps + shift - half
            if 0 <= neighbour < maps:
                inside[shift, i] = 1
    return inside


@inner
def window_sum(padded, inside, half, out):
    """out[i] = Σ of the window around padded[half + i], as far as it lies in the same column."""
    count = len(out)
    if half == 2:
        p0, p1, p2 = padded[:count], padded[1 : count + 1], padded[2 : count + 2]
        p3, p4 = padded[3 : count + 3], padded[4 : count + 4]
        i0, i1, i3, i4 = inside[0], inside[1], inside[3], inside[4]
        for i in range(count):
            out[i] = p2[i] + p0[i] * i0[i] + p1[i] * i1[i] + p3[i] * i3[i] + p4[i] * i4[i]
        return
    for i in range(count):
        out[i] = padded[i] * inside[0, i]
    for shift in range(1, 2 * half + 1):
        later = padded[shift : shift + count]
        for i in range(count):
            out[i] += later[i] * inside[shift, i]


@inner
def fourth_root_inverse(d):
    """d^−¼ for d > 0: a first guess from the exponent's bits, 4 % off, and three of Newton's steps, to a rounding."""
    guess = np.int32(np.int32(0x4F58CC00) - np.int32(np.float32(d).view(np.int32) >> 2))
    quarter, r = np.float32(0.25) * d, guess.view(np.float32)
    r *= np.float32(1.25) - quarter * ((r * r) * (r * r))
    r *= np.float32(1.25) - quarter * ((r * r) * (r * r))
    r *= np.float32(1.25) - quarter * ((r * r) * (r * r))
    return r


@inner
def norm_line(a, out, relu, k, alpha, half, inside, scratch):
    """out = a·s of a line. inside: `neighbours` of a few positions, which are done at once; scratch: (3, more than
    inside's second dimension + 2·half), zero."""
    step = inside.shape[1]
    for start in range(0, len(a), step):
        count = min(step, len(a) - start)
        values, result = a[start : start + count], out[start : start + count]
        middle, sums = scratch[0, half : half + count], scratch[1, :count]
        for i in range(count):
            value = rectified(wide(values[i]), relu)
            middle[i] = value * value
        window_sum(scratch[0], inside, half, sums)
        for i in range(count):
            r = fourth_root_inverse(k + alpha * sums[i])
            result[i] = narrow(rectified(wide(values[i]), relu) * (r * r * r), result)


@inner
def norm_line_backward(a, g, out, relu, k, alpha, half, inside, scratch):
    """out = ∂a of a line, given g = ∂b."""
    step = inside.shape[1]
    zero, factor = np.float32(0), np.float32(1.5) * alpha
    for start in range(0, len(a), step):
        count = min(step, len(a) - start)
        values, result, gradients = a[start : start + count], out[start : start + count], g[start : start + count]
        middle, sums, first = scratch[0, half : half + count], scratch[1, :count], scratch[2, :count]
        for i in range(count):
            value = rectified(wide(values[i]), relu)
            middle[i] = value * value
        window_sum(scratch[0], inside, half, sums)
        for i in range(count):
            r = fourth_root_inverse(k + alpha * sums[i])
            square = r * r
            scaled = wide(gradients[i]) * (square * r)
            first[i] = scaled
            middle[i] = scaled * rectified(wide(values[i]), relu) * (square * square)
        window_sum(scratch[0], inside, half, sums)
        for i in range(count):
            value = wide(values[i])
            gradient = first[i] - factor * rectified(value, relu) * sums[i]
            result[i] = narrow(zero if relu and value <= zero else gradient, result)


@inner
def relu_line(a, out, relu):
    """out = max(0, a), or a, in float32."""
    for i in range(len(a)):
        out[i] = rectified(wide(a[i]), relu)


@inner
def relu_line_backward(a, g, out, relu):
    """out = g where a is above 0, or everywhere."""
    zero = np.float32(0)
    for i in range(len(a)):
        out[i] = narrow(zero if relu and wide(a[i]) <= zero else wide(g[i]), out)


@inner
def pool_line(line, best, place, row, size, stride):
    """Row `row` of the windows, into the largest numbers so far and their places in the window, (W', C) both."""
    width, maps = line.shape
    for column in range(len(best)):
        left = column * stride
        for x in range(left, min(left + size, width)):
            number = np.int32(row * size + x - left)
            if number == 0:
                for c in range(maps):
                    best[column, c] = line[x, c]
                    place[column, c] = number
            else:
                for c in range(maps):
                    value, so_far, was = line[x, c], best[column, c], place[column, c]
                    take = (value > so_far) | (value != value)
                    best[column, c] = value if take else so_far
                    place[column, c] = number if take else was


@inner
def spread_line(g, which, line, row, size, stride):
    """Add the gradient of pooled numbers, (W', C), to the numbers that they came from, where these are in this row."""
    width, maps = line.shape
    zero = np.float32(0)
    for column in range(len(g)):
        left = column * stride
        for x in range(left, min(left + size, width)):
            number = np.uint8(row * size + x - left)
            for c in range(maps):
                line[x, c] += wide(g[column, c]) if which[column, c] == number else zero
