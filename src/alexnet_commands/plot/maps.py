"""Every convolution's maps of one picture, after their ReLU or tanh, column a above column b."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from alexnet_cli.evaluation import Net
from alexnet_cli.tiles import Array, tile
from alexnet_commands.plot.figure import Page
from alexnet_commands.plot.opened import centre, steps_to

_WIDE, _HEAD, _GAP, _MARGIN, _PICTURE = 5.2, 0.3, 0.25, 0.2, 2.2
"""Inches: a block of maps, its title, the space between blocks, the page's edge, the picture."""


@dataclass(frozen=True, eq=False)
class Maps:
    """What one convolution makes of a picture."""

    layer: str
    values: NDArray[np.float32]
    """(maps, side, side), column a's first."""

    @property
    def silent(self) -> int:
        """How many maps are the same everywhere: nothing of what their kernels look for is in the picture."""
        return int((np.ptp(self.values, axis=(1, 2)) == 0).sum())


def maps_of(net: Net, crop: NDArray[np.uint8]) -> list[Maps]:
    """The maps of the centre view. crop: uint8 (side, side, 3)."""
    network, found, done = net.network, [], 0
    names = [spec.name for spec in network.net.layers if spec.kind == "convolution"]
    with torch.inference_mode():
        numbers = centre(net, torch.from_numpy(crop)[None].to(net.device))
        for name in names:
            steps = steps_to(network, name)[1]
            numbers = network.run(numbers, None, steps[done:])
            done = len(steps)
            found.append(Maps(name, numbers[0].float().cpu().numpy()))
    return found


def colours(values: NDArray[np.float32]) -> Array:
    """Maps as colours, (maps, side, side, 3): from black (0) to white (the layer's largest); if some are negative, from
    blue (−largest) over black (0) to orange (+largest). The square root is shown, since most numbers are small."""
    largest = max(float(np.abs(values).max(initial=0)), 1e-30)
    share = np.sqrt(np.abs(values).astype(np.float64) / largest)
    if values.min(initial=0) >= 0:
        grey: Array = np.repeat(share[..., None], 3, axis=3)
        return grey
    warm, cold = np.array([1.0, 0.72, 0.35]), np.array([0.35, 0.72, 1.0])
    both: Array = np.where((values > 0)[..., None], share[..., None] * warm, share[..., None] * cold)
    return both


def draw(crop: NDArray[np.uint8], layers: list[Maps], columns: int) -> Page:
    """The picture, and the layers' maps below it and to its right, in their order down two columns of blocks."""
    blocks = [
        tile(colours(maps.values), columns=columns, wide=3.2, gap=max(1, maps.values.shape[1] // 12)) for maps in layers
    ]
    heights = [_HEAD + _WIDE * block.shape[0] / block.shape[1] + _GAP for block in blocks]
    places, page_height = _placed(heights)
    page = Page(2 * _MARGIN + 2 * _WIDE + _GAP, 2 * _MARGIN + page_height)
    page.text(_MARGIN, _MARGIN, "picture", fontsize=10)
    page.picture(_MARGIN, _MARGIN + _HEAD, _PICTURE, _PICTURE, crop, interpolation="antialiased")
    for maps, block, (side, top) in zip(layers, blocks, places, strict=True):
        left = _MARGIN + side * (_WIDE + _GAP)
        count, size = maps.values.shape[:2]
        silent = f", {maps.silent} silent" if maps.silent else ""
        page.text(left, _MARGIN + top, f"{maps.layer}: {count} maps of {size}×{size}{silent}", fontsize=10)
        height = _WIDE * block.shape[0] / block.shape[1]
        page.picture(left, _MARGIN + top + _HEAD, _WIDE, height, block, interpolation="antialiased")
    return page


def _placed(heights: list[float]) -> tuple[list[tuple[int, float]], float]:
    """Where each block lies: side (0 left, 1 right) and inches from the top; and the height of all. They keep their
    order, the left side first; the two sides are about equally high."""
    start = _HEAD + _PICTURE + _GAP

    def both(first: int) -> tuple[float, float]:
        return start + sum(heights[:first]), sum(heights[first:])

    left = min(range(len(heights) + 1), key=lambda first: max(both(first)))
    places = []
    for number in range(len(heights)):
        side = int(number >= left)
        top = start + sum(heights[:number]) if not side else sum(heights[left:number])
        places.append((side, top))
    return places, max(both(left))
