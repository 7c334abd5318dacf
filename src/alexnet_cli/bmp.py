"""BMPs with bit fields that Pillow does not know: blue before red, 4, 6 or 10 bits for a colour, and so on.

data = with_bytes(data)         # the same picture with a byte for each colour; any other file as it is
"""

from __future__ import annotations

import struct

import numpy as np

_BIT_FIELDS, _ALPHA_BIT_FIELDS = 3, 6
_ALPHA_SINCE = 56
"""A header of this many bytes or more holds an alpha mask; after a shorter one, the masks follow it."""
_PILLOWS = {
    16: {(0xF800, 0x7E0, 0x1F, 0), (0x7C00, 0x3E0, 0x1F, 0)},
    32: {(0xFF0000, 0xFF00, 0xFF, alpha) for alpha in (0, 0xFF000000)} | {(0, 0, 0, 0)},
}
"""Bits of a pixel -> the masks of red, green, blue and alpha that Pillow reads."""
_BLOCK = 1 << 18
"""Pixels unpacked at once."""


def with_bytes(data: bytes) -> bytes:
    """A BMP of bit fields, rewritten with four bytes a pixel: blue, green, red, alpha; any other file as it is.

    A field of n bits is scaled so that its greatest value becomes 255.
    """
    if len(data) < 70:
        return data
    start, header, width, height, _, bits, packing = struct.unpack_from("<IIiiHHI", data, 10)
    if header < 40 or packing not in (_BIT_FIELDS, _ALPHA_BIT_FIELDS) or bits not in _PILLOWS:
        return data
    has_alpha = header >= _ALPHA_SINCE or packing == _ALPHA_BIT_FIELDS
    masks = struct.unpack_from("<4I", data, 54)[: 4 if has_alpha else 3] + (0,) * (not has_alpha)
    rows, stride = abs(height), -(-width * bits // 32) * 4
    whole = width > 0 and rows > 0 and start + rows * stride <= len(data)
    if masks in _PILLOWS[bits] or not whole or not all(masks[:3]) or not all(map(_is_one_run, masks)):
        return data
    words = np.frombuffer(data, f"<u{bits // 8}", rows * stride * 8 // bits, start).reshape(rows, -1)[:, :width]
    pixels = np.empty((rows, width, 4), np.uint8)
    step = max(1, _BLOCK // width)
    for top in range(0, rows, step):
        block = words[top : top + step].astype(np.uint64)
        for place, mask in enumerate((masks[2], masks[1], masks[0], masks[3])):
            pixels[top : top + step, :, place] = _scaled(block, mask)
    info = struct.pack("<IiiHHIIiiII", 56, width, height, 1, 32, _BIT_FIELDS, pixels.size, 0, 0, 0, 0)
    info += struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000 if masks[3] else 0)
    return b"BM" + struct.pack("<IHHI", 14 + len(info) + pixels.size, 0, 0, 14 + len(info)) + info + pixels.tobytes()


def _is_one_run(mask: int) -> bool:
    """Whether a mask's bits lie next to each other."""
    lowest = mask & -mask
    return not mask & (mask + lowest)


def _scaled(words: np.ndarray[tuple[int, int], np.dtype[np.uint64]], mask: int) -> object:
    """A field, scaled to 0 … 255."""
    if not mask:
        return 0
    shift = (mask & -mask).bit_length() - 1
    greatest = mask >> shift
    values = (words & np.uint64(mask)) >> np.uint64(shift)
    return (values * np.uint64(255) + np.uint64(greatest // 2)) // np.uint64(greatest)
