"""The mean image, and the three principal directions of a training set's colours (paper, 4.1)."""

from __future__ import annotations

from typing import Any

import numpy as np

from alexnet_cli.artifacts.statistics import Statistics
from alexnet_cli.tiles import Array
from alexnet_commands.plot.figure import Page

_SIDE, _MARGIN, _WIDE, _HIGH = 2.9, 0.25, 3.6, 0.5
REACH = 2
"""Standard deviations that are shown on each side of the mean."""
_STEPS = 256


def bands(statistics: Statistics, steps: int = _STEPS) -> Array:
    """(3, steps, 3), 0–255: the mean colour plus t standard deviations along each direction, t from −REACH to REACH."""
    along = np.linspace(-REACH, REACH, steps)[None, :, None]
    directions = (statistics.eigenvectors * statistics.standard_deviations).T[:, None, :]
    return statistics.channel_mean + along * directions


def draw(statistics: Statistics) -> Page:
    """The mean image at the left, a strip of colours for each direction at the right."""
    page = Page(3 * _MARGIN + _SIDE + _WIDE, 2 * _MARGIN + 0.25 + _SIDE)
    page.text(_MARGIN, _MARGIN, f"mean of {statistics.pictures:,} pictures", fontsize=10)
    mean = statistics.mean_image.clip(0, 255).round().astype(np.uint8)
    page.picture(_MARGIN, _MARGIN + 0.25, _SIDE, _SIDE, mean, interpolation="antialiased")
    left = 2 * _MARGIN + _SIDE
    page.text(left, _MARGIN, "principal directions of the colours", fontsize=10)
    shares = statistics.eigenvalues / max(float(statistics.eigenvalues.sum()), 1e-30)
    for number, band in enumerate(bands(statistics)):
        top = _MARGIN + 0.25 + number * 0.92
        strip = band.clip(0, 255).round().astype(np.uint8)[None]
        page.picture(left, top, _WIDE, _HIGH, strip, interpolation="bilinear")
        red, green, blue = statistics.eigenvectors[:, number]
        page.text(
            left,
            top + _HIGH + 0.04,
            f"±{REACH} × {statistics.standard_deviations[number]:.1f} along "
            f"({red:+.2f}, {green:+.2f}, {blue:+.2f}), {100 * shares[number]:.1f}% of the variance",
            fontsize=8,
        )
    page.text(
        left, _MARGIN + 0.25 + 3 * 0.92, "each strip: from the mean colour to both sides", fontsize=8, color="#777777"
    )
    return page


def numbers(statistics: Statistics) -> dict[str, Any]:
    """What the figure shows, for `--json`."""
    return {
        "pictures": statistics.pictures,
        "channel_mean": statistics.channel_mean.tolist(),
        "directions": statistics.eigenvectors.T.tolist(),
        "standard_deviations": statistics.standard_deviations.tolist(),
    }
