"""Pictures that a command line names one by one: files, folders, tars, zips, and standard input as `-`.

    for picture in gather([Path("cat.jpg"), Path("holiday/"), Path("val.tar")]):
        picture.read()          # its bytes; BadPictureError says why there are none

In folders and archives only files with a picture's extension count, and hidden files are ignored. A file on the command
line always counts as a picture or an archive. Nothing is extracted, and labels don't matter.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from alexnet_cli.artifacts.crops.store import DATA_FILE
from alexnet_cli.errors import PictureError, ResourceError
from alexnet_cli.pictures import MAX_FILE_BYTES, BadPictureError
from alexnet_cli.sources.ignored import is_hidden, is_hidden_path
from alexnet_cli.sources.located import Located, read_located
from alexnet_cli.sources.packed import Forwards, packed_members, packing_of
from alexnet_cli.sources.tars import Archive, extension_of, is_picture, members

STANDARD_INPUT = "-"
_USTAR_AT = 257


@dataclass(frozen=True)
class Picture:
    """A requested picture, or an entry that says why there is none."""

    path: str
    """Its name, for people and programs: a file's path, `x.tar/a/b.jpg`, `-`."""
    located: Located | None = None
    """Where its bytes lie, if they can be read in place."""
    streamed: Callable[[], bytes] | None = None
    """Reads it from a compressed tar: once, and after the pictures in front of it."""
    error: str = ""
    """Why there is no picture."""

    def read(self) -> bytes:
        """Its bytes; BadPictureError if there are none, ResourceError if the disk fails."""
        if self.error:
            raise BadPictureError(self.error)
        if self.streamed is not None:
            return self.streamed()
        return read_located(self.located) if self.located is not None else _standard_input()


def gather(paths: Sequence[Path]) -> list[Picture]:
    """The pictures that some paths name, in their order; those of a folder or archive sorted by their names' parts.

    Those of a compressed tar come in the tar's order, and must be read in it: it is read from front to back.
    A missing path, a damaged archive and an empty folder each give a picture with an error; the others continue.
    """
    return [picture for path in paths for picture in _of(path)]


def _of(path: Path) -> Iterator[Picture]:
    name = str(path)
    if name == STANDARD_INPUT:
        yield Picture(name)
        return
    try:
        packing = packing_of(path) if path.is_file() else None
        if path.is_dir():
            found = _sorted(_below(path, "", ()))
        elif packing is not None:
            found = _in_packed(path, packing)
        elif path.is_file() and (extension_of(name) == ".tar" or _is_tar(path)):
            found = _sorted(in_tar(Archive(path)))
        elif re.match("[a-z0-9]+:/", name) and not path.exists():
            yield Picture(name, error="is an address: fetch it first, as in `curl -s ADDRESS | alexnet predict NET -`")
            return
        else:
            yield Picture(name, Located(name, name))
            return
    except (PictureError, ResourceError) as error:  # the message begins with the path, which the row shows anyway
        yield Picture(name, error=str(error).removeprefix(f"{path}: "))
        return
    except OSError as error:
        yield Picture(name, error=f"can't be read: {error.strerror or error}")
        return
    store = (path / DATA_FILE).exists()
    nothing = "is a crop store: score it with `alexnet eval`" if store else "holds no pictures"
    yield from found or [Picture(name, error=nothing)]


def _sorted(pictures: Iterable[Picture]) -> list[Picture]:
    return sorted(pictures, key=lambda picture: picture.path.split("/"))


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


def in_tar(archive: Archive) -> Iterator[Picture]:
    """The pictures in a tar, and in the tars in it."""
    for member in members(archive):
        if is_hidden_path(member.name):
            continue
        name = f"{archive.name}/{member.name}" if archive.name else member.name
        if is_picture(member.name):
            yield Picture(f"{archive.path}/{name}", Located(name, str(archive.path), member.offset, member.size))
        elif extension_of(member.name) == ".tar" and not archive.name:
            yield from in_tar(Archive(archive.path, member.offset, member.size, member.name))


def _in_packed(path: Path, packing: str) -> list[Picture]:
    """The pictures in a zip, read in place; or in a compressed tar, read once for names and once for bytes."""
    found = packed_members(path) or ()
    wanted = [member for member in found if is_picture(member.name) and not is_hidden_path(member.name)]
    if packing == "zip":
        places = [Located(at.name, str(path), at.offset, at.size, at.packed, at.check) for at in wanted]
        return _sorted(Picture(f"{path}/{place.name}", place) for place in places)
    reader = Forwards(path, wanted)
    return [Picture(f"{path}/{member.name}", streamed=partial(reader.read, member)) for member in wanted]


def _is_tar(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(_USTAR_AT)
        return file.read(5) == b"ustar"


def _standard_input() -> bytes:
    data = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise BadPictureError(f"has more than {MAX_FILE_BYTES:,} bytes")
    return data
