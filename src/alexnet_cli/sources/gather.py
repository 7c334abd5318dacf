"""Pictures that a command line names one by one: files, folders, tars, and standard input as `-`.

    for picture in gather([Path("cat.jpg"), Path("holiday/"), Path("val.tar")]):
        picture.read()          # its bytes; BadPictureError says why there are none

What lies in folders and tars is told from other files by its extension, and hidden files are none; a file that is named
itself is always taken for a picture. Nothing is extracted, and labels play no part.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from alexnet_cli.artifacts.crops.store import DATA_FILE
from alexnet_cli.errors import PictureError, ResourceError
from alexnet_cli.pictures import MAX_FILE_BYTES, BadPictureError
from alexnet_cli.sources.ignored import is_hidden, is_hidden_path
from alexnet_cli.sources.located import Located, read_located
from alexnet_cli.sources.tars import Archive, extension_of, is_picture, members

STANDARD_INPUT = "-"
_USTAR_AT = 257
_TAR = re.compile(r"\.(tar(\.[a-z0-9]+)?|tgz|tbz2?|txz)$", re.IGNORECASE)
"""Compressed ones too: reading them says what to do."""


@dataclass(frozen=True)
class Picture:
    """A picture that was asked for, or what stands in the place of one."""

    path: str
    """What it is called, for people and programs: a file's path, `x.tar/a/b.jpg`, `-`."""
    located: Located | None = None
    """Where its bytes lie; None: on standard input, or nowhere."""
    error: str = ""
    """Why there is no picture."""

    def read(self) -> bytes:
        """Its bytes; BadPictureError where there are none, ResourceError where the disk fails."""
        if self.error:
            raise BadPictureError(self.error)
        return read_located(self.located) if self.located is not None else _standard_input()


def gather(paths: Sequence[Path]) -> list[Picture]:
    """The pictures that some paths name, in their order; those of a folder or tar sorted by the parts of their names.

    A path that is not there, a damaged tar and an empty folder are pictures with an error: the others go on.
    """
    return [picture for path in paths for picture in _of(path)]


def _of(path: Path) -> Iterator[Picture]:
    name = str(path)
    if name == STANDARD_INPUT:
        yield Picture(name)
        return
    try:
        if path.is_dir():
            found = sorted(_below(path, "", ()), key=lambda picture: picture.path.split("/"))
        elif path.is_file() and (_TAR.search(name) or _is_tar(path)):
            found = sorted(_in_tar(Archive(path)), key=lambda picture: picture.path.split("/"))
        else:
            yield Picture(name, Located(name, name))
            return
    except (PictureError, ResourceError) as error:  # the line begins with the path, which the row has already
        yield Picture(name, error=str(error).removeprefix(f"{path}: "))
        return
    store = (path / DATA_FILE).exists()
    nothing = "is a crop store: score it with `alexnet eval`" if store else "holds no pictures"
    yield from found or [Picture(name, error=nothing)]


def _below(folder: Path, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[Picture]:
    """The pictures in a folder and below; links are followed, but never in a circle."""
    try:
        status = folder.stat()
        entries = sorted(folder.iterdir())
    except OSError as error:
        yield Picture(str(folder), error=f"can't be read: {error.strerror or error}")
        return
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    for entry in entries:
        if is_hidden(entry.name):
            continue
        if entry.is_dir():
            yield from _below(entry, f"{prefix}{entry.name}/", (*above, here))
        elif is_picture(entry.name):
            yield Picture(str(entry), Located(prefix + entry.name, str(entry)))


def _in_tar(archive: Archive) -> Iterator[Picture]:
    """The pictures in a tar, and in the tars in it."""
    for member in members(archive):
        if is_hidden_path(member.name):
            continue
        name = f"{archive.name}/{member.name}" if archive.name else member.name
        if is_picture(member.name):
            yield Picture(f"{archive.path}/{name}", Located(name, str(archive.path), member.offset, member.size))
        elif extension_of(member.name) == ".tar" and not archive.name:
            yield from _in_tar(Archive(archive.path, member.offset, member.size, member.name))


def _is_tar(path: Path) -> bool:
    with path.open("rb") as file:
        start = os.pread(file.fileno(), _USTAR_AT + 5, 0)
    return start[_USTAR_AT:] == b"ustar"


def _standard_input() -> bytes:
    data = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise BadPictureError(f"has more than {MAX_FILE_BYTES:,} bytes")
    return data
