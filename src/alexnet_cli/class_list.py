"""The class list: class names in order; a class's index is its position. It travels from preprocess to ensemble.

    same = plain_names(["10", "9", "09"])     # {"10": "10", "9": "9", "09": "9"}
    ClassList.sorted(same.values()).names     # ("9", "10")

**One order** for folders, archives, shards and label files. If all names are whole numbers, it is the order of the
numbers, and 0, 00 and 000 are one class. Otherwise it is the order of the names' code points, as for WNIDs.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from alexnet_cli.errors import ArtifactError

_NUMBER = re.compile(r"([+-]?[0-9]{1,18})(\.0*)?", re.ASCII)
"""Spreadsheets write 3.0 for 3 if the column had gaps."""

_AROUND = "\t\n\v\f\r \x85\xa0\u200b\u2028\u2029\ufeff"
"""Invisible characters before and after a name."""

UNLABELLED_NAME = str(-1)
"""What data sets write for a picture without a label."""


def are_numbers(names: Iterable[str]) -> bool:
    """Whether there are names, and all are whole numbers."""
    distinct = set(names)
    return bool(distinct) and all(_NUMBER.fullmatch(name) for name in distinct)


def number_of(name: str) -> int:
    """The whole number that a name is."""
    match = _NUMBER.fullmatch(name)
    assert match is not None, name
    return int(match[1])


def plain_names(names: Iterable[str]) -> dict[str, str]:
    """Each name as it is written -> the name of its class.

    That has no blanks around it, and accents in one spelling (Unicode NFC; macOS writes NFD). If all names are whole
    numbers, they lose their leading zeros.
    """
    plain = {name: unicodedata.normalize("NFC", name).strip(_AROUND) for name in names}
    if are_numbers(plain.values()):
        return {name: str(number_of(number)) for name, number in plain.items()}
    return plain


@dataclass(frozen=True)
class ClassList:
    """Class names in index order, and what people call each, if that is known.

    Two lists with the same names are equal: words and IDs only explain the names.
    """

    names: tuple[str, ...]
    words: tuple[str, ...] = field(default=(), compare=False)
    """`tench, Tinca tinca` for n01440764; empty if unknown."""
    ids: tuple[int, ...] = field(default=(), compare=False)
    """ILSVRC's number of each class, which is another order; empty if unknown."""
    counted_from: int | None = field(default=None, compare=False)
    """The first class's number, 0 or 1, in a file that numbers its classes."""

    def __post_init__(self) -> None:
        """ArtifactError unless there are as many words or IDs as classes, or none."""
        for what, values in (("words", self.words), ("IDs", self.ids)):
            if values and len(values) != len(self.names):
                raise ArtifactError(
                    f"a class list of {len(self.names)} classes has {len(values)} {what}: make it again"
                )

    @classmethod
    def sorted(cls, names: Iterable[str]) -> ClassList:
        """The class list of a set of names: numbers in numeric order, others by their code points."""
        distinct = set(names)
        return cls(tuple(sorted(distinct, key=number_of) if are_numbers(distinct) else sorted(distinct)))

    def spelt(self, names: Iterable[str]) -> dict[str, str]:
        """Each name -> this list's name for the same class, or the name itself if it has none."""
        mine = {plain: name for name, plain in plain_names(self.names).items()}
        theirs = plain_names(names)
        known = set(self.names)
        return {name: name if name in known else mine.get(plain, name) for name, plain in theirs.items()}

    def __len__(self) -> int:
        return len(self.names)

    @property
    def digest(self) -> str:
        """SHA-256 of the names as JSON, hexadecimal."""
        return hashlib.sha256(json.dumps(self.names, ensure_ascii=False).encode()).hexdigest()

    def title(self, index: int) -> str:
        """What reports call a class: its name, and its first word if known: `n01440764 (tench)`."""
        name, called = self.names[index], self.called(index)
        return f"{name} ({called})" if called != name else name

    def called(self, index: int) -> str:
        """What people call a class: the first of its words, else its name."""
        first = self.words[index].split(",")[0].strip() if self.words else ""
        return first or self.names[index]

    def explained_by(self, other: ClassList) -> ClassList:
        """These classes; words or IDs that they lack come from another list, if it knows all these classes."""
        place = {name: index for index, name in enumerate(other.names)}
        if not all(name in place for name in self.names):
            return self
        places = [place[name] for name in self.names]
        words = self.words or (tuple(other.words[at] for at in places) if other.words else ())
        ids = self.ids or (tuple(other.ids[at] for at in places) if other.ids else ())
        return replace(self, words=words, ids=ids)

    def difference(self, other: ClassList) -> str | None:
        """How `other` differs, in a few words; None if both are the same."""
        if self.names == other.names:
            return None
        missing = [name for name in self.names if name not in set(other.names)]
        added = [name for name in other.names if name not in set(self.names)]
        if not missing and not added:
            return "the same classes in another order"
        parts = [f"{len(self)} classes against {len(other)}"]
        if missing:
            parts.append(f"{len(missing)} missing, first '{missing[0]}'")
        if added:
            parts.append(f"{len(added)} not known before, first '{added[0]}'")
        return "; ".join(parts)

    def require_same(self, other: ClassList, mine: str, others: str) -> None:
        """Raise ArtifactError naming the difference unless both lists are equal."""
        difference = self.difference(other)
        if difference:
            raise ArtifactError(f"{others} has a different class list than {mine}: {difference}")
