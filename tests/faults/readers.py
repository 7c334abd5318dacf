"""What a reader of ours finds at an artifact's name: its digest and all its content, or the refusal.

    look("crops", Path("train.lmdb"))    {"digest": "…", "content": "…"} or {"code": 4, "error": "…"}

`content` is a SHA-256 over everything that was read, so that two equal ones mean that nothing differs.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_cli.artifacts.checkpoint import read_checkpoint
from alexnet_cli.artifacts.common.manifest import MANIFEST_FILE, Manifest
from alexnet_cli.artifacts.crops.shards import open_crops
from alexnet_cli.artifacts.run import RunFolder, find_checkpoint
from alexnet_cli.artifacts.scores import read_scores
from alexnet_cli.artifacts.statistics import read_statistics
from alexnet_cli.errors import AlexNetError

Found = dict[str, Any]


def _plain(value: Any) -> Any:
    """Anything read, as something that JSON can write in one way."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "detach"):
        value = value.detach().numpy()
    if isinstance(value, (np.ndarray, np.generic)):
        whole = np.ascontiguousarray(value)
        data = json.dumps(whole.tolist()).encode() if whole.dtype == object else whole.tobytes()
        return [str(whole.dtype), list(whole.shape), hashlib.sha256(data).hexdigest()]
    if isinstance(value, (bytes, memoryview, bytearray)):
        return hashlib.sha256(value).hexdigest()
    if isinstance(value, Path):
        return ""
    return value


def _content(*values: Any) -> str:
    return hashlib.sha256(json.dumps(_plain(values), sort_keys=True, default=str).encode()).hexdigest()


def _crops(path: Path) -> tuple[Manifest, str]:
    store = open_crops(path)
    records = [bytes(store.stored(index)) for index in range(len(store))]
    content = _content(store.manifest, store.classes, store.names, store.labels, store.facts, store.digests, records)
    manifest = store.manifest
    store.close()
    return manifest, content


def _statistics(path: Path) -> tuple[Manifest, str]:
    manifest, statistics = read_statistics(path)
    return manifest, _content(manifest, statistics)


def _scores(path: Path) -> tuple[Manifest, str]:
    manifest, scores = read_scores(path)
    return manifest, _content(manifest, scores)


def _run(path: Path) -> tuple[Manifest, str]:
    """Every checkpoint, as training would read it; an unfinished run is described by its best."""
    folder = RunFolder(path)
    saved = [read_checkpoint(each.path, to_train=True) for each in folder.saved()]
    best = read_checkpoint(find_checkpoint(path)[0])
    metrics = folder.metrics()
    manifest = folder.manifest() if folder.finished else best.manifest
    return manifest, _content(manifest, metrics, [dataclasses.replace(each, path=Path()) for each in saved])


def _ensemble(path: Path) -> tuple[Manifest, str]:
    from alexnet_cli.artifacts.ensemble import KIND, SCHEMA

    text = (path / MANIFEST_FILE).read_bytes()
    manifest = Manifest.from_json(text, kind=KIND, schema=SCHEMA, path=path)
    members = [read_scores(member) for member in sorted((path / "members").glob("*.h5"))]
    return manifest, _content(manifest, read_scores(path / "scores.h5"), members)


def _sample(path: Path) -> tuple[Manifest, str]:
    from alexnet_commands.sample.run import read_sample

    manifest = read_sample(path)
    return manifest, _content(manifest, [file.read_bytes() for file in sorted(path.glob("*/*/*.JPEG"))])


READERS: dict[str, Callable[[Path], tuple[Manifest, str]]] = {
    "crops": _crops,
    "statistics": _statistics,
    "scores": _scores,
    "run": _run,
    "ensemble": _ensemble,
    "sample": _sample,
}


def look(kind: str, path: Path) -> Found:
    """What is there: nothing, a refusal with its code (1: an error that is not a refusal), or digest and content."""
    if not os.path.lexists(path):
        return {"code": 0, "error": "nothing there"}
    try:
        manifest, content = READERS[kind](path)
    except AlexNetError as error:
        return {"code": error.exit_code, "error": str(error)}
    except Exception as error:
        return {"code": 1, "error": f"{type(error).__name__}: {error}"}
    finished = kind != "run" or RunFolder(path).finished
    return {"digest": manifest.digest, "content": content, "finished": finished}


def spoil(kind: str, path: Path, file: Path, damages: list[list[int]]) -> None:
    """Look at the artifact with each damage in turn, printing a line for each. [offset, xor], or [length] for a cut."""
    whole = file.read_bytes()
    for damage in damages:
        print(json.dumps({"damage": damage}), end=" ", flush=True)
        if len(damage) == 1:
            os.truncate(file, damage[0])
        else:
            with file.open("rb+") as handle:
                handle.seek(damage[0])
                handle.write(bytes([whole[damage[0]] ^ damage[1]]))
        found = look(kind, path)
        file.write_bytes(whole)
        print(json.dumps(found), flush=True)


def watch(kind: str, path: Path, seconds: float, stop: Path) -> Found:
    """Look again and again until `stop` exists: how often, which digests, which refusals."""
    looks, digests, refusals = 0, set(), []
    end = time.monotonic() + seconds
    while time.monotonic() < end and not stop.exists():
        found = look(kind, path)
        looks += 1
        if "digest" in found:
            digests.add(found["digest"])
        else:
            refusals.append(found)
    return {"looks": looks, "digests": sorted(digests), "refusals": refusals}
