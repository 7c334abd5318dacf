"""Labels that lie among the pictures: Hugging Face's metadata.csv or .jsonl, Tiny-ImageNet's val_annotations.txt.

If class folders and a table disagree, nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from alexnet_cli.class_files import lines_in
from alexnet_cli.class_list import plain_names
from alexnet_cli.errors import PictureError
from alexnet_cli.sources.located import Located, read_located
from alexnet_stages.preprocess.sources.listing import Found
from alexnet_stages.preprocess.sources.splits import is_plain, split_called
from alexnet_stages.preprocess.sources.tables import Names, NoLabelsError, Table, complete, read_table

METADATA = ("metadata.csv", "metadata.jsonl")
ANNOTATIONS = "val_annotations.txt"
SOLUTION = "LOC_val_solution.csv"
"""Kaggle's labels of ILSVRC's val, in a folder above the pictures'."""
TEXTS = frozenset({*METADATA, ANNOTATIONS})
"""Files that are sought among the pictures."""
ABOVE = "../"
"""In front of the name of a text that lies in the folder above the pictures'."""
_ADVICE = "give --labels FILE to take a table's labels, or rename it to take the class folders"


def find_above(found: Found, folder: Path) -> None:
    """Note the texts in the folder above, if this folder is a split's or called `images`."""
    if split_called(folder.name) or is_plain(folder.name):
        for name in TEXTS:
            if (folder.parent / name).is_file():
                found.texts.setdefault(ABOVE + name, Located(name, str(folder.parent / name)))


def labels_beside(found: Found, column: str | None = None) -> tuple[list[str], str] | None:
    """The class of each picture by a table among them, and the table's name; None if no table counts.

    column: the title of the labels, if the user gives it.
    PictureError if tables and class folders contradict each other, or a table does not fit the pictures.
    """
    names = Names(found.place, found.listing.names)
    tops = {name.partition("/")[0] if "/" in name else "" for name in found.listing.names}
    several = len(tops) > 1 and "" not in tops
    annotations = next((at for at in (ANNOTATIONS, ABOVE + ANNOTATIONS) if at in found.texts), None)
    if annotations and not several:
        where = found.place / annotations
        # Tiny-ImageNet's `val_0.JPEG  n03444034  0  32  44  62`, separated by tabs: a name, its class, a box.
        lines = [(number, "\t".join(text.split("\t")[:2])) for number, text in _lines(where, found, annotations)]
        return complete(where, read_table(where, lines, names), names), ANNOTATIONS
    tables = _tables(found)
    if not tables:
        return None
    if len(tops) > 1 and all(map(split_called, tops)):
        raise PictureError(f"{found.place}: holds {', '.join(sorted(tops))}: give one of them, or --split")
    in_each = several and {PurePosixPath(path).parts[0] for path in tables} == tops
    try:
        labels = _labels(found, tables, names, column)
    except NoLabelsError:
        if several and not in_each:
            found.notes.append(f"{_called(found, tables)}: has no column of labels: classes from the folders")
            return None
        raise
    except PictureError as error:
        raise PictureError(f"{error}; {_ADVICE}" if several and not in_each else str(error)) from None
    if labels is None:
        return None
    if several and not in_each:
        _require_the_folders(found, labels, tables)
        return None
    return labels, _called(found, tables)


def _tables(found: Found) -> list[str]:
    """The metadata files below the source, else the one above it."""
    own = sorted(path for path in found.texts if _file(path) in METADATA and not path.startswith(ABOVE))
    tables = own or sorted(path for path in found.texts if path.startswith(ABOVE) and _file(path) in METADATA)
    folders = [str(PurePosixPath(path).parent) for path in tables]
    twice = next((path for path, folder in zip(tables, folders, strict=True) if folders.count(folder) > 1), None)
    if twice:
        raise PictureError(
            f"{found.place / twice}: lies next to another table of labels ({' and '.join(METADATA)}): keep one of them"
        )
    return tables


def _labels(found: Found, tables: list[str], names: Names, column: str | None) -> list[str] | None:
    """The labels that all tables together give; None if the table above names only other folders' pictures."""
    whole: Table = {}
    for path in tables:
        where = found.place / path
        lines = list(_lines(where, found, path))
        if path.startswith(ABOVE):
            inside = f"{found.place.name}/"
            lines = [line for at, line in enumerate(lines) if inside in line[1] or (at == 0 and path.endswith(".csv"))]
            if not any(inside in text for _, text in lines):
                return None
        below = "" if path.startswith(ABOVE) else path[: -len(_file(path))]
        table = read_table(where, lines, names.within(below), told=False, column=column, notes=found.notes)
        again = next((at for at in table if at in whole), None)
        if again is not None:
            raise PictureError(f"{where}, line {table[again][1]}: {names.names[again]} has a label in another table")
        whole |= table
    return complete(_called(found, tables), whole, names)


def _require_the_folders(found: Found, labels: list[str], tables: list[str]) -> None:
    """PictureError unless a table's labels are the class folders' names."""
    folders = [name.partition("/")[0] for name in found.listing.names]
    mine, theirs = plain_names(folders), plain_names(labels)
    for name, folder, label in zip(found.listing.names, folders, labels, strict=True):
        if mine[folder] != theirs[label]:
            raise PictureError(
                f"{found.place / name}: lies in the class folder '{folder}', and has the label '{label}' in "
                f"{_called(found, tables)}: {_ADVICE}"
            )


def _lines(where: Path, found: Found, path: str) -> Iterator[tuple[int, str]]:
    text = found.texts[path]
    return lines_in(where, text if isinstance(text, bytes) else read_located(text))


def _called(found: Found, tables: list[str]) -> str:
    first = found.place / tables[0]
    return str(first) if len(tables) == 1 else f"{first} and {len(tables) - 1} more"


def _file(path: str) -> str:
    return PurePosixPath(path).name
