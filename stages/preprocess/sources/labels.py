"""Labels that are not folders: label files, CSV tables, ground truths of devkit IDs, words of classes."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from alexnet_cli.class_files import read_lines
from alexnet_cli.class_list import ClassList
from alexnet_cli.errors import PictureError
from alexnet_cli.imagenet import Devkit, find_devkit, is_devkit, parse_ids, read_devkit

WORDS_FILES = ("LOC_synset_mapping.txt", "words.txt", "synset_words.txt")
_NAME_COLUMNS = ("imageid", "image_id", "image", "filename", "file_name", "file", "name", "path", "id")
_LABEL_COLUMNS = ("predictionstring", "label", "class", "wnid", "synset", "category", "target", "class_name")


def labels_of(path: Path, root: Path, names: Sequence[str], given: ClassList | None) -> list[str]:
    """The class of each of the named pictures, from a label file, a CSV table, or a ground truth of devkit IDs.

    PictureError where the file names unknown pictures, leaves some out, or has another number of lines.
    """
    lines = [(number, line) for number, line in read_lines(path) if line.strip()]
    if lines and all(line.strip().isdecimal() for _, line in lines):
        return _from_ids(path, [line for _, line in lines], root, names, given)
    table = _read_csv(path, lines) if path.suffix.lower() == ".csv" else _read_pairs(path, lines)
    return _match(path, root, names, table)


def from_devkit(devkit: Devkit, root: Path, names: Sequence[str]) -> list[str]:
    """The class of each validation picture, in the order of their names."""
    if not devkit.validation:
        raise PictureError(f"{devkit.path}: holds no validation ground truth: give another devkit")
    _require_length(devkit.path, len(devkit.validation), root, len(names))
    return [devkit.wnids[index] for index in devkit.validation]


def read_words(path: Path) -> dict[str, str]:
    """Class -> words, of lines `n01440764 tench, Tinca tinca`."""
    words = {}
    for _, line in read_lines(path):
        name, _, rest = line.strip().replace("\t", " ", 1).partition(" ")
        if name:
            words[name] = rest.strip()
    return words


def find_words(folder: Path, levels: int = 0) -> Path | None:
    """A file of words in a folder, or in one of `levels` folders above it."""
    for place in (folder, *folder.resolve().parents[:levels]):
        for name in WORDS_FILES:
            if (place / name).is_file():
                return place / name
    return None


def explained(classes: ClassList, words: Mapping[str, str]) -> ClassList:
    """A class list with words, where they are known of every class."""
    if classes.words or not all(name in words for name in classes.names):
        return classes
    return ClassList(classes.names, words=tuple(words[name] for name in classes.names), ids=classes.ids)


Table = dict[str, tuple[str, int]]
"""Name -> label, line number."""


def _read_pairs(path: Path, lines: Sequence[tuple[int, str]]) -> Table:
    """`name label` lines: tab or comma separated, else split at the last blank."""
    table: Table = {}
    for number, line in lines:
        separator = next((mark for mark in ("\t", ",") if mark in line), " ")
        name, _, label = (part.strip() for part in line.strip(" \r\n").rpartition(separator))
        if not name or not label:
            raise PictureError(f"{path}, line {number}: is no 'name label': {line.strip()[:60]!r}")
        _enter(table, path, name, label, number)
    return table


def _read_csv(path: Path, lines: Sequence[tuple[int, str]]) -> Table:
    """A CSV table, with or without a header; of `n03995372 85 1 499 272`, a class and its box, the class counts."""
    table: Table = {}
    try:
        rows = list(zip((number for number, _ in lines), csv.reader(line for _, line in lines), strict=False))
    except csv.Error as error:
        raise PictureError(f"{path}: is no CSV table ({error}): save it again") from None
    name_at, label_at, boxed = 0, 1, False
    if rows:
        header = [cell.strip().lower() for cell in rows[0][1]]
        names = [header.index(column) for column in _NAME_COLUMNS if column in header]
        labels = [header.index(column) for column in _LABEL_COLUMNS if column in header]
        if names and labels:
            name_at, label_at = names[0], labels[0]
            boxed = header[label_at] == "predictionstring"
            rows = rows[1:]
    for number, row in rows:
        if len(row) <= max(name_at, label_at) or not row[name_at].strip() or not row[label_at].strip():
            raise PictureError(f"{path}, line {number}: is no 'name,label': {','.join(row)[:60]!r}")
        label = row[label_at].strip()
        _enter(table, path, row[name_at].strip(), label.split()[0] if boxed else label, number)
    return table


def _enter(table: Table, path: Path, name: str, label: str, number: int) -> None:
    name = name.removeprefix("./")
    if name in table:
        raise PictureError(f"{path}, line {number}: {name} has a label in line {table[name][1]} already")
    table[name] = (label, number)


def _match(path: Path, root: Path, names: Sequence[str], table: Table) -> list[str]:
    """Each picture's label; names in the table may lack the extension. PictureError unless they fit one another."""
    used: set[str] = set()
    labels: list[str] = []
    bare: list[str] = []
    for name in names:
        stem = re.sub(r"\.[^./]*$", "", name)
        key = name if name in table else stem
        if key in table and key not in used:
            used.add(key)
            labels.append(table[key][0])
        else:
            bare.append(name)
    lost = [(name, number) for name, (_, number) in table.items() if name not in used]
    if lost:
        raise PictureError(f"{path}, line {lost[0][1]}: {root} has no picture {lost[0][0]}{_and_more(len(lost))}")
    if bare:
        raise PictureError(f"{root / bare[0]}: has no label in {path}{_and_more(len(bare))}: add or remove it")
    return labels


def _from_ids(path: Path, lines: Sequence[str], root: Path, names: Sequence[str], given: ClassList | None) -> list[str]:
    """A ground truth: one devkit ID for each picture in the order of their names."""
    classes = given if given is not None and given.ids else _devkit_beside(path)
    if classes is None:
        raise PictureError(
            f"{path}: gives devkit IDs, whose classes only meta.mat knows (ID - 1 is not the class index): put the "
            "devkit beside it, give --labels DEVKIT, or --classes of a store that was made with it"
        )
    known = {number: index for index, number in enumerate(classes.ids)}
    _require_length(path, len(lines), root, len(names))
    return [classes.names[index] for index in parse_ids(path, "\n".join(lines), known)]


def _devkit_beside(path: Path) -> ClassList | None:
    for folder in (path.parent, path.parent.parent):
        if is_devkit(folder):
            return read_devkit(folder).classes
    devkit = find_devkit(path.parent)
    return read_devkit(devkit).classes if devkit else None


def _require_length(path: Path, expected: int, root: Path, found: int) -> None:
    if expected != found:
        raise PictureError(f"{root}: expected {expected:,} pictures, as many as {path} has labels, found {found:,}")


def _and_more(count: int) -> str:
    return f" (and {count - 1:,} more such)" if count > 1 else ""
