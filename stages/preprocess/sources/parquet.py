"""A data set of Hugging Face in Parquet: its pictures are bytes in a column, its classes are named in the schema.

    data/train-00000-of-00002.parquet   image: {bytes, path}   label: ClassLabel(names=[…])

A label is an index into the schema's names. A picture is named after its file and row,
`train-00000-of-00002/0000012.jpg`. Pictures can't be read in place: `unpack_parquet` writes them one after the other.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from alexnet_cli.class_list import ClassList
from alexnet_cli.console import Talk
from alexnet_cli.decoders import kind_of
from alexnet_cli.errors import PictureError
from alexnet_cli.extensions import EXTENSIONS
from alexnet_cli.sources.tars import Member
from alexnet_stages.preprocess.sources.listing import Found
from alexnet_stages.preprocess.sources.tables import LABEL_COLUMNS

MAGIC = b"PAR1"
_ROWS = 64
"""Pictures that are in memory at once."""
_PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.parquet")


def require_all_parts(root: Path, files: Sequence[Path]) -> None:
    """PictureError if one of `x-00000-of-00003.parquet` and so on is missing."""
    parts = [match for file in files if (match := _PART.fullmatch(file.name))]
    for match in parts:
        there = {int(other[2]) for other in parts if (other[1], other[3]) == (match[1], match[3])}
        missing = sorted(set(range(int(match[3]))) - there)
        if missing:
            raise PictureError(
                f"{root}: lacks {match[1]}-{missing[0]:05d}-of-{match[3]}.parquet"
                f"{f' and {len(missing) - 1} more' if len(missing) > 1 else ''}: download it"
            )


def index_parquet(root: Path, files: Sequence[Path], talk: Talk, *, labelled: bool, column: str | None = None) -> Found:
    """The pictures of some files, and the classes that the schema names.

    column: the title of the labels, if the user gives it.
    """
    found = Found(root=root, archives=list(files))
    labels: list[str] = []
    known: list[tuple[str, ...]] = []
    with talk.progress("indexing", len(files), unit="files") as advance:
        for path in files:
            table = _open(path)
            image, label, names = _columns(path, table, labelled=labelled, column=column)
            known.append(names)
            number, offset, row = found.listing.file(str(path)), 0, 0
            for picture, value in _rows(path, table, image, label):
                name = f"{path.stem}/{row:07d}{EXTENSIONS.get(kind_of(picture) or '', ('.bin',))[0]}"
                digest = hashlib.sha256(picture, usedforsecurity=False).digest()[:16]
                found.listing.add_member(name, Member(name, offset, len(picture), digest=digest), file=number)
                labels.append(_class_of(path, row, value, names) if label else "")
                offset, row = offset + len(picture), row + 1
            advance()
    if len(set(known)) > 1:
        raise PictureError(f"{root}: its files name different classes: give one of them, such as {files[0]}")
    if labelled:
        found.labels = [labels[at] for at in found.listing.order()]
    found.listing = found.listing.sorted()
    found.known = ClassList(known[0]) if known and known[0] else None
    return found


def unpack_parquet(path: Path, out: IO[bytes]) -> None:
    """Write a file's pictures one after the other."""
    table = _open(path)
    image, _, _ = _columns(path, table, labelled=False)
    for picture, _ in _rows(path, table, image, None):
        out.write(picture)


def _open(path: Path) -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise PictureError(f"{path}: is a Parquet file: pip install 'alexnet[parquet]', which reads it") from None
    try:
        return pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowException, ValueError) as error:
        raise PictureError(f"{path}: is damaged or cut off ({str(error)[:80]}): download it again") from None


def _columns(
    path: Path, table: Any, *, labelled: bool, column: str | None = None
) -> tuple[str, str | None, tuple[str, ...]]:
    """The column of pictures, that of labels, and the classes' names; PictureError if they are not clear."""
    schema = table.schema_arrow
    features = _features(path, schema)
    images = [name for name, about in features.items() if about.get("_type") == "Image"]
    images = images or [field.name for field in schema if _is_picture(field.type)]
    images = images or [field.name for field in schema if str(field.type) in ("binary", "large_binary")]
    if len(images) != 1:
        what = f"{len(images)} columns of pictures ({', '.join(images)})" if images else "no column of pictures"
        raise PictureError(f"{path}: has {what}: expected one: write it again with one called image")
    if not labelled:
        return images[0], None, ()
    classes = [name for name, about in features.items() if about.get("_type") == "ClassLabel"]
    plain = [name for name in schema.names if name in LABEL_COLUMNS and name not in images]
    choice = [name for name in schema.names if name == column and name not in images] if column else classes or plain
    if len(choice) != 1:
        what = f"{len(choice)} columns of labels ({', '.join(choice)})" if choice else "no column of labels"
        what = what if choice else f"{what}{f' {column!r}' if column else ''} (found {', '.join(schema.names)[:80]})"
        raise PictureError(f"{path}: has {what}: give --label-column TITLE or --unlabelled")
    names = features.get(choice[0], {}).get("names")
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise PictureError(f"{path}: its schema is damaged (the classes of {choice[0]}): download it again")
    return images[0], choice[0], tuple(names or ())


def _features(path: Path, schema: Any) -> dict[str, dict[str, Any]]:
    """What Hugging Face says of the columns."""
    text = (schema.metadata or {}).get(b"huggingface", b"{}")
    try:
        features = json.loads(text).get("info", {}).get("features", {})
        return {name: about for name, about in features.items() if isinstance(about, dict)}
    except (ValueError, AttributeError, RecursionError):
        raise PictureError(f"{path}: its schema is damaged: download it again") from None


def _is_picture(kind: Any) -> bool:
    fields = [kind.field(at).name for at in range(kind.num_fields)] if hasattr(kind, "num_fields") else []
    return "bytes" in fields


def _rows(path: Path, table: Any, image: str, label: str | None) -> Iterator[tuple[bytes, Any]]:
    import pyarrow

    columns = [image] + ([label] if label else [])
    row = 0
    try:
        for batch in table.iter_batches(_ROWS, columns=columns):
            values = batch.column(label).to_pylist() if label else [None] * len(batch)
            for cell, value in zip(batch.column(image).to_pylist(), values, strict=True):
                picture = cell.get("bytes") if isinstance(cell, dict) else cell
                if not isinstance(picture, bytes):
                    raise PictureError(f"{path}: row {row} holds no picture, only a path: download the data set whole")
                yield picture, value
                row += 1
    except (pyarrow.ArrowException, OSError) as error:
        raise PictureError(f"{path}: is damaged ({str(error)[:80]}): download it again") from None


def _class_of(path: Path, row: int, value: Any, names: Sequence[str]) -> str:
    if value is None or value == -1:
        return "-1"
    if not names:
        whole = not isinstance(value, float) or value.is_integer()
        if not whole or isinstance(value, bool | list | dict | bytes):
            raise PictureError(f"{path}: row {row}: expected a class, found {str(value)[:40]!r}")
        return str(value)
    if not isinstance(value, int) or not 0 <= value < len(names):
        raise PictureError(f"{path}: row {row}: expected a label from 0 to {len(names) - 1}, found {str(value)[:40]!r}")
    return names[value]
