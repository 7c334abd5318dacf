"""What people give in place of pictures: formats of other programs, and ours. Messages name it and say what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from alexnet_cli.artifacts.common.manifest import MANIFEST_FILE
from alexnet_cli.artifacts.crops.shards import is_sharded
from alexnet_cli.sources.tars import is_picture

_TFRECORD = re.compile(r".*tfrecords?\b.*|.*-\d{5}-of-\d{5}", re.IGNORECASE)
_UNPACK = "unpack it and give the folder"
_WRITE_OUT = "write its pictures into one folder for each class, and give the folder above"
_MAGIC = (
    (b"ARROW1", "an Arrow file", _WRITE_OUT),
    (b"\x89HDF", "an HDF5 file", _WRITE_OUT),
    (b"7z\xbc\xaf", "a 7z archive", _UNPACK),
    (b"Rar!", "a RAR archive", _UNPACK),
)
"""First bytes, what it is, what to do."""
_ENDINGS = {
    "Arrow files of Hugging Face": (".arrow",),
    "LMDBs of another program": (".mdb",),
    "TFRecord files": (".tfrecord", ".tfrecords"),
    "HDF5 files": (".h5", ".hdf5"),
    "arrays of numpy": (".npy", ".npz"),
    "Matlab's files": (".mat",),
    "pickles": (".pkl",),
    "RecordIO files of MXNet": (".rec",),
    "shards of MosaicML": (".mds",),
    "FFCV's files": (".beton",),
    "videos": (".mp4",),
    "raw pictures of cameras": (".dng", ".cr2", ".nef", ".arw"),
    "drawings (SVG)": (".svg",),
    "PDFs": (".pdf",),
}
"""What lies in folders without pictures -> how its names end."""


def foreign_folder(root: Path, entries: Sequence[Path]) -> str | None:
    """Why a folder is not a source, in words that follow its path; None if no reason is known."""
    names = {entry.name for entry in entries}
    if is_sharded(root) or {MANIFEST_FILE, "data.mdb"} <= names:
        return "is a crop store already: give it to alexnet pca, train or eval, or give the pictures it was made of"
    if "data.mdb" in names:
        return f"is an LMDB of another program: {_WRITE_OUT}"
    if any(is_picture(entry.name) or entry.is_dir() for entry in entries):
        return None
    for pattern, what in (
        (_TFRECORD, "TFRecord files"),
        (re.compile(r".*\.arrow"), "Arrow files of Hugging Face"),
    ):
        found = sorted(name for name in names if pattern.fullmatch(name))
        if found:
            return f"holds {what}, such as {found[0]}, which are not read: {_WRITE_OUT}"
    return None


def foreign_file(path: Path, start: bytes) -> str | None:
    """Why a file is not a source, in words that follow its path; None if no reason is known."""
    if _TFRECORD.fullmatch(path.name):
        return f"is a TFRecord file, which is not read: {_WRITE_OUT}"
    if path.name in ("data.mdb", "lock.mdb"):
        return "is part of an LMDB: a crop store is given as its folder, and to alexnet pca, train or eval"
    for mark, what, advice in _MAGIC:
        if start.startswith(mark):
            return f"is {what}, which is not read: {advice}"
    return None


def foreign_files(endings: Iterable[str]) -> str | None:
    """What a source without pictures holds, in words that follow its path; None if no file is of a known kind."""
    what = next((what for ending in endings for what, known in _ENDINGS.items() if ending in known), None)
    return None if what is None else f"holds {what}, which are not read: {_WRITE_OUT}"
