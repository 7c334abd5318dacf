"""Whether an artifact is still what is requested: decided by what its manifest says, never by the times of files.

    asked = Request(kind=KIND, schema=SCHEMA, parents={"crops": store.digest})
    if manifest := is_current(config.out, asked, talk, verify=read_statistics):
        ...                                # made from the same: nothing to do

A request holds all that can change the artifact's content, and nothing else: no workers, no devices.
No torch here: `--update` answers without it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alexnet_cli.artifacts.common.manifest import Manifest, read_folder_manifest
from alexnet_cli.artifacts.common.working import sweep
from alexnet_cli.console import Talk
from alexnet_cli.errors import ArtifactError


@dataclass(frozen=True, kw_only=True)
class Request:
    """What an artifact is asked to be made from."""

    kind: str
    schema: int
    options: Mapping[str, Any] | None = None
    """The options that shape the content; compared with the manifest's `options`. None: not compared."""
    parents: Mapping[str, str] | None = None
    """Role → digest; compared with the manifest's `parents`. None: not compared."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """More that shapes the content; compared with the same names in the manifest's `details`, which may hold others."""


def read_any_manifest(path: Path, *, kind: str, schema: int) -> Manifest:
    """The manifest of an artifact that is a folder or an HDF5 file; ArtifactError if there is none of this kind."""
    if path.is_dir():
        return read_folder_manifest(path, kind=kind, schema=schema, unfinished="make it again")
    from alexnet_cli.artifacts.common.hdf5 import read_manifest

    return read_manifest(path, kind=kind, schema=schema)


def first_difference(manifest: Manifest, request: Request) -> str | None:
    """The first thing in which the artifact differs from what is requested, in words; None if all agree."""
    own_details = {name: manifest.details.get(name) for name in request.details}
    for was, asked, what in (
        (manifest.options, request.options, ""),
        (own_details, request.details, ""),
        (manifest.parents, request.parents, "other "),
    ):
        if asked is None:
            continue
        before, now = plain(was), plain(asked)
        for name in sorted(set(before) | set(now)):
            if before.get(name) != now.get(name):
                return f"{what}{name}" if what else f"{name} was {before.get(name)} and is {now.get(name)} now"
    return None


def plain(value: Any) -> Any:
    """A value as JSON gives it back: tuples become lists, keys become text."""
    return json.loads(json.dumps(value))


def is_current(path: Path, request: Request, talk: Talk, *, verify: Callable[[Path], object]) -> Manifest | None:
    """What `--update` asks: the artifact's manifest if there is nothing to do, else None. Says which, and why.

    verify: reads the artifact and raises ArtifactError if its content is damaged. It is called only if the manifest is
    as requested. What is damaged, unfinished or of another kind is made again. ResourceError if the path can't be read
    at all.
    """
    if not path.exists():
        return None
    try:
        manifest = read_any_manifest(path, kind=request.kind, schema=request.schema)
        what = first_difference(manifest, request)
        if what is None:
            verify(path)
    except ArtifactError as error:
        what = str(error)
    if what is not None:
        talk.say(f"{path}: is made again ({what})")
        return None
    sweep(path)
    talk.say(f"{path}: up to date")
    return manifest
