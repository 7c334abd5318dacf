"""One line of maps in compiled loops: local response normalisation forward and backward, and max pooling.

    b = a · s,   d = k + α·Σ a²,   s = d^−¾        Σ over the window of neighbouring maps
    ∂a = g·s − 1.5·α · a · Σ (g·a·s/d)

Legend: a line is W positions side by side, at each the C maps of G columns: W·G·C numbers in a row, of float32, or of
bfloat16 as uint16. Scratch and sums are float32. If `relu` is set, max(0, a) stands for a.

The innermost loops are long, and their indices plain loop variables: that makes them vector instructions.
"""

# mypy: allow-untyped-defs, allow-untyped-calls

from __future__ import annotations

import numpy as np

from alexnet_cli.compiled import inner
from alexnet_cli.net.kernels.numbers import narrow, wide


@inner
def rectified(value, relu):
    """max(0, value) if relu is set; NaN stays NaN."""
    zero = np.float32(0)
    return zero if relu and value < zero else value


@inner
def neighbours(groups, maps, half, positions):
    """What `window_sum` multiplies with: (2·half + 1, positions·G·C), 1 if the neighbour at that distance, −half …
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
def near(p0, p1, p2, p3, p4, i0, i1, i3, i4, i):
    """`window_sum` of one number for half = 2, from five slices of `padded` and four of `inside`."""
    return p2[i] + p0[i] * i0[i] + p1[i] * i1[i] + p3[i] * i3[i] + p4[i] * i4[i]


@inner
def squares(a, relu, out):
    """out = a²."""
    for i in range(len(a)):
        value = rectified(wide(a[i]), relu)
        out[i] = value * value


@inner
def norm_line(a, out, relu, k, alpha, half, inside, scratch):
    """out = a·s of a line. inside: `neighbours` of a few positions, which are done at once; scratch: (3, more than
    inside's second dimension + 2·half), zero."""
    step = inside.shape[1]
    i0, i1, i3, i4 = inside[0], inside[1], inside[-2], inside[-1]
    for start in range(0, len(a), step):
        count = min(step, len(a) - start)
        values, result = a[start : start + count], out[start : start + count]
        padded = scratch[0]
        squares(values, relu, padded[half : half + count])
        if half == 2:  # sums and what follows from them in one loop: nothing waits for memory
            p0, p1, p2 = padded[:count], padded[1 : count + 1], padded[2 : count + 2]
            p3, p4 = padded[3 : count + 3], padded[4 : count + 4]
            for i in range(count):
                r = fourth_root_inverse(k + alpha * near(p0, p1, p2, p3, p4, i0, i1, i3, i4, i))
                result[i] = narrow(rectified(wide(values[i]), relu) * (r * r * r), result)
            continue
        sums = scratch[1, :count]
        window_sum(padded, inside, half, sums)
        for i in range(count):
            r = fourth_root_inverse(k + alpha * sums[i])
            result[i] = narrow(rectified(wide(values[i]), relu) * (r * r * r), result)


@inner
def norm_line_backward(a, g, out, relu, k, alpha, half, inside, scratch):
    """out = ∂a of a line, given g = ∂b. scratch as above, (4, …)."""
    step = inside.shape[1]
    i0, i1, i3, i4 = inside[0], inside[1], inside[-2], inside[-1]
    zero, factor = np.float32(0), np.float32(1.5) * alpha
    for start in range(0, len(a), step):
        count = min(step, len(a) - start)
        values, result, gradients = a[start : start + count], out[start : start + count], g[start : start + count]
        padded, weighted = scratch[0], scratch[1]
        middle, first, sums = weighted[half : half + count], scratch[2, :count], scratch[3, :count]
        squares(values, relu, padded[half : half + count])
        if half == 2:
            p0, p1, p2 = padded[:count], padded[1 : count + 1], padded[2 : count + 2]
            p3, p4 = padded[3 : count + 3], padded[4 : count + 4]
            for i in range(count):
                r = fourth_root_inverse(k + alpha * near(p0, p1, p2, p3, p4, i0, i1, i3, i4, i))
                square = r * r
                scaled = wide(gradients[i]) * (square * r)
                first[i] = scaled
                middle[i] = scaled * rectified(wide(values[i]), relu) * (square * square)
            p0, p1, p2 = weighted[:count], weighted[1 : count + 1], weighted[2 : count + 2]
            p3, p4 = weighted[3 : count + 3], weighted[4 : count + 4]
            for i in range(count):
                value = wide(values[i])
                total = near(p0, p1, p2, p3, p4, i0, i1, i3, i4, i)
                gradient = first[i] - factor * rectified(value, relu) * total
                result[i] = narrow(zero if relu and value <= zero else gradient, result)
            continue
        window_sum(padded, inside, half, sums)
        for i in range(count):
            r = fourth_root_inverse(k + alpha * sums[i])
            square = r * r
            scaled = wide(gradients[i]) * (square * r)
            first[i] = scaled
            middle[i] = scaled * rectified(wide(values[i]), relu) * (square * square)
        window_sum(weighted, inside, half, sums)
        for i in range(count):
            value = wide(values[i])
            gradient = first[i] - factor * rectified(value, relu) * sums[i]
            result[i] = narrow(zero if relu and value <= zero else gradient, result)


@inner
def relu_line(a, out, relu):
    """out = max(0, a), or a."""
    for i in range(len(a)):
        out[i] = narrow(rectified(wide(a[i]), relu), out)


@inner
def add_scaled(a, factor, out):
    """out += a · factor, in float32."""
    for i in range(len(a)):
        out[i] += wide(a[i]) * factor


@inner
def relu_line_backward(a, g, out, relu):
    """out = g where a is above 0, or everywhere."""
    zero = np.float32(0)
    for i in range(len(a)):
        out[i] = narrow(zero if relu and wide(a[i]) <= zero else wide(g[i]), out)


@inner
def larger(value, best):
    """Whether a number takes the place of the largest so far: NaN does, and then stays."""
    return (value > best) | (value != value)


@inner
def pool_across(line, best, place, size, stride):
    """Of the windows along one line, (W, C): the largest numbers and their places in it, 0 … size − 1, (W', C) both.

    Three are compared at once; if a window has fewer, its last number stands for those that are missing.
    """
    width, maps = line.shape
    for column in range(len(best)):
        left = column * stride
        last = min(size, width - left) - 1
        one, two = np.int32(min(1, last)), np.int32(min(2, last))
        v0, v1, v2 = line[left], line[left + one], line[left + two]
        found, where = best[column], place[column]
        for c in range(maps):
            top, number = v0[c], np.int32(0)
            take = larger(v1[c], top)
            top, number = v1[c] if take else top, one if take else number
            take = larger(v2[c], top)
            found[c], where[c] = v2[c] if take else top, two if take else number
        for x in range(3, last + 1):
            further, number = line[left + x], np.int32(x)
            for c in range(maps):
                value, top, was = further[c], found[c], where[c]
                take = larger(value, top)
                found[c], where[c] = value if take else top, number if take else was


@inner
def pool_down(values, places, first, rows, size, best, place):
    """Of `rows` lines that `pool_across` gave: the largest numbers, and their places in the whole window, row by row.

    values, places: (size, W'·C), a ring of lines in which line `first` is the window's uppermost.
    """
    last = rows - 1
    one, two = min(1, last), min(2, last)
    v0, v1, v2 = values[first % size], values[(first + one) % size], values[(first + two) % size]
    p0, p1, p2 = places[first % size], places[(first + one) % size], places[(first + two) % size]
    below1, below2 = np.int32(one * size), np.int32(two * size)
    for i in range(len(best)):
        top, number = v0[i], p0[i]
        take = larger(v1[i], top)
        top, number = v1[i] if take else top, p1[i] + below1 if take else number
        take = larger(v2[i], top)
        best[i], place[i] = v2[i] if take else top, p2[i] + below2 if take else number
    for row in range(3, rows):
        further, numbers, below = values[(first + row) % size], places[(first + row) % size], np.int32(row * size)
        for i in range(len(best)):
            value, top, was = further[i], best[i], place[i]
            take = larger(value, top)
            best[i], place[i] = value if take else top, numbers[i] + below if take else was


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
