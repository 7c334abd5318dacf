"""Tar archives, read in place: each picture is a place in the file, nothing is extracted.

No path on disk is made of a member's name.
"""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from alexnet_cli.errors import PictureError, ResourceError, describe_os_error
from alexnet_cli.extensions import PICTURE_EXTENSIONS
from alexnet_cli.reading import open_regular
from alexnet_cli.sources.ignored import is_hidden_path

_BLOCK = 512
COMPRESSED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7": "xz", b"\x28\xb5": "zstd"}
_MOST_HEADER_BYTES = 1 << 20
_MOST_EMPTY_READS = 16
_USEFUL = PICTURE_EXTENSIONS | {".tar"}
TAR_ENDING = re.compile(r"\.(tar(\.(gz|bz2|xz|zst))?|tgz|tbz2?|txz|tzst)$", re.IGNORECASE)
"""How a tar's name ends, compressed or not."""
_MOST_USELESS = 100_000
"""Files in front of the first picture or tar: without a limit, a million of other files took a minute and a half."""
_SHOWN = 80


class Member(NamedTuple):
    """A file in an archive."""

    name: str
    """Its path in the archive, without `./` in front."""
    offset: int
    """Where its content begins in the file on disk; for an archive in an archive, in the outer one."""
    size: int
    packed: int = -1
    """Bytes that it takes in a zip, if it is deflated there."""
    check: int = -1
    """Its CRC-32, if it is in a zip."""
    content: bytes = b""
    """Its content, if it is a text in a compressed tar."""
    digest: bytes = b""
    """The first 16 bytes of its SHA-256, if it is a picture in a compressed tar."""


class Archive(NamedTuple):
    """A tar file, or a tar in a tar."""

    path: Path
    offset: int = 0
    size: int = -1
    """-1: all of the file."""
    name: str = ""
    """Its name in the outer archive."""

    def __str__(self) -> str:
        return f"{self.path}/{self.name}" if self.name else str(self.path)


class NotATarError(PictureError):
    """A file that is not a tar."""


class _Window:
    """Part of a file, as a file for tarfile that ends where the part does. Positions are those in the whole file."""

    def __init__(self, descriptor: int, start: int, end: int) -> None:
        self._descriptor, self._at, self._end, self._empty = descriptor, start, end, 0
        self.cut_off = False
        """Whether tarfile asked for more than there is."""

    def read(self, count: int) -> bytes:
        if count > _MOST_HEADER_BYTES:
            raise tarfile.HeaderError(f"a header of {count:,} bytes")
        there = max(0, min(count, self._end - self._at))
        data = os.pread(self._descriptor, there, self._at) if there else b""
        self._at += len(data)
        self.cut_off = self.cut_off or len(data) < count
        self._empty = 0 if data else self._empty + 1
        if self._empty > _MOST_EMPTY_READS:  # a sparse member's map has no end: tarfile would look for it forever
            raise tarfile.HeaderError("a header without an end")
        return data

    def seek(self, position: int) -> int:
        self._at = position
        return position

    def tell(self) -> int:
        return self._at


def members(archive: Archive) -> Iterator[Member]:
    """The files in an archive. PictureError if it is not a tar, is compressed or damaged, or holds no pictures."""
    try:
        descriptor = open_regular(archive.path, PictureError)
    except FileNotFoundError:
        raise PictureError(f"{archive.path}: no such archive: check the path") from None
    try:
        size = os.fstat(descriptor).st_size if archive.size < 0 else archive.size
        _require_tar(archive, os.pread(descriptor, min(_BLOCK, size), archive.offset))
        useless = 0
        end = archive.offset + size
        for member in read_members(archive, _Window(descriptor, archive.offset, end), end):
            if useless >= 0:
                useless = -1 if extension_of(member.name) in _USEFUL else useless + 1
            if useless > _MOST_USELESS:
                raise PictureError(
                    f"{archive}: its first {_MOST_USELESS:,} files are not pictures: give an archive of pictures"
                )
            yield member
    except OSError as error:
        raise ResourceError(describe_os_error(error, archive.path)) from None
    finally:
        os.close(descriptor)


def read_members(archive: Archive, window: Any, end: int) -> Iterator[Member]:
    """The files of a tar that begins at the position of a window or stream, and ends before `end`."""
    try:
        with tarfile.open(fileobj=window, mode="r:") as tar:
            before = -1
            while (entry := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # else every header is kept
                told = entry.pax_headers.get("size", "0")  # tarfile takes one that is not a number for 0
                is_count = told.isascii() and told.isdecimal() and len(told) < 20
                if entry.size < 0 or tar.offset <= before or not is_count:
                    raise tarfile.HeaderError(f"a size of {told if 'size' in entry.pax_headers else entry.size} bytes")
                before = tar.offset
                if entry.issparse():
                    raise PictureError(
                        f"{archive}: {entry.name} is stored sparse, so it can't be read in place: make the archive "
                        "again without --sparse"
                    )
                if (entry.issym() or entry.islnk()) and extension_of(entry.name) in {"", *PICTURE_EXTENSIONS}:
                    _refuse_link(archive, entry)
                if entry.isreg():
                    if entry.offset_data + entry.size > end:
                        window.cut_off = True
                        raise tarfile.ReadError(f"{entry.name} ends beyond the archive's end")
                    name = entry.name.removeprefix("./").lstrip("/")
                    yield Member(name, entry.offset_data, entry.size)
            end = tar.offset
    except (tarfile.TarError, ValueError, OverflowError, RecursionError, EOFError) as error:
        what = "is cut off" if window.cut_off else f"is damaged ({str(error)[:_SHOWN] or type(error).__name__})"
        raise PictureError(f"{archive}: {what}: download it again") from None
    # tarfile takes a broken header for the end; the real end is a block of zeros.
    window.seek(end)
    block = window.read(_BLOCK)
    if len(block) < _BLOCK:
        raise PictureError(f"{archive}: is cut off: download it again")
    if any(block):
        raise PictureError(f"{archive}: is damaged at byte {end:,}: download it again")


def _refuse_link(archive: Archive, entry: tarfile.TarInfo) -> None:
    """PictureError for a link in place of a picture or class folder: those pictures would be missing."""
    if not is_hidden_path(entry.name.removeprefix("./")):
        raise PictureError(
            f"{archive}: {entry.name} is a link to {entry.linkname}, which is not read in an archive: make the archive "
            "with tar --dereference --hard-dereference"
        )


def _require_tar(archive: Archive, start: bytes) -> None:
    """PictureError for what download sites send instead of a tar."""
    if not start:
        raise PictureError(f"{archive}: is empty (0 bytes): download it again")
    if start.lstrip()[:1] == b"<":
        raise PictureError(
            f"{archive}: is a web page, not a tar: the download failed, perhaps because it needs a login"
        )
    if kind := COMPRESSED.get(start[:2]):
        raise PictureError(f"{archive}: is compressed by {kind}, so it can't be read in place: decompress it first")
    if not any(start):
        raise PictureError(f"{archive}: is empty, or holds nothing but zeros: download it again")
    try:
        tarfile.TarInfo.frombuf(start, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError, OverflowError):
        advice = "download it again" if archive.name else "give a folder of pictures, or a tar"
        raise NotATarError(f"{archive}: is not a tar: {advice}") from None


def is_picture(name: str) -> bool:
    """Whether a name has a picture's extension."""
    return extension_of(name) in PICTURE_EXTENSIONS


def extension_of(name: str) -> str:
    """`.jpeg` of `a/b.JPEG`."""
    return os.path.splitext(name)[1].lower()  # noqa: PTH122


def is_tar_name(name: str) -> bool:
    """Whether a file is named as tars are, compressed or not."""
    return TAR_ENDING.search(name) is not None


def is_archive_name(name: str) -> bool:
    """Whether a file is named as archives of any kind are."""
    return is_tar_name(name) or extension_of(name) in (".zip", ".rar", ".7z")


def inner_archives(path: Path) -> list[Archive]:
    """The tars in a tar. PictureError if it also holds pictures or compressed archives."""
    found = []
    for member in members(Archive(path)):
        extension = extension_of(member.name)
        if is_hidden_path(member.name):
            continue
        if extension == ".tar":
            found.append(Archive(path, member.offset, member.size, member.name))
        elif extension in PICTURE_EXTENSIONS or is_archive_name(member.name):
            raise PictureError(f"{path}: holds tars, and also {member.name}: unpack it, and give the folder")
    return found
