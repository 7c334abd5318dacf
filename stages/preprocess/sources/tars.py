"""Indexes of tar archives: the pictures in one, or in many of which each holds a class. Nothing is extracted."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from alexnet_cli.console import Talk
from alexnet_cli.errors import PictureError
from alexnet_cli.sources.ignored import is_hidden_path
from alexnet_cli.sources.tars import Archive, Member, extension_of, is_archive_name, is_picture
from alexnet_stages.preprocess.sources.archives import content_of, members, watched, without_ending
from alexnet_stages.preprocess.sources.beside import ABOVE, SOLUTION, TEXTS
from alexnet_stages.preprocess.sources.labels import WORDS_FILES
from alexnet_stages.preprocess.sources.listing import Found
from alexnet_stages.preprocess.sources.splits import is_plain, split_called

_AT_ONCE = 64
"""Archives whose members are in memory at once, as objects: they take ten times what a listing does."""
_MOST_TEXT = 1 << 28
_THREADS = 8
"""Archives that are indexed at once: indexing waits for the disk, for 512 bytes at a time."""


def index_tar(path: Path, prefix: str, talk: Talk) -> Found:
    """The pictures of one archive below `prefix`, such as `train/`, sorted by the parts of their paths."""
    found = Found(root=path, archives=[path], below=prefix)
    file = found.listing.file(str(path))
    words_in = 0
    above, _, last = prefix.rstrip("/").rpartition("/")
    for member in watched(Archive(path), talk):
        folder, _, called = member.name.rpartition("/")
        is_around = not folder or prefix.startswith(f"{folder}/")
        if called in TEXTS and not is_hidden_path(member.name):
            text = content_of(path, member) if member.size <= _MOST_TEXT else b""
            if member.name.startswith(prefix):
                found.texts[member.name[len(prefix) :]] = text
            elif folder == above and (split_called(last) or is_plain(last)):
                found.texts[ABOVE + called] = text
        elif called == SOLUTION and member.size <= _MOST_TEXT and is_around:
            found.texts[ABOVE + SOLUTION] = content_of(path, member)
        elif called in WORDS_FILES and is_around and len(folder) >= words_in:  # the nearest counts
            found.words, words_in = content_of(path, member), len(folder)
        if not member.name.startswith(prefix):
            continue
        name = member.name[len(prefix) :]
        folder, slash, _ = name.partition("/")
        if is_hidden_path(name):
            found.ignored["hidden"] += 1
            continue
        if not slash and is_archive_name(name):
            found.packed.append(f"{path}/{member.name}")
        if slash:
            found.folders.setdefault(folder, f"{path}/{prefix}{folder}")
        if is_picture(name):
            found.listing.add_member(name, member, file=file)
        else:
            found.ignored[extension_of(name) or "no extension"] += 1
    found.listing = found.listing.sorted()
    return found


def index_class_tars(root: Path, archives: Sequence[Archive], talk: Talk) -> Found:
    """The pictures of archives that each hold one class and are named after it; names begin with the class."""
    found = Found(root=root, archives=sorted({archive.path for archive in archives}))
    by_class = {without_ending(Path(archive.name or archive.path.name).name): archive for archive in archives}
    if len(by_class) < len(archives):
        raise PictureError(f"{root}: expected an archive for each class, found two of one name: remove one of them")
    numbers = {path: found.listing.file(str(path)) for path in found.archives}
    ordered = sorted(by_class.items())
    with talk.progress("indexing", len(ordered), unit="archives") as advance, ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(ordered), _AT_ONCE):
            batch = ordered[start : start + _AT_ONCE]
            listed = pool.map(_sorted_members, [archive for _, archive in batch])
            for (name, archive), inside in zip(batch, listed, strict=True):
                found.folders[name] = str(archive)
                _add_class(found, name, numbers[archive.path], inside)
                advance()
    return found


def _add_class(found: Found, name: str, file: int, inside: Sequence[Member]) -> None:
    for member in inside:
        own = member.name.removeprefix(f"{name}/")
        if is_hidden_path(own):
            found.ignored["hidden"] += 1
        elif is_picture(own):
            if own == member.name:
                found.loose.add(name)
            found.listing.add_member(f"{name}/{own}", member, file=file)
        else:
            found.ignored[extension_of(own) or "no extension"] += 1


def _sorted_members(archive: Archive) -> list[Member]:
    return sorted(members(archive), key=lambda member: member.name.split("/"))
