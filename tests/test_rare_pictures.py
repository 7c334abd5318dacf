"""Rare kinds of common formats, each written byte by byte: bit fields of BMP, clear colours of PNG, lossless JPEG."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray
from test_decoders import chunk

from alexnet_cli.decoders import beside
from alexnet_cli.pictures import BadPictureError, crop_of


def bmp_fields(colours: NDArray[np.int64], masks: tuple[int, ...], bits: int, *, down: bool = False) -> bytes:
    """A BMP of bit fields. colours: 0 to 255, (rows, columns, 3 or 4)."""
    words = np.zeros(colours.shape[:2], np.int64)
    for channel, mask in enumerate(masks):
        words |= (colours[..., channel] * (mask // (mask & -mask)) + 127) // 255 * (mask & -mask)
    rows, columns = len(words), len(words[0])
    body = b"".join(row.astype(f"<u{bits // 8}").tobytes() + bytes(-columns * bits // 8 % 4) for row in words)
    if not down:
        stride = len(body) // rows
        body = b"".join(body[at : at + stride] for at in range(len(body) - stride, -1, -stride))
    header = 40 if len(masks) == 3 else 56
    info = struct.pack("<IiiHHIIiiII", header, columns, -rows if down else rows, 1, bits, 3, len(body), 0, 0, 0, 0)
    info += struct.pack(f"<{len(masks)}I", *masks)
    return b"BM" + struct.pack("<IHHI", 14 + len(info) + len(body), 0, 0, 14 + len(info)) + info + body


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize(
    ("bits", "masks"),
    [
        (16, (0xF800, 0x7E0, 0x1F)),
        (16, (0x1F, 0x7E0, 0xF800)),
        (16, (0xF00, 0xF0, 0xF)),
        (16, (0xE0, 0x1C, 3)),
        (32, (0xFF, 0xFF00, 0xFF0000)),
        (32, (0xFF00, 0xFF0000, 0xFF000000)),
        (32, (0xFF00, 0xFF0000, 0xFF)),
        (32, (0x3FF00000, 0xFFC00, 0x3FF)),
        (32, (0xFF000000, 0xFF0000, 0xFF00, 0xFF)),
        (16, (0xF00, 0xF0, 0xF, 0xF000)),
    ],
)
def test_bit_fields_of_any_order_are_read(bits: int, masks: tuple[int, ...], down: bool) -> None:
    colours = np.random.default_rng(1).integers(0, 256, (9, 9, len(masks)))
    greatest = np.array([mask // (mask & -mask) for mask in masks])
    shown = (colours * greatest + 127) // 255 / greatest * 255
    if len(masks) == 4:
        alpha = shown[..., 3:] / 255
        shown = shown[..., :3] * alpha + 255 * (1 - alpha)
    crop, _ = crop_of(bmp_fields(colours, masks, bits, down=down), side=9)
    assert np.abs(crop - shown).max() <= 1


@pytest.mark.parametrize("masks", [(0x505, 0xF0, 0xF000), (0, 0xF0, 0xF)])
def test_bit_fields_that_make_no_sense_are_rejected(masks: tuple[int, ...]) -> None:
    data = bmp_fields(np.zeros((9, 9, 3), np.int64), (0xF00, 0xF0, 0xF), 16)
    with pytest.raises(BadPictureError, match="can't be decoded"):
        crop_of(data[:54] + struct.pack("<3I", *masks) + data[66:])
    with pytest.raises(BadPictureError, match="can't be decoded"):
        crop_of(bmp_fields(np.zeros((9, 9, 3), np.int64), (0xF, 0xF0, 0xF00), 16)[:-40])


@pytest.mark.parametrize(("bits", "channels"), [(1, 1), (2, 1), (4, 1), (8, 1), (16, 1), (8, 3), (16, 3)])
def test_a_transparent_colour_is_named_in_the_files_own_bits(bits: int, channels: int) -> None:
    greatest = (1 << bits) - 1
    values = np.random.default_rng(2).integers(0, 1 << bits, (8, 8, channels))
    clear = values[3, 3]
    if bits < 8:
        rows = np.packbits((values >> np.arange(bits - 1, -1, -1)) & 1).reshape(8, -1)
    else:
        rows = np.frombuffer(values.astype(f">u{bits // 8}").tobytes(), np.uint8).reshape(8, -1)
    packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    header = struct.pack(">IIBBBBB", 8, 8, bits, 2 if channels == 3 else 0, 0, 0, 0)
    transparent = struct.pack(f">{channels}H", *clear.tolist())
    chunks = [(b"IHDR", header), (b"tRNS", transparent), (b"IDAT", packed), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in chunks)
    wanted = np.where((values == clear).all(-1)[..., None], 255, values * 255 / greatest)
    assert np.abs(crop_of(data, side=8)[0] - wanted).max() <= 1


def lossless_jpeg() -> tuple[bytes, NDArray[np.int64]]:
    """A JPEG of ITU T.81, annex H, written bit by bit: 8×8 greys, 128 + 3 · column - 2 · row."""
    rows, columns = np.mgrid[0:8, 0:8]
    values = 128 + 3 * columns - 2 * rows
    predicted = np.hstack([np.vstack([[[128]], values[:-1, :1]]), values[:, :-1]])  # left; above; 128 at the start
    bits = ""
    for difference in (values - predicted).ravel().tolist():
        size = abs(difference).bit_length()
        low = difference if difference > 0 else difference + (1 << size) - 1
        bits += f"{size:02b}" + (f"{low:0{size}b}" if size else "")  # the Huffman codes of 0, 1, 2 are 00, 01, 10
    bits += "1" * (-len(bits) % 8)
    scan = bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)).replace(b"\xff", b"\xff\0")
    table = b"\xff\xc4" + struct.pack(">HB16B3B", 22, 0, 0, 3, *[0] * 14, 0, 1, 2)
    frame = b"\xff\xc3" + struct.pack(">HBHHB3B", 11, 8, 8, 8, 1, 1, 0x11, 0)
    start = b"\xff\xda" + struct.pack(">HB2B3B", 8, 1, 1, 0, 1, 0, 0)  # predictor 1: the value to the left
    return b"\xff\xd8" + frame + table + start + scan + b"\xff\xd9", values


@pytest.mark.skipif(beside() is None, reason="no stock Pillow lies beside: make setup puts it there")
def test_a_lossless_jpeg_is_read_by_the_decoder_that_can() -> None:
    data, values = lossless_jpeg()
    assert (crop_of(data, side=8)[0] == values[..., None]).all()
