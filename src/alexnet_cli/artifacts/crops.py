"""The crop store: 256×256×3 uint8 crops in LMDB, with labels, names and checksums as whole arrays.

    store = open_crops(Path("train.lmdb"))
    store.read_into(0, buffer)          # buffer: uint8 (256, 256, 3)

The format is in README.md beside this file. Writing is in crops_writer.py.
"""

from __future__ import annotations

import io
import json
import os
import struct
import threading
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray
from PIL import Image

from alexnet_cli.artifacts.manifest import Manifest, read_folder_manifest
from alexnet_cli.class_list import ClassList
from alexnet_cli.errors import ArtifactError, ResourceError

KIND = "crops"
SCHEMA = 1
SIDE = 256
SHAPE = (SIDE, SIDE, 3)
RECORD_BYTES = SIDE * SIDE * 3
UNLABELLED = -1

KEY_LABELS = b"meta/labels"
KEY_NAMES = b"meta/names"
KEY_CRCS = b"meta/crcs"
KEY_CLASSES = b"meta/classes"

Crop = NDArray[np.uint8]


def key_of(index: int) -> bytes:
    """The LMDB key of a record: 8 bytes, big-endian, so that keys sort as indices do."""
    return struct.pack(">Q", index)


def open_crops(path: Path) -> CropStore:
    """Open a finished crop store; ArtifactError in one line for anything else."""
    manifest = read_folder_manifest(
        path, kind=KIND, schema=SCHEMA, unfinished="run the same `alexnet preprocess` again to finish it"
    )
    return CropStore(path, manifest)


class CropStore:
    """A finished store, opened read-only and without locks; safe to read from many threads at once.

    Pickles by path, so that each process opens it for itself.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self.codec = str(manifest.details["codec"])
        self._threads = threading.local()
        self._pid = -1
        self._environment: Any = None
        with self._read_all() as values:
            self.classes = ClassList(tuple(json.loads(values[KEY_CLASSES])))
            self.names: list[str] = json.loads(values[KEY_NAMES])
            self.labels = np.frombuffer(values[KEY_LABELS], dtype="<i8").astype(np.int64)
            """int64 (pictures,): class indices; -1 where the store has no labels."""
            self.crcs = np.frombuffer(values[KEY_CRCS], dtype="<u4").astype(np.uint32)
            """uint32 (pictures,): CRC-32C of each record's stored bytes."""
        if not len(self.names) == len(self.labels) == len(self.crcs) == manifest.details["pictures"]:
            raise ArtifactError(f"{path}: its counts disagree, it is damaged: preprocess it again")

    def __len__(self) -> int:
        return len(self.names)

    def __reduce__(self) -> tuple[Any, tuple[Path, Manifest]]:
        return CropStore, (self.path, self.manifest)

    @property
    def digest(self) -> str:
        """The content's digest."""
        return self.manifest.digest

    @property
    def labelled(self) -> bool:
        """Whether the pictures have labels."""
        return len(self) > 0 and bool((self.labels != UNLABELLED).all())

    def stored(self, index: int) -> memoryview:
        """The stored bytes of one record, in the memory map; valid while the thread lives. Checked by its CRC."""
        value = self._transaction().get(key_of(index))
        if value is None:
            raise ArtifactError(f"{self.path}: record {index} is missing, it is damaged: preprocess it again")
        if crc32c(value) != self.crcs[index]:
            raise ArtifactError(
                f"{self.path}: record {index} ({self.names[index]}) fails its checksum: preprocess it again"
            )
        return memoryview(value)

    def read_into(self, index: int, out: Crop) -> None:
        """Copy one crop into `out`, uint8 (256, 256, 3) RGB. ArtifactError where the record is damaged."""
        value = self.stored(index)
        if self.codec == "raw":
            np.copyto(out, np.frombuffer(value, np.uint8).reshape(SHAPE))
        else:
            out[...] = np.asarray(Image.open(io.BytesIO(value)).convert("RGB"))

    def read(self, index: int) -> Crop:
        """One crop, uint8 (256, 256, 3) RGB."""
        out = np.empty(SHAPE, np.uint8)
        self.read_into(index, out)
        return out

    def close(self) -> None:
        """Drop the memory map. Reading opens it again."""
        self._threads = threading.local()
        if self._environment is not None and self._pid == os.getpid():
            self._environment.close()
        self._environment = None

    def _open(self) -> Any:
        """The process's own environment: opened late, and anew after a fork."""
        if self._environment is None or self._pid != os.getpid():
            try:
                self._environment = lmdb.open(
                    str(self.path), readonly=True, lock=False, readahead=False, create=False, max_spare_txns=64
                )
            except lmdb.Error as error:
                raise ArtifactError(f"{self.path}: can't be read ({error}): preprocess it again") from None
            except MemoryError as error:
                raise ResourceError(f"{self.path}: can't be mapped into memory ({error})") from None
            self._pid = os.getpid()
            self._threads = threading.local()
        return self._environment

    def _transaction(self) -> Any:
        if self._pid != os.getpid() or self._environment is None:
            self._open()
        transaction = getattr(self._threads, "transaction", None)
        if transaction is None:
            transaction = self._threads.transaction = self._environment.begin(buffers=True)
        return transaction

    def _read_all(self) -> _Values:
        return _Values(self._open(), self.path)


class _Values:
    """The whole-array values, by key, while the `with` block lasts."""

    def __init__(self, environment: Any, path: Path) -> None:
        self._transaction = environment.begin(buffers=True)
        self._path = path

    def __enter__(self) -> _Values:
        return self

    def __getitem__(self, key: bytes) -> bytes:
        value = self._transaction.get(key)
        if value is None:
            raise ArtifactError(f"{self._path}: lacks {key.decode()}, it is damaged: preprocess it again")
        return bytes(value)

    def __exit__(self, *_: object) -> None:
        self._transaction.abort()
