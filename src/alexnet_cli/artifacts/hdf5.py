"""Arrays in one HDF5 file that describes itself: what statistics and scores have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from alexnet_cli.artifacts.manifest import ATTRIBUTE, Manifest, digest_of
from alexnet_cli.artifacts.ownership import Kind
from alexnet_cli.artifacts.publish import publish_file
from alexnet_cli.errors import ArtifactError, ResourceError, describe_os_error

Arrays = dict[str, NDArray[Any]]


def write_arrays(
    path: Path,
    arrays: Mapping[str, NDArray[Any]],
    manifest: Manifest,
    kind: Kind,
    *,
    overwrite: bool,
    explaining: Mapping[str, NDArray[Any]] | None = None,
) -> Manifest:
    """Publish named arrays with a manifest, whose digest is computed here. Strings are stored as UTF-8.

    explaining: arrays outside the digest, which only say for people what the others mean.
    """
    manifest = replace(manifest, digest=_digest(arrays))
    publish_file(path, _image({**arrays, **(explaining or {})}, manifest), kind, overwrite=overwrite)
    return manifest


def _image(arrays: Mapping[str, NDArray[Any]], manifest: Manifest) -> bytes:
    """The bytes of an HDF5 file.

    Made in memory: HDF5 can't close a file on a disk that is full or failing, and may take the whole process down.
    """
    with h5py.File("in memory", "w", driver="core", backing_store=False) as file:
        for name, array in arrays.items():
            if array.dtype.kind in "UO":
                file.create_dataset(name, data=array.astype(object), dtype=h5py.string_dtype())
            else:
                file.create_dataset(name, data=array)
        file.attrs[ATTRIBUTE] = manifest.to_json()
        file.flush()
        return bytes(file.id.get_file_image())


def read_manifest(path: Path, *, kind: str, schema: int) -> Manifest:
    """The manifest alone."""
    with _open(path, kind) as file:
        return _manifest(file, path, kind, schema)


def read_arrays(
    path: Path, *, kind: str, schema: int, names: tuple[str, ...], explaining: tuple[str, ...] = ()
) -> tuple[Manifest, Arrays]:
    """The manifest and the named arrays; ArtifactError where the file is foreign, damaged or newer.

    explaining: arrays outside the digest, which may be absent.
    """
    with _open(path, kind) as file:
        manifest = _manifest(file, path, kind, schema)
        try:
            arrays = {name: _read(file[name]) for name in names}
            explained = {name: _read(file[name]) for name in explaining if name in file}
        except (KeyError, OSError) as error:
            raise ArtifactError(f"{path}: is damaged ({_first_line(error)}): make it again") from None
    if _digest(arrays) != manifest.digest:
        raise ArtifactError(f"{path}: its content does not fit its digest, it is damaged: make it again")
    return manifest, {**arrays, **explained}


def _open(path: Path, kind: str) -> Any:
    if not path.exists():
        raise ArtifactError(f"{path}: there is no such {kind} file: check the path")
    try:
        return h5py.File(path, "r")
    except PermissionError as error:
        raise ResourceError(describe_os_error(error, path)) from None
    except OSError:
        raise ArtifactError(f"{path}: is no {kind} file, or a damaged one: make it again") from None


def _manifest(file: Any, path: Path, kind: str, schema: int) -> Manifest:
    text = file.attrs.get(ATTRIBUTE)
    if text is None:
        raise ArtifactError(f"{path}: is an HDF5 file, but not one of alexnet's: check the path")
    return Manifest.from_json(text, kind=kind, schema=schema, path=path)


def _read(dataset: Any) -> NDArray[Any]:
    if h5py.check_string_dtype(dataset.dtype):
        return np.array(dataset.asstr()[...], dtype=object)
    return np.asarray(dataset[...])


def _digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    parts: list[bytes | memoryview | str] = []
    for name in sorted(arrays):
        array = arrays[name]
        parts.append(name)
        if array.dtype.kind in "UO":
            parts.append("\0".join(array.astype(str).ravel().tolist()))
        else:
            parts.append(f"{array.dtype.str}{array.shape}")
            parts.append(np.ascontiguousarray(array).tobytes())
    return digest_of(parts)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
