"""Charts as SVG inside a page: lines over epochs, the reliability diagram, the confusion matrix."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.reports.html import text
from alexnet_cli.reports.judging import Calibration

COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e")
_WIDTH, _HEIGHT = 640, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 16, 44
_LEGEND = 20
"""Pixels above a chart of several lines."""
_CELL = 26


@dataclass(frozen=True)
class Line:
    """One line of a chart: points (x, y). Those that are None or not finite are left out."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float | None]

    def points(self) -> list[tuple[float, float]]:
        return [(x, y) for x, y in zip(self.xs, self.ys, strict=True) if y is not None and math.isfinite(y)]


@dataclass(frozen=True)
class _Frame:
    """From values to places in the SVG, with axes and ticks."""

    xs: tuple[float, float]
    ys: tuple[float, float]
    logarithmic: bool = False
    """Of y."""
    whole: bool = False
    """x counts something: its ticks are whole numbers."""

    def x(self, value: float) -> float:
        low, high = self.xs
        return _LEFT + (value - low) / ((high - low) or 1) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        low, high = self.ys
        if self.logarithmic:
            value, low, high = (math.log10(max(number, 1e-300)) for number in (value, low, high))
        return _HEIGHT - _BOTTOM - (value - low) / ((high - low) or 1) * (_HEIGHT - _TOP - _BOTTOM)

    def axes(self, x_name: str, y_name: str) -> str:
        parts = [
            f'<rect x="{_LEFT}" y="{_TOP}" width="{_WIDTH - _LEFT - _RIGHT}" height="{_HEIGHT - _TOP - _BOTTOM}" '
            'fill="none" stroke="#888"/>'
        ]
        for value in (mark for mark in ticks(*self.xs) if not self.whole or mark.is_integer()):
            parts.append(_text(self.x(value), _HEIGHT - _BOTTOM + 16, f"{value:g}", "middle"))
        marks = powers(*self.ys) if self.logarithmic else ticks(*self.ys)
        for value in marks:
            at = self.y(value)
            parts.append(f'<path d="M{_LEFT} {at:.1f}H{_WIDTH - _RIGHT}" stroke="#e4e4e4"/>')
            parts.append(_text(_LEFT - 6, at + 4, f"{value:g}", "end"))
        parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 8, x_name, "middle"))
        middle = (_TOP + _HEIGHT - _BOTTOM) / 2
        parts.append(f'<g transform="rotate(-90 14 {middle})">{_text(14, middle, y_name, "middle")}</g>')
        return "".join(parts)


def line_chart(lines: Sequence[Line], *, x_name: str, y_name: str, logarithmic: bool = False) -> str:
    """Lines over a common axis, with a dot at each point, a legend above; or a sentence if there is no point."""
    drawn = [(line, line.points()) for line in lines]
    points = [point for _, found in drawn for point in found]
    if not points:
        return "<p>No values were recorded.</p>"
    xs, ys = [x for x, _ in points], [y for _, y in points]
    low = min(ys) if logarithmic else min(0.0, *ys)
    high = max(ys)
    if low == high:
        low, high = (low / 2, high * 2) if logarithmic else (low - 0.5, high + 0.5)
    whole = all(float(x).is_integer() for x in xs)
    frame = _Frame((min(xs), max(max(xs), min(xs) + 1)), (low, high), logarithmic=logarithmic, whole=whole)
    parts = [frame.axes(x_name, y_name)]
    for number, (line, found) in enumerate(drawn):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in found)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        if len(found) <= 200:
            parts += [
                f'<circle cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="2.5" fill="{colour}">'
                f"<title>{text(f'{line.name}, {x:g}: {y:.4g}')}</title></circle>"
                for x, y in found
            ]
    if len(lines) < 2:
        return _svg(parts, _WIDTH, _HEIGHT, y_name)
    at = float(_LEFT)
    for line, colour in zip(lines, itertools.cycle(COLOURS), strict=False):
        parts.append(f'<rect x="{at:g}" y="-12" width="10" height="10" fill="{colour}"/>')
        parts.append(_text(at + 16, -3, line.name, "start"))
        at += 40 + 7 * len(line.name)
    return _svg(parts, _WIDTH, _HEIGHT, y_name, above=_LEGEND)


def reliability_diagram(found: Calibration) -> str:
    """Accuracy over confidence, a bar for each bin; the diagonal is a net whose confidence is as it should be."""
    frame = _Frame((0, 1), (0, 1))
    parts = [frame.axes("confidence: the largest probability", "accuracy")]
    bins = zip(found.edges, found.edges[1:], found.pictures, found.confidence, found.accuracy, strict=False)
    for low, high, pictures, confidence, accuracy in bins:
        if not pictures:
            continue
        words = f"{low:.2f} to {high:.2f}: {pictures:,} pictures, confidence {confidence:.3f}, accuracy {accuracy:.3f}"
        parts.append(
            f'<rect x="{frame.x(low):.1f}" y="{frame.y(accuracy):.1f}" width="{frame.x(high) - frame.x(low):.1f}" '
            f'height="{frame.y(0) - frame.y(accuracy):.1f}" fill="{COLOURS[0]}" fill-opacity="0.6" stroke="#fff">'
            f"<title>{text(words)}</title></rect>"
        )
    ends = f"M{frame.x(0)} {frame.y(0)}L{frame.x(1)} {frame.y(1)}"
    parts.append(f'<path d="{ends}" stroke="#666" stroke-dasharray="4 4"/>')
    return _svg(parts, _WIDTH, _HEIGHT, "reliability diagram")


def confusion_chart(counts: NDArray[np.int64], names: Sequence[str]) -> str:
    """The confusion matrix of some tens of classes: a row for each class, dark where many of its pictures are."""
    longest = 8 * min(24, max(map(len, names)))
    side = _CELL * len(names)
    parts = []
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    for row, name in enumerate(names):
        short = name if len(name) <= 24 else name[:23] + "…"
        at = _CELL * row + _CELL / 2
        parts.append(_text(longest, longest + at + 4, short, "end"))
        turned = f'<g transform="rotate(-90 {longest + 8 + at + 4} {longest - 4})">'
        parts.append(f"{turned}{_text(longest + 8 + at + 4, longest - 4, short, 'start')}</g>")
        for column, count in enumerate(counts[row]):
            if count == 0:
                continue
            share = float(shares[row, column])
            x, y = longest + 8 + _CELL * column, longest + _CELL * row
            colour = COLOURS[0] if row == column else COLOURS[1]
            words = f"{name} taken for {names[column]}: {count:,} ({100 * share:.1f}%)"
            parts.append(
                f'<rect x="{x}" y="{y}" width="{_CELL}" height="{_CELL}" fill="{colour}" '
                f'fill-opacity="{0.08 + 0.92 * share:.3f}"><title>{text(words)}</title></rect>'
            )
            parts.append(
                _text(x + _CELL / 2, y + _CELL / 2 + 4, f"{count}", "middle", "#fff" if share > 0.6 else "#222")
            )
    parts.append(f'<rect x="{longest + 8}" y="{longest}" width="{side}" height="{side}" fill="none" stroke="#888"/>')
    return _svg(parts, longest + side + 16, longest + side + 8, "confusion matrix")


def confusion_pixels(counts: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The confusion matrix of many classes, a pixel for each pair: uint8 (K, K, 3), dark where many pictures are."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shade = (255 * (1 - np.sqrt(shares))).astype(np.uint8)
    return np.repeat(shade[..., None], 3, axis=2)


def ticks(low: float, high: float, most: int = 8) -> list[float]:
    """Round numbers between two others: multiples of 1, 2 or 5 times a power of ten."""
    span = (high - low) or 1.0
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= most)
    first = math.ceil(low / step - 1e-9)
    return [float(round(number * step, 12)) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def powers(low: float, high: float) -> list[float]:
    """The powers of ten between two numbers; the numbers themselves if there is none."""
    found = [10.0**power for power in range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)]
    return found or [low, high]


def _text(x: float, y: float, words: str, anchor: str, colour: str = "#222") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="12" fill="{colour}">{text(words)}</text>'


def _svg(parts: Sequence[str], width: float, height: float, name: str, *, above: int = 0) -> str:
    return (
        f'<svg viewBox="0 {-above} {width:g} {height + above:g}" width="{width:g}" '
        f'height="{height + above:g}" role="img" font-family="sans-serif"><title>{text(name)}</title>'
        f"{''.join(parts)}</svg>"
    )
