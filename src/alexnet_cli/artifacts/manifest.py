"""The manifest: how an artifact describes itself, whatever its format."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from alexnet_cli import __version__
from alexnet_cli.errors import ArtifactError

MANIFEST_FILE = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Kind, versions, the options and parents that made an artifact, and the digest of its content."""

    kind: str
    """crops, statistics, checkpoint, run, scores or ensemble."""
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
        """The manifest as indented JSON."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, *, kind: str, schema: int, path: Path) -> Manifest:
        """Parse a manifest of one kind; ArtifactError where it is damaged, foreign or newer than `schema`."""
        try:
            values = json.loads(text)
            manifest = cls(**values)
        except (ValueError, TypeError) as error:
            raise ArtifactError(f"{path}: its manifest is damaged ({error}): make it again") from None
        if manifest.kind != kind:
            raise ArtifactError(f"{path}: is {manifest.kind}, not {kind}: check the order of the arguments")
        if manifest.schema > schema:
            raise ArtifactError(
                f"{path}: was written by a newer {manifest.tool} (format {manifest.schema}, "
                f"this program reads up to {schema}): update alexnet"
            )
        return manifest


def read_folder_manifest(folder: Path, *, kind: str, schema: int, unfinished: str) -> Manifest:
    """The manifest of a folder artifact; ArtifactError in one line where there is none."""
    if not folder.exists():
        raise ArtifactError(f"{folder}: there is no such {kind}: check the path")
    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise ArtifactError(f"{folder}: is no finished {kind}: {unfinished}")
    return Manifest.from_json(path.read_bytes(), kind=kind, schema=schema, path=folder)


def digest_of(parts: Iterable[bytes | bytearray | memoryview | str]) -> str:
    """SHA-256 over parts, each preceded by its length so that no two splits collide."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        view = memoryview(data)
        total.update(view.nbytes.to_bytes(8, "little"))
        total.update(view)
    return total.hexdigest()


def digest_of_file(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
