"""`rejects.tsv`: the pictures that a store lacks because they can't be read, and why; a line each.

Characters that act on a terminal are escaped as in messages, and backslashes in a name are doubled.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from alexnet_cli.console import printable

REJECTS_FILE = "rejects.tsv"

Rejects = Sequence[tuple[str, str]]
"""(name, reason) of each."""

_ESCAPED = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|([\\tn]))")
_MEANINGS = {"\\": "\\", "t": "\t", "n": "\n"}
"""Tabs and line ends are written as `\\x09` and `\\x0a`; earlier files have `\\t` and `\\n`."""


def write_rejects(folder: Path, rejects: Rejects) -> Path:
    """Write the file into a store's folder, or remove it if nothing was rejected."""
    file = folder / REJECTS_FILE
    if rejects:
        escaped = ((printable(name.replace("\\", "\\\\")), reason) for name, reason in rejects)
        lines = (f"{name}\t{printable(reason)}\n" for name, reason in escaped)
        file.write_text("".join(lines), encoding="utf-8")
    else:
        file.unlink(missing_ok=True)
    return file


def read_rejects(folder: Path) -> list[tuple[str, str]]:
    """What the file lists; nothing if it does not exist."""
    file = folder / REJECTS_FILE
    if not file.exists():
        return []
    lines = file.read_text(encoding="utf-8").split("\n")[:-1]
    pairs = (line.split("\t", 1) for line in lines)
    return [(_ESCAPED.sub(_meant, name), reason) for name, reason in pairs]


def _meant(found: re.Match[str]) -> str:
    number = found[1] or found[2]
    return chr(int(number, 16)) if number else _MEANINGS[found[3]]
