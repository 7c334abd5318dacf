"""`--holdout 0.1`: some of the pictures become a second store, for validation.

    sides = Sides(config, talk)
    sides.train(), sides.held_out()          # Sources; the second is what --holdout-out gets

A picture is held out if the hash of its name, as a fraction of the largest possible, is less than --holdout. Its side
does not depend on the other pictures, so it stays when some are added. Exceptions keep each class on both sides: if a
class has no picture below the limit, the one with the least hash is held out; if it has no other, the one with the
greatest is not. Files with the same bytes go together, by the name of the first.
"""

from __future__ import annotations

import contextlib
import hashlib
from array import array
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from alexnet_cli.console import Talk
from alexnet_cli.errors import PictureError
from alexnet_cli.pictures import BadPictureError
from alexnet_stages.preprocess.config import PreprocessConfig
from alexnet_stages.preprocess.sources import Sources, find_sources, read_located

_HASH_BYTES = 8


class Sides:
    """A source's pictures, divided in two."""

    def __init__(self, config: PreprocessConfig, talk: Talk) -> None:
        assert config.holdout is not None and config.holdout_out is not None
        self.out: Path = config.holdout_out
        """Where the store of the held-out pictures is written."""
        self._config, self._talk, self._fraction = config, talk, config.holdout

    def train(self) -> Sources:
        """The pictures to train on, in their order."""
        return self._all.picked(self._places(held_out=False), notes=self._notes())

    def held_out(self) -> Sources:
        """The held-out pictures, in their order."""
        return self._all.picked(self._places(held_out=True))

    @cached_property
    def _all(self) -> Sources:
        return find_sources(self._config, self._talk)

    @cached_property
    def _held(self) -> bytearray:
        """1 for each picture that is held out."""
        first = first_of_same(self._all, self._talk)
        held = choose(self._all.names, self._all.labels, first, self._fraction)
        if not any(held):
            raise PictureError(
                f"{self._all.root}: no picture can be held out (--holdout): each of its classes has a single one"
            )
        return held

    def _places(self, *, held_out: bool) -> array[int]:
        return array("q", (at for at, held in enumerate(self._held) if held == held_out))

    def _notes(self) -> tuple[str, ...]:
        sources, held = self._all, self._held
        count, total = sum(held), len(held)
        there = Counter(sources.labels)
        chosen = Counter(label for label, out in zip(sources.labels, held, strict=True) if out)
        lacking = [label for label in sorted(there) if label not in chosen]
        lines = [f"held out for {self.out}: {count:,} of {total:,} pictures ({100 * count / total:.1f}%)"]
        if lacking:
            name = sources.classes.title(lacking[0])
            lines.append(
                f"NONE HELD OUT of {len(lacking):,} classes, such as {name}: each has one picture, or copies of one"
            )
        return tuple(lines)


def choose(names: Sequence[str], labels: Sequence[int], first: Sequence[int], fraction: float) -> bytearray:
    """For each picture 1 if it is held out, else 0. first: the index of the first picture with the same bytes."""
    threshold = int(fraction * 256**_HASH_BYTES)
    held = bytearray(len(names))
    # For each class: (least hash, its picture), (greatest hash, its picture), how many are held out, how many it has.
    least: dict[int, tuple[int, int]] = {}
    greatest: dict[int, tuple[int, int]] = {}
    out: Counter[int] = Counter()
    all_of: Counter[int] = Counter()
    for at, (name, label) in enumerate(zip(names, labels, strict=True)):
        if first[at] != at:
            continue
        place = (int.from_bytes(hashlib.sha256(name.encode()).digest()[:_HASH_BYTES]), at)
        least[label] = min(place, least.get(label, place))
        greatest[label] = max(place, greatest.get(label, place))
        held[at] = place[0] < threshold
        out[label] += held[at]
        all_of[label] += 1
    for label, count in all_of.items():
        if count >= 2 and out[label] == 0:
            held[least[label][1]] = 1
        elif count == out[label]:
            held[greatest[label][1]] = 0
    for at, leader in enumerate(first):
        held[at] = held[leader]
    # A class may have no picture to train on if all are copies of other classes' pictures.
    trained = {label for label, there in zip(labels, held, strict=True) if not there}
    back = {first[at] for at, label in enumerate(labels) if label not in trained}
    for at, leader in enumerate(first):
        if leader in back:
            held[at] = 0
    return held


def first_of_same(sources: Sources, talk: Talk) -> array[int]:
    """For each picture the index of the first one with the same bytes. Reads only those whose sizes occur twice."""
    first = array("q", range(len(sources.names)))
    sizes = array("q", (picture.size for picture in sources.pictures))
    often = {size for size, count in Counter(sizes).items() if count > 1}
    alike = [at for at, size in enumerate(sizes) if size in often]
    seen: dict[tuple[int, bytes], int] = {}
    with talk.progress("looking for copies", len(alike)) as advance:
        for at in alike:
            digest = sources.pictures.digest(at)
            with contextlib.suppress(BadPictureError):  # cropping it will report that
                data = b"" if digest else read_located(sources.pictures[at])
                digest = digest or hashlib.sha256(data, usedforsecurity=False).digest()[:16]
            if digest is not None:
                first[at] = seen.setdefault((sizes[at], digest), at)
            advance()
    return first
