"""The manifest: how an artifact describes itself, whatever its format."""

from __future__ import annotations

import datetime
import hashlib
import json
import mmap
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from alexnet_cli import __version__
from alexnet_cli.errors import ArtifactError, ResourceError, describe_os_error
from alexnet_cli.reading import open_regular, parse_json

Buffer = bytes | mmap.mmap

MANIFEST_FILE = "manifest.json"
ATTRIBUTE = "manifest"
"""Of an HDF5 file's root: its manifest."""
CHECKSUM = "checksum"
CHECKED_FROM = 2
"""Manifests of this schema and later must have a checksum over their own content."""
_TITLES = {
    "crops": "crop store",
    "statistics": "statistics file",
    "run": "run folder",
    "scores": "scores file",
    "features": "features file",
}


def title_of(kind: str) -> str:
    """What people call one artifact of a kind: `crop store`, `ensemble`."""
    return _TITLES.get(kind, kind)


def with_article(title: str) -> str:
    """`a crop store`, `an ensemble`."""
    return f"an {title}" if title.startswith(tuple("aeiouO")) else f"a {title}"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Kind, versions, the options and parents that made an artifact, and the digest of its content."""

    kind: str
    """crops, statistics, checkpoint, run, scores, ensemble or sample."""
    schema: int
    """Version of the format; a reader refuses a newer one."""
    digest: str
    """SHA-256 of the content, hexadecimal. Equal content has an equal digest, whenever it was made."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The options that shaped the content."""
    parents: Mapping[str, str] = field(default_factory=dict)
    """Role → digest of each artifact that this one was made from."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """Counts and other facts, by kind."""
    tool: str = f"alexnet {__version__}"
    created: str = field(default_factory=lambda: datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"))

    def to_json(self) -> str:
        """The manifest as indented JSON, with a checksum over all of it."""
        values = asdict(self)
        return json.dumps({**values, CHECKSUM: _checksum(values)}, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, *, kind: str, schema: int, path: Path) -> Manifest:
        """Parse a manifest of one kind; ArtifactError if it is damaged, foreign or newer than `schema`."""
        values = _parse(text, path)
        if values["kind"] != kind:
            found, wanted = (with_article(title_of(each)) for each in (values["kind"], kind))
            raise ArtifactError(f"{path}: is {found}, not {wanted}: check the order of the arguments")
        if values["schema"] > schema:
            raise ArtifactError(
                f"{path}: was written by a newer {values.get('tool', 'alexnet')} (format {values['schema']}, "
                f"this program reads up to {schema}): update alexnet"
            )
        checksum = values.pop(CHECKSUM, None)
        for name, value in values.items():
            if not _fits(name, value):
                raise _damaged(path, f"'{name}' has an unexpected value, or should not be there")
        if "digest" not in values:
            raise _damaged(path, "it lacks 'digest'")
        if checksum is None and values["schema"] >= CHECKED_FROM:
            raise _damaged(path, "it lacks its checksum")
        if checksum is not None and checksum != _checksum(values):
            raise _damaged(path, "it does not fit its checksum")
        return cls(**values)


def kind_of_manifest(text: str | bytes) -> str | None:
    """The kind of artifact that a manifest of ours describes, damaged or not; None for anything else."""
    try:
        values = _parse(text, Path())
    except ArtifactError:
        return kind_of_damaged(text.encode(errors="replace") if isinstance(text, str) else text)
    tool = values.get("tool")
    return values["kind"] if isinstance(tool, str) and tool.startswith("alexnet ") else None


def kind_of_damaged(data: Buffer) -> str | None:
    """The kind that a manifest of ours names somewhere in `data`, even in damaged JSON; None without one.

    Its beginning must be there, and after that the tool's name or the checksum.
    """
    begin = _BEGINNING.search(data)
    if begin is None or _END.search(data, begin.end(), begin.end() + _MOST_MANIFEST_BYTES) is None:
        return None
    return bytes(begin[1]).decode()


_BEGINNING = re.compile(rb'\{\s*"kind": "([a-z]{1,20})",\s*"schema": \d')
_END = re.compile(rb'"tool": "alexnet |"checksum": "[0-9a-f]{64}"')
_MOST_MANIFEST_BYTES = 1 << 26

_FIELDS: Mapping[str, type] = {
    **dict.fromkeys(("kind", "digest", "tool", "created"), str),
    **dict.fromkeys(("options", "parents", "details"), dict),
    "schema": int,
}


def _fits(name: str, value: Any) -> bool:
    """Whether a manifest has a field of this name, and the value may be its."""
    if name == "schema":
        return type(value) is int and value >= 1
    texts = value.values() if name == "parents" and isinstance(value, dict) else ()
    return isinstance(value, _FIELDS.get(name, ())) and all(isinstance(text, str) for text in texts)


def _parse(text: str | bytes, path: Path) -> dict[str, Any]:
    """The manifest's values, after a check of kind and schema."""
    values = parse_json(text, path=path, what="its manifest")
    if not isinstance(values, dict):
        raise _damaged(path, "it is not a JSON object")
    for name in ("kind", "schema"):
        if not _fits(name, values.get(name)):
            raise _damaged(path, f"'{name}' has an unexpected value")
    return values


def _checksum(values: Mapping[str, Any]) -> str:
    """SHA-256 of the values, however their JSON is laid out."""
    # A round trip makes lists of tuples and texts of keys, as the reader will have them.
    plain = json.loads(json.dumps(values))
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _damaged(path: Path, why: str) -> ArtifactError:
    return ArtifactError(f"{path}: its manifest is damaged ({why}): make it again")


def read_folder_manifest(folder: Path, *, kind: str, schema: int, unfinished: str) -> Manifest:
    """The manifest of a folder artifact; ArtifactError in one line if there is none."""
    if not folder.exists():
        raise ArtifactError(f"{folder}: no such {title_of(kind)}: check the path")
    if not folder.is_dir():
        raise ArtifactError(f"{folder}: is a file, not a finished {title_of(kind)}: check the order of the arguments")
    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise ArtifactError(f"{folder}: is not a finished {title_of(kind)}: {unfinished}")
    try:
        text = path.read_bytes()
    except FileNotFoundError:  # it was replaced or removed a moment ago
        raise ArtifactError(f"{folder}: is not a finished {title_of(kind)}: {unfinished}") from None
    except OSError as error:
        raise ResourceError(describe_os_error(error, path)) from error
    return Manifest.from_json(text, kind=kind, schema=schema, path=folder)


def digest_of(parts: Iterable[bytes | bytearray | memoryview | str]) -> str:
    """SHA-256 over parts, each preceded by its length so that no two splits collide."""
    total = hashlib.sha256()
    for part in parts:
        add_part(total, part)
    return total.hexdigest()


def add_part(total: Any, part: bytes | bytearray | memoryview | str) -> None:
    """Continue a digest by one part, as `digest_of` does."""
    view = memoryview(part.encode() if isinstance(part, str) else part)
    total.update(view.nbytes.to_bytes(8, "little"))
    total.update(view)


def digest_of_file(path: Path) -> str:
    """SHA-256 of a regular file's bytes; errors as of `open_regular`."""
    with os.fdopen(open_regular(path), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
