"""Labels that are not folders: label files, CSV tables, ground truths of devkit IDs, words of classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from alexnet_cli.class_files import lines_in, read_lines
from alexnet_cli.class_list import ClassList
from alexnet_cli.errors import PictureError
from alexnet_cli.imagenet import Devkit, find_devkit, is_devkit, parse_ids, read_devkit
from alexnet_stages.preprocess.sources.listing import Found
from alexnet_stages.preprocess.sources.tables import Names, complete, read_table

WORDS_FILES = ("LOC_synset_mapping.txt", "words.txt", "synset_words.txt")


def labels_of(
    path: Path, found: Found, given: ClassList | None, *, column: str | None = None, content: bytes | None = None
) -> list[str]:
    """The class of each of a source's pictures, from a label file, a table, or a ground truth of devkit IDs.

    column: the title of the labels, if the user gives it. content: the file's, if it is in an archive. Notes for people
    go to `found.notes`.
    PictureError if the file names unknown pictures, leaves some out, or has another number of lines.
    """
    lines = list(read_lines(path) if content is None else lines_in(path, content))
    if column is None and lines and all(line.strip().isdecimal() for _, line in lines):
        return _from_ids(path, [line for _, line in lines], found.root, found.listing.names, given)
    known = Names(found.root, found.listing.names)
    return complete(path, read_table(path, lines, known, column=column, notes=found.notes), known)


def from_devkit(devkit: Devkit, root: Path, names: Sequence[str]) -> list[str]:
    """The class of each validation picture, in the order of their names."""
    if not devkit.validation:
        raise PictureError(f"{devkit.path}: holds no validation ground truth: give another devkit")
    _require_length(devkit.path, len(devkit.validation), root, len(names))
    return [devkit.wnids[index] for index in devkit.validation]


def read_words(path: Path) -> ClassList:
    """Classes and their words, of lines `n01440764 tench, Tinca tinca`."""
    return _words(line for _, line in read_lines(path))


def words_in(content: bytes) -> ClassList:
    """The same, of a file's content."""
    return _words(content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace").splitlines())


def _words(lines: Iterable[str]) -> ClassList:
    parts = [line.strip().replace("\t", " ", 1).partition(" ") for line in lines]
    words = {name: rest.strip() for name, _, rest in parts if name}
    return ClassList(tuple(words), words=tuple(words.values()))


def _from_ids(path: Path, lines: Sequence[str], root: Path, names: Sequence[str], given: ClassList | None) -> list[str]:
    """A ground truth: one devkit ID for each picture in the order of their names."""
    classes = given if given is not None and given.ids else _devkit_beside(path)
    if classes is None:
        raise PictureError(
            f"{path}: gives devkit IDs, whose classes only meta.mat knows (ID - 1 is not the class index): put the "
            "devkit next to it, give --labels DEVKIT, or --classes of a store that was made with it"
        )
    _require_length(path, len(lines), root, len(names))
    return [classes.names[index] for index in parse_ids(path, "\n".join(lines), classes.ids)]


def _devkit_beside(path: Path) -> ClassList | None:
    for folder in (path.parent, path.parent.parent):
        if is_devkit(folder):
            return read_devkit(folder).classes
    devkit = find_devkit(path.parent)
    return read_devkit(devkit).classes if devkit else None


def _require_length(path: Path, expected: int, root: Path, found: int) -> None:
    if expected != found:
        raise PictureError(f"{root}: expected {expected:,} pictures, one for each label of {path}, found {found:,}")
