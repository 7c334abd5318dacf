"""The class list: class names in order; a class's index is its position. It travels from preprocess to ensemble.

    same = plain_names(["10", "9", "09"])     # {"10": "10", "9": "9", "09": "9"}
    ClassList.sorted(same.values()).names     # ("9", "10")

**One order** for folders, archives, shards and label files: where all names are whole numbers, the order of the
numbers, and 0, 00 and 000 are one class; otherwise the order of the names' code points, as it is for WNIDs.
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
"""Of a table whose column had gaps, spreadsheets write 3.0 for 3."""

_AROUND = "\t\n\v\f\r \x85\xa0\u200b\u2028\u2029\ufeff"
"""What can't be seen before and behind a name."""

UNLABELLED_NAME = str(-1)
"""What data sets write where a picture has no label."""


def are_numbers(names: Iterable[str]) -> bool:
    """Whether all names are whole numbers, and there is one."""
    distinct = set(names)
    return bool(distinct) and all(_NUMBER.fullmatch(name) for name in distinct)


def number_of(name: str) -> int:
    """The whole number that a name is."""
    match = _NUMBER.fullmatch(name)
    assert match is not None, name
    return int(match[1])


def plain_names(names: Iterable[str]) -> dict[str, str]:
    """Each name as it is written -> the name of the class it stands for.

    Without blanks around it, letters with accents in one spelling (Unicode NFC; macOS writes NFD), and where all are
    whole numbers, those without leading zeros.
    """
    plain = {name: unicodedata.normalize("NFC", name).strip(_AROUND) for name in names}
    if are_numbers(plain.values()):
        return {name: str(number_of(number)) for name, number in plain.items()}
    return plain


@dataclass(frozen=True)
class ClassList:
    """Class names in index order, and where they are known, what people call each.

    Two lists with the same names are equal, whatever their words and IDs: those only explain the names.
    """

    names: tuple[str, ...]
    words: tuple[str, ...] = field(default=(), compare=False)
    """`tench, Tinca tinca` for n01440764; empty where unknown."""
    ids: tuple[int, ...] = field(default=(), compare=False)
    """ILSVRC's own number of each class, which is another order; empty where unknown."""
    counted_from: int | None = field(default=None, compare=False)
    """The first class's number, 0 or 1, in a file that numbers its classes."""

    def __post_init__(self) -> None:
        """ArtifactError where words or IDs are not one for each class."""
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
        """Each name -> this list's name for the same class, or the name itself where there is none."""
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
        """What reports call a class: its name, and its first word where it is known: `n01440764 (tench)`."""
        name, called = self.names[index], self.called(index)
        return f"{name} ({called})" if called != name else name

    def called(self, index: int) -> str:
        """What people call a class: the first of its words, else its name."""
        first = self.words[index].split(",")[0].strip() if self.words else ""
        return first or self.names[index]

    def explained_by(self, other: ClassList) -> ClassList:
        """These classes, with the words and IDs of another list where this one has none and that one knows all."""
        place = {name: index for index, name in enumerate(other.names)}
        if not all(name in place for name in self.names):
            return self
        places = [place[name] for name in self.names]
        words = self.words or (tuple(other.words[at] for at in places) if other.words else ())
        ids = self.ids or (tuple(other.ids[at] for at in places) if other.ids else ())
        return replace(self, words=words, ids=ids)

    def difference(self, other: ClassList) -> str | None:
        """How `other` differs, in a few words; None where both are the same."""
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
