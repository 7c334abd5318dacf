"""Class lists that people give: a crop store's, a devkit's, or a text file's; and the lines of text files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from alexnet_cli.artifacts.crops.shards import open_crops
from alexnet_cli.class_list import ClassList, plain_names
from alexnet_cli.errors import PictureError
from alexnet_cli.imagenet import is_devkit, read_devkit
from alexnet_cli.reading import read_regular


def read_class_list(path: Path) -> ClassList:
    """The class list of a crop store, of a devkit, or of a text file with one name a line, in its order."""
    if is_devkit(path):
        return read_devkit(path).classes
    if path.is_dir():
        return open_crops(path).classes
    return _listed_classes(path)


def _listed_classes(path: Path) -> ClassList:
    """A text file's classes: one a line, in its order, perhaps with the index in front or words behind."""
    lines = [(number, line.strip()) for number, line in read_lines(path) if line.strip()]
    if not lines:
        raise PictureError(f"{path}: holds no class names: give a crop store, or a file with one name a line")
    texts = [line for _, line in lines]
    split = [re.fullmatch(r"(\S+)\s+(.+)", text) for text in texts]
    words: list[str] = []
    if len(texts) > 1 and all(part and part[1].isdecimal() for part in split):
        indices = [int(part[1]) for part in split if part]
        if indices == list(range(indices[0], indices[0] + len(indices))) and indices[0] in (0, 1):
            texts = [part[2] for part in split if part]
            split = [re.fullmatch(r"(\S+)\s+(.+)", text) for text in texts]
    if all(part and re.fullmatch(r"n\d{8}", part[1]) for part in split):
        texts, words = [part[1] for part in split if part], [part[2] for part in split if part]
    first: dict[str, int] = {}
    spelt = plain_names(texts)
    for (number, _), text in zip(lines, texts, strict=True):
        name = spelt[text]
        if name in first:
            raise PictureError(f"{path}, line {number}: the class '{name}' stands in line {first[name]} already")
        first[name] = number
    return ClassList(tuple(first), words=tuple(words))


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines of a UTF-8 text file."""
    try:
        content = read_regular(path, PictureError)
    except FileNotFoundError:
        raise PictureError(f"{path}: there is no such file: check the path") from None
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        try:
            yield number, line.decode()
        except UnicodeDecodeError:
            raise PictureError(f"{path}, line {number}: is no UTF-8 text: save the file as UTF-8") from None
