"""Writing a crop store so that it can be killed at any moment and continued.

Records are committed in steps of fixed length, each with a note of how far the work is, in one LMDB transaction: an
interrupted and continued store goes through the same transactions as an uninterrupted one.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lmdb
import numpy as np

from alexnet_cli.artifacts.crops import (
    KEY_CLASSES,
    KEY_CRCS,
    KEY_IDS,
    KEY_LABELS,
    KEY_NAMES,
    KEY_WORDS,
    KIND,
    SCHEMA,
    key_of,
)
from alexnet_cli.artifacts.manifest import MANIFEST_FILE, Manifest, digest_of
from alexnet_cli.artifacts.publish import partial_of, publish_folder
from alexnet_cli.class_list import ClassList
from alexnet_cli.errors import ResourceError, describe_os_error

PLAN_FILE = "plan.json"
_KEY_STEP = b"work/%08d"
_MAP_STEP = 1 << 30


@dataclass(frozen=True)
class Record:
    """One crop, ready to be stored."""

    name: str
    label: int
    value: bytes | memoryview
    crc: int


@dataclass
class Step:
    """What one transaction did: sources used up, records written, and notes for the summary."""

    sources: int
    names: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    crcs: list[int] = field(default_factory=list)
    notes: list[Any] = field(default_factory=list)


class CropWriter:
    """An unfinished store beside its final name. Hold `publish.only_writer` on the final name while using it.

    `plan` is anything in JSON that fixes the content: where an unfinished store of the same plan lies, the writer
    continues it (`sources_done` > 0), where one of another plan lies, it starts again (`started_again`).
    """

    def __init__(self, path: Path, plan: Mapping[str, Any]) -> None:
        self.path = path
        self.partial = partial_of(path)
        text = json.dumps(plan, sort_keys=True)
        plan_file = self.partial / PLAN_FILE
        self.started_again = False
        if self.partial.exists() and not (plan_file.is_file() and plan_file.read_text() == text):
            self.started_again = True
            shutil.rmtree(self.partial)
        self.partial.mkdir(exist_ok=True)
        plan_file.write_text(text)
        self._environment = self._open_environment()
        self.steps: list[Step] = self._read_steps()

    @property
    def sources_done(self) -> int:
        """How many sources, in order, are committed or rejected."""
        return sum(step.sources for step in self.steps)

    @property
    def records(self) -> int:
        """How many records are committed."""
        return sum(len(step.names) for step in self.steps)

    def commit(self, sources: int, records: Sequence[Record], notes: Sequence[Any]) -> None:
        """Write one step in one transaction: all of it is on disk afterwards, or none."""
        step = Step(
            sources,
            [record.name for record in records],
            [record.label for record in records],
            [record.crc for record in records],
            list(notes),
        )
        first = self.records

        def write(transaction: Any) -> None:
            for offset, record in enumerate(records):
                transaction.put(key_of(first + offset), record.value)
            transaction.put(_KEY_STEP % len(self.steps), json.dumps(step.__dict__).encode())

        self._write(write)
        self.steps.append(step)

    def finish(
        self, classes: ClassList, *, codec: str, options: Mapping[str, Any], details: Mapping[str, Any]
    ) -> Manifest:
        """Gather the arrays, write the manifest last, and give the store its name."""
        names = json.dumps([name for step in self.steps for name in step.names], ensure_ascii=False).encode()
        labels = np.array([label for step in self.steps for label in step.labels], "<i8").tobytes()
        crcs = np.array([crc for step in self.steps for crc in step.crcs], "<u4").tobytes()
        class_names = json.dumps(classes.names, ensure_ascii=False).encode()

        def write(transaction: Any) -> None:
            for number in range(len(self.steps)):
                transaction.delete(_KEY_STEP % number)
            arrays = ((KEY_NAMES, names), (KEY_LABELS, labels), (KEY_CRCS, crcs), (KEY_CLASSES, class_names))
            for key, value in arrays:
                transaction.put(key, value)
            # They explain the classes and are outside the digest: the same crops are the same store.
            for key, explained in ((KEY_WORDS, classes.words), (KEY_IDS, classes.ids)):
                if explained:
                    transaction.put(key, json.dumps(explained, ensure_ascii=False).encode())

        self._write(write)
        self.close()
        manifest = Manifest(
            kind=KIND,
            schema=SCHEMA,
            digest=digest_of([codec, class_names, names, labels, crcs]),
            options=options,
            details={"pictures": self.records, "classes": len(classes), "codec": codec, **details},
        )
        (self.partial / PLAN_FILE).unlink()
        (self.partial / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
        publish_folder(self.partial, self.path)
        return manifest

    def close(self) -> None:
        """Close the environment; what is committed stays for the next run."""
        self._environment.close()

    def _open_environment(self) -> Any:
        # The map's size is stored in the file: a continued store must end with the size of an uninterrupted one. And
        # without meminit, what this process's memory held before would be published in the gaps between records.
        size = 0 if (self.partial / "data.mdb").exists() else _MAP_STEP
        try:
            return lmdb.open(str(self.partial), map_size=size, lock=False, meminit=True)
        except lmdb.Error as error:
            raise _disk_error(self.path, error) from None

    def _read_steps(self) -> list[Step]:
        steps: list[Step] = []
        with self._environment.begin() as transaction:
            while (value := transaction.get(_KEY_STEP % len(steps))) is not None:
                steps.append(Step(**json.loads(value)))
        return steps

    def _write(self, write: Callable[[Any], None]) -> None:
        """Run one transaction; a map that is too small grows, and the transaction runs again."""
        while True:
            try:
                with self._environment.begin(write=True) as transaction:
                    write(transaction)
                return
            except lmdb.MapFullError:
                self._environment.set_mapsize(self._environment.info()["map_size"] + _MAP_STEP)
            except lmdb.Error as error:
                _require_room(self.path, self.partial / "data.mdb")
                raise _disk_error(self.path, error) from None


def _require_room(path: Path, data: Path) -> None:
    """ResourceError where the file can't grow: LMDB calls a write that stopped halfway an input/output error."""
    try:
        length = data.stat().st_size
        with data.open("ab") as file:
            file.write(bytes(1 << 16))
        os.truncate(data, length)
    except OSError as error:
        raise ResourceError(describe_os_error(error, path)) from None


def _disk_error(path: Path, error: Exception) -> ResourceError:
    text = str(error)
    if any(word in text for word in ("No space", "too large", "quota")):
        return ResourceError(f"{path}: the disk is full: free some space, then run the same command again")
    return ResourceError(f"{path}: can't be written ({text})")
