"""Every format that help names is read, by whichever decoder reads it rightly; what none reads rightly is rejected."""

from __future__ import annotations

import io
import re
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from miniature import jpeg, tar_of
from numpy.typing import NDArray
from PIL import Image
from preprocessing import fails, preprocess

from alexnet_cli import decoders
from alexnet_cli.artifacts.crops.shards import open_crops
from alexnet_cli.decoders import NEEDS, Decoder, active, beside, decoding, heif_version, kind_of, reader_of, readers
from alexnet_cli.extensions import EXTENSIONS
from alexnet_cli.pictures import BadPictureError, crop_of
from alexnet_cli.untrusted import damage_of
from alexnet_commands.doctor.config import DoctorConfig
from alexnet_commands.doctor.run import run as doctor

COLOUR = (200, 40, 90)
SAVED: dict[str, tuple[dict[str, Any], int]] = {
    "JPEG": ({"quality": 95}, 3),
    "PNG": ({}, 0),
    "GIF": ({}, 3),
    "BMP": ({}, 0),
    "TIFF": ({"compression": "tiff_lzw"}, 0),
    "WEBP": ({"lossless": True}, 0),
    "PPM": ({}, 0),
    "JPEG2000": ({}, 0),
    "AVIF": ({}, 3),
}
"""Format -> how it is saved, and by how much colours may change."""

needs_both = pytest.mark.skipif(
    not all(map(readers().get, NEEDS)), reason="no stock Pillow lies beside: make setup puts it there"
)


def saved(kind: str, colour: tuple[int, int, int] = COLOUR) -> bytes:
    reader = reader_of(kind)
    assert reader is not None
    file = io.BytesIO()
    reader.image.new("RGB", (300, 280), colour).save(file, kind, **SAVED[kind][0])
    return file.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(rows: bytes, width: int, height: int, *, interlaced: bool = False) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, interlaced)
    packed = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + packed + chunk(b"IEND", b"")


def bmp_rle8(indices: np.ndarray[Any, Any], palette: np.ndarray[Any, Any]) -> bytes:
    """A run-length encoded BMP: each run is (count, index), each row ends with 0 0, the picture with 0 1."""
    height, width = indices.shape
    body = b""
    for row in indices[::-1]:
        for at in range(0, width, 100):
            part = row[at : at + 100]
            body += bytes((len(part), int(part[0])))
        body += b"\0\0"
    body += b"\0\1"
    colours = b"".join(bytes((*map(int, colour[::-1]), 0)) for colour in palette)
    offset = 54 + len(colours)
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(body), 0, 0, len(palette), 0)
    return b"BM" + struct.pack("<IHHI", offset + len(body), 0, 0, offset) + info + colours + body


@needs_both
@pytest.mark.parametrize("kind", SAVED)
def test_every_format_that_help_names_is_read(kind: str) -> None:
    data = saved(kind)
    assert kind_of(data) == kind
    crop, _ = crop_of(data, name=f"a{EXTENSIONS[kind][0]}")
    assert np.abs(crop.astype(int) - COLOUR).max() <= SAVED[kind][1]


@needs_both
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"])
def test_every_compression_of_tiff_is_read(compression: str) -> None:
    reader = reader_of("TIFF")
    assert reader is not None
    file = io.BytesIO()
    reader.image.new("RGB", (300, 280), COLOUR).save(file, "TIFF", compression=compression)
    assert np.abs(crop_of(file.getvalue())[0].astype(int) - COLOUR).max() <= 3


@pytest.mark.skipif(beside() is None, reason="no stock Pillow lies beside: make setup puts it there")
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "PPM"])
def test_both_decoders_give_the_same_pixels(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    other = beside()
    assert other is not None
    file = io.BytesIO()
    pixels = np.random.default_rng(1).integers(0, 256, (40, 50, 3), np.uint8)
    Image.fromarray(np.repeat(np.repeat(pixels, 8, 0), 8, 1)).save(file, kind)
    crops = []
    for decoder in (active(), other):
        monkeypatch.setattr("alexnet_cli.pictures.reader_of", lambda kind, decoder=decoder: decoder)
        crops.append(crop_of(file.getvalue())[0].astype(int))
        assert crops[-1].shape == (256, 256, 3)
    assert np.abs(crops[0] - crops[1]).max() <= 1


def test_the_format_is_seen_in_the_first_bytes() -> None:
    assert kind_of(b"\0\0\0\x18ftypheic\0\0\0\0") == "HEIF"
    assert kind_of(b"") is None
    assert kind_of(b"hello") is None


def test_heic_without_its_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    with pytest.raises(BadPictureError, match=r"^is HEIC: install what reads it, pip install 'alexnet\[heif\]'"):
        crop_of(b"\0\0\0\x18ftypheic\0\0\0\0")


def test_a_decoder_is_asked_for_what_it_was_built_with(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Decoder("x", "PIL").has("jpeg_decoder")
    assert not Decoder("x", "PIL").has("no_such_decoder")
    assert not Decoder("x", "PIL").has("_no_such_module")
    assert not Decoder("pillow-simd 12.1.1.post0", "PIL").reads("BMP")
    assert Decoder("pillow 13.0.0", "PIL").reads("BMP")


def test_the_doctor_says_who_reads_what(monkeypatch: pytest.MonkeyPatch) -> None:
    text = doctor(DoctorConfig()).as_text()
    assert text["reads JPEG"] == active().name
    monkeypatch.setattr(decoders, "reader_of", lambda kind: active() if kind == "JPEG" else None)
    text = doctor(DoctorConfig()).as_text()
    assert (text["reads JPEG"], text["reads WEBP"][:7]) == (active().name, "nothing")


def test_all_that_shapes_pixels_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"JPEG": active().name, "WEBP": "pillow 1", "AVIF": "pillow 1", "HEIF": None}
    monkeypatch.setattr(decoders, "readers", lambda: found)
    assert decoding() == f"{active().name}; pillow 1 for WEBP, AVIF"


# What decoders read as garbage


def test_run_length_encoded_bmps_are_read_rightly_or_rejected() -> None:
    palette = np.array([(250, 10, 20), (10, 240, 30), (30, 20, 230), (1, 2, 3)])
    indices = np.repeat(np.repeat(np.array([[0, 1, 2], [3, 0, 1], [2, 3, 0]]), 100, 0), 100, 1)
    data = bmp_rle8(indices, palette)
    reader = reader_of("BMP")
    assert reader is not None
    if reader.reads("BMP"):
        file = io.BytesIO()
        Image.fromarray(palette[indices].astype(np.uint8)).save(file, "PNG")
        assert np.abs(crop_of(data)[0].astype(int) - crop_of(file.getvalue())[0]).max() <= 1
    reason = damage_of(data, "BMP", trusted=False)
    assert reason == "is a run-length encoded BMP, which the Pillow here misreads: convert it"


def test_bmps_with_bit_fields_are_read() -> None:
    pixels = b"".join(struct.pack("<I", COLOUR[0] << 16 | COLOUR[1] << 8 | COLOUR[2]) for _ in range(64))
    info = struct.pack("<IiiHHIIiiII", 40, 8, 8, 1, 32, 3, len(pixels), 0, 0, 0, 0)
    masks = struct.pack("<III", 0xFF0000, 0xFF00, 0xFF)
    data = b"BM" + struct.pack("<IHHI", 66 + len(pixels), 0, 0, 66) + info + masks + pixels
    assert (crop_of(data)[0] == COLOUR).all()


@pytest.mark.parametrize("filter", [5, 200])
@pytest.mark.parametrize("row", [0, 7, 299])
def test_png_rows_with_unknown_filters_are_seen(filter: int, row: int) -> None:
    rows = [b"\0" + bytes(range(200)) for _ in range(300)]
    assert crop_of(png(b"".join(rows), 200, 300))[0].any()
    rows[row] = bytes((filter,)) + rows[row][1:]
    with pytest.raises(BadPictureError, match="its rows have filters that PNG does not know"):
        crop_of(png(b"".join(rows), 200, 300))


def test_interlaced_pngs_are_looked_through_in_their_passes() -> None:
    width, height = 11, 9
    rows = []
    for column, row, across, down in (
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ):
        rows += [b"\1" + bytes([7] * len(range(column, width, across))) for _ in range(row, height, down)]
    assert damage_of(png(b"".join(rows), width, height, interlaced=True), "PNG") is None
    for place in range(len(rows)):
        wrong = [*rows[:place], b"\5" + rows[place][1:], *rows[place + 1 :]]
        assert damage_of(png(b"".join(wrong), width, height, interlaced=True), "PNG") is not None


def test_large_pngs_are_looked_through_to_their_end() -> None:
    rows = np.zeros((2000, 1501), np.uint8)
    assert damage_of(png(rows.tobytes(), 1500, 2000), "PNG") is None
    rows[1999, 0] = 9
    assert damage_of(png(rows.tobytes(), 1500, 2000), "PNG") is not None


def test_jpeg_2000_with_its_channels_in_another_order_is_rejected() -> None:
    def box(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content) + 8) + kind + content

    def jp2(order: tuple[int, ...]) -> bytes:
        entries = b"".join(struct.pack(">HHH", channel, 0, colour) for channel, colour in enumerate(order))
        return box(b"jP  ", b"\r\n\x87\n") + box(b"jp2h", box(b"cdef", struct.pack(">H", len(order)) + entries))

    assert damage_of(jp2((1, 2, 3)), "JPEG2000") is None
    assert "channels in another order" in str(damage_of(jp2((3, 2, 1)), "JPEG2000"))
    for columns, expected in (((0, 1, 2), False), ((2, 1, 0), True)):  # of a palette
        mapping = b"".join(struct.pack(">HBB", 0, 1, column) for column in columns)
        data = box(b"jP  ", b"\r\n\x87\n") + box(b"jp2h", box(b"cmap", mapping))
        assert (damage_of(data, "JPEG2000") is not None) is expected


def tiff(tags: dict[int, tuple[int, ...]], pixels: bytes, order: str = "<") -> bytes:
    """A TIFF of one strip, little-endian or big-endian; every tag is of 16 bits, but for the strip's place and size."""
    tags = {**tags, 273: (0,), 279: (len(pixels),)}
    body = b""
    start = 8 + 2 + 12 * len(tags) + 4
    entries = b""
    long_values = sum(2 * len(values) for values in tags.values() if len(values) > 2)
    for tag, values in sorted(tags.items()):
        if tag == 273:
            values = (start + long_values,)
        packed = struct.pack(f"{order}{len(values)}H", *values) if tag not in (273, 279) else b""
        if tag in (273, 279):
            entries += struct.pack(f"{order}HHII", tag, 4, 1, values[0])
        elif len(values) <= 2:
            entries += struct.pack(f"{order}HHI", tag, 3, len(values)) + packed.ljust(4, b"\0")
        else:
            entries += struct.pack(f"{order}HHII", tag, 3, len(values), start + len(body))
            body += packed
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(tags))
    return head + entries + b"\0\0\0\0" + body + pixels


def test_a_tiffs_colour_map_may_have_eight_bits() -> None:
    basic = {256: (8,), 257: (8,), 258: (8,), 259: (1,), 262: (3,), 277: (1,), 278: (8,)}
    for factor in (1, 257):
        colours = np.zeros((3, 256), int)
        colours[:, 5] = COLOUR
        data = tiff({**basic, 320: tuple((colours * factor).ravel().tolist())}, bytes([5] * 64))
        assert (crop_of(data)[0] == COLOUR).all(), factor


@needs_both
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("zero_is_white", [False, True])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_grey_tiffs_are_scaled_by_their_bits_and_know_which_end_is_white(
    bits: int, zero_is_white: bool, order: str
) -> None:
    greatest = (1 << bits) - 1
    wanted = np.arange(64).reshape(8, 8) * 4
    values = (wanted * greatest + 127) // 255
    values = greatest - values if zero_is_white else values
    if bits == 12:  # two values in three bytes
        first, second = values[:, ::2], values[:, 1::2]
        pixels = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], -1).astype(np.uint8).tobytes()
    else:
        pixels = values.astype("u1" if bits == 8 else f"{order}u2").tobytes()
    photometric = 0 if zero_is_white else 1
    tags: dict[int, tuple[int, ...]]
    tags = {256: (8,), 257: (8,), 258: (bits,), 259: (1,), 262: (photometric,), 277: (1,), 278: (8,)}
    assert (crop_of(tiff(tags, pixels, order), side=8)[0] == wanted[..., None]).all()


@pytest.mark.parametrize(
    ("bits", "more", "reason"),
    [
        ((12, 12, 12), {}, "is a TIFF of 3 × 12 bits with compression 1, which is not read: convert it to 8 bits"),
        ((10,), {262: (1,)}, "is a TIFF of 1 × 10 bits with compression 1, which is not read: convert it to 8 bits"),
        ((8, 8, 8), {259: (34712,)}, "is a TIFF of 3 × 8 bits with compression 34712, which is not read"),
        ((8, 8, 8), {259: (50001,)}, "is a TIFF of 3 × 8 bits with compression 50001, which is not read"),
        ((32, 32, 32), {339: (3, 3, 3)}, "has floating-point pixels, whose scale is unknown"),
        ((32, 32, 32), {}, "has 32-bit pixels, whose scale is unknown"),
    ],
)
def test_a_tiff_of_a_kind_that_is_not_read_says_which(
    bits: tuple[int, ...], more: dict[int, tuple[int, ...]], reason: str
) -> None:
    tags: dict[int, tuple[int, ...]] = {
        256: (8,),
        257: (8,),
        258: bits,
        259: (1,),
        262: (2,),
        277: (len(bits),),
        278: (8,),
    }
    with pytest.raises(BadPictureError, match=f"^{reason}"):
        crop_of(tiff({**tags, **more}, bytes(8 * 8 * 12)))


def test_a_compressed_tiff_without_libtiff_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved("TIFF")
    monkeypatch.setattr("alexnet_cli.pictures.reader_of", lambda kind: active())
    monkeypatch.delattr(active().image.core, "libtiff_decoder", raising=False)
    with pytest.raises(BadPictureError, match=f"^is a compressed TIFF, which {active().name} as built here does not"):
        crop_of(data)


def test_a_tiff_of_signed_pixels_is_rejected() -> None:
    basic: dict[int, tuple[int, ...]] = {256: (8,), 257: (8,), 258: (8,), 259: (1,), 262: (1,), 277: (1,), 278: (8,)}
    with pytest.raises(BadPictureError, match="has signed pixels, whose scale is unknown"):
        crop_of(tiff({**basic, 339: (2,)}, bytes(64)))


@pytest.mark.parametrize(
    ("start", "what"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a pointer of Git LFS"),
        (b"8BPS\0\1" + bytes(60), "is a Photoshop file, which is not read: convert it"),
        (b"%PDF-1.4\n", "is PDF,"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "is JPEG XL,"),
        (b"\xff\xd8\xff\xc3\0\x0b\x08\0\x08\0\x08\1\1\x11\0", "is lossless JPEG, which is not read"),
        (b"\xff\xd8\xff\xc1\0\x0b\x0c\0\x08\0\x08\1\1\x11\0", "is JPEG of 12 bits, which is not read"),
        (b"P7\nWIDTH 8\n", "is PAM,"),
        (b"MM\0+\0\x08\0\0" + bytes(40), "is a BigTIFF in big-endian byte order, which is not read: convert it"),
        (b"II*\0\x08\0\0\0" + bytes(40), "is TIFF, but damaged or of a kind that is not read"),
        (b"\xff\xd8\xff\xe8\0\4\0\0\xff\xf7\0\x0b\x08\0\x08\0\x08\1\1\x11\0", "is JPEG-LS, which is not read"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\4CgBI" + bytes(40), "is PNG of Apple's own kind, which is not read"),
        (b"some text", "is not a picture in a known format"),
    ],
)
def test_what_is_not_read_is_named(start: bytes, what: str) -> None:
    with pytest.raises(BadPictureError, match=re.escape(what)):
        crop_of(start, name="x.jpg")


def planar(values: NDArray[np.uint16]) -> bytes:
    """A TIFF of three planes, one after the other, each a strip: uint16 (rows, columns, 3)."""
    rows, columns, _ = values.shape
    planes = [values[..., channel].astype("<u2").tobytes() for channel in range(3)]
    after = 8 + 2 + 12 * 10 + 4  # the header, ten entries, the end
    start = after + 6 + 12 + 12  # bits of each channel, where each plane lies, how long it is
    places = [start + sum(map(len, planes[:number])) for number in range(3)]
    entries = [(256, 3, 1, columns), (257, 3, 1, rows), (258, 3, 3, after), (259, 3, 1, 1), (262, 3, 1, 2)]
    entries += [(273, 4, 3, after + 6), (277, 3, 1, 3), (278, 3, 1, rows), (279, 4, 3, after + 18), (284, 3, 1, 2)]
    table = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    numbers = struct.pack("<3H3I3I", 16, 16, 16, *places, *map(len, planes))
    return b"II*\0" + struct.pack("<IH", 8, 10) + table + bytes(4) + numbers + b"".join(planes)


def test_a_tiff_of_sixteen_bit_planes_is_rejected() -> None:
    values = np.full((300, 280, 3), (60_000, 30_000, 10_000), np.uint16)
    with pytest.raises(BadPictureError, match="is a TIFF of 16-bit planes, which Pillow misreads"):
        crop_of(planar(values))


@pytest.mark.skipif(heif_version() is None, reason="needs the extra heif")
@pytest.mark.parametrize("form", ["folder", "tar", "shards"])
def test_real_heic_files_are_read_in_every_layout(form: str, tmp_path: Path) -> None:
    from pillow_heif import from_bytes

    pixels = np.random.default_rng(1).integers(0, 256, (20, 25, 3), np.uint8).repeat(16, 0).repeat(16, 1)
    file = io.BytesIO()
    from_bytes("RGB", (400, 320), pixels.tobytes()).save(file, quality=95)
    data = file.getvalue()
    assert kind_of(data) == "HEIF"
    files = {"ape/1.heic": data, "bat/2.HEIC": data}
    source = tmp_path / "in"
    if form == "folder":
        for name, content in files.items():
            (source / name).parent.mkdir(parents=True)
            (source / name).write_bytes(content)
    elif form == "tar":
        source = tmp_path / "in.tar"
        source.write_bytes(tar_of(files.items()))
    else:
        source = tmp_path / "in.tar"
        labels = [(f"{name.rpartition('.')[0]}.cls", name[:3].encode()) for name in files]
        source.write_bytes(tar_of([*files.items(), *labels]))
    preprocess(source, tmp_path / "a.lmdb")
    store = open_crops(tmp_path / "a.lmdb")
    assert (store.names, store.labels.tolist(), store.classes.names) == (list(files), [0, 1], ("ape", "bat"))
    png_file = io.BytesIO()
    Image.fromarray(pixels).save(png_file, "PNG")
    expected, facts = crop_of(png_file.getvalue())
    assert facts == crop_of(data, name="1.heic")[1]
    for index in range(2):
        assert np.abs(store.read(index).astype(int) - expected).mean() < 4
    store.close()


def test_a_class_of_heic_alone_is_named_without_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, content in (("ape/1.jpg", jpeg(1)), ("bat/2.heic", b"\0\0\0\x1cftypheic" + bytes(400))):
        (tmp_path / "in" / name).parent.mkdir(parents=True)
        (tmp_path / "in" / name).write_bytes(content)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    code, line = fails(capsys, tmp_path / "in", "--out", tmp_path / "a.lmdb")
    assert code == 3
    assert line.startswith(f"{tmp_path}/in/bat/2.heic: is HEIC: install what reads it, pip install 'alexnet[heif]'")


def test_heic_files_are_never_left_out_without_a_word(tmp_path: Path) -> None:
    from alexnet_cli.sources.tars import is_picture

    assert is_picture("IMG_0001.HEIC")
