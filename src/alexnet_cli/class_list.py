"""The class list: sorted class names; a class's index is its position. It travels from preprocess to ensemble."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from alexnet_cli.errors import ArtifactError


@dataclass(frozen=True)
class ClassList:
    """Class names in index order, and where they are known, what people call each.

    Two lists with the same names are equal, whatever their words and IDs: those only explain the names.
    """

    names: tuple[str, ...]
    words: tuple[str, ...] = field(default=(), compare=False)
    """`tench, Tinca tinca` for n01440764; empty where nobody knows."""
    ids: tuple[int, ...] = field(default=(), compare=False)
    """ILSVRC's own number of each class, which is another order; empty where nobody knows."""

    def __post_init__(self) -> None:
        """ArtifactError where words or IDs are not one for each class."""
        for what, values in (("words", self.words), ("IDs", self.ids)):
            if values and len(values) != len(self.names):
                raise ArtifactError(
                    f"a class list of {len(self.names)} classes has {len(values)} {what}: make it again"
                )

    @classmethod
    def sorted(cls, names: Iterable[str]) -> ClassList:
        """The class list of a set of names: index = position in sorted order (code points)."""
        return cls(tuple(sorted(set(names))))

    def __len__(self) -> int:
        return len(self.names)

    @property
    def digest(self) -> str:
        """SHA-256 of the names as JSON, hexadecimal."""
        return hashlib.sha256(json.dumps(self.names, ensure_ascii=False).encode()).hexdigest()

    def title(self, index: int) -> str:
        """What reports call a class: its name, and its first word where it is known: `n01440764 (tench)`."""
        name = self.names[index]
        first = self.words[index].split(",")[0].strip() if self.words else ""
        return f"{name} ({first})" if first and first != name else name

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
            raise ArtifactError(f"{others} has another class list than {mine}: {difference}")
