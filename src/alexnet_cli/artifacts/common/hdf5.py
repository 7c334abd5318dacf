"""Arrays in one HDF5 file that describes itself: statistics, scores and features are such files."""

from __future__ import annotations

import errno
import hashlib
import io
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from alexnet_cli.artifacts.common.manifest import ATTRIBUTE, Manifest, add_part, title_of
from alexnet_cli.artifacts.common.ownership import Kind
from alexnet_cli.artifacts.common.publish import publish_file, publishing_file
from alexnet_cli.artifacts.common.seal import add_seal, is_damaged, seal_of
from alexnet_cli.errors import ArtifactError, ResourceError, describe_os_error
from alexnet_cli.reading import require_regular

Arrays = dict[str, NDArray[Any]]
_Shape = tuple[int | None, ...]
_TEXTS_AT_ONCE = 256
_AT_ONCE = 1 << 24
"""Bytes of an array that are read and digested at once."""


def write_arrays(
    path: Path,
    arrays: Mapping[str, NDArray[Any]],
    manifest: Manifest,
    kind: Kind,
    *,
    overwrite: bool,
    explaining: Mapping[str, NDArray[Any]] | None = None,
    locked: bool = False,
) -> Manifest:
    """Publish named arrays with a manifest, whose digest is computed here. Strings are stored as UTF-8.

    explaining: arrays outside the digest, which only explain the others to people. locked: as `publish_file`.
    """
    manifest = replace(manifest, digest=_digest(arrays))
    publish_file(path, _image({**arrays, **(explaining or {})}, manifest), kind, overwrite=overwrite, locked=locked)
    return manifest


def _image(arrays: Mapping[str, NDArray[Any]], manifest: Manifest) -> bytes:
    """The bytes of an HDF5 file, and its seal.

    Made in memory: HDF5 can't close a file on a disk that is full or failing, and may take the whole process down.
    """
    with h5py.File("in memory", "w", driver="core", backing_store=False) as file:
        _put(file, arrays, manifest)
        file.flush()
        content = bytes(file.id.get_file_image())
    return content + seal_of(content)


def _put(file: Any, arrays: Mapping[str, NDArray[Any]], manifest: Manifest) -> None:
    for name, array in arrays.items():
        if _is_text(array.dtype):
            file.create_dataset(name, data=array.astype(object), dtype=h5py.string_dtype())
        else:
            file.create_dataset(name, data=array)
    file.attrs[ATTRIBUTE] = manifest.to_json()


class _Disk(io.FileIO):
    """A file that HDF5 writes. An error is kept for later: HDF5 can't close a file that fails."""

    failed: OSError | None = None

    def require_sound(self) -> None:
        """Raise the first error, if there was one."""
        if self.failed is not None:
            raise self.failed from None

    def write(self, data: Any) -> int:
        left = memoryview(data).cast("B")
        count = len(left)
        try:
            while len(left) and self.failed is None:
                left = left[super().write(left) or 0 :]
        except OSError as error:
            self.failed = error
        return count

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.failed = self.failed or error
            return size or 0


class Rows:
    """An artifact of arrays, one of which is written some rows at a time: see `publishing_rows`."""

    def __init__(self, disk: _Disk, name: str, shape: tuple[int, ...], arrays: Mapping[str, NDArray[Any]]) -> None:
        self._disk, self._arrays, self._name, self._done = disk, arrays, name, 0
        self._file = h5py.File(disk, "w")
        self._rows = self._file.create_dataset(name, shape, "<f4", fill_time="never")
        self._total = hashlib.sha256()
        self._digest_others(lambda other: other < name)
        _add_head(self._total, name, self._rows.dtype, shape)

    def _digest_others(self, wanted: Callable[[str], bool]) -> None:
        for other in filter(wanted, sorted(self._arrays)):
            _add_array(self._total, other, self._arrays[other])

    def add(self, rows: NDArray[np.float32]) -> None:
        """The next rows. OSError if the disk fails."""
        self._rows[self._done : self._done + len(rows)] = rows
        self._done += len(rows)
        _add_content(self._total, rows)
        self._disk.require_sound()

    def _finish(self, manifest: Manifest, explaining: Mapping[str, NDArray[Any]]) -> Manifest:
        assert self._done == len(self._rows), f"{self._done} of {len(self._rows)} rows"
        self._digest_others(lambda other: other > self._name)
        manifest = replace(manifest, digest=self._total.hexdigest())
        _put(self._file, {**self._arrays, **explaining}, manifest)
        return manifest


@contextmanager
def publishing_rows(
    path: Path,
    name: str,
    shape: tuple[int, ...],
    arrays: Mapping[str, NDArray[Any]],
    manifest: Manifest,
    kind: Kind,
    *,
    overwrite: bool,
    explaining: Mapping[str, NDArray[Any]] | None = None,
) -> Iterator[Rows]:
    """Publish arrays, of which the float32 array `name` comes some rows at a time: as `write_arrays`, in little memory.

    with publishing_rows(…) as rows:
        rows.add(…)                 # all of them, in order
    """
    with publishing_file(path, kind, overwrite=overwrite) as place, _Disk(place, "w+") as disk:
        try:
            rows = Rows(disk, name, shape, arrays)
            try:
                yield rows
                manifest = rows._finish(manifest, explaining or {})
            finally:
                rows._file.close()
        except (OSError, RuntimeError, ValueError):
            disk.require_sound()
            raise
        disk.require_sound()
        add_seal(place)
        with h5py.File(place, "r") as written:
            found = _digest({one: written[one] for one in (name, *arrays)})
        if found != manifest.digest:
            raise OSError(errno.EIO, "what was written can't be read back: the disk may be failing", str(path))


def read_manifest(path: Path, *, kind: str, schema: int) -> Manifest:
    """The manifest alone."""
    with _open(path, kind) as file:
        return _manifest(file, path, kind, schema)


def read_arrays(
    path: Path, *, kind: str, schema: int, names: tuple[str, ...], explaining: tuple[str, ...] = ()
) -> tuple[Manifest, Arrays]:
    """The manifest and the named arrays; ArtifactError if the file is foreign, damaged or newer.

    explaining: arrays outside the digest, which may be absent. Links are not followed, and nothing is read from
    another file.
    """
    with _open(path, kind) as file:
        manifest = _manifest(file, path, kind, schema)
        arrays = {name: _read(file, path, name) for name in names}
        explained = {name: _read(file, path, name) for name in explaining if _has(file, path, name)}
    if _digest(arrays) != manifest.digest:
        raise _changed(path)
    return manifest, {**arrays, **explained}


def require_form(path: Path, arrays: Mapping[str, NDArray[Any]], name: str, kind: str, shape: _Shape) -> None:
    """ArtifactError unless an array has a type (`f4`; `O` for text) and a shape, of which None fits any number."""
    array = arrays[name]
    fits = len(array.shape) == len(shape) and all(
        wanted in (None, found) for wanted, found in zip(shape, array.shape, strict=True)
    )
    if array.dtype != np.dtype(kind) or not fits:
        wanted = "×".join("any" if number is None else str(number) for number in shape) or "one number"
        found = "×".join(map(str, array.shape)) or "one number"
        raise ArtifactError(
            f"{path}: its {name} is {array.dtype} {found}, not {np.dtype(kind)} {wanted}: make it again"
        )


def _open(path: Path, kind: str) -> Any:
    if path.is_dir():
        raise ArtifactError(f"{path}: is a folder, not a {title_of(kind)}: check the order of the arguments")
    try:
        require_regular(path)
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such {title_of(kind)}: check the path") from None
    try:
        if is_damaged(path):
            raise _changed(path)
        return h5py.File(path, "r")
    except PermissionError as error:
        raise ResourceError(describe_os_error(error, path)) from None
    except (OSError, RuntimeError, ValueError):
        raise ArtifactError(f"{path}: is not a {title_of(kind)}, or a damaged one: make it again") from None


def _changed(path: Path) -> ArtifactError:
    return ArtifactError(f"{path}: its content does not fit its digest, it is damaged: make it again")


def _manifest(file: Any, path: Path, kind: str, schema: int) -> Manifest:
    with _in_one_line(path):
        text = file.attrs.get(ATTRIBUTE)
    if text is None:
        raise ArtifactError(f"{path}: is an HDF5 file, but not one of alexnet's: check the path")
    if not isinstance(text, (str, bytes)):
        raise ArtifactError(f"{path}: its manifest is damaged (no text): make it again")
    return Manifest.from_json(text, kind=kind, schema=schema, path=path)


@contextmanager
def _in_one_line(path: Path) -> Iterator[None]:
    """HDF5 raises anything at all over a damaged file."""
    try:
        yield
    except (KeyError, OSError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        what = (str(error) or type(error).__name__).splitlines()[0]
        raise ArtifactError(f"{path}: is damaged ({what}): make it again") from None


def _has(file: Any, path: Path, name: str) -> bool:
    with _in_one_line(path):
        return file.get(name, getlink=True, default=None) is not None


def _read(file: Any, path: Path, name: str) -> NDArray[Any]:
    """An array. What it declares is first compared with what the file can hold."""
    with _in_one_line(path):
        link = file.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise ArtifactError(f"{path}: its {name} is missing, or a link, it is damaged: make it again")
        dataset = file[name]
        if not isinstance(dataset, h5py.Dataset):
            raise ArtifactError(f"{path}: its {name} is not an array, it is damaged: make it again")
        if dataset.is_virtual or dataset.external:
            raise ArtifactError(f"{path}: its {name} lies in another file, which is not read: make it again")
        if dataset.shape is None or dataset.id.get_create_plist().get_nfilters():
            raise ArtifactError(f"{path}: its {name} is empty or compressed, as ours never are: make it again")
        room = path.stat().st_size
        if dataset.size * dataset.dtype.itemsize > room:
            raise ArtifactError(
                f"{path}: its {name} should have {dataset.size:,} numbers, more than the file holds, it is damaged: "
                "make it again"
            )
        if h5py.check_string_dtype(dataset.dtype):
            return _texts(dataset, path, name, room)
        if dataset.dtype.kind not in "fiu":
            raise ArtifactError(f"{path}: its {name} is {dataset.dtype}, neither numbers nor text: make it again")
        return np.asarray(dataset[...])


def _texts(dataset: Any, path: Path, name: str, room: int) -> NDArray[Any]:
    """A list of strings, a few at a time: in a damaged file many may point to one long text."""
    if dataset.ndim != 1:
        raise ArtifactError(f"{path}: its {name} is not a list of text, it is damaged: make it again")
    texts: list[str] = []
    for first in range(0, len(dataset), _TEXTS_AT_ONCE):
        part = [str(text) for text in dataset.asstr()[first : first + _TEXTS_AT_ONCE]]
        room -= sum(map(len, part))
        if room < 0:
            raise ArtifactError(f"{path}: its {name} is longer than the file, it is damaged: make it again")
        texts += part
    return np.array(texts, dtype=object)


def _digest(arrays: Mapping[str, Any]) -> str:
    """Of arrays, or of a file's datasets, which are read a piece at a time."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        _add_array(total, name, arrays[name])
    return total.hexdigest()


def _is_text(dtype: Any) -> bool:
    return dtype.kind in "UO"


def _add_array(total: Any, name: str, array: Any) -> None:
    _add_head(total, name, array.dtype, array.shape)
    _add_content(total, array)


def _add_head(total: Any, name: str, dtype: Any, shape: tuple[int, ...]) -> None:
    add_part(total, name)
    if not _is_text(dtype):
        add_part(total, f"{dtype.str}{shape}")
        total.update((dtype.itemsize * math.prod(shape)).to_bytes(8, "little"))


def _add_content(total: Any, array: Any) -> None:
    if _is_text(array.dtype):
        texts = array.asstr()[...] if isinstance(array, h5py.Dataset) else array.astype(str)
        add_part(total, "\0".join(texts.ravel().tolist()))
        return
    rows = max(1, _AT_ONCE // max(1, array.nbytes // max(1, len(array)))) if array.shape else 1
    for first in range(0, len(array) if array.shape else 1, rows):
        piece = np.ascontiguousarray(array[first : first + rows] if array.shape else array[()])
        total.update(piece.reshape(-1).view(np.uint8))
