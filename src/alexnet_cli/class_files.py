"""Class lists that people give: a crop store's, a devkit's, or a text file's; and the lines of text files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from alexnet_cli.artifacts.crops.shards import open_crops
from alexnet_cli.class_list import ClassList, plain_names
from alexnet_cli.errors import PictureError
from alexnet_cli.imagenet import is_devkit, read_devkit
from alexnet_cli.reading import read_regular

_NUMBERED = (
    re.compile(r"(?P<number>\d{1,9})\s*[\s,;:]\s*(?P<name>.+)"),
    re.compile(r"(?P<name>.+?)\s*[\s,;]\s*(?P<number>\d{1,9})"),
)
_WITH_WORDS = re.compile(r"(n\d{8})[\s,;]+(?:\d+\s+)?(.+)")
"""A WNID, perhaps its number, and its words."""
_TITLES = {"index", "idx", "id", "number", "class", "label", "name", "wnid", "synset"}


def read_class_list(path: Path) -> ClassList:
    """The class list of a crop store, of a devkit, or of a text file with one name a line, in its order."""
    if is_devkit(path):
        return read_devkit(path).classes
    if path.is_dir():
        return open_crops(path).classes
    return _listed_classes(path)


def _listed_classes(path: Path) -> ClassList:
    """A text file's classes: one a line, in its order, or in that of the numbers beside them; perhaps with words."""
    lines = [(number, line.strip()) for number, line in read_lines(path)]
    if path.suffix.lower() == ".json":
        lines = list(enumerate(_json_lines(path, "\n".join(line for _, line in lines)), 1))
    if not lines:
        raise PictureError(f"{path}: holds no class names: give a crop store, or a file with one name a line")
    texts = [text for _, text in lines]
    counted_from, texts = _in_order(texts)
    words: tuple[str, ...] = ()
    for behind in _with_and_without_titles(texts):
        parts = [_WITH_WORDS.fullmatch(text) for text in behind]
        if behind and all(parts):
            texts = [part[1] for part in parts if part]
            words = tuple(part[2].strip('"') for part in parts if part)
            break
    first: dict[str, int] = {}
    spelt = plain_names(texts)
    for at, text in enumerate(texts):
        name = spelt[text]
        if name in first:
            raise PictureError(f"{path}, line {lines[at][0]}: the class '{name}' stands in line {first[name]} already")
        first[name] = lines[at][0]
    return ClassList(tuple(first), words=words, counted_from=counted_from)


def _in_order(texts: list[str]) -> tuple[int | None, list[str]]:
    """The first of the numbers in front of all names or behind them, and the names in the numbers' order.

    Numbers count only where they are 0, 1, 2 … or 1, 2, 3 …, in any order, and each name is another without them: else
    they are parts of the names.
    """
    for lines in _with_and_without_titles(texts):
        for pattern in _NUMBERED:
            parts = [pattern.fullmatch(text) for text in lines]
            named = {int(part["number"]): part["name"] for part in parts if part}
            lowest = min(named, default=-1)
            if (
                len(lines) > 1
                and lowest in (0, 1)
                and sorted(named) == list(range(lowest, lowest + len(lines)))
                and len(set(named.values())) == len(lines)
            ):
                return lowest, [named[number] for number in sorted(named)]
    return None, texts


def _with_and_without_titles(texts: list[str]) -> list[list[str]]:
    """The lines, and those behind the first where that may be titles, such as `index,name`."""
    words = re.findall(r"[a-z]+", texts[0].lower())
    return [texts, texts[1:]] if len(words) > 1 and _TITLES & set(words) else [texts]


def _json_lines(path: Path, text: str) -> list[str]:
    """The lines that JSON stands for: a list of names, names by number, numbers by name, or Keras's WNIDs and words."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        values = None
    if isinstance(values, dict):
        values = [
            f"{value} {key}"
            if isinstance(value, int)
            else " ".join([key, *([value] if isinstance(value, str) else value)])
            for key, value in values.items()
            if isinstance(value, int | str) or (isinstance(value, list) and all(isinstance(one, str) for one in value))
        ]
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise PictureError(f"{path}: is JSON of another form: expected a list of names, or names by their numbers")
    return values


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines of a UTF-8 text file, those that are blank excepted."""
    try:
        content = read_regular(path, PictureError)
    except FileNotFoundError:
        raise PictureError(f"{path}: no such file: check the path") from None
    return lines_in(path, content)


def lines_in(path: Path, content: bytes) -> Iterator[tuple[int, str]]:
    """The same, of a file whose content is known."""
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        try:
            text = line.decode()
        except UnicodeDecodeError:
            raise PictureError(f"{path}, line {number}: is not UTF-8 text: save the file as UTF-8") from None
        if text.strip():
            yield number, text
