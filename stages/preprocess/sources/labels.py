"""Labels that are not folders: label files, CSV tables, ground truths of devkit IDs, words of classes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from alexnet_cli.artifacts.crops.shards import open_crops
from alexnet_cli.class_list import ClassList, plain_names
from alexnet_cli.errors import PictureError
from alexnet_cli.imagenet import Devkit, find_devkit, is_devkit, parse_ids, read_devkit
from alexnet_cli.reading import read_regular
from alexnet_stages.preprocess.sources.tables import Names, complete, read_table

WORDS_FILES = ("LOC_synset_mapping.txt", "words.txt", "synset_words.txt")


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
    for (number, _), name in zip(lines, texts, strict=True):
        if name in first:
            raise PictureError(f"{path}, line {number}: the class '{name}' stands in line {first[name]} already")
        first[name] = number
    spelt = plain_names(texts)
    return ClassList(tuple(spelt[name] for name in texts), words=tuple(words))


def labels_of(path: Path, root: Path, names: Sequence[str], given: ClassList | None) -> list[str]:
    """The class of each of the named pictures, from a label file, a CSV table, or a ground truth of devkit IDs.

    PictureError where the file names unknown pictures, leaves some out, or has another number of lines.
    """
    lines = [(number, line) for number, line in read_lines(path) if line.strip()]
    if lines and all(line.strip().isdecimal() for _, line in lines):
        return _from_ids(path, [line for _, line in lines], root, names, given)
    known = Names(root, names)
    return complete(path, read_table(path, lines, known), known)


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
