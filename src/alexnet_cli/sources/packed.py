"""Archives that are not plain tars: compressed tars, which are read from front to back, and zips.

    packed_members(path)            # the files in it, or None if it is neither
    Forwards(path, members)         # reads files of a compressed tar, in their order

A zip's files are read in place, as a tar's are. Those of a compressed tar can't be: their offsets are those in the tar
that `unpack` writes.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import importlib
import io
import lzma
import os
import stat
import struct
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from alexnet_cli.errors import PictureError, ResourceError, describe_os_error
from alexnet_cli.extensions import PICTURE_EXTENSIONS
from alexnet_cli.pictures import MAX_FILE_BYTES, BadPictureError
from alexnet_cli.sources.ignored import is_hidden_path
from alexnet_cli.sources.tars import COMPRESSED, Archive, Member, extension_of, read_members

_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_METHODS = {zipfile.ZIP_STORED: False, zipfile.ZIP_DEFLATED: True}
"""A zip's methods that are read -> whether they compress."""
_ENCRYPTED, _UTF8 = 1, 0x800
_LOCAL = struct.Struct("<26xHH")
"""A header in front of a file in a zip: it ends with the lengths of name and extra field, which follow."""
_PIECE = 1 << 20
_BEHIND = 1 << 12
"""How far back a stream can be read again, in bytes: tarfile goes back by one."""
_MOST_KEPT = 1 << 24
_KEPT = (".cls", ".json", ".jsonl", ".csv", ".txt")
"""Files whose content is kept while the archive is listed."""


def packing_of(path: Path) -> str | None:
    """How a file is packed: `zip`, `gzip`, `bzip2`, `xz`, `zstd`; None for any other file."""
    with path.open("rb") as file:
        start = file.read(4)
    return "zip" if start in _ZIP else COMPRESSED.get(start[:2])


def packed_members(path: Path) -> Sequence[Member] | None:
    """The files in a zip or a compressed tar; None for another file. PictureError if it is damaged."""
    try:
        kind = packing_of(path) if path.is_file() else None
        if kind is None:
            return None
        status = path.stat()
    except OSError as error:
        raise ResourceError(describe_os_error(error, path)) from None
    read = _in_zip if kind == "zip" else _in_stream
    return read(path, status.st_size, status.st_mtime_ns)


def unpack(path: Path, out: IO[bytes]) -> None:
    """Write the tar in a compressed tar. PictureError if it is damaged, OSError if the output can't be written."""
    with closing(_Stream(path)) as stream:
        while piece := stream.next_piece():
            out.write(piece)


class Forwards:
    """Reads files of a compressed tar, each once, in the tar's order.

    Several threads may read, each the next file: files that one of them passes are kept for the others.
    """

    def __init__(self, path: Path, members: Sequence[Member]) -> None:
        self._path = path
        self._before = iter(members)
        self._stream: _Stream | None = None
        self._passed: dict[int, bytes | Exception] = {}
        self._lock = threading.Lock()

    def read(self, member: Member) -> bytes:
        """A file's content. BadPictureError if it can't be read, ResourceError if the disk fails."""
        with self._lock:
            while member.offset not in self._passed:
                following = next(self._before, None)
                if following is None:
                    break
                self._passed[following.offset] = self._next(following)
            content = self._passed.pop(member.offset, BadPictureError("was read before"))
        if isinstance(content, bytes):
            return content
        raise content

    def _next(self, member: Member) -> bytes | Exception:
        if member.size > MAX_FILE_BYTES:
            return BadPictureError(f"has {member.size:,} bytes, more than {MAX_FILE_BYTES:,}")
        try:
            if self._stream is None:
                self._stream = _Stream(self._path)
            return _content(self._stream, member)
        except PictureError as error:
            return BadPictureError(str(error))
        except ResourceError as error:
            return error
        except OSError as error:
            return ResourceError(describe_os_error(error, self._path))


class _Stream:
    """A compressed file's content, as a file for tarfile that can only be read forwards."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] = _OPENERS[packing_of(path)](path)
        self._buffer, self._start, self._at = b"", 0, 0
        self.cut_off = False

    def close(self) -> None:
        self._file.close()

    def next_piece(self) -> bytes:
        """The next bytes; none at the end."""
        try:
            return self._file.read(_PIECE)
        except EOFError:
            self.cut_off = True
            raise PictureError(f"{self.path}: is cut off: download it again") from None
        except OSError as error:
            if error.errno is not None:
                raise ResourceError(describe_os_error(error, self.path)) from None
            raise self._damaged(error) from None
        except Exception as error:  # each decompressor has its own
            raise self._damaged(error) from None

    def _damaged(self, error: Exception) -> PictureError:
        return PictureError(f"{self.path}: is damaged ({str(error)[:80] or type(error).__name__}): download it again")

    def read(self, count: int) -> bytes:
        if count > _PIECE:
            raise tarfile.HeaderError(f"a header of {count:,} bytes")
        if self._at < self._start:
            raise tarfile.HeaderError("a header that lies before the one in front")
        while self._start + len(self._buffer) < self._at + count:
            piece = self.next_piece()
            if not piece:
                break
            keep = max(0, min(len(self._buffer), self._at - _BEHIND - self._start))
            if self._at >= self._start + len(self._buffer) + _BEHIND:
                keep = len(self._buffer)
            self._buffer, self._start = self._buffer[keep:] + piece, self._start + keep
        offset = self._at - self._start
        data = self._buffer[offset : offset + count]
        self._at += len(data)
        self.cut_off = self.cut_off or len(data) < count
        return data

    def seek(self, position: int) -> int:
        self._at = position
        return position

    def tell(self) -> int:
        return self._at


def _zstd(path: Path) -> Any:
    """Python's own from 3.14 on, else the package `zstandard`."""
    with contextlib.suppress(ImportError):
        return importlib.import_module("compression.zstd").open(path, "rb")
    try:
        module = importlib.import_module("zstandard")
    except ImportError:
        advice = "pip install 'alexnet[zstd]', or decompress it first"
        raise PictureError(f"{path}: is compressed by zstd: {advice}") from None
    reader = module.ZstdDecompressor().stream_reader(path.open("rb"), read_across_frames=True, closefd=True)
    return io.BufferedReader(reader, _PIECE)


_OPENERS: dict[str | None, Callable[[Path], Any]] = {
    "gzip": gzip.open,
    "bzip2": bz2.open,
    "xz": lzma.open,
    "zstd": _zstd,
}


@lru_cache(1)
def _in_stream(path: Path, size: int, changed: int) -> tuple[Member, ...]:
    """All files of a compressed tar, with the content of small texts and the SHA-256 of pictures."""
    archive, found = Archive(path), []
    with closing(_Stream(path)) as stream:
        start = stream.read(512)
        stream.seek(0)
        if len(start) < 512:
            raise PictureError(f"{path}: is cut off, or compressed and no tar: download it again")
        for member in read_members(archive, stream, 1 << 62):
            extension = extension_of(member.name)
            if extension in _KEPT and member.size <= _MOST_KEPT:
                found.append(member._replace(content=_content(stream, member)))
            elif extension in PICTURE_EXTENSIONS:
                found.append(member._replace(digest=_digest(stream, member)))
            elif extension == ".tar" and not is_hidden_path(member.name):
                found += _in_inner(archive, stream, member)
            else:
                found.append(member)
        while stream.next_piece():  # to its end, where its checksum is
            pass
    return tuple(found)


def _in_inner(outer: Archive, stream: _Stream, tar: Member) -> Iterator[Member]:
    """The files of a tar in a compressed tar, as if they were in a folder of its name; the tar itself comes first."""
    folder = tar.name[: -len(extension_of(tar.name))]
    own = folder.rpartition("/")[2]
    yield tar._replace(name=f"{folder}/{own}.tar")
    inner = Archive(outer.path, tar.offset, tar.size, tar.name)
    stream.seek(tar.offset)
    for member in read_members(inner, stream, tar.offset + tar.size):
        name = f"{folder}/{member.name.removeprefix(f'{own}/')}"
        is_picture = extension_of(name) in PICTURE_EXTENSIONS
        yield member._replace(name=name, digest=_digest(stream, member) if is_picture else b"")


def _pieces(stream: _Stream, member: Member) -> Any:
    stream.seek(member.offset)
    left = member.size
    while left:
        piece = stream.read(min(left, _PIECE))
        if not piece:
            raise PictureError(f"{stream.path}: is cut off: download it again")
        left -= len(piece)
        yield piece


def _content(stream: _Stream, member: Member) -> bytes:
    return b"".join(_pieces(stream, member))


def _digest(stream: _Stream, member: Member) -> bytes:
    digest = hashlib.sha256(usedforsecurity=False)
    for piece in _pieces(stream, member):
        digest.update(piece)
    return digest.digest()[:16]


@lru_cache(1)
def _in_zip(path: Path, size: int, changed: int) -> tuple[Member, ...]:
    """All files of a zip."""
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            return tuple(_located(path, entry, file) for entry in archive.infolist() if not entry.is_dir())
    except (zipfile.BadZipFile, struct.error, ValueError, NotImplementedError, RecursionError) as error:
        raise PictureError(f"{path}: is damaged or cut off ({str(error)[:80]}): download it again") from None
    except OSError as error:
        raise ResourceError(describe_os_error(error, path)) from None


def _name_of(entry: zipfile.ZipInfo) -> str:
    """A file's name. macOS does not flag its names as UTF-8, and zipfile then decodes them as MS-DOS's code page."""
    if not entry.flag_bits & _UTF8:
        with contextlib.suppress(UnicodeError):
            return entry.filename.encode("cp437").decode()
    return entry.filename


def _located(path: Path, entry: zipfile.ZipInfo, file: io.BufferedReader) -> Member:
    name = _name_of(entry).replace("\\", "/").removeprefix("./").lstrip("/")
    wanted = extension_of(name) in {*PICTURE_EXTENSIONS, *_KEPT} and not is_hidden_path(name)
    if wanted and stat.S_ISLNK(entry.external_attr >> 16):
        raise PictureError(f"{path}: {name} is a link, which is not read in an archive: make the archive without links")
    if wanted and entry.flag_bits & _ENCRYPTED:
        raise PictureError(f"{path}: {name} is encrypted: unpack it with its password, and give the folder")
    if wanted and entry.compress_type not in _METHODS:
        raise PictureError(f"{path}: {name} is compressed in a way that is not read: unpack it, and give the folder")
    if not wanted:
        return Member(name, 0, entry.file_size)
    header = os.pread(file.fileno(), _LOCAL.size, entry.header_offset)
    if len(header) < _LOCAL.size or not header.startswith(_ZIP[0]):
        raise PictureError(f"{path}: is damaged at {name}: download it again")
    start = entry.header_offset + _LOCAL.size + sum(_LOCAL.unpack(header))
    packed = entry.compress_size if _METHODS[entry.compress_type] else -1
    return Member(name, start, entry.file_size, packed=packed, check=entry.CRC)
