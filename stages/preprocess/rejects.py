"""`rejects.tsv`: the pictures that a store lacks because they can't be read, and why; a line each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

REJECTS_FILE = "rejects.tsv"

Rejects = Sequence[tuple[str, str]]
"""(name, reason) of each."""

_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n"}
_MEANINGS = {escaped: mark for mark, escaped in _ESCAPES.items()}


def write_rejects(folder: Path, rejects: Rejects) -> Path:
    """Write the file into a store's folder, or remove it where nothing was rejected."""
    file = folder / REJECTS_FILE
    if rejects:
        lines = (f"{_escaped(name)}\t{reason}\n" for name, reason in rejects)
        file.write_text("".join(lines), encoding="utf-8")
    else:
        file.unlink(missing_ok=True)
    return file


def read_rejects(folder: Path) -> list[tuple[str, str]]:
    """The file's lines; none where there is no such file."""
    file = folder / REJECTS_FILE
    if not file.exists():
        return []
    lines = file.read_text(encoding="utf-8").split("\n")[:-1]
    pairs = (line.split("\t", 1) for line in lines)
    return [(re.sub(r"\\[\\tn]", lambda found: _MEANINGS[found[0]], name), reason) for name, reason in pairs]


def _escaped(name: str) -> str:
    return re.sub(r"[\\\t\n]", lambda found: _ESCAPES[found[0]], name)
