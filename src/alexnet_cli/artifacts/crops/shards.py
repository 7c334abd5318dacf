"""A crop store made of shards: each machine makes one, and readers see them all as one store.

train.lmdb/
    shard-00001-of-00008/       a crop store: a contiguous part of the sorted pictures
    …
    shard-00008-of-00008/

`open_crops(Path("train.lmdb"))` gives the same pictures under the same indices, with the same digest, as a store that
was made in one piece. Statistics, scores and checkpoints of either fit the other.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.artifacts.common.manifest import MANIFEST_FILE, Manifest, digest_of
from alexnet_cli.artifacts.common.working import WORK
from alexnet_cli.artifacts.crops.store import KIND, SCHEMA, Crop, CropStore, open_manifest, open_piece
from alexnet_cli.artifacts.crops.ways import SLOW, Ways
from alexnet_cli.errors import AlexNetError, ArtifactError
from alexnet_cli.extensions import PICTURE_EXTENSIONS
from alexnet_cli.reading import read_json_object

_FOLDER = re.compile(rf"\.?shard-(\d{{5}})-of-(\d{{5}})({re.escape(WORK)})?")
SHARDED = re.compile(
    rf"{_FOLDER.pattern}|report\.(json|txt)|\.(shard-\d{{5}}-of-\d{{5}}|report\.(json|txt))\.alexnet-[a-z]+"
)
"""What the folder that holds shards may hold."""
REPORT_FILE = "report.json"
"""Of the pictures; the one next to the shards is about all of them together."""


def open_crops(path: Path) -> CropStore:
    """Open a finished crop store, in one piece or made of shards; ArtifactError in one line for anything else."""
    if is_sharded(path):
        return open_shards(path)
    _refuse_pictures(path)
    return open_piece(path)


def _refuse_pictures(path: Path) -> None:
    """ArtifactError if the path holds pictures, and not a crop store made of them."""
    pictures = path.suffix.lower() == ".tar" and path.is_file()
    with contextlib.suppress(OSError):  # whoever opens the path reports what is wrong with it
        if path.is_dir() and not (path / MANIFEST_FILE).exists():
            entries = list(itertools.islice(path.iterdir(), 100))
            inside = (file for folder in entries if folder.is_dir() for file in itertools.islice(folder.iterdir(), 10))
            pictures = any(file.suffix.lower() in PICTURE_EXTENSIONS for file in itertools.chain(entries, inside))
    if pictures:
        raise ArtifactError(
            f"{path}: is made of pictures: make a crop store of it first: alexnet preprocess {path} --out NAME.lmdb"
        )


def shard_folder(path: Path, number: int, of: int) -> Path:
    """Where shard `number` (from 1) of a store lies."""
    return path / f"shard-{number:05d}-of-{of:05d}"


def shard_range(number: int, of: int, pictures: int) -> range:
    """Which of the sorted pictures belong to shard `number` (from 1): shards differ by one picture at most."""
    return range(pictures * (number - 1) // of, pictures * number // of)


def divisions(path: Path) -> set[int]:
    """How many shards each shard in a folder, finished or not, says there are: {8}; two numbers are a mistake."""
    return {of for _, of, _ in _folders(path)}


def is_sharded(path: Path) -> bool:
    """Whether a folder is a store made of shards, finished or not."""
    return not (path / MANIFEST_FILE).exists() and bool(divisions(path))


def missing_shards(path: Path) -> list[int]:
    """The numbers of the shards that are not finished, in a folder that holds shards."""
    finished = {number for number, _, unfinished in _folders(path) if not unfinished}
    of = max(divisions(path))
    return [number for number in range(1, of + 1) if number not in finished]


def name_shards(numbers: Sequence[int]) -> str:
    """`shard 3`, `shards 3, 5 and 7`, `shards 1, 2, 3, 4, 5 and 12 more`."""
    if len(numbers) == 1:
        return f"shard {numbers[0]}"
    shown = [f"{number}" for number in numbers[:5]]
    last = f"{len(numbers) - 5} more" if len(numbers) > 5 else shown.pop()
    return f"shards {', '.join(shown)} and {last}"


def require_plan(path: Path, plan: str, *, but: int) -> None:
    """ArtifactError if a finished shard, other than number `but`, does not belong to this plan."""
    for number, of, unfinished in sorted(_folders(path)):
        if not unfinished and number != but:
            shard = open_manifest(shard_folder(path, number, of))
            if shard.details.get("shard", {}).get("plan") != plan:
                raise ArtifactError(
                    f"{path}: shard {number} came from other pictures, options or versions than this one will: "
                    "use the same, make all again with --overwrite, or choose another --out"
                )


def open_shards(path: Path) -> CropStore:
    """The shards in a folder as one store. ArtifactError names shards that are missing or do not belong together."""
    found = divisions(path)
    if len(found) > 1:
        kinds = " and ".join(f"{of}" for of in sorted(found))
        raise ArtifactError(
            f"{path}: holds shards of stores divided into {kinds}: keep the shards of one, and remove the others"
        )
    of = found.pop()
    if missing := missing_shards(path):
        first = f"--shard {missing[0]}/{of}"
        raise ArtifactError(f"{path}: lacks {name_shards(missing)} of {of}: finish with `alexnet preprocess … {first}`")
    shards = tuple(open_piece(shard_folder(path, number, of)) for number in range(1, of + 1))
    _require_one_plan(path, shards)
    return ShardedCropStore(path, _manifest(path, shards), shards)


class ShardedCropStore(CropStore):
    """Shards as one store: same indices, names, labels and digest as the store in one piece."""

    def __init__(self, path: Path, manifest: Manifest, shards: Sequence[CropStore]) -> None:
        self.path = path
        self.manifest = manifest
        self.codec = shards[0].codec
        self.side = shards[0].side
        self.classes = shards[0].classes
        self.names = [name for shard in shards for name in shard.names]
        self.labels = np.concatenate([shard.labels for shard in shards])
        self.crcs = np.concatenate([shard.crcs for shard in shards])
        self.facts = _joined([shard.facts for shard in shards])
        self.digests = _joined([shard.digests for shard in shards])
        self._shards = tuple(shards)
        self._starts = [0, *accumulate(len(shard) for shard in shards)]

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return ShardedCropStore, (self.path, self.manifest, self._shards)

    def stored(self, index: int) -> memoryview:
        """The stored bytes of one record, in its shard's memory map; valid while the thread lives."""
        shard, own = self._place(index)
        return shard.stored(own)

    def read_into(self, index: int, out: Crop, ways: Ways = SLOW) -> None:
        """Copy one crop into `out`, as its shard does."""
        shard, own = self._place(index)
        shard.read_into(own, out, ways)

    def _addresses(self, indices: NDArray[np.int64], nbytes: int) -> tuple[Any, NDArray[np.uint64]]:
        """Where records lie in the memory maps of their shards."""
        shards = np.searchsorted(self._starts, indices, side="right") - 1
        held, addresses = [], np.empty(len(indices), np.uint64)
        for number in np.unique(shards).tolist():
            here = shards == number
            environment, addresses[here] = self._shards[number]._addresses(indices[here] - self._starts[number], nbytes)
            held.append(environment)
        return held, addresses

    def _place(self, index: int) -> tuple[CropStore, int]:
        """The shard that holds a record, and its index there."""
        self._require_known(np.array([index]))
        shard = bisect_right(self._starts, index) - 1
        return self._shards[shard], int(index) - self._starts[shard]

    def close(self) -> None:
        """Let go of all memory maps. Reading opens them again."""
        for shard in self._shards:
            shard.close()


def _folders(path: Path) -> list[tuple[int, int, bool]]:
    """Number, of how many, and whether it is unfinished, of each shard in a folder."""
    if not path.is_dir():
        return []
    found = [match for entry in path.iterdir() if (match := _FOLDER.fullmatch(entry.name)) and entry.is_dir()]
    return [(int(match[1]), int(match[2]), match[3] is not None) for match in found]


def _require_one_plan(path: Path, shards: Sequence[CropStore]) -> None:
    """ArtifactError unless all shards were cut from one list of pictures with the same options, in this order."""
    notes: list[Mapping[str, Any]] = [shard.manifest.details.get("shard", {}) for shard in shards]
    for number, note in enumerate(notes, 1):
        if (note.get("number"), note.get("of")) != (number, len(shards)):
            raise ArtifactError(f"{path}: shard {number} is not what its name says: make it again")
    plans = Counter(str(note.get("plan")) for note in notes)
    most = plans.most_common(1)[0][0]
    others = [number for number, note in enumerate(notes, 1) if note.get("plan") != most]
    if others:
        raise ArtifactError(
            f"{path}: {name_shards(others)} came from other pictures, options or versions than the rest: "
            "make the one or the other again with --overwrite"
        )


def _manifest(path: Path, shards: Sequence[CropStore]) -> Manifest:
    """What the one-piece store's manifest would say: the same digest; counts added up."""
    first = shards[0]
    names = json.dumps([name for shard in shards for name in shard.names], ensure_ascii=False)
    labels = b"".join(shard.labels.astype("<i8").tobytes() for shard in shards)
    crcs = b"".join(shard.crcs.astype("<u4").tobytes() for shard in shards)
    classes = json.dumps(first.classes.names, ensure_ascii=False)
    digest = digest_of([first.codec, classes, names, labels, crcs])
    details: dict[str, Any] = {}
    for shard in shards:
        for key, value in shard.manifest.details.items():
            if isinstance(value, int) and not isinstance(value, bool) and key not in ("classes", "side"):
                details[key] = details.get(key, 0) + value
            else:
                details.setdefault(key, value)
    for key in ("shard", "source_arrays", "report"):
        details.pop(key, None)
    details["shards"] = len(shards)
    if (report := _report(path, digest)) is not None:
        details["report"] = report
    created = max(shard.manifest.created for shard in shards)
    return Manifest(
        kind=KIND, schema=SCHEMA, digest=digest, options=first.manifest.options, details=details, created=created
    )


def _report(path: Path, digest: str) -> Any:
    """The summary in the report on all shards, if there is one and it is about these."""
    try:
        report = read_json_object(path / REPORT_FILE)
    except (OSError, AlexNetError):
        return None
    return report.get("summary") if report.get("store") == digest else None


def _joined(parts: Sequence[Crop | None]) -> Crop | None:
    whole = [part for part in parts if part is not None]
    return np.concatenate(whole) if len(whole) == len(parts) else None
