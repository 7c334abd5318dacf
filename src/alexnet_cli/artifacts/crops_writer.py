"""Writing a crop store so that it can be killed at any moment and continued.

Records are committed in steps of fixed length, each with a note of how far the work is, in one LMDB transaction: an
interrupted and continued store goes through the same transactions as an uninterrupted one. What a step noted stays on
disk until the store is finished, so that memory does not grow with the number of pictures.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
from numpy.typing import NDArray

from alexnet_cli.artifacts.crops import (
    DIGEST_BYTES,
    KEY_CLASSES,
    KEY_CRCS,
    KEY_DIGESTS,
    KEY_FACTS,
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
    facts: int = 0
    """`pictures.Facts`."""
    digest: bytes = b""
    """First 16 bytes of the SHA-256 of the picture file's bytes; empty where nobody took it."""


@dataclass
class Step:
    """What one transaction did: sources used up, records written, and notes for the summary."""

    sources: int
    names: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    crcs: list[int] = field(default_factory=list)
    facts: list[int] = field(default_factory=list)
    digests: str = ""
    """Hexadecimal, one after the other."""
    notes: list[Any] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Arrays:
    """What all steps together say about the records."""

    names: bytes
    """JSON list."""
    labels: NDArray[np.int64]
    crcs: NDArray[np.uint32]
    facts: NDArray[np.uint8]
    digests: NDArray[np.uint8] | None
    """(records, 16), or None unless every record has one."""

    def content_digest(self, classes: ClassList, codec: str) -> str:
        """The digest of a store with these arrays."""
        return digest_of([codec, _json_list(classes.names), self.names, self.labels.tobytes(), self.crcs.tobytes()])


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
        self._steps = 0
        self.sources_done = 0
        """How many sources, in order, are committed or rejected."""
        self.records = 0
        """How many records are committed."""
        for step in self.steps():
            self._count(step)

    def steps(self) -> Iterator[Step]:
        """What was committed, one step after the other, from disk. Not while another thread commits."""
        number = 0
        with self._environment.begin() as transaction:
            while (value := transaction.get(_KEY_STEP % number)) is not None:
                yield Step(**json.loads(value))
                number += 1

    def commit(self, sources: int, records: Sequence[Record], notes: Sequence[Any]) -> None:
        """Write one step in one transaction: all of it is on disk afterwards, or none."""
        step = Step(
            sources,
            [record.name for record in records],
            [record.label for record in records],
            [record.crc for record in records],
            [record.facts for record in records],
            b"".join(record.digest for record in records).hex(),
            list(notes),
        )

        def write(transaction: Any) -> None:
            for offset, record in enumerate(records):
                transaction.put(key_of(self.records + offset), record.value)
            transaction.put(_KEY_STEP % self._steps, json.dumps(step.__dict__).encode())

        self._write(write)
        self._count(step)

    def arrays(self) -> Arrays:
        """All steps together, in order."""
        names, labels, crcs, facts, digests = bytearray(), bytearray(), bytearray(), bytearray(), bytearray()
        for step in self.steps():
            if step.names:
                names += b", " if names else b""
                names += _json_list(step.names)[1:-1]
            labels += np.array(step.labels, "<i8").tobytes()
            crcs += np.array(step.crcs, "<u4").tobytes()
            facts += bytes(step.facts)
            digests += bytes.fromhex(step.digests)
        complete = len(digests) == DIGEST_BYTES * self.records
        return Arrays(
            names=b"".join([b"[", names, b"]"]),
            labels=np.frombuffer(labels, "<i8"),
            crcs=np.frombuffer(crcs, "<u4"),
            facts=np.frombuffer(facts, np.uint8),
            digests=np.frombuffer(digests, np.uint8).reshape(-1, DIGEST_BYTES) if complete else None,
        )

    def finish(
        self,
        classes: ClassList,
        *,
        codec: str,
        options: Mapping[str, Any],
        details: Mapping[str, Any],
        parents: Mapping[str, str] | None = None,
        arrays: Arrays | None = None,
    ) -> Manifest:
        """Write the arrays, the manifest last, and give the store its name."""
        all_steps = arrays or self.arrays()
        written = {
            KEY_NAMES: all_steps.names,
            KEY_LABELS: all_steps.labels.tobytes(),
            KEY_CRCS: all_steps.crcs.tobytes(),
            KEY_CLASSES: _json_list(classes.names),
        }
        source_arrays = {}
        if all_steps.digests is not None:
            facts, digests = all_steps.facts.tobytes(), all_steps.digests.tobytes()
            written |= {KEY_FACTS: facts, KEY_DIGESTS: digests}
            source_arrays["source_arrays"] = digest_of([facts, digests])

        def write(transaction: Any) -> None:
            for number in range(self._steps):
                transaction.delete(_KEY_STEP % number)
            for key, value in written.items():
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
            digest=all_steps.content_digest(classes, codec),
            options=options,
            parents=parents or {},
            details={
                "pictures": self.records,
                "classes": len(classes),
                "codec": codec,
                **source_arrays,
                **details,
            },
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

    def _count(self, step: Step) -> None:
        self._steps += 1
        self.sources_done += step.sources
        self.records += len(step.names)

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


def _json_list(names: Sequence[str]) -> bytes:
    return json.dumps(names, ensure_ascii=False).encode()


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
