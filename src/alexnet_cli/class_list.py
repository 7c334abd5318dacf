"""The class list: sorted class names; a class's index is its position. It travels from preprocess to ensemble."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from alexnet_cli.errors import ArtifactError


@dataclass(frozen=True)
class ClassList:
    """Class names in index order."""

    names: tuple[str, ...]

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
