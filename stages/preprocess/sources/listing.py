"""The pictures of a source: names, and where the bytes lie, in little memory."""

from __future__ import annotations

import copy
import os
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import overload

from alexnet_cli.artifacts.common.manifest import digest_of
from alexnet_cli.class_list import ClassList
from alexnet_cli.errors import PictureError
from alexnet_cli.sources.located import WHOLE_FILE, Located
from alexnet_cli.sources.tars import Member
from alexnet_stages.preprocess.names import NameList


class Listing(Sequence[Located]):
    """Pictures in the order in which they are stored. Grows at the end; a part of it shares its memory.

    Takes 40 bytes and the name for each, and 8 more if the order is not that in which they were added.
    """

    def __init__(self) -> None:
        self.names = NameList()
        self.files: list[str] = []
        """The archives, and the folders that names start from."""
        # The rest is by the names' places.
        self._file, self._offsets, self._sizes, self._changed = (array("q") for _ in range(4))
        self._packed: dict[int, int] = {}
        self._checks: dict[int, int] = {}
        self._digests: dict[int, bytes] = {}

    def file(self, path: str) -> int:
        """Note an archive, or a folder that names start from; gives its number for `add`."""
        self.files.append(path)
        return len(self.files) - 1

    def add(self, name: str, *, file: int, size: int, offset: int = WHOLE_FILE, changed: int = 0) -> None:
        """Add a picture. file: the archive it is in, or the folder that its name starts from.

        changed: nanoseconds of the last change, for files. PictureError if the name is not UTF-8.
        """
        try:
            self.names.append(name)
        except UnicodeEncodeError:
            raise PictureError(f"{os.path.join(self.files[file], name)!a}: its name is not UTF-8: rename it") from None  # noqa: PTH118
        self._file.append(file)
        self._offsets.append(offset)
        self._sizes.append(size)
        self._changed.append(changed)

    def add_member(self, name: str, member: Member, *, file: int) -> None:
        """Add a file of an archive."""
        at = len(self._file)
        self.add(name, file=file, size=member.size, offset=member.offset)
        if member.packed >= 0:
            self._packed[at] = member.packed
        if member.check >= 0:
            self._checks[at] = member.check
        if member.digest:
            self._digests[at] = member.digest

    def digest(self, index: int) -> bytes | None:
        """The first 16 bytes of a picture's SHA-256, if indexing computed it."""
        return self._digests.get(self.names.places[index])

    def moved(self, to: Mapping[str, str]) -> Listing:
        """The same pictures, in other files."""
        part = copy.copy(self)
        part.files = [to.get(file, file) for file in self.files]
        return part

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> Located: ...
    @overload
    def __getitem__(self, index: slice) -> Listing: ...
    def __getitem__(self, index: int | slice) -> Located | Listing:
        if isinstance(index, slice):
            return self._part(self.names[index])
        name, at = self.names[index], self.names.places[index]
        path, offset = self.files[self._file[at]], self._offsets[at]
        if offset == WHOLE_FILE:
            return Located(name, os.path.join(path, name), offset, self._sizes[at])  # noqa: PTH118
        return Located(name, path, offset, self._sizes[at], self._packed.get(at, -1), self._checks.get(at, -1))

    def picked(self, indices: Iterable[int]) -> Listing:
        """The pictures at some positions. Shares the memory."""
        return self._part(self.names.picked(indices))

    def _part(self, names: NameList) -> Listing:
        part = copy.copy(self)
        part.names = names
        return part

    def order(self) -> Sequence[int]:
        """The pictures' positions, sorted by the parts of their names."""
        if all(first <= second for first, second in pairwise(map(_order, self.names))):
            return range(len(self))
        names = [_order(name) for name in self.names]
        return sorted(range(len(names)), key=names.__getitem__)

    def sorted(self) -> Listing:
        """The same pictures, sorted by the parts of their names."""
        order = self.order()
        return self if isinstance(order, range) else self.picked(order)

    def stamps(self) -> Iterator[str]:
        """For each picture, what changes when it does: name, size, and time of change or place in its file."""
        for name, at in zip(self.names, self.names.places, strict=True):
            yield f"{name}\0{self._sizes[at]}\0{self._changed[at]}\0{self._offsets[at]}"


def _order(name: str) -> str:
    """What names are sorted by. A NUL sorts before all that names hold, as the end of a part does."""
    return name.replace("/", "\0")


@dataclass(frozen=True)
class Sources:
    """The pictures in the order in which they are stored."""

    root: Path
    """The source, for messages."""
    pictures: Listing
    """Where each picture's bytes lie."""
    labels: Sequence[int]
    """Class indices; -1 without labels."""
    classes: ClassList
    ignored: Mapping[str, int]
    """How many other files there are, by extension."""
    archives: tuple[str, ...]
    """For each of the source's archives, what changes when it does."""
    fingerprint: str
    """Changes when a picture is added, removed or changed, or gets another label."""
    notes: tuple[str, ...]
    """For people: what kind of source it is and what was checked, one line each."""

    @property
    def names(self) -> NameList:
        """What the pictures are called."""
        return self.pictures.names

    def part(self, which: slice) -> Sources:
        """Some of the pictures: a shard."""
        return replace(self, labels=self.labels[which], pictures=self.pictures[which])

    def picked(self, indices: Sequence[int], *, notes: tuple[str, ...] = ()) -> Sources:
        """The pictures at some positions, with their fingerprint and more notes."""
        pictures, labels = self.pictures.picked(indices), array("q", (self.labels[index] for index in indices))
        new = fingerprint(pictures, labels, self.archives)
        return replace(self, labels=labels, pictures=pictures, fingerprint=new, notes=(*self.notes, *notes))


@dataclass(kw_only=True)
class Found:
    """What indexing a source finds, before its pictures get labels."""

    root: Path
    listing: Listing = field(default_factory=Listing)
    ignored: Counter[str] = field(default_factory=Counter)
    """Other files by extension."""
    folders: dict[str, str] = field(default_factory=dict)
    """Each class folder or class archive -> where it lies: it may hold no pictures."""
    archives: list[Path] = field(default_factory=list)
    loose: set[str] = field(default_factory=set)
    """Class archives with files outside a folder of the archive's name."""
    labels: list[str] | None = None
    """The class of each picture in the listing's order, if the source gives it."""
    known: ClassList | None = None
    """The classes in their order, if the source also gives them."""
    below: str = ""
    """The folder in an archive that the pictures' names start from, such as `imagenet/train/`."""
    texts: dict[str, Located | bytes] = field(default_factory=dict)
    """Files that may hold labels: name below the source, or `../` and a name, -> where it lies, or its content."""
    packed: list[str] = field(default_factory=list)
    """Archives among the class folders."""
    words: bytes | None = None
    """The content of a file of the classes' words in an archive."""
    notes: list[str] = field(default_factory=list)
    """What to tell people about how the source was read."""

    @property
    def place(self) -> Path:
        """Where the pictures' names start from."""
        return self.root / self.below if self.below else self.root

    def archive_states(self) -> tuple[str, ...]:
        """For each archive, what changes when it does."""
        states = [(path.stat().st_size, path.stat().st_mtime_ns) for path in self.archives]
        return tuple(f"{size}\0{changed}" for size, changed in states)


def fingerprint(listing: Listing, labels: Sequence[int], archives: Sequence[str]) -> str:
    """Changes when a picture or an archive changes, or a picture gets another label."""
    stamps = (f"{stamp}\0{label}" for stamp, label in zip(listing.stamps(), labels, strict=True))
    return digest_of([digest_of(stamps), *archives])


def require_unique(root: Path, listing: Listing) -> None:
    """PictureError if two pictures of a sorted listing have one name."""
    before = None
    for name in listing.names:
        if name == before:
            raise PictureError(f"{root}: expected each picture once, found {name} twice: remove one of them")
        before = name
