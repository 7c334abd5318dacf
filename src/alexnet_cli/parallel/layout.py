"""Who holds what: how a net and a mini-batch fall to the ranks. Pure arithmetic, no process group.

| mode    | convolutions            | fully-connected layers  | mini-batch                                        |
|---------|-------------------------|-------------------------|---------------------------------------------------|
| one     | all                     | all                     | all                                               |
| columns | one column (paper, 3.2) | that column's neurons   | all; a share if there are more ranks              |
| data    | all                     | all                     | a share                                           |
| hybrid  | all (Krizhevsky 2014)   | a part of the neurons   | convolutions a share, fully-connected layers all  |

Ranks form a mesh of data × column; rank = data index · column size + column index.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.errors import UsageError
from alexnet_cli.options import PARALLEL
from alexnet_cli.recipes.net import Net, layers


@dataclass(frozen=True)
class Layout:
    """How work is divided among `world` ranks."""

    mode: str = "one"
    """one, columns, data or hybrid."""
    world: int = 1
    columns: int = 1
    """Columns of the net."""

    @property
    def column_size(self) -> int:
        """Ranks that hold one copy of the net together by columns."""
        return self.columns if self.mode == "columns" else 1

    @property
    def data_size(self) -> int:
        """Shares into which a mini-batch falls for the convolutions."""
        return self.world // self.column_size

    def data_index(self, rank: int) -> int:
        """Which share of a mini-batch a rank's convolutions see."""
        return rank // self.column_size

    def column_index(self, rank: int) -> int:
        """Which column of its copy of the net a rank holds; 0 if it holds all."""
        return rank % self.column_size

    def held(self, rank: int) -> tuple[int, ...]:
        """The columns whose convolutions a rank holds."""
        if self.mode == "columns":
            return (self.column_index(rank),)
        return tuple(range(self.columns))

    def part(self, rank: int) -> tuple[int, int]:
        """Part and number of parts of the fully-connected layers' neurons."""
        if self.mode == "hybrid":
            return rank, self.world
        return self.column_index(rank), self.column_size


@dataclass(frozen=True)
class Shares:
    """Which of a mini-batch's pictures fall to one rank."""

    layout: Layout
    rank: int

    def seen(self, pictures: int) -> slice:
        """The rows of a training mini-batch that this rank's convolutions see."""
        return share_of(pictures, self.layout.data_index(self.rank), self.layout.data_size)

    def results(self, pictures: int) -> slice:
        """The rows of a training mini-batch whose logits the net gives here."""
        return slice(0, pictures) if self.layout.mode == "hybrid" else self.seen(pictures)

    def loaded(self, pictures: int) -> slice:
        """Of the pictures that its column group sees, the rows that this rank reads."""
        return share_of(pictures, self.layout.column_index(self.rank), self.layout.column_size)

    def fed(self, pictures: int) -> slice:
        """The rows of an evaluation's mini-batch that this rank feeds to the net."""
        return self.seen(pictures) if self.layout.mode == "hybrid" else slice(0, pictures)

    @property
    def counts_loss(self) -> bool:
        """Whether this rank's loss is added up: each picture's once."""
        return self.rank == 0 if self.layout.mode == "hybrid" else self.layout.column_index(self.rank) == 0

    def rounds(self, batches: Sequence[NDArray[np.int64]]) -> list[tuple[NDArray[np.int64], int]]:
        """Which mini-batches of an evaluation this rank computes, one for each round.

        With each mini-batch comes the number of pictures that all ranks compute in its round. Every rank has the same
        number of rounds, since all take part in each; in the last one its mini-batch may be empty.
        """
        if self.layout.mode == "hybrid":  # all ranks work on each
            return [(batch, len(batch)) for batch in batches]
        size, index = self.layout.data_size, self.layout.data_index(self.rank)
        found = []
        for start in range(0, len(batches), size):
            together = batches[start : start + size]
            own = together[index] if index < len(together) else np.empty(0, np.int64)
            found.append((own, sum(len(batch) for batch in together)))
        return found


def share_of(count: int, index: int, size: int) -> slice:
    """Part `index` of `size` nearly equal consecutive parts of `count` things."""
    return slice(index * count // size, (index + 1) * count // size)


def lengths_of_shares(count: int, size: int) -> list[int]:
    """How many things each of the parts has."""
    return [share.stop - share.start for share in (share_of(count, index, size) for index in range(size))]


def choose_layout(parallel: str, world: int, net: Net | None) -> tuple[Layout, str]:
    """The layout that `--parallel` asks for, and a sentence that says what it is and why.

    net: None if each rank holds the whole net. UsageError if net and number of ranks don't allow it.
    """
    if world == 1:
        return Layout("one", 1, net.columns if net else 1), "one process holds the whole net"
    if net is None:
        layout = Layout("data", world)
        return layout, _describe(layout)
    if parallel not in PARALLEL:
        raise UsageError(f"--parallel {parallel}: unknown: use {', '.join(PARALLEL)}")
    why = "as asked"
    mode = parallel
    if parallel == "auto":
        by_column = net.columns > 1 and world % net.columns == 0
        mode = "columns" if by_column else "data"
        if by_column:
            why = "one column each, the paper's way" if world == net.columns else "the paper's way, once for each share"
        else:
            why = f"{world} ranks can't hold {net.columns} column{'s' if net.columns > 1 else ''} each the same number"
    if mode == "columns":
        if net.columns == 1:
            raise UsageError("--parallel columns: this net has one column: use --parallel data or hybrid")
        if world % net.columns:
            raise UsageError(
                f"--parallel columns: {world} ranks for {net.columns} columns: use a multiple, or --parallel data"
            )
    if mode == "hybrid" and layers(net)[0].kind == "linear":
        raise UsageError("--parallel hybrid: this net has no convolution: use --parallel data")
    parts = {"hybrid": world, "columns": net.columns}.get(mode, 1)
    for layer in layers(net):
        if layer.kind == "linear" and layer.outputs < parts:
            what = f"{layer.name} has {layer.outputs} neurons for {parts} ranks"
            raise UsageError(f"--parallel {mode}: {what}: use --parallel data")
    layout = Layout(mode, world, net.columns)
    return layout, f"{_describe(layout)} ({why})"


def _describe(layout: Layout) -> str:
    if layout.mode == "columns" and layout.data_size == 1:
        return f"{layout.world} ranks, one column each, the same mini-batch"
    if layout.mode == "columns":
        return f"{layout.world} ranks: {layout.data_size} shares of the mini-batch × {layout.columns} columns"
    if layout.mode == "data":
        return f"{layout.world} ranks, each the whole net and a share of the mini-batch"
    return (
        f"{layout.world} ranks: convolutions on a share of the mini-batch, fully-connected layers a part of the "
        "neurons on all of it"
    )
