"""Many picture names in little memory: their UTF-8 bytes one after the other, not an object for each.

names = NameList()
names.append("n01440764/n01440764_18.JPEG")
names[0], names[10:20]          # a str; a NameList
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import overload


class NameList(Sequence[str]):
    """A list of strings that can grow; 8 bytes and its UTF-8 for each, a third of what a list of str takes."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._bytes = bytearray()
        self._ends = array("q")
        self.places: Sequence[int] = range(0)
        """The numbers, in order of adding, of the names in this list."""
        for name in names:
            self.append(name)

    def append(self, name: str) -> None:
        """Add a name at the end. Parts that were taken before do not grow."""
        assert self.places == range(len(self._ends)), "a part of a list can't grow"
        self._bytes += name.encode()
        self._ends.append(len(self._bytes))
        self.places = range(len(self._ends))

    def picked(self, indices: Iterable[int]) -> NameList:
        """The names at some positions. Shares the memory."""
        return self._part(array("q", (self.places[index] for index in indices)))

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> NameList: ...
    def __getitem__(self, index: int | slice) -> str | NameList:
        return self._part(self.places[index]) if isinstance(index, slice) else self._at(self.places[index])

    def __iter__(self) -> Iterator[str]:
        return map(self._at, self.places)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    def _part(self, places: Sequence[int]) -> NameList:
        part = NameList()
        part._bytes, part._ends, part.places = self._bytes, self._ends, places
        return part

    def _at(self, number: int) -> str:
        start = self._ends[number - 1] if number else 0
        return self._bytes[start : self._ends[number]].decode()
