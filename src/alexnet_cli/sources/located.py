"""Where a picture's bytes lie: a file, or a part of an archive, which is read in place."""

from __future__ import annotations

import os
import zlib
from typing import NamedTuple

from alexnet_cli.errors import THE_MACHINES, ResourceError, describe_os_error
from alexnet_cli.pictures import MAX_FILE_BYTES, BadPictureError, read_picture

WHOLE_FILE = -1


class Located(NamedTuple):
    """A picture's name, and where its bytes lie."""

    name: str
    """Its path below the source, '/' between the parts."""
    path: str
    """The file to open."""
    offset: int = WHOLE_FILE
    """Where in the file it begins; WHOLE_FILE if the file is the picture."""
    size: int = 0
    """Its bytes, if it is a part of the file."""
    packed: int = -1
    """Bytes that it takes there, if it is deflated."""
    check: int = -1
    """Its CRC-32, if known."""


def read_located(picture: Located) -> bytes:
    """A picture's bytes; BadPictureError if they can't be read, ResourceError if the disk fails."""
    if picture.offset == WHOLE_FILE:
        return read_picture(picture.path)
    if max(picture.size, picture.packed) > MAX_FILE_BYTES:
        raise BadPictureError(f"has {picture.size:,} bytes, more than {MAX_FILE_BYTES:,}")
    try:
        descriptor = os.open(picture.path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            there = picture.size if picture.packed < 0 else picture.packed
            data = os.pread(descriptor, there, picture.offset)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in THE_MACHINES:
            raise ResourceError(describe_os_error(error, picture.path)) from None
        raise BadPictureError(f"can't be read: {error.strerror or error}") from None
    if len(data) != there:
        raise BadPictureError(f"lies beyond the end of {picture.path}")
    if picture.packed >= 0:
        data = _inflated(data, picture.size)
    if picture.check >= 0 and zlib.crc32(data) != picture.check:
        raise BadPictureError("is damaged in its archive")
    return data


def _inflated(data: bytes, size: int) -> bytes:
    """Deflated data, inflated; BadPictureError unless that gives `size` bytes."""
    unpack = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        found = unpack.decompress(data, size + 1)
    except zlib.error:
        found = b""
    if len(found) != size:
        raise BadPictureError("is damaged in its archive")
    return found
