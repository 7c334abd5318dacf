"""Figure 4 of the paper, right: pictures whose activations in the last hidden layer are nearest to a query's."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.console import Advance
from alexnet_cli.evaluation import Net
from alexnet_commands.plot.figure import Page, shortened
from alexnet_commands.plot.opened import activations

_SIDE, _GAP, _APART, _LINE = 1.15, 0.07, 0.28, 0.2
"""Inches: a picture, the space between two, that between query and neighbours, the line of text."""
_MARGIN = 0.2


@dataclass(frozen=True, order=True)
class Neighbour:
    """One picture, ordered by its distance from the query."""

    distance: float
    index: int


def nearest(
    net: Net,
    store: CropStore,
    queries: Tensor,
    steps: list[str],
    *,
    count: int,
    without: list[int | None],
    batch_size: int,
    advance: Advance,
) -> list[list[Neighbour]]:
    """For each query the `count` nearest pictures of a store, the nearest first; of equals the earlier picture.

    queries: (Q, numbers), activations. steps: what gives the activations. without: for each query the picture of the
    store that it is itself. The distance is Euclidean, in float64. Only the nearest are kept, not the activations: a
    store of a million pictures takes no more memory than a small one.
    """
    wanted = queries.double()
    kept: list[list[Neighbour]] = [[] for _ in wanted]
    for indices, numbers in activations(net, store, np.arange(len(store)), steps, batch_size):
        distances = torch.stack([(numbers.double() - query).square().sum(1).sqrt() for query in wanted])
        for place, row in enumerate(distances.cpu().tolist()):
            found = [Neighbour(*pair) for pair in zip(row, indices.tolist(), strict=True) if pair[1] != without[place]]
            kept[place] = heapq.nsmallest(count, kept[place] + found)
        advance(len(indices))
    return kept


def draw(
    queries: NDArray[np.uint8], query_titles: list[str], crops: list[NDArray[np.uint8]], titles: list[list[str]]
) -> Page:
    """queries: uint8 (Q, side, side, 3). crops: of each query its neighbours'; titles: the caption of each."""
    most = max((len(row) for row in crops), default=0)
    high = _SIDE + _LINE + _GAP
    page = Page(2 * _MARGIN + _SIDE + _APART + most * (_SIDE + _GAP), 2 * _MARGIN + 0.25 + len(queries) * high)
    page.text(_MARGIN + _SIDE / 2, _MARGIN, "query", ha="center", fontsize=10)
    first = _MARGIN + _SIDE + _APART
    page.text(first, _MARGIN, "nearest first", fontsize=10)
    for row, query in enumerate(queries):
        top = _MARGIN + 0.25 + row * high
        _one(page, _MARGIN, top, query, query_titles[row], weight="bold")
        for place, crop in enumerate(crops[row]):
            _one(page, first + place * (_SIDE + _GAP), top, crop, titles[row][place])
    return page


def _one(page: Page, left: float, top: float, crop: NDArray[np.uint8], title: str, weight: str = "normal") -> None:
    page.picture(left, top, _SIDE, _SIDE, crop, interpolation="antialiased")
    page.text(left + _SIDE / 2, top + _SIDE + 0.03, shortened(title, 20), ha="center", fontsize=7, weight=weight)
