"""Archives of every kind: tars and zips, which are read in place, and compressed tars."""

from __future__ import annotations

import re
import shutil
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

from alexnet_cli.console import Talk, size
from alexnet_cli.errors import PictureError, ResourceError
from alexnet_cli.sources import tars
from alexnet_cli.sources.ignored import is_hidden_path
from alexnet_cli.sources.located import Located, read_located
from alexnet_cli.sources.packed import packed_members, packing_of, unpack
from alexnet_cli.sources.tars import TAR_ENDING, Archive, Member, is_archive_name
from alexnet_stages.preprocess.sources.listing import Sources
from alexnet_stages.preprocess.sources.parquet import MAGIC, unpack_parquet

_ZIP = re.compile(r"\.zip$", re.IGNORECASE)
_UNFINISHED = re.compile(r"\.(part|partial|crdownload|download|filepart|aria2|tmp)$", re.IGNORECASE)
_UNPACKED = "unpacked-{}"
_FIRST = 16


def members(archive: Archive) -> Generator[Member, None, None]:
    """The files in an archive of any kind; PictureError if it is damaged or not an archive."""
    packed = packed_members(archive.path) if archive.offset == 0 and archive.size < 0 else None
    yield from packed if packed is not None else tars.members(archive)


def first_members(path: Path) -> list[Member]:
    """The first few files of an archive, by which its kind is recognised."""
    with closing(members(Archive(path))) as found:
        return list(islice((member for member in found if not is_hidden_path(member.name)), _FIRST))


def watched(archive: Archive, talk: Talk) -> Iterator[Member]:
    """As `members`, with a progress bar."""
    whole = archive.path.stat().st_size if archive.path.is_file() else 0
    with talk.progress(f"indexing {archive.path.name}", whole // 10**6, unit="MB") as advance:
        seen = 0
        for member in members(archive):
            here = min(member.offset, whole) // 10**6
            if here > seen:
                advance(here - seen)
                seen = here
            yield member


def is_unfinished(name: str) -> bool:
    """Whether a file is named like an unfinished download of an archive: `cat.tar.part`."""
    return is_archive_name(_UNFINISHED.sub("", name)) and _UNFINISHED.search(name) is not None


def without_ending(name: str) -> str:
    """`n01440764` of `n01440764.tar.gz` or `n01440764.zip`."""
    return _ZIP.sub("", TAR_ENDING.sub("", name))


def content_of(path: Path, member: Member) -> bytes:
    """A file's content."""
    if member.content or not member.size:
        return member.content
    return read_located(Located(member.name, str(path), member.offset, member.size, member.packed, member.check))


def is_parquet(path: Path) -> bool:
    """Whether a file is Parquet, by its first bytes."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def unpacked(sources: Sources, folder: Path, talk: Talk) -> Sources:
    """The sources, with compressed tars unpacked into a folder; what an earlier command unpacked there is used again.

    ResourceError if the disk has too little room.
    """
    moved: dict[str, str] = {}
    files = [file for file in dict.fromkeys(sources.pictures.files) if Path(file).is_file()]
    packed = [file for file in files if packing_of(Path(file)) not in (None, "zip") or is_parquet(Path(file))]
    for number, file in enumerate(packed):
        place = folder / _UNPACKED.format(number)
        if not place.is_file():
            _unpack(Path(file), place, talk)
        moved[file] = str(place)
    return replace(sources, pictures=sources.pictures.moved(moved)) if moved else sources


def remove_unpacked(folder: Path) -> None:
    """Remove what `unpacked` wrote."""
    for file in folder.glob(_UNPACKED.format("*")):
        file.unlink()


def _unpack(archive: Path, place: Path, talk: Talk) -> None:
    free = shutil.disk_usage(place.parent).free
    talk.say(f"{archive}: can't be read in place: unpacking it next to the store for now ({size(free)} free)")
    partial = place.with_name(f"{place.name}.partial")
    try:
        with partial.open("wb") as out:
            (unpack_parquet if is_parquet(archive) else unpack)(archive, out)
    except (OSError, PictureError) as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, PictureError):
            raise
        raise ResourceError(
            f"{archive}: can't be unpacked next to the store ({error.strerror}): make room, or decompress it first"
        ) from None
    partial.rename(place)
