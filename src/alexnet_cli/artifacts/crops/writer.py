"""Writing a crop store, which may be killed at any moment and resumed.

Records are committed in steps of fixed length, each with a note of how far the work is, in one LMDB transaction: an
interrupted and continued store goes through the same transactions as an uninterrupted one. What a step noted stays on
disk until the store is finished, so that memory does not grow with the number of pictures.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import lmdb
import numpy as np
from numpy.typing import NDArray

from alexnet_cli.artifacts.common.manifest import MANIFEST_FILE, Manifest, digest_of
from alexnet_cli.artifacts.common.ownership import CROPS
from alexnet_cli.artifacts.common.publish import publish_folder, write_verified
from alexnet_cli.artifacts.common.working import begin_work, end_work, marked_kind, work_of
from alexnet_cli.artifacts.crops.store import (
    DATA_FILE,
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
    SIDE,
    CropStore,
    key_of,
)
from alexnet_cli.class_list import ClassList
from alexnet_cli.errors import ArtifactError, ResourceError, describe_os_error

PLAN_FILE = "plan.json"
_KEY_STEP = b"work/%08d"
_MAP_STEP = 1 << 30
_VERIFIED = 1000
"""Records that are read back before a large store gets its name. To read all of ILSVRC's would take as long as to
write them: their checksums find a damaged one when it is used."""
_ALL_VERIFIED_BYTES = 2 << 30
"""A store of at most this many bytes is read back whole, which takes a second or two."""


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
    """First 16 bytes of the SHA-256 of the picture file's bytes; empty if it was not taken."""


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
    """An unfinished store, next to its final name. Hold `publish.only_writer` on the final name while using it.

    `plan` is anything in JSON that fixes the content. The writer continues an unfinished store of the same plan
    (`sources_done` > 0); if there is one of another plan, it starts again (`started_again`).
    """

    def __init__(self, path: Path, plan: Mapping[str, Any]) -> None:
        self.path = path
        self._transaction: Any = None
        self.work = work_of(path)
        """The folder that the store is written in."""
        text = json.dumps(plan, sort_keys=True)
        same = _has_text(self.work / PLAN_FILE, text)
        self.started_again = not same and marked_kind(self.work) == KIND and (self.work / PLAN_FILE).exists()
        self._begin(text, keep=same)
        try:
            self._continue()
        except (lmdb.Error, ArtifactError, ValueError, TypeError):  # a full disk, or a write that was cut off
            self._environment.close()
            self.started_again = True
            self._begin(text, keep=False)
            self._continue()

    def _begin(self, plan: str, *, keep: bool) -> None:
        """Make the work folder, or take it as it is, and open the store in it."""
        begin_work(self.path, KIND, keep=keep)
        if not (self.work / PLAN_FILE).exists():
            (self.work / PLAN_FILE).write_text(plan)
        try:
            self._environment = self._open_environment()
        except lmdb.Error as error:
            if not keep:
                raise _disk_error(self.path, error) from None
            self.started_again = True
            self._begin(plan, keep=False)

    def _continue(self) -> None:
        """Count the existing crops. ArtifactError if the file is shorter than it says: reading would crash."""
        self._steps = 0
        self.sources_done = 0
        """How many sources, in order, are committed or rejected."""
        self.records = 0
        """How many records are committed."""
        pages, page_bytes = self._environment.info()["last_pgno"] + 1, self._environment.stat()["psize"]
        if (self.work / DATA_FILE).stat().st_size < pages * page_bytes:
            raise ArtifactError(f"{self.path}: the unfinished store is cut off")
        for step in self.steps():
            self._count(step)
        with self._environment.begin() as transaction:
            if not self._steps and transaction.get(KEY_NAMES) is not None:
                raise ArtifactError(f"{self.path}: was finished, but did not get its name")

    def steps(self) -> Iterator[Step]:
        """What was committed, one step after the other, from disk. Not while another thread commits."""
        number = 0
        with self._environment.begin() as transaction:
            while (value := transaction.get(_KEY_STEP % number)) is not None:
                yield Step(**json.loads(value))
                number += 1

    def commit(self, sources: int, records: Sequence[Record], notes: Sequence[Any]) -> None:
        """Write one step in one transaction: all of it is on disk afterwards, or none."""
        self.begin(sum(len(record.value) for record in records))
        for record in records:
            self.put(record)
        self.end(sources, notes)

    def begin(self, nbytes: int) -> None:
        """Begin a step of that many bytes at most; this, `put` and `end` in one thread."""
        environment = self._environment
        info, page_bytes = environment.info(), environment.stat()["psize"]
        used, size = (info["last_pgno"] + 1) * page_bytes, info["map_size"]
        # With room for the tree's pages, for what each record leaves unused, and for the step's own notes.
        while size - used < 2 * nbytes + _MAP_STEP // 4:
            size += _MAP_STEP
        if size != info["map_size"]:
            environment.set_mapsize(size)
        self._step = Step(0)
        self._transaction = environment.begin(write=True)

    def put(self, record: Record) -> None:
        """Take a record into the step. What its bytes are afterwards does not matter."""
        step = self._step
        with self._errors():
            self._transaction.put(key_of(self.records + len(step.names)), record.value)
        step.names.append(record.name)
        step.labels.append(record.label)
        step.crcs.append(record.crc)
        step.facts.append(record.facts)
        step.digests += record.digest.hex()

    def drop(self) -> None:
        """Forget a step that was begun and not ended; in the same thread. The environment can't be closed before."""
        if self._transaction is not None:
            self._transaction.abort()
            self._transaction = None

    def end(self, sources: int, notes: Sequence[Any]) -> None:
        """Commit the step, which used up that many sources: all of it is on disk afterwards, or none."""
        step = self._step
        step.sources, step.notes = sources, list(notes)
        with self._errors():
            self._transaction.put(_KEY_STEP % self._steps, json.dumps(step.__dict__).encode())
            self._transaction.commit()
        self._transaction = None
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
        side: int = SIDE,
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
                "side": side,
                **source_arrays,
                **details,
            },
        )
        try:
            self._verify(manifest)
            write_verified(self.work / MANIFEST_FILE, manifest.to_json().encode())
            (self.work / PLAN_FILE).unlink()
            publish_folder(self.work, self.path, CROPS)
        except OSError as error:
            raise ResourceError(describe_os_error(error, self.path)) from error
        return manifest

    def _verify(self, manifest: Manifest) -> None:
        """Read back all arrays, and all records or a sample of them; ResourceError if they are not what was written."""
        try:
            store = CropStore(self.work, manifest)
            with contextlib.closing(store):
                every = (self.work / DATA_FILE).stat().st_size <= _ALL_VERIFIED_BYTES
                count = len(store) if every else min(len(store), _VERIFIED)
                for index in np.linspace(0, max(len(store) - 1, 0), count).astype(int):
                    store.stored(int(index))
        except ArtifactError as error:
            end_work(self.path)
            raise ResourceError(
                f"{self.path}: what was written can't be read back ({error}): the disk may be failing"
            ) from None

    def close(self) -> None:
        """Close the environment; what is committed stays for the next run."""
        self._environment.close()

    def _open_environment(self) -> Any:
        # The map's size is stored in the file: a continued store must end with the size of an uninterrupted one. And
        # without meminit, what this process's memory held before would be published in the gaps between records.
        size = 0 if (self.work / DATA_FILE).exists() else _MAP_STEP
        return lmdb.open(str(self.work), map_size=size, lock=False, meminit=True, mode=0o666)

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
                self._raise(error)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """End a step that LMDB can't continue; ResourceError."""
        try:
            yield
        except lmdb.Error as error:
            self.drop()
            self._raise(error)

    def _raise(self, error: Exception) -> NoReturn:
        _require_room(self.path, self.work / DATA_FILE)
        raise _disk_error(self.path, error) from None


def _has_text(file: Path, text: str) -> bool:
    try:
        return file.read_bytes() == text.encode()
    except OSError:
        return False


def _json_list(names: Sequence[str]) -> bytes:
    return json.dumps(names, ensure_ascii=False).encode()


def _require_room(path: Path, data: Path) -> None:
    """ResourceError if the file can't grow: LMDB calls a write that stopped halfway an input/output error."""
    try:
        length = data.stat().st_size
        with data.open("ab") as file:
            file.write(bytes(1 << 16))
        os.truncate(data, length)
    except OSError as error:
        raise ResourceError(describe_os_error(error, path)) from None


def _disk_error(path: Path, error: Exception) -> ResourceError:
    code = getattr(error, "code", None)
    if isinstance(code, int) and code > 0:  # LMDB's own are negative
        return ResourceError(describe_os_error(OSError(code, os.strerror(code)), path))
    return ResourceError(f"{path}: can't be written ({error})")
