"""Tables of labels: which column names the pictures and which their classes, with any separator and titles.

    table = read_table("labels.csv", lines, Names(root, names))
    table[index]                 # ("cat", 7): the label of the picture with that index, and the line it is in

The column of names is the one whose values are pictures of the source, whatever its title or place. The column of
labels has a title that says so, or is the only other one. If several would do, nothing is guessed.
"""

from __future__ import annotations

import copy
import csv
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from alexnet_cli.class_list import are_numbers
from alexnet_cli.errors import PictureError
from alexnet_cli.extensions import PICTURE_EXTENSIONS

NAME_COLUMNS = ("file_name", "filename", "imageid", "image_id", "image", "file", "filepath", "path", "name", "id")
LABEL_COLUMNS = ("predictionstring", "label", "labels", "class", "wnid", "synset", "category", "target", "class_name")
OTHER_LABEL_COLUMNS = ("classname", "class_label", "labelname", "label_name", "classid", "class_id", "label_id")
"""Titles in small letters, the preferred ones first."""
_LABELS = (*LABEL_COLUMNS, *OTHER_LABEL_COLUMNS)
_NO_TITLES = ("", "index", "unnamed:_0")
"""Titles of a column of row numbers."""
_SEPARATORS = (",", "\t", ";", "|")
_TABLES = (".csv", ".tsv")
_JSON = (".json", ".jsonl", ".ndjson")
_PARTS = (
    "split",
    "subset",
    "set",
    "data_set",
    "dataset",
    "partition",
    "fold",
    "is_valid",
    "is_test",
    "is_training_image",
)
"""Titles of columns that divide a data set: they are ignored, with a note."""
_ONE_HOT = {"0", "1", "0.0", "1.0", "-1", "True", "False"}
_NO_LABELS = ("nan", "na", "n/a", "<na>", "none", "null")
_SAMPLE = 200
"""Rows by which the columns are recognised."""
_FEWEST_DISTINCT = 50
"""If so many pictures or more all have different labels, the labels are not classes."""
_BOXED = "predictionstring"
"""Kaggle's column: `n03995372 85 1 499 272`, a class and its box; only the class counts."""

Lines = Sequence[tuple[int, str]]
"""Line numbers and texts."""
Table = dict[int, tuple[str, int]]
"""Index of a picture -> label, line number."""


class NoLabelsError(PictureError):
    """A table without a column that is recognised as labels."""


@dataclass(frozen=True)
class Rows:
    """A table's cells, with the number of each row's line."""

    numbers: list[int]
    cells: list[list[str]]

    def below(self, at: int) -> set[str]:
        """The values of a column, below its title."""
        return {cells[at] for cells in self.cells[1:] if at < len(cells)}


class Names:
    """A source's pictures, found by what tables call them."""

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        self.root, self.names = root, names
        self._below = ""
        self._index = {name: at for at, name in enumerate(names)}

    def within(self, folder: str) -> Names:
        """The same for tables whose names start from a folder, such as `a/`."""
        found = copy.copy(self)
        found._below = folder
        return found

    def find(self, text: str) -> int | None:
        """The index of the picture that a table's cell names; None if there is none.

        A cell may differ from the source's name: no extension; an absolute path, or the source's name in front;
        backslashes; accents in another spelling; no folders, if only one picture has that name.
        """
        text = f"{self._below}{text.strip().removeprefix('./')}"
        found = self._plain(text)
        if found is None and "\\" in text:
            text = text.replace("\\", "/")
            found = self._plain(text)
        if found is None and text.startswith("/"):
            inside = next((text[len(start) :] for start in self._roots if text.startswith(start)), None)
            found = None if inside is None else self._plain(inside)
        if found is None and text.startswith(f"{self.root.name}/"):
            found = self._plain(text[len(self.root.name) + 1 :])
        if found is None and not text.isascii():
            found = self._composed.get(unicodedata.normalize("NFC", text))
        if found is None and text and "/" not in text:
            found = self._by_file.get(text)
        return None if found is None or found < 0 else found

    def _plain(self, text: str) -> int | None:
        found = self._index.get(text)
        return self._stems.get(text) if found is None else found

    @cached_property
    def _roots(self) -> tuple[str, ...]:
        return tuple({f"{os.path.abspath(self.root)}/", f"{os.path.realpath(self.root)}/"})  # noqa: PTH100

    @cached_property
    def _stems(self) -> Mapping[str, int]:
        return _once((stem_of(name), at) for at, name in enumerate(self.names))

    @cached_property
    def _composed(self) -> Mapping[str, int]:
        pairs = [(unicodedata.normalize("NFC", name), at) for at, name in enumerate(self.names) if not name.isascii()]
        return _once([*pairs, *((stem_of(name), at) for name, at in pairs)])

    @cached_property
    def _by_file(self) -> Mapping[str, int]:
        pairs = [(name.rpartition("/")[2], at) for at, name in enumerate(self.names)]
        return _once([*pairs, *((stem_of(name), at) for name, at in pairs)])


def _once(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Text -> index; -1 if it stands for several."""
    found: dict[str, int] = {}
    for text, at in pairs:
        found[text] = at if found.setdefault(text, at) == at else -1
    return found


def stem_of(name: str) -> str:
    """A name without its extension."""
    return re.sub(r"\.[^./]*$", "", name)


def read_table(
    where: Path | str,
    lines: Lines,
    names: Names,
    *,
    told: bool = True,
    column: str | None = None,
    notes: list[str] | None = None,
) -> Table:
    """The label of each picture that a table names, in CSV with any separator, or in JSON.

    told: whether the user said that the table holds labels; else a column of labels needs a title that says so.
    column: the title of the labels, if the user gives it. notes: grows by notes for people. NoLabelsError if there is
    no column of labels. PictureError if the table names an unknown picture, or one picture twice.
    """
    rows = _rows(where, lines, names)
    if rows is None:
        if column is not None:
            raise PictureError(f"{where}: has no titles, so none is {column!r}: leave --label-column out")
        return _enter(where, _pairs(where, lines), names, 0, 0, 1, False)
    first, name, label, boxed = _columns(where, rows, names, told=told, column=column)
    if notes is not None and first and rows.cells:
        notes += _unread(where, rows, label)
    return _enter(where, rows, names, first, name, label, boxed)


def _rows(where: Path | str, lines: Lines, names: Names) -> Rows | None:
    """The cells of CSV or JSON; None if the file is neither."""
    suffix = Path(where).suffix.lower()
    if suffix in _JSON:
        return _json_rows(where, lines)
    if lines and re.fullmatch(r'"?sep=.?"?', lines[0][1].strip()):  # Excel's
        lines = lines[1:]
    separators = sorted(_SEPARATORS, key=lambda mark: mark != "\t") if suffix == ".tsv" else _SEPARATORS
    for separator in separators:
        rows = _csv_rows(where, lines, separator)
        if rows is not None and _name_columns(rows, names):
            return rows
    return _csv_rows(where, lines, separators[0], strict=True) if suffix in _TABLES else None


def _unread(where: Path | str, rows: Rows, label: int) -> list[str]:
    """Lines that say which of several columns holds the labels, and which columns are ignored."""
    titles = rows.cells[0]
    lines = [f"{where}: the labels are its column {titles[label]!r}"] if len(titles) > 2 else []
    for at, title in enumerate(titles):
        values = sorted(rows.below(at))
        if at != label and _plain_title(title) in _PARTS and len(values) > 1:
            lines.append(
                f"{where}: its column {title!r} ({', '.join(values[:3])}{', …' if len(values) > 3 else ''}) is "
                "IGNORED: all pictures become one store"
            )
    return lines


def _csv_rows(where: Path | str, lines: Lines, separator: str, *, strict: bool = False) -> Rows | None:
    """The cells; None if the separator is not in the first line, or this is not CSV."""
    if not strict and lines and separator not in lines[0][1]:
        return None
    reader = csv.reader((f"{line}\n" for _, line in lines), delimiter=separator, skipinitialspace=True)
    rows = Rows([], [])
    try:
        for cells in reader:
            rows.numbers.append(lines[reader.line_num - 1][0])
            rows.cells.append(cells)
    except csv.Error as error:
        if not strict:
            return None
        raise PictureError(f"{where}: is not a CSV table ({error}): save it again") from None
    return rows


def _json_rows(where: Path | str, lines: Lines) -> Rows:
    """The cells of JSON: one object a line, a list of objects, or one object of names and labels.

    The first row holds the keys.
    """
    objects: list[tuple[int, dict[str, Any]]] = []
    whole = _parsed("\n".join(line for _, line in lines))
    if isinstance(whole, dict) and {"images", "annotations"} <= whole.keys():
        raise PictureError(
            f"{where}: is COCO's JSON, which names objects in the pictures, not a class for each picture: give a table "
            "of names and labels"
        )
    if isinstance(whole, dict) and Path(where).suffix.lower() == ".json":
        if not all(map(_is_cell, whole.values())):
            raise PictureError(f"{where}: is JSON of another form: expected {{name: label}}, or a list of objects")
        return Rows([0] * (len(whole) + 1), [["file_name", "label"], *([name, str(whole[name])] for name in whole)])
    if isinstance(whole, list):
        lines = [(number, json.dumps(value)) for number, value in enumerate(whole, 1)]
    for number, line in lines:
        values = _parsed(line)
        if not isinstance(values, dict):
            raise PictureError(f"{where}, line {number}: is not a JSON object: expected one a line")
        objects.append((number, values))
    keys = list(dict.fromkeys(key for _, values in objects for key in values))
    cells = [[_cell(values.get(key)) for key in keys] for _, values in objects]
    return Rows([0, *(number for number, _ in objects)], [keys, *cells])


def _parsed(text: str) -> Any:
    """What JSON says; None if it is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _is_cell(value: object) -> bool:
    return isinstance(value, str | int | float)


def _cell(value: object) -> str:
    return "" if value is None else str(value) if _is_cell(value) else json.dumps(value)


def _pairs(where: Path | str, lines: Lines) -> Rows:
    """`name label` lines: tab or comma separated, else split at the last blank."""
    rows = Rows([], [])
    for number, line in lines:
        separator = next((mark for mark in ("\t", ",") if mark in line), " ")
        name, _, label = (part.strip() for part in line.strip(" \r\n").rpartition(separator))
        if not name or not label:
            raise PictureError(f"{where}, line {number}: is not 'name label': {line.strip()[:60]!r}")
        rows.numbers.append(number)
        rows.cells.append([name, label])
    return rows


def _name_columns(rows: Rows, names: Names) -> list[int]:
    """The columns in which most cells name pictures, and different ones; the first row may be titles.

    Labels from 0 to 9 also name the pictures 0.png to 9.png, but repeatedly.
    """
    sample = rows.cells[1 : _SAMPLE + 1] or rows.cells[:1]
    width = max((len(cells) for cells in sample), default=0)
    if width < 2:
        return []
    found = []
    for column in range(width):
        hits = [cells[column] for cells in sample if len(cells) > column and names.find(cells[column]) is not None]
        if 2 * len(hits) > len(sample) and 2 * len(set(hits)) > len(hits):
            found.append(column)
    return found


def _columns(
    where: Path | str, rows: Rows, names: Names, *, told: bool, column: str | None
) -> tuple[int, int, int, bool]:
    """The first row that is not a title, the columns of names and labels, and whether labels have a box behind them."""
    if not rows.cells:
        raise PictureError(f"{where}: is empty: expected a name and a label for each picture")
    titles = [_plain_title(title) for title in rows.cells[0]]
    naming = _name_columns(rows, names)
    if column is None and not _is_header(rows, titles, naming):
        if len(titles) > 2:
            raise PictureError(
                f"{where}: has {len(titles)} columns without titles: put a line in front, such as filename,label"
            )
        name = naming[0] if naming else 0
        return 0, name, 1 - name if len(titles) == 2 else 1, False
    known = [titles.index(title) for title in NAME_COLUMNS if title in titles]
    name = next((column for column in known if column in naming), (naming or known or [0])[0])
    if column is not None:
        label = _called(where, rows, column, name)
        return 1, name, label, titles[label] == _BOXED
    others = [
        at
        for at, title in enumerate(titles)
        if at != name and title not in _NO_TITLES and not (at in naming and _only_names(rows, at, title))
    ]
    labels = sorted((at for at in others if titles[at] in _LABELS), key=lambda at: _LABELS.index(titles[at]))
    if not labels and told and len(others) == 1:
        labels = others
    if not labels:
        raise NoLabelsError(f"{where}: {_why_none(rows, others)}")
    _require_one_meaning(where, rows, labels)
    return 1, name, labels[0], titles[labels[0]] == _BOXED


def _only_names(rows: Rows, at: int, title: str) -> bool:
    """Whether a column whose cells name pictures can't be labels. Labels 0 to 9 also name pictures 0.png to 9.png."""
    return title in NAME_COLUMNS or not are_numbers(map(str.strip, rows.below(at)))


def _plain_title(title: str) -> str:
    return re.sub(r"[\s-]+", "_", title.strip().lower())


def _called(where: Path | str, rows: Rows, column: str, name: int) -> int:
    """The column of a title. PictureError if there is none, or it names the pictures."""
    titles = [title.strip() for title in rows.cells[0]]
    if titles.count(column) != 1 or titles.index(column) == name:
        raise PictureError(
            f"{where}: has no column of labels {column!r} (--label-column), found {', '.join(titles)[:80]}"
        )
    return titles.index(column)


def _why_none(rows: Rows, others: Sequence[int]) -> str:
    """What a table has instead of a column with a known title, and what to do."""
    titles = rows.cells[0]
    ones = [at for at in others if set(map(str.strip, rows.below(at))) <= _ONE_HOT]
    if len(ones) > 1:
        some = ", ".join(titles[at] for at in ones[:3])
        return (
            f"has a column for each class ({some}{', …' if len(ones) > 3 else ''}), of ones and zeros: write the class "
            "of each picture into one column called 'label'"
        )
    return (
        f"has no column of labels that is known by its title (found {', '.join(titles)[:80]}): give --label-column "
        "TITLE, or name one 'label'"
    )


def _is_header(rows: Rows, titles: Sequence[str], naming: Sequence[int]) -> bool:
    """Whether the first row holds titles, not a picture and its label."""
    if any(title in NAME_COLUMNS for title in titles) and any(title in _LABELS for title in titles):
        return True
    if not naming or os.path.splitext(rows.cells[0][naming[0]])[1].lower() in PICTURE_EXTENSIONS:  # noqa: PTH122
        return False
    if titles[naming[0]] in NAME_COLUMNS:
        return True
    # If the first row's picture is merely missing, its label occurs in other rows too.
    return not any(cell in rows.below(at) for at, cell in enumerate(rows.cells[0]) if at != naming[0])


def _require_one_meaning(where: Path | str, rows: Rows, columns: Sequence[int]) -> None:
    """PictureError if two columns of labels divide the pictures differently."""
    first, *others = columns
    for other in others:
        pairs = {(cells[first], cells[other]) for cells in rows.cells[1:] if len(cells) > max(first, other)}
        if not len(pairs) == len({one for one, _ in pairs}) == len({two for _, two in pairs}):
            one, two = rows.cells[0][first], rows.cells[0][other]
            raise PictureError(
                f"{where}: {one!r} and {two!r} may both be the labels, and differ: give --label-column TITLE"
            )


def _enter(where: Path | str, rows: Rows, names: Names, first: int, name_at: int, label_at: int, boxed: bool) -> Table:
    """Each row's picture and label. PictureError if a row lacks one, or names an unknown picture, or one twice."""
    form = "name,label" if Path(where).suffix.lower() in _TABLES else "name label"
    table: Table = {}
    lost: list[tuple[str, int]] = []
    for number, cells in zip(rows.numbers[first:], rows.cells[first:], strict=True):
        if len(cells) <= max(name_at, label_at) or not cells[name_at].strip() or not cells[label_at].strip():
            raise PictureError(f"{where}, line {number}: is not '{form}': {','.join(cells)[:60]!r}")
        name, label = cells[name_at].strip(), cells[label_at].strip()
        at = names.find(name)
        if at is None:
            lost.append((name, number))
            continue
        if at in table:
            raise PictureError(f"{where}, line {number}: {name} has a label in line {table[at][1]} already")
        table[at] = (label.split()[0] if boxed else label, number)
    if lost:
        raise PictureError(f"{where}, line {lost[0][1]}: {names.root} has no picture {lost[0][0]}{and_more(len(lost))}")
    _require_classes(where, table)
    return table


def _require_classes(where: Path | str, table: Table) -> None:
    """PictureError if labels are not classes: several in one, none, or a different one for each picture."""
    lines: dict[str, int] = {}
    for label, number in table.values():
        lines.setdefault(label, number)
    for label, number in lines.items():
        parts = [part.strip() for part in re.split("[,;]", label)]
        if label[:1] in ("[", "{") or "|" in label or (len(parts) > 1 and all(part in lines for part in parts)):
            raise PictureError(f"{where}, line {number}: expected one class for each picture, found {label[:40]!r}")
    nameless = [label for label in lines if label.lower() in _NO_LABELS]
    if nameless and are_numbers(label for label in lines if label not in nameless):
        raise PictureError(
            f"{where}, line {lines[nameless[0]]}: expected a number, found {nameless[0]!r}: remove pictures without a "
            "label from the file and the source"
        )
    if len(table) >= _FEWEST_DISTINCT and len(lines) == len(table):
        label, number = next(iter(table.values()))
        raise PictureError(
            f"{where}, line {number}: expected classes, found another text for each of the {len(table):,} pictures, "
            f"such as {label[:40]!r}: give a file with their labels"
        )


def complete(where: Path | str, table: Table, names: Names) -> list[str]:
    """The label of each picture. PictureError if one has none."""
    bare = [at for at in range(len(names.names)) if at not in table]
    if bare:
        raise PictureError(
            f"{names.root / names.names[bare[0]]}: has no label in {where}{and_more(len(bare))}: add or remove it"
        )
    return [table[at][0] for at in range(len(names.names))]


def and_more(count: int) -> str:
    """` (and 3 more such)` of 4."""
    return f" (and {count - 1:,} more such)" if count > 1 else ""
