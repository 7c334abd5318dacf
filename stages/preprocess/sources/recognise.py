"""Recognises what a source is, before it is indexed."""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from alexnet_cli.errors import PictureError, ResourceError, describe_os_error
from alexnet_cli.imagenet import find_devkit, is_devkit
from alexnet_cli.sources.ignored import is_hidden, is_hidden_path
from alexnet_cli.sources.packed import packing_of
from alexnet_cli.sources.tars import Archive, NotATarError, extension_of, is_archive_name, is_picture, is_tar_name
from alexnet_stages.preprocess.sources.archives import first_members, is_unfinished, members, without_ending
from alexnet_stages.preprocess.sources.beside import SOLUTION
from alexnet_stages.preprocess.sources.foreign import foreign_file, foreign_folder
from alexnet_stages.preprocess.sources.labels import WORDS_FILES
from alexnet_stages.preprocess.sources.parquet import MAGIC, require_all_parts
from alexnet_stages.preprocess.sources.splits import SPLIT_FOLDERS, split_called
from alexnet_stages.preprocess.sources.webdataset import (
    LISTS,
    are_numbered,
    expand_braces,
    is_shard,
    read_shard_list,
)

_ILSVRC_TAR = re.compile(r"ILSVRC20\d\d_(?:img|images)_(train|val|test)(_v?\d+)?\.tar")
KAGGLE = "CLS-LOC"
_KAGGLE_LEVELS = 4
"""How many folders above CLS-LOC/val Kaggle's tables may lie."""


class Kind(enum.Enum):
    """How the pictures lie."""

    FOLDER = "a folder"
    TAR = "a tar"
    TAR_OF_TARS = "a tar of a tar for each class"
    CLASS_TARS = "a folder of an archive for each class"
    SHARDS = "WebDataset shards"
    PARQUET = "a data set in Parquet"


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What a source is, and what lies next to it."""

    kind: Kind
    root: Path
    """The folder or archive."""
    split: str | None = None
    """train, val or test, if known."""
    archives: tuple[Path, ...] = ()
    """The class archives, shards or Parquet files."""
    prefix: str = ""
    """In a tar, the folder that counts."""
    devkit: Path | None = None
    """A devkit next to it."""
    labels: Path | None = None
    """Kaggle's table of validation labels."""
    words: Path | None = None
    """A file of the classes' words."""
    kaggle: bool = False
    """Whether it is Kaggle's layout of ILSVRC."""


def recognise(source: Path, split: str | None) -> Layout:
    """What a source is. PictureError if that is unknown, or if `split` must say which part is meant."""
    if not source.exists():
        if "{" in str(source) and ".." in str(source):
            return _shards(source, [Path(name) for name in expand_braces(str(source))], split)
        archive = next((place for place in source.parents if place.is_file()), None)
        if archive is not None:
            return _inside_tar(archive, source.relative_to(archive).as_posix(), split)
        raise PictureError(f"{source}: no such folder: check the path")
    try:
        return _folder(source, split) if source.is_dir() else _file(source, split)
    except OSError as error:
        raise ResourceError(describe_os_error(error, source)) from None


def _inside_tar(archive: Path, folder: str, split: str | None) -> Layout:
    """A folder in a tar, given as if the tar were a folder: `x.tar/imagenet/train`."""
    called = split_called(PurePosixPath(folder).name)
    prefix = f"{folder}/"
    if called is None or split not in (None, called):
        prefix, called = _split_prefix(archive, split, prefix)
    elif not any(member.name.startswith(prefix) for member in members(Archive(archive))):
        raise _no_folder(archive, folder)
    return _with_beside(Layout(kind=Kind.TAR, root=archive, split=called, prefix=prefix), archive.parent)


def _no_folder(archive: Path, folder: str) -> PictureError:
    return PictureError(f"{archive}: holds no folder {folder}: check the path")


def _folder(root: Path, split: str | None) -> Layout:
    kaggle = _kaggle(root, split)
    if kaggle is not None:
        return kaggle
    entries = sorted(entry for entry in root.iterdir() if not is_hidden(entry.name))
    if foreign := foreign_folder(root, entries):
        raise PictureError(f"{root}: {foreign}")
    if parquet := _parquet(root, entries, split):
        return parquet
    ilsvrc = [entry for entry in entries if _ILSVRC_TAR.fullmatch(entry.name)]
    if ilsvrc:
        chosen = _choose_part(root, ilsvrc, [entry for entry in entries if entry.is_dir()], split)
        if chosen.is_file():
            return _file(chosen, split)
        return _with_beside(Layout(kind=Kind.FOLDER, root=chosen, split=split), chosen, 1)
    archives = [entry for entry in entries if is_archive_name(entry.name) and not is_devkit(entry)]
    if archives and not any(is_picture(entry.name) or entry.is_dir() for entry in entries):
        if unfinished := next((entry for entry in entries if is_unfinished(entry.name)), None):
            raise PictureError(
                f"{unfinished}: is an unfinished download, whose pictures would be missing: finish it, or move it away"
            )
        return _archives(root, archives, split)
    chosen = _choose_folder(root, split)
    if chosen != root and not any(is_picture(entry.name) or entry.is_dir() for entry in chosen.iterdir()):
        return _folder(chosen, split)  # of archives or Parquet
    return _with_beside(Layout(kind=Kind.FOLDER, root=chosen, split=split), chosen, 1)


def _archives(root: Path, archives: list[Path], split: str | None) -> Layout:
    """A folder of archives and nothing else: shards, classes, or parts of a data set."""
    names = [without_ending(path.name) for path in archives]
    for path in archives:
        if not is_tar_name(path.name) and extension_of(path.name) != ".zip":
            raise PictureError(f"{path}: is an archive that is not read: unpack it and give the folder")
    first = first_members(archives[0])
    tars = all(is_tar_name(path.name) for path in archives)
    # An archive whose files lie in a folder of its name is a class's, even if the name is a number.
    in_own_folder = all(member.name.startswith(f"{names[0]}/") for member in first)
    if tars and (is_shard(first) or (are_numbered(names) and not in_own_folder)):
        splits = {called for name in names if (called := _part_of(Path(name)))}
        if len(splits) > 1:
            if split not in splits:
                there = [name for name in SPLIT_FOLDERS if name in splits]
                raise PictureError(f"{root}: holds shards of {', '.join(there)}: give --split {'|'.join(there)}")
            archives = [path for path, name in zip(archives, names, strict=True) if _part_of(Path(name)) == split]
        return _shards(root, archives, split)
    if split and len(chosen := [path for path in archives if split_called(without_ending(path.name)) == split]) == 1:
        return _file(chosen[0], split)
    if len(archives) == 1:
        raise PictureError(f"{root}: holds one archive: give it: {archives[0]}")
    return _with_beside(Layout(kind=Kind.CLASS_TARS, root=root, split=split, archives=tuple(archives)), root)


def _file(path: Path, split: str | None) -> Layout:
    match = _ILSVRC_TAR.fullmatch(path.name)
    named = match[1] if match else None
    if split and named and named != split:
        other = [entry for entry in path.parent.iterdir() if (m := _ILSVRC_TAR.fullmatch(entry.name)) and m[1] == split]
        what = other[0] if other else f"the {split} tar"
        raise PictureError(f"{path}: expected the {split} split (--split), found {named}'s: give {what}")
    split = split or named
    if path.is_file():
        with path.open("rb") as file:
            start = file.read(8)
        if foreign := foreign_file(path, start):
            raise PictureError(f"{path}: {foreign}")
        if start.startswith(MAGIC):
            return Layout(kind=Kind.PARQUET, root=path, split=split or _part_of(path), archives=(path,))
    if path.suffix.lower() in LISTS:
        return _shards(path, read_shard_list(path), split)
    try:
        first = first_members(path)
    except NotATarError:
        if path.suffix.lower() == ".tar":
            raise
        raise PictureError(
            f"{path}: is a file, neither a folder of pictures nor a tar: give a folder or a tar"
        ) from None
    if packing_of(path) is None and any(extension_of(member.name) == ".tar" for member in first):
        return _with_beside(Layout(kind=Kind.TAR_OF_TARS, root=path, split=split), path.parent)
    if is_shard(first):
        return _shards(path, [path], split)
    prefix, found = ("", split) if named and "/" not in first[0].name else _split_prefix(path, split)
    return _with_beside(Layout(kind=Kind.TAR, root=path, split=found, prefix=prefix), path.parent)


def _parquet(root: Path, entries: list[Path], split: str | None) -> Layout | None:
    """The Parquet files of a folder, or of `data` in it, of one split; None if there are none, or pictures too."""
    data = next((entry for entry in entries if entry.name == "data" and entry.is_dir()), None)
    inside = sorted(data.iterdir()) if data is not None else entries
    files = [entry for entry in inside if entry.suffix == ".parquet" and not is_hidden(entry.name)]
    if not files or any(is_picture(entry.name) or entry.is_dir() for entry in entries if entry != data):
        return None
    parts = {file: _part_of(file) for file in files}
    if set(parts.values()) == {None} and split_called(root.name) == split:
        parts = dict.fromkeys(files, split)
    splits = [name for name in SPLIT_FOLDERS if name in parts.values()]
    if split is None and len(set(parts.values())) == 1:
        split = splits[0] if splits else None
    elif split not in splits:
        found = ", ".join(splits) or "none by their names"
        raise PictureError(f"{root}: holds Parquet files of several parts ({found}): give --split {'|'.join(splits)}")
    chosen = tuple(file for file in files if parts[file] == split)
    require_all_parts(root, chosen)
    return Layout(kind=Kind.PARQUET, root=root, split=split, archives=chosen)


def _part_of(file: Path) -> str | None:
    """The split that a word in a file's name stands for."""
    return next((called for word in re.split(r"[-_.\d]", file.name) if (called := split_called(word))), None)


def _shards(root: Path, paths: list[Path], split: str | None) -> Layout:
    lost = [path for path in paths if not path.is_file()]
    if lost:
        more = f" (and {len(lost) - 1:,} more)" if len(lost) > 1 else ""
        raise PictureError(f"{root}: expected {len(paths):,} shards, found no {lost[0]}{more}")
    if not paths:
        raise PictureError(f"{root}: names no shards: give one path a line")
    return _with_beside(Layout(kind=Kind.SHARDS, root=root, split=split, archives=tuple(paths)), paths[0].parent)


def _choose_part(root: Path, tars: list[Path], folders: list[Path], split: str | None) -> Path:
    """One of ILSVRC's tars in a folder, or of the folders made of them."""
    parts = {path: match[1] for path in tars if (match := _ILSVRC_TAR.fullmatch(path.name))}
    parts |= {folder: called for folder in folders if (called := split_called(folder.name))}
    fitting = [path for path in parts if split in (None, parts[path])]
    if not fitting:
        names = ", ".join(path.name for path in parts)
        raise PictureError(f"{root}: expected ILSVRC's {split} tar, found {names}: give another --split")
    if len(fitting) > 1:
        splits = sorted({parts[path] for path in fitting}, key=list(SPLIT_FOLDERS).index)
        what = f"--split {'|'.join(splits)}" if len(splits) > 1 else f"one of them, such as {fitting[0]}"
        raise PictureError(f"{root}: holds {', '.join(path.name for path in fitting)}: give {what}")
    return fitting[0]


def _choose_folder(root: Path, split: str | None) -> Path:
    """The folder of the requested split; without a request the folder itself."""
    if split is None:
        return root
    folders = [entry for entry in sorted(root.iterdir()) if entry.is_dir() and not is_hidden(entry.name)]
    inside = [entry for entry in folders if split_called(entry.name) == split]
    if len(inside) > 1:
        raise PictureError(f"{root}: holds {' and '.join(entry.name for entry in inside)}: give one of them")
    if inside:
        return inside[0]
    if split_called(root.name) == split:
        return root
    others = [entry.name for entry in folders if split_called(entry.name)]
    if len(folders) == 1 and not others:  # one folder around all
        return _choose_folder(folders[0], split)
    if others:
        raise PictureError(
            f"{root}: expected a folder called {' or '.join(SPLIT_FOLDERS[split])} (--split), found {', '.join(others)}"
        )
    return root


def _kaggle(root: Path, split: str | None) -> Layout | None:
    """Kaggle's layout, from any of its folders down to the split's; None if it is something else."""
    if root.resolve().parent.name == KAGGLE and split_called(root.resolve().name):
        folder, named = root, split_called(root.resolve().name)
        if split not in (None, named):
            raise PictureError(f"{root}: expected the {split} split (--split), found {named}'s: give the folder above")
    else:
        places = [root / part for part in (".", KAGGLE, f"Data/{KAGGLE}", f"ILSVRC/Data/{KAGGLE}")]
        base = next((place for place in places if place.resolve().name == KAGGLE and place.is_dir()), None)
        if base is None:
            return None
        there = [name for name in SPLIT_FOLDERS if (base / name).is_dir()]
        if split is None and len(there) == 1:
            split = there[0]
        if split is None or split not in there:
            found = ", ".join(there) or "none of them"
            wish = f"expected {split} (--split)" if split else f"give --split {'|'.join(there or SPLIT_FOLDERS)}"
            raise PictureError(f"{root}: is Kaggle's layout: {wish}, found {found}")
        folder, named = base / split, split
    above = (folder, *folder.resolve().parents[:_KAGGLE_LEVELS])
    return Layout(
        kind=Kind.FOLDER,
        root=folder,
        split=named,
        labels=_first_file(above, SOLUTION) if named == "val" else None,
        words=_first_file(above, *WORDS_FILES),
        kaggle=True,
    )


def _split_prefix(path: Path, split: str | None, prefix: str = "") -> tuple[str, str | None]:
    """In a tar of folders `train/`, `val/`, …, or below one of its folders: the folder to take, and its split."""
    names = (member.name for member in members(Archive(path)) if is_picture(member.name))
    folders = {name[: name.rfind("/") + 1] for name in names if not is_hidden_path(name)}  # few, of a million pictures
    while True:
        tops = {folder[len(prefix) :].partition("/")[0] for folder in folders if folder.startswith(prefix)}
        if not tops and prefix:
            raise _no_folder(path, prefix.rstrip("/"))
        found = {called: top for top in sorted(tops) if (called := split_called(top))}
        if split is None or found or len(tops) != 1 or tops == {""}:
            break
        prefix = f"{prefix}{tops.pop()}/"  # one folder around all
    if not found or (split is None and len(found) == 1 and len(tops) > 1):  # a class may be called train
        return prefix, split
    if split is None and len(found) == 1 and len(tops) == 1:
        split = next(iter(found))
    if split is None:
        raise PictureError(f"{path}: holds {', '.join(found.values())}: give --split {'|'.join(found)}")
    if split not in found:
        raise PictureError(f"{path}: expected the {split} split (--split), found {', '.join(found.values())}")
    return f"{prefix}{found[split]}/", split


def _with_beside(layout: Layout, folder: Path, levels: int = 0) -> Layout:
    """A layout with what lies in a folder, or in one of `levels` above it: devkit, Kaggle's labels, words."""
    places = (folder, *folder.resolve().parents[:levels])
    devkit = next((found for place in places if (found := find_devkit(place))), None)
    is_val = (layout.split or split_called(layout.root.name)) == "val"
    table = _first_file(places, SOLUTION) if is_val else None
    return replace(layout, devkit=devkit, labels=table, words=_first_file(places, *WORDS_FILES))


def _first_file(places: Sequence[Path], *names: str) -> Path | None:
    return next((place / name for place in places for name in names if (place / name).is_file()), None)
