"""The crop store: square uint8 crops, 256×256×3 by default, in LMDB, with labels, names and checksums as whole arrays.

    store = open_piece(Path("train.lmdb"))
    store.read_into(0, buffer)          # buffer: uint8 (side, side, 3)
    store.read_many(indices, buffers)   # buffers: uint8 (N, side, side, 3)

The format is in artifacts/README.md. Writing is in writer.py.
"""

from __future__ import annotations

import os
import struct
import threading
import weakref
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray

from alexnet_cli.artifacts.common.manifest import Manifest, digest_of, read_folder_manifest
from alexnet_cli.artifacts.common.steady import steadily
from alexnet_cli.artifacts.crops.ways import SLOW, Ways
from alexnet_cli.class_list import ClassList
from alexnet_cli.errors import ArtifactError, ResourceError, describe_os_error
from alexnet_cli.reading import parse_json, parse_texts, require_regular

KIND = "crops"
DATA_FILE = "data.mdb"
SCHEMA = 2
SIDE = 256
"""Of a crop, unless `alexnet preprocess --side` said otherwise."""
LEAST_SIDE = 8
UNLABELLED = -1

KEY_LABELS = b"meta/labels"
KEY_NAMES = b"meta/names"
KEY_CRCS = b"meta/crcs"
KEY_CLASSES = b"meta/classes"
KEY_FACTS = b"meta/facts"
KEY_DIGESTS = b"meta/digests"
DIGEST_BYTES = 16
"""Of the SHA-256 of a picture file's bytes: no two different files will have the same 16."""
KEY_WORDS = b"meta/words"
KEY_IDS = b"meta/ids"

Crop = NDArray[np.uint8]

_ENVIRONMENTS: weakref.WeakValueDictionary[tuple[int, int], Any] = weakref.WeakValueDictionary()
"""What is open in this process, by device and inode of the data file."""
_OPENING = threading.Lock()


def shape_of(side: int) -> tuple[int, int, int]:
    """Of a crop as an array: rows, columns, RGB."""
    return side, side, 3


def raw_bytes(side: int) -> int:
    """Of a crop as pixels."""
    return side * side * 3


def key_of(index: int) -> bytes:
    """The LMDB key of a record: 8 bytes, big-endian: keys sort as indices do."""
    return struct.pack(">Q", index)


def open_piece(path: Path) -> CropStore:
    """Open a finished store in one piece, or one shard; ArtifactError in one line for anything else."""
    return steadily(path, lambda: CropStore(path, open_manifest(path)))


def open_manifest(path: Path) -> Manifest:
    """The manifest of a finished store in one piece, or of one shard."""
    return read_folder_manifest(
        path, kind=KIND, schema=SCHEMA, unfinished="run the same `alexnet preprocess` again to finish it"
    )


class CropStore:
    """A finished store, opened read-only and without locks; safe to read from many threads at once.

    Pickled by its path: each process opens it for itself. A forked process may keep reading.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self.codec = str(manifest.details.get("codec"))
        self.side = _side(path, manifest)
        """Of the crops, in pixels."""
        self._threads = threading.local()
        self._environment: Any = _open_environment(path)
        self._places: tuple[Any, NDArray[np.uint64]] | None = None
        """Where records lie in an environment's memory map: the environment, and addresses, 0 if not known yet."""
        classes, names, labels, crcs = self._read_arrays()
        if digest_of([self.codec, classes, names, labels, crcs]) != manifest.digest:
            raise ArtifactError(f"{path}: its content does not fit its digest, it is damaged: preprocess it again")
        self.classes = self._explained(parse_texts(classes, path=path, what="its class list"))
        self.names: list[str] = parse_texts(names, path=path, what="its list of names")
        if (len(labels), len(crcs)) != (8 * len(self.names), 4 * len(self.names)):
            raise ArtifactError(
                f"{path}: has different numbers of names, labels and checksums, it is damaged: preprocess it again"
            )
        self.labels = np.frombuffer(labels, dtype="<i8").astype(np.int64)
        """int64 (pictures,): class indices; -1 if the store has no labels."""
        self.crcs = np.frombuffer(crcs, dtype="<u4").astype(np.uint32)
        """uint32 (pictures,): CRC-32C of each record's stored bytes."""
        if len(self) and not -1 <= int(self.labels.min()) <= int(self.labels.max()) < max(len(self.classes), 1):
            raise ArtifactError(
                f"{path}: has a label that is not one of its classes, it is damaged: preprocess it again"
            )
        self.facts, self.digests = self._read_source_arrays()
        """uint8 (pictures,): `pictures.Facts` of each; uint8 (pictures, 16): SHA-256 of each file's bytes, cut off.
        None in stores that have none."""

    def __len__(self) -> int:
        return len(self.names)

    def __reduce__(self) -> tuple[Any, tuple[Path, Manifest]]:
        return CropStore, (self.path, self.manifest)

    @property
    def digest(self) -> str:
        return self.manifest.digest

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of a crop: rows, columns, RGB."""
        return shape_of(self.side)

    @property
    def labelled(self) -> bool:
        return len(self) > 0 and bool((self.labels != UNLABELLED).all())

    def stored(self, index: int) -> memoryview:
        """The stored bytes of one record, in the memory map; valid while the thread lives. Checked by its CRC."""
        value = self._found(index)
        if crc32c(value) != self.crcs[index]:
            raise self._wrong_sum(index)
        return value

    def read_many(self, indices: NDArray[np.int64], out: Crop, ways: Ways = SLOW) -> None:
        """Copy crops into `out`, uint8 (N, side, side, 3) RGB, contiguous. ArtifactError if a record is damaged.

        ways: faster ones to do it, which callers that read many prepare.
        """
        if ways.copy is None or self.codec != "raw":
            for place, index in enumerate(indices.tolist()):
                self.read_into(index, out[place], ways)
            return
        self._require_known(indices)
        held, addresses = self._addresses(indices, raw_bytes(self.side))
        wrong = np.flatnonzero(ways.copy(addresses, out.reshape(len(out), -1)) != self.crcs[indices])
        del held  # until here the memory map must stay open
        if len(wrong):
            raise self._wrong_sum(int(indices[wrong[0]]))

    def read_into(self, index: int, out: Crop, ways: Ways = SLOW) -> None:
        """Copy one crop into `out`, uint8 (side, side, 3) RGB, contiguous; as `read_many`."""
        value = self.stored(index)
        try:
            if self.codec == "raw":
                np.copyto(out, np.frombuffer(value, np.uint8).reshape(out.shape))
            else:
                ways.decode(value, out)
        except (ValueError, OSError, SyntaxError) as error:
            raise self._no_crop(index, error) from None

    def read(self, index: int) -> Crop:
        """One crop, uint8 (side, side, 3) RGB."""
        out = np.empty(self.shape, np.uint8)
        self.read_into(index, out)
        return out

    def close(self) -> None:
        """Close the memory map, which goes with its last user. Reading opens it again."""
        self._threads = threading.local()
        self._environment = self._places = None

    def _require_known(self, indices: NDArray[np.int64]) -> None:
        """ArtifactError if a record of one of these indices does not exist."""
        for index in indices[(indices < 0) | (indices >= len(self))]:
            raise ArtifactError(f"{self.path}: record {index} is missing: it has {len(self):,}")

    def _addresses(self, indices: NDArray[np.int64], nbytes: int) -> tuple[Any, NDArray[np.uint64]]:
        """Where records of that many bytes lie in memory, while what comes with it is held. Each is looked up once."""
        environment = self._open()
        places = self._places
        if places is None or places[0] is not environment:
            places = self._places = environment, np.zeros(len(self), np.uint64)
        addresses = places[1]
        found = addresses[indices]
        for place in np.flatnonzero(found == 0).tolist():
            index = int(indices[place])
            value = self._found(index)
            if len(value) != nbytes:
                raise self._no_crop(index, f"{len(value):,} bytes, not {nbytes:,}")
            found[place] = addresses[index] = np.frombuffer(value, np.uint8).ctypes.data
        return environment, found

    def _no_crop(self, index: int, why: object) -> ArtifactError:
        return ArtifactError(
            f"{self.path}: record {index} ({self.names[index]}) is not a crop ({why}): preprocess it again"
        )

    def _found(self, index: int) -> memoryview:
        """The bytes of one record, not checked yet."""
        try:
            value = self._transaction().get(key_of(index))
        except lmdb.Error as error:
            raise _damaged(self.path, error) from None
        if value is None:
            raise ArtifactError(f"{self.path}: record {index} is missing, it is damaged: preprocess it again")
        return memoryview(value)

    def _wrong_sum(self, index: int) -> ArtifactError:
        name = self.names[index]
        return ArtifactError(f"{self.path}: record {index} ({name}) fails its checksum: preprocess it again")

    def _transaction(self) -> Any:
        transaction = getattr(self._threads, "transaction", None)
        if transaction is None:
            transaction = self._threads.transaction = self._open().begin(buffers=True)
        return transaction

    def _open(self) -> Any:
        environment = self._environment
        if environment is None:
            environment = self._environment = _open_environment(self.path)
        return environment

    def _read_arrays(self) -> list[bytes]:
        values = self._get(KEY_CLASSES, KEY_NAMES, KEY_LABELS, KEY_CRCS)
        arrays = []
        for key, value in values.items():
            if value is None:
                raise ArtifactError(f"{self.path}: lacks {key.decode()}, it is damaged: preprocess it again")
            arrays.append(value)
        return arrays

    def _get(self, *keys: bytes) -> dict[bytes, bytes | None]:
        """The values of some keys, copied."""
        try:
            with self._environment.begin() as transaction:
                return {key: transaction.get(key) for key in keys}
        except lmdb.Error as error:
            raise _damaged(self.path, error) from None

    def _read_source_arrays(self) -> tuple[Crop | None, Crop | None]:
        facts, digests = self._get(KEY_FACTS, KEY_DIGESTS).values()
        if facts is None or digests is None:
            return None, None
        if digest_of([facts, digests]) != self.manifest.details.get("source_arrays"):
            raise ArtifactError(f"{self.path}: its facts or digests are damaged: preprocess it again")
        return np.frombuffer(facts, np.uint8), np.frombuffer(digests, np.uint8).reshape(-1, DIGEST_BYTES)

    def _explained(self, names: list[str]) -> ClassList:
        """The class list, with words and IDs if the store has them: both are outside the digest."""
        words, ids = self._get(KEY_WORDS, KEY_IDS).values()
        explained = parse_texts(words or b"[]", path=self.path, what="its list of words")
        numbers = parse_json(ids or b"[]", path=self.path, what="its list of IDs")
        if not isinstance(numbers, list) or not all(isinstance(number, int) for number in numbers):
            raise ArtifactError(f"{self.path}: its list of IDs is damaged: preprocess it again")
        try:
            return ClassList(tuple(names), words=tuple(explained), ids=tuple(numbers))
        except (ValueError, TypeError, AssertionError) as error:
            raise _damaged(self.path, error) from None


def _side(path: Path, manifest: Manifest) -> int:
    """Of a store's crops; stores of older versions don't say it."""
    side = manifest.details.get("side", SIDE)
    if type(side) is not int or side < LEAST_SIDE:
        raise ArtifactError(f"{path}: its crops' side is {side!r}, it is damaged: preprocess it again")
    return side


def _damaged(path: Path, error: Exception) -> ArtifactError:
    return ArtifactError(f"{path}: is damaged ({' '.join(str(error).split())}): preprocess it again")


def _open_environment(path: Path) -> Any:
    """The process's environment on a store, shared by all who read it: LMDB forbids a second one on the same file."""
    try:
        require_regular(path / DATA_FILE)  # ResourceError if it may not be read: LMDB says that in words alone
        with (path / DATA_FILE).open("rb") as file:
            status = os.fstat(file.fileno())
        with _OPENING:
            environment = _ENVIRONMENTS.get((status.st_dev, status.st_ino))
            if environment is None:
                environment = lmdb.open(
                    str(path), readonly=True, lock=False, readahead=False, create=False, max_spare_txns=64
                )
                _ENVIRONMENTS[status.st_dev, status.st_ino] = environment
    except FileNotFoundError:
        raise ArtifactError(f"{path}: lacks data.mdb, it is damaged: preprocess it again") from None
    except OSError as error:
        raise ResourceError(describe_os_error(error, path)) from error
    except lmdb.Error as error:
        raise ArtifactError(f"{path}: can't be read ({error}): preprocess it again") from None
    except MemoryError as error:
        raise ResourceError(f"{path}: can't be mapped into memory ({error})") from None
    pages, page_bytes = environment.info()["last_pgno"] + 1, environment.stat()["psize"]
    if status.st_size < pages * page_bytes:  # reading beyond the end would be a bus error, which ends the process
        raise ArtifactError(f"{path}: is cut off, it is damaged: copy it again, or preprocess it again")
    return environment
