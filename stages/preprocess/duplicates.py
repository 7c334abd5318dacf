"""Exact duplicates: pictures whose files have the same bytes, found by the digests in the store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.artifacts.crops.store import UNLABELLED
from alexnet_cli.class_list import ClassList

SHOWN = 1000
"""Groups that a report lists at most; it counts all."""
SHOWN_NAMES = 20
"""Names that a report lists at most of each group."""

Digests = NDArray[np.uint8]
"""(pictures, 16)."""
Labels = NDArray[np.int64]


def duplicates_within(digests: Digests, names: Sequence[str], labels: Labels, classes: ClassList) -> dict[str, Any]:
    """Groups of equal files in one store, those with conflicting labels first."""
    groups = list(_groups(digests))
    conflicting = {number for number, group in enumerate(groups) if len(set(labels[group].tolist())) > 1}
    order = sorted(range(len(groups)), key=lambda number: (number not in conflicting, int(groups[number][0])))
    return {
        "groups": len(groups),
        "superfluous": sum(len(group) - 1 for group in groups),
        "conflicting": len(conflicting),
        "listed": [
            {
                "names": [names[index] for index in groups[number][:SHOWN_NAMES].tolist()],
                "pictures": len(groups[number]),
                "classes": _class_names(labels[groups[number]], classes),
            }
            for number in order[:SHOWN]
        ],
    }


def duplicates_between(
    mine: tuple[Digests, Sequence[str], Labels, ClassList], others: tuple[Digests, Sequence[str], Labels, ClassList]
) -> dict[str, Any]:
    """Pictures of one store whose file is also in another, those with conflicting labels first.

    Classes are compared by name: the two stores may have different class lists.
    """
    digests, names, labels, classes = mine
    other_digests, other_names, other_labels, other_classes = others
    count = len(digests)
    found = []
    for group in _groups(np.concatenate([digests, other_digests])):
        here, there = group[group < count], group[group >= count] - count
        if len(here) and len(there):
            there_classes = _class_names(other_labels[there], other_classes)
            there_name = other_names[int(there[0])]
            for index in here.tolist():
                here_classes = _class_names(labels[[index]], classes)
                conflict = bool(here_classes and there_classes) and here_classes != there_classes
                found.append((not conflict, index, there_name, here_classes, there_classes))
    found.sort()
    return {
        "pictures": len(found),
        "conflicting": sum(not agrees for agrees, *_ in found),
        "listed": [
            {"name": names[index], "other": other, "classes": ours, "other_classes": theirs}
            for _, index, other, ours, theirs in found[:SHOWN]
        ],
    }


def _groups(digests: Digests) -> Iterator[NDArray[np.int64]]:
    """The indices, ascending, of each set of two or more equal digests."""
    if len(digests) < 2:
        return
    halves = np.ascontiguousarray(digests).view("<u8")
    order = np.lexsort((halves[:, 1], halves[:, 0]))
    halves = halves[order]
    starts = np.flatnonzero(np.r_[True, (halves[1:] != halves[:-1]).any(axis=1)])
    ends = np.r_[starts[1:], len(order)]
    for number in np.flatnonzero(ends - starts > 1).tolist():
        yield order[starts[number] : ends[number]]


def _class_names(labels: Labels, classes: ClassList) -> list[str]:
    return [classes.names[label] for label in np.unique(labels).tolist() if label != UNLABELLED]
