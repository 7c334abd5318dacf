"""Which pictures there are, in which order, and with which labels."""

from __future__ import annotations

import os
import sys
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from alexnet_cli.artifacts.crops import UNLABELLED, open_crops
from alexnet_cli.artifacts.manifest import digest_of
from alexnet_cli.class_list import ClassList
from alexnet_cli.errors import PictureError, ResourceError, describe_os_error
from alexnet_cli.pictures import PICTURE_EXTENSIONS
from stages.preprocess.config import PreprocessConfig
from stages.preprocess.names import NameList

_SPLITS = {"train", "training", "val", "validation", "valid", "test"}
_JUNK_FOLDERS = {"__MACOSX"}


class Listing:
    """The pictures found, in order: paths below the source with '/' between the parts, and what tells of changes."""

    def __init__(self) -> None:
        self.names = NameList()
        self.sizes = array("q")
        """Bytes; -1 where the file can't be looked at."""
        self.changed = array("q")
        """Nanoseconds; -1 where the file can't be looked at."""

    def __len__(self) -> int:
        return len(self.names)

    def add(self, name: str, size: int, changed: int) -> None:
        """Add a picture at the end."""
        self.names.append(name)
        self.sizes.append(size)
        self.changed.append(changed)


@dataclass(frozen=True)
class Sources:
    """The pictures in the order in which they are stored."""

    root: Path
    names: Sequence[str]
    labels: Sequence[int]
    classes: ClassList
    ignored: Mapping[str, int] = field(default_factory=dict)
    """How many other files there are, by extension."""
    fingerprint: str = ""
    """Changes when a picture comes, goes, changes, or gets another label."""


def find_sources(config: PreprocessConfig) -> Sources:
    """Walk the source. PictureError says in one line what is wrong with the folder or the labels."""
    root = config.source
    if not root.exists():
        raise PictureError(f"{root}: there is no such folder: check the path")
    if not root.is_dir():
        raise PictureError(f"{root}: is a file, not a folder of pictures: give a folder (extract an archive first)")
    ignored: Counter[str] = Counter()
    found = Listing()
    _walk(str(root), "", found, ignored, ())
    given = read_class_list(config.classes) if config.classes else None
    if config.labels is not None:
        labels_of = read_labels(config.labels)
        _match(root, found, config.labels, labels_of)
        class_names = [labels_of[name][0] for name in found.names]
    elif config.unlabelled:
        class_names = []
    else:
        class_names = _class_folders(root, found)
    if not found:
        raise PictureError(f"{root}: holds no pictures: check the path ({_describe(ignored)})")
    classes = given or ClassList.sorted(class_names)
    index = {name: position for position, name in enumerate(classes.names)}
    for picture, name in zip(found.names, class_names, strict=bool(class_names)):
        if name not in index:
            raise PictureError(
                f"{root / picture}: its class '{name}' is not among the {len(classes)} classes of {config.classes}"
            )
    labels = array("q", (index[name] for name in class_names)) or array("q", [UNLABELLED]) * len(found)
    return Sources(root, found.names, labels, classes, dict(ignored), _fingerprint(found, labels))


def read_class_list(path: Path) -> ClassList:
    """The class list of a crop store, or of a text file with one name a line, which is sorted."""
    if path.is_dir():
        return open_crops(path).classes
    lines = [(number, line.strip()) for number, line in _lines(path) if line.strip()]
    first: dict[str, int] = {}
    for number, name in lines:
        if name in first:
            raise PictureError(f"{path}, line {number}: the class '{name}' stands in line {first[name]} already")
        first[name] = number
    if not first:
        raise PictureError(f"{path}: holds no class names: give a crop store, or a file with one name a line")
    return ClassList.sorted(first)


def read_labels(path: Path) -> dict[str, tuple[str, int]]:
    """Name -> (label, line number) of a label file: tab or comma separated, else split at the last blank."""
    labels: dict[str, tuple[str, int]] = {}
    for number, line in _lines(path):
        if not line.strip():
            continue
        separator = next((mark for mark in ("\t", ",") if mark in line), " ")
        name, _, label = (part.strip() for part in line.strip(" \r\n").rpartition(separator))
        name = name.removeprefix("./")
        if not name or not label:
            raise PictureError(f"{path}, line {number}: is no 'name label': {line.strip()[:60]!r}")
        if name in labels:
            raise PictureError(f"{path}, line {number}: {name} has a label in line {labels[name][1]} already")
        labels[name] = (label, number)
    return labels


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines of a UTF-8 text file."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise PictureError(f"{path}: there is no such file: check the path") from None
    except OSError as error:
        raise ResourceError(describe_os_error(error, path)) from None
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        try:
            yield number, line.decode()
        except UnicodeDecodeError:
            raise PictureError(f"{path}, line {number}: is no UTF-8 text: save the file as UTF-8") from None


def _walk(folder: str, prefix: str, found: Listing, ignored: Counter[str], above: tuple[tuple[int, int], ...]) -> None:
    """Find every picture below a folder, hidden ones excepted, sorted by the parts of their paths; follow links."""
    try:
        status = os.stat(folder)  # noqa: PTH116
        here = (status.st_dev, status.st_ino)
        if here in above:
            raise PictureError(f"{folder}: is a link to a folder above it: remove it")
        with os.scandir(folder) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
    except OSError as error:
        raise ResourceError(describe_os_error(error, folder)) from None
    for entry in entries:
        if entry.name.startswith(".") or entry.name in _JUNK_FOLDERS:
            ignored["hidden"] += 1
        elif entry.is_dir():
            _walk(entry.path, f"{prefix}{entry.name}/", found, ignored, (*above, here))
        else:
            extension = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122
            if extension in PICTURE_EXTENSIONS:
                _add(entry, prefix + entry.name, found)
            else:
                ignored[extension or "no extension"] += 1


def _add(entry: os.DirEntry[str], name: str, found: Listing) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise PictureError(f"{entry.path!a}: its name is no UTF-8: rename it") from None
    try:
        status = entry.stat()
    except OSError:  # such as a broken link: reading it will say what is wrong
        found.add(name, -1, -1)
    else:
        found.add(name, status.st_size, status.st_mtime_ns)


def _class_folders(root: Path, found: Listing) -> list[str]:
    """Each picture's class in a tree of class folders."""
    classes = []
    deep = True
    for name in found.names:
        folder, slash, rest = name.partition("/")
        if not slash:
            raise PictureError(
                f"{root / name}: lies in no class folder: make one folder for each class, "
                "or give --labels FILE or --unlabelled"
            )
        classes.append(sys.intern(folder))  # else a million copies
        deep = deep and "/" in rest
    filled = set(classes)
    if filled and filled <= _SPLITS and deep:
        raise PictureError(
            f"{root}: holds {', '.join(sorted(filled))}, not class folders: give one, such as {root / classes[0]}"
        )
    for entry in sorted(root.iterdir()):
        skipped = entry.name.startswith(".") or entry.name in _JUNK_FOLDERS or not entry.is_dir()
        if found and not skipped and entry.name not in filled:
            raise PictureError(f"{entry}: the class folder holds no pictures: remove it, or put its pictures in")
    return classes


def _match(root: Path, found: Listing, file: Path, labels: Mapping[str, tuple[str, int]]) -> None:
    """Raise PictureError unless each picture has a label, and each label a picture."""
    names = set(found.names)
    lost = [(name, number) for name, (_, number) in labels.items() if name not in names]
    if lost:
        name, number = lost[0]
        raise PictureError(f"{file}, line {number}: {root} has no picture {name}{_and_more(len(lost))}")
    bare = [name for name in found.names if name not in labels]
    if bare:
        raise PictureError(f"{root / bare[0]}: has no label in {file}{_and_more(len(bare))}: add or remove it")


def _and_more(count: int) -> str:
    return f" (and {count - 1:,} more such)" if count > 1 else ""


def _describe(ignored: Mapping[str, int]) -> str:
    if not ignored:
        return "it is empty"
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in Counter(ignored).most_common(3))
    return f"other files: {kinds}"


def _fingerprint(found: Listing, labels: Sequence[int]) -> str:
    pictures = zip(found.names, labels, found.sizes, found.changed, strict=True)
    return digest_of(f"{name}\0{label}\0{size}\0{changed}" for name, label, size, changed in pictures)
