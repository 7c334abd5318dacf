"""Damaged and unusual files that decoders read as garbage, or not at all, recognised by their bytes.

damage_of(data, "PNG")          # "is damaged: its pixels fail their checksum", or None
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""First column, first row, and the steps of an interlaced PNG's seven passes (PNG specification, section 8.2)."""
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""PNG colour type -> values of a pixel."""
_MOST_FILTERS = 4
_RUN_LENGTHS = (1, 2)
"""Compressions of a BMP: runs of 8 bits, of 4 bits."""
_PIECE = 1 << 20
_SWAPPED = "is JPEG 2000 with its channels in another order, which Pillow misreads: convert it"
_UNREAD = (
    (0, b"version https://git-lfs", "a pointer of Git LFS, not the picture: git lfs pull"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"%PDF", "PDF"),
    (0, b"%!PS", "PostScript"),
    (0, b"\xff\x0a", "JPEG XL"),
    (4, b"JXL \r\n", "JPEG XL"),
    (0, b"II\xbc\x01", "JPEG XR"),
    (12, b"CgBI", "PNG of Apple's own kind"),
    (0, b"\0\0\1\0", "an icon"),
    (0, b"DDS ", "DDS"),
    (0, b"\x01\xda", "SGI"),
    (0, b"qoif", "QOI"),
    (0, b"P7\n", "PAM"),
    (0, b"SIMPLE  =", "FITS"),
    (0, b"v/1\x01", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (128, b"DICM", "DICOM"),
    (0, b"\x1f\x8b", "a gzip file"),
    (0, b"PK\3\4", "a zip"),
    (4, b"ftypmp4", "a video"),
    (4, b"ftypisom", "a video"),
)
"""Position, bytes there, what has them: files that lie among pictures and are not read."""
_JPEG_KINDS = {
    **dict.fromkeys((0xC3, 0xC7, 0xCB, 0xCF), "lossless JPEG"),
    **dict.fromkeys((0xC5, 0xC6, 0xCD, 0xCE), "hierarchical JPEG"),
    **dict.fromkeys((0xC9, 0xCA), "JPEG with arithmetic coding"),
    0xF7: "JPEG-LS",
}
"""Marker of a JPEG's frame (ITU T.81, table B.1) -> the kind of JPEG, for kinds that decoders may lack."""


def damage_of(data: bytes, kind: str | None, *, trusted: bool = True) -> str | None:
    """Why an encoded picture's decoder would show garbage, in one line; None if no reason is known.

    trusted: whether the decoder reads all of the format.
    """
    if kind == "PNG":
        return _png(data)
    if kind == "JPEG2000":
        return _jp2(data)
    compressed = int.from_bytes(data[14:18], "little") >= 40 and int.from_bytes(data[30:34], "little") in _RUN_LENGTHS
    if kind == "BMP" and not trusted and compressed:
        return "is a run-length encoded BMP, which the Pillow here misreads: convert it"
    return None


def unread(data: bytes) -> str | None:
    """Why no decoder reads an encoded picture, in one line; None if that is unknown."""
    for start, mark, what in _UNREAD:
        if data.startswith(mark, start):
            return f"is {what}" if ": " in what else f"is {what}, which is not read: convert it"
    frame = next(_frames(data), None) if data.startswith(b"\xff\xd8") else None
    if frame is None:
        return None
    marker, bits = frame
    if marker in _JPEG_KINDS:
        return f"is {_JPEG_KINDS[marker]}, which is not read: convert it"
    return f"is JPEG of {bits} bits, which is not read: convert it" if bits != 8 else None


def is_unusual_jpeg(data: bytes) -> bool:
    """Whether a JPEG is of a kind that decoders may lack."""
    frame = next(_frames(data), None)
    return frame is not None and (frame[0] in _JPEG_KINDS or frame[1] != 8)


def _frames(data: bytes) -> Iterator[tuple[int, int]]:
    """The marker of a JPEG's first frame, and the bits of its values; nothing if it has none."""
    at = 2
    while at + 5 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker in _JPEG_KINDS:
            yield marker, data[at + 4]
            return
        at += 2 + int.from_bytes(data[at + 2 : at + 4])


def is_cut(data: bytes, kind: str | None) -> bool:
    """Whether a JPEG or PNG ends before its pixels do; False for other formats."""
    if kind == "JPEG":  # no end of image after the last scan's beginning
        return data.find(b"\xff\xd9", max(data.rfind(b"\xff\xda"), 0)) < 0
    if kind == "PNG" and len(data) >= 33:
        wanted = sum(stride * rows for stride, rows in _rows(data))
        for part in _unpacked(data):
            wanted -= len(part)
        return wanted > 0
    return kind == "PNG"


def _png(data: bytes) -> str | None:
    """Checks the pixels' checksums and each row's filter: Pillow checks neither, and may show black instead."""
    for start, end in _pixel_chunks(data):
        if zlib.crc32(memoryview(data)[start - 4 : end]) != int.from_bytes(data[end : end + 4]):
            return "is damaged: its pixels fail their checksum"
    if len(data) >= 33 and not _filters_are_known(data):
        return "is damaged: its rows have filters that PNG does not know"
    return None


def _pixel_chunks(data: bytes) -> Iterator[tuple[int, int]]:
    """Where the content of each whole chunk of a PNG's pixels begins and ends."""
    start = 8
    while start + 12 <= len(data):
        end = start + 8 + int.from_bytes(data[start : start + 4])
        if data[start + 4 : start + 8] == b"IDAT" and end + 4 <= len(data):
            yield start + 8, end
        start = end + 4


def _unpacked(data: bytes) -> Iterator[NDArray[np.uint8]]:
    """The bytes of a PNG's rows, a part at a time, up to any damage: the decoder reports that."""
    unpack = zlib.decompressobj()
    for start, end in _pixel_chunks(data):
        rest: bytes | memoryview = memoryview(data)[start:end]
        while rest:
            try:
                part = np.frombuffer(unpack.decompress(rest, _PIECE), np.uint8)
            except zlib.error:
                return
            rest = unpack.unconsumed_tail
            yield part


def _filters_are_known(data: bytes) -> bool:
    """Whether each row of a PNG begins with a filter's number, 0 to 4."""
    runs = list(_rows(data))
    run, row, skip = 0, 0, 0
    for part in _unpacked(data):
        at = skip
        while run < len(runs) and at < len(part):
            stride, rows = runs[run]
            here = min(rows - row, -(-(len(part) - at) // stride))
            if part[at : at + here * stride : stride].max(initial=0) > _MOST_FILTERS:
                return False
            at += here * stride
            row += here
            if row == rows:
                run, row = run + 1, 0
        if run == len(runs):
            return True
        skip = at - len(part)
    return True


def _rows(data: bytes) -> Iterator[tuple[int, int]]:
    """(bytes of a row with its filter, number of rows) of a PNG, or of each pass of an interlaced one."""
    width, height = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    bits = data[24] * _CHANNELS.get(data[25], 0)
    passes = _ADAM7 if data[28] else ((0, 0, 1, 1),)
    for column, row, across, down in passes:
        columns, rows = -(-(width - column) // across), -(-(height - row) // down)
        if columns > 0 and rows > 0 and bits:
            yield 1 + -(-columns * bits // 8), rows


def _jp2(data: bytes) -> str | None:
    """Channels in a different order than red, green, blue (box `cdef`, ISO 15444-1 I.5.3.6), which Pillow ignores."""
    header = next((content for kind, content in boxes(data) if kind == b"jp2h"), b"")
    for kind, content in boxes(header):
        if kind == b"cdef":
            entries = [content[at : at + 6] for at in range(2, len(content) - 5, 6)]
            for entry in entries:
                channel, meaning, colour = (int.from_bytes(entry[at : at + 2]) for at in (0, 2, 4))
                if meaning == 0 and colour not in (0, channel + 1):
                    return _SWAPPED
        if kind == b"cmap" and [*content[3::4]] != sorted(content[3::4]):  # of a palette (I.5.3.5)
            return _SWAPPED
    return None


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of each box of an ISO base media file."""
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4])
        start = at + 8
        if size == 1:
            size, start = int.from_bytes(data[at + 8 : at + 16]), at + 16
        end = len(data) if size == 0 else at + size
        if end < start:
            return
        yield data[at + 4 : at + 8], data[start:end]
        at = end
