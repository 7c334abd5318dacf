"""TIFF: what Pillow's tables lack, what it misreads, and what to say about a kind that is not read.

teach(reader)                   # its Pillow then opens grey TIFFs of 12 bits in either byte order
reason = misread(image)         # "has signed pixels …", or None
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from alexnet_cli.decoders import Decoder

BITS_TAG, PHOTOMETRIC_TAG = 258, 262
_COMPRESSION_TAG, _SAMPLES_TAG, _PLANAR_TAG, _COLOUR_MAP_TAG, _SAMPLE_FORMAT_TAG = 259, 277, 284, 320, 339
ZERO_IS_WHITE = 0
_SIGNED, _FLOATING = 2, 3
_BIG = b"MM\0+"
_NONE, _WEBP = 1, 50001
WITHOUT_SCALE = "pixels, whose scale is unknown: convert it to 8 or 16 bits"

_KINDS = {
    (b"MM", 0, (1,), 1, (16,), ()): ("I;16B", "I;16B"),
    (b"II", 0, (1,), 1, (12,), ()): ("I;16", "I;12"),
    (b"MM", 0, (1,), 1, (12,), ()): ("I;16", "I;12"),
    (b"MM", 1, (1,), 1, (12,), ()): ("I;16", "I;12"),
}
"""Byte order, photometric interpretation, sample format, fill order, bits, extra samples -> mode, raw mode."""


def teach(reader: Decoder) -> None:
    """Add kinds to Pillow's table that it has the code for: it lists only some with 12 bits or with white as zero."""
    reader.module("TiffImagePlugin").OPEN_INFO.update(_KINDS)


def misread(image: Any) -> str | None:
    """Why an opened TIFF would be shown as garbage; None if no reason is known."""
    tags = image.tag_v2
    if _SIGNED in tags.get(_SAMPLE_FORMAT_TAG, ()):
        return f"has signed {WITHOUT_SCALE}"
    if tags.get(_PLANAR_TAG) == 2 and max(tags.get(BITS_TAG, (8,))) > 8 and tags.get(_SAMPLES_TAG, 1) > 1:
        return "is a TIFF of 16-bit planes, which Pillow misreads: convert it to interleaved pixels"
    return None


def repair_colour_map(image: Any) -> None:
    """Some programs write a TIFF's colour map with 8 bits instead of 16: Pillow reads it as black."""
    colours = np.array(image.tag_v2.get(_COLOUR_MAP_TAG, (0,)))
    if colours.max() < 256 and len(colours) % 3 == 0:
        image.putpalette(colours.reshape(3, -1).T.astype(np.uint8).tobytes())


def unread(data: bytes, reader: Decoder, *, opened: bool) -> str | None:
    """What kind of TIFF this is, if its kind is why it was not read; else None.

    opened: whether Pillow knew the kind, and failed at the pixels.
    """
    if data.startswith(_BIG):
        return "is a BigTIFF in big-endian byte order, which is not read: convert it to little-endian"
    file = io.BytesIO(data)
    try:
        tags = reader.module("TiffImagePlugin").ImageFileDirectory_v2(file.read(16 if data[2:3] == b"+" else 8))
        file.seek(tags.next)
        tags.load(file)
        bits, compression = tags.get(BITS_TAG, (1,)), tags.get(_COMPRESSION_TAG, 1)
        channels, formats = tags.get(_SAMPLES_TAG, len(bits)), tags.get(_SAMPLE_FORMAT_TAG, ())
    except Exception:  # damaged: Pillow raises anything at all
        return None
    if opened and compression != _NONE and not reader.has("libtiff_decoder"):
        return f"is a compressed TIFF, which {reader.name} as built here does not read: convert it"
    if not tags or (opened and compression != _WEBP):
        return None
    if _FLOATING in formats:
        return f"has floating-point {WITHOUT_SCALE}"
    if max(bits) > 16:
        return f"has {max(bits)}-bit {WITHOUT_SCALE}"
    return (
        f"is a TIFF of {channels} × {max(bits)} bits with compression {compression}, which is not read: convert it to "
        "8 bits with LZW or without compression"
    )
