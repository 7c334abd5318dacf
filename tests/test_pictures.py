"""Pictures of every kind become the right crop, and what is none is rejected with a reason."""

from __future__ import annotations

import io
import random
import struct
import tarfile
import warnings
import zlib
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms, features

from alexnet_cli import pictures
from alexnet_cli.artifacts.crops.store import Crop
from alexnet_cli.decoders import active_pillow
from alexnet_cli.errors import StoppedBySignalError
from alexnet_cli.pictures import FILTERS, BadPictureError, Facts, crop_of, read_picture
from alexnet_stages.preprocess.config import FILTER_NAMES

SAMPLES = Path(__file__).parents[2] / "shared" / "data" / "imagenet-samples.tar"


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def plain(colour: int | tuple[int, ...], mode: str = "RGB", size: tuple[int, int] = (300, 280)) -> Image.Image:
    return Image.new(mode, size, colour)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def smooth(width: int, height: int) -> Image.Image:
    """A photograph's frequencies, roughly: noise of 40 pixels, enlarged."""
    small = np.random.default_rng(width * height).integers(0, 256, (40, 40, 3), np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def difference(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.int64]:
    return np.asarray(np.abs(first.astype(np.int64) - second.astype(np.int64)))


def assert_all(crop: Crop, colour: tuple[int, int, int], within: int = 0) -> None:
    assert crop.shape == (256, 256, 3)
    assert crop.dtype == np.uint8
    assert difference(crop, np.array(colour)).max() <= within, crop[128, 128]


def triangle_weights(size: int, start: float, side: float) -> NDArray[np.float64]:
    """(256, size): antialiased bilinear scaling of [start, start + side) to 256, from the textbook."""
    scale = side / 256
    width = max(scale, 1.0)
    centres = start + (np.arange(256) + 0.5) * scale
    distances = np.abs(np.arange(size)[None, :] + 0.5 - centres[:, None]) / width
    weights = np.maximum(1 - distances, 0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def textbook_crop(image: Image.Image) -> NDArray[np.float64]:
    """(256, 256, 3): the central square of an RGB image, scaled in float64."""
    width, height = image.size
    side = min(width, height)
    rows = triangle_weights(height, (height - side) / 2, side)
    columns = triangle_weights(width, (width - side) / 2, side)
    return np.asarray(np.einsum("yh,hwc,xw->yxc", rows, np.asarray(image, np.float64), columns, optimize=True))


@pytest.mark.parametrize(("width", "height"), [(500, 375), (375, 500), (256, 256), (1000, 301), (200, 150), (257, 300)])
def test_a_crop_is_the_central_square_scaled_with_a_triangle_filter(width: int, height: int) -> None:
    image = noise(width, height)
    crop, _ = crop_of(encoded(image, "PNG"))
    assert np.abs(crop - textbook_crop(image)).max() <= 1.5  # two roundings, and 8-bit weights


@pytest.mark.parametrize("filter", FILTER_NAMES)
@pytest.mark.parametrize(("width", "height"), [(768, 512), (512, 1024), (256, 400)])
def test_a_crop_equals_scaling_all_then_cutting_where_sizes_divide(filter: str, width: int, height: int) -> None:
    image = smooth(width, height)
    scale = 256 / min(width, height)
    whole = image.resize((round(width * scale), round(height * scale)), FILTERS[filter])
    left, top = (whole.width - 256) // 2, (whole.height - 256) // 2
    expected = np.asarray(whole.crop((left, top, left + 256, top + 256)))
    crop, _ = crop_of(encoded(image, "PNG"), filter=filter)
    # Pillow scales columns or rows first, whichever is cheaper; between the two it rounds and clips.
    assert difference(crop, expected).max() <= 2


def test_a_crop_is_close_to_scaling_all_then_cutting_where_sizes_do_not_divide() -> None:
    """Scaling first rounds the longer side and the cut to whole pixels: up to half a pixel of difference."""
    image = smooth(613, 457)
    whole = image.resize((round(613 * 256 / 457), 256), Image.Resampling.BILINEAR)
    left = (whole.width - 256) // 2
    crop, _ = crop_of(encoded(image, "PNG"))
    assert difference(crop, np.asarray(whole.crop((left, 0, left + 256, 256)))).mean() < 6


def test_the_filters_of_the_option_are_those_of_the_library() -> None:
    assert tuple(FILTERS) == FILTER_NAMES


@pytest.mark.parametrize("size", [(1, 60000), (60000, 1), (3, 50000)])
def test_a_narrow_picture_never_becomes_a_giant_one(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    resize = Image.Image.resize

    def watched(self: Image.Image, *arguments: Any, **options: Any) -> Image.Image:
        result = resize(self, *arguments, **options)
        made.append(result.width * result.height)
        return result

    ramp = np.linspace(0, 255, max(size)).astype(np.uint8).reshape(size[1], -1)
    picture = encoded(Image.fromarray(np.broadcast_to(ramp, (size[1], size[0])).copy()), "PNG")
    monkeypatch.setattr(Image.Image, "resize", watched)
    crop, facts = crop_of(picture)
    assert_all(crop, (127, 127, 127), within=1)
    assert facts == Facts.GREYSCALE | Facts.SMALL
    assert max(made) == 256 * 256


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF"])
def test_every_format_gives_its_colour(format: str) -> None:
    module = {"WEBP": "webp", "JPEG2000": "jpg_2000", "AVIF": "avif"}.get(format)
    if module and not features.check(module):
        pytest.skip(f"this Pillow lacks {format}")
    options = {"quality": 100} if format in ("JPEG", "AVIF") else {"lossless": True} if format == "WEBP" else {}
    crop, _ = crop_of(encoded(plain((200, 30, 60)), format, **options))
    assert_all(crop, (200, 30, 60), within=3 if format in ("JPEG", "AVIF", "GIF") else 0)


@pytest.mark.parametrize(
    ("label", "image", "format", "options", "colour", "facts"),
    [
        ("grey", plain(77, "L"), "PNG", {}, (77, 77, 77), Facts.GREYSCALE),
        ("colour", plain((1, 2, 3)), "PNG", {}, (1, 2, 3), Facts.NONE),
        ("one bit", plain(1, "1"), "PNG", {}, (255, 255, 255), Facts.GREYSCALE | Facts.CONVERTED),
        ("one bit, clear", plain(0, "1"), "PNG", {"transparency": 0}, (255,) * 3, Facts.GREYSCALE | Facts.CONVERTED),
        ("grey, half clear", plain((0, 128), "LA"), "PNG", {}, (127,) * 3, Facts.GREYSCALE | Facts.CONVERTED),
        ("grey, clear value", plain(7, "L"), "PNG", {"transparency": 7}, (255,) * 3, Facts.GREYSCALE | Facts.CONVERTED),
        ("half clear red", plain((255, 0, 0, 128), "RGBA"), "PNG", {}, (255, 127, 127), Facts.CONVERTED),
        ("clear", plain((9, 9, 9, 0), "RGBA"), "PNG", {}, (255, 255, 255), Facts.CONVERTED),
        ("opaque", plain((9, 8, 7, 255), "RGBA"), "TIFF", {}, (9, 8, 7), Facts.CONVERTED),
        ("clear colour", plain((1, 2, 3)), "PNG", {"transparency": (1, 2, 3)}, (255, 255, 255), Facts.CONVERTED),
        ("red ink", plain((0, 255, 255, 0), "CMYK"), "TIFF", {}, (255, 0, 0), Facts.CMYK),
        ("red ink, JPEG", plain((0, 255, 255, 0), "CMYK"), "JPEG", {"quality": 100}, (255, 0, 0), Facts.CMYK),
        ("black ink, JPEG", plain((0, 0, 0, 204), "CMYK"), "JPEG", {"quality": 100}, (51, 51, 51), Facts.CMYK),
        ("16 bits", plain(40000, "I;16"), "PNG", {}, (156, 156, 156), Facts.GREYSCALE | Facts.CONVERTED),
        ("16 bits, TIFF", plain(40000, "I;16"), "TIFF", {}, (156,) * 3, Facts.GREYSCALE | Facts.CONVERTED),
        ("16 bits, big end", plain(40000, "I;16B"), "TIFF", {}, (156,) * 3, Facts.GREYSCALE | Facts.CONVERTED),
        ("16 bits, PGM", plain(40000, "I;16"), "PPM", {}, (156,) * 3, Facts.GREYSCALE | Facts.CONVERTED),
        ("YCbCr", plain((200, 30, 60)).convert("YCbCr"), "TIFF", {}, (200, 30, 60), Facts.CONVERTED),
    ],
)
def test_every_kind_of_pixel_gets_its_right_colour(
    label: str, image: Image.Image, format: str, options: dict[str, Any], colour: tuple[int, int, int], facts: Facts
) -> None:
    if label == "YCbCr" and not features.check("libtiff"):
        pytest.skip("this Pillow lacks libtiff")
    crop, found = crop_of(encoded(image, format, **options))
    assert_all(crop, colour, within=2 if label == "YCbCr" or format == "JPEG" else 0)
    assert found == facts


@pytest.mark.parametrize("format", ["PNG", "GIF"])
def test_palettes_give_their_colours_and_clear_entries_white(format: str) -> None:
    image = Image.new("P", (300, 300), 1)
    image.putpalette([1, 2, 3, 100, 150, 200])
    assert_all(crop_of(encoded(image, format))[0], (100, 150, 200))
    assert_all(crop_of(encoded(image, format, transparency=1))[0], (255, 255, 255))


def test_a_palette_with_half_clear_entries_lies_over_white() -> None:
    image = Image.new("P", (300, 300), 1)
    image.putpalette([1, 2, 3, 100, 150, 200])
    crop, facts = crop_of(encoded(image, "PNG", transparency=bytes([255, 51])))
    assert_all(crop, (255 - 155 // 5, 255 - 105 // 5, 255 - 55 // 5), within=1)
    assert facts == Facts.CONVERTED


def test_lab_becomes_rgb() -> None:
    if not features.check("littlecms2"):
        pytest.skip("this Pillow lacks littlecms")
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = ImageCms.profileToProfile(plain((200, 30, 60)), *profiles, outputMode="LAB")
    assert lab is not None
    assert_all(crop_of(encoded(lab, "TIFF"))[0], (200, 30, 60), within=2)


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    crop, _ = crop_of(encoded(Image.fromarray(values), "PNG"))
    assert np.array_equal(crop[..., 0], np.rint(values / 257).astype(np.uint8))


def test_a_clear_value_among_sixteen_bits_becomes_white() -> None:
    values = np.full((256, 256), 1000, np.uint16)
    values[:, 128:] = 40000
    crop, _ = crop_of(encoded(Image.fromarray(values), "PNG", transparency=40000))
    assert_all(np.repeat(crop[:, :128], 2, axis=1), (4, 4, 4))
    assert_all(np.repeat(crop[:, 128:], 2, axis=1), (255, 255, 255))


def test_inks_are_converted_before_they_are_averaged() -> None:
    """Columns of pure cyan and pure black: their colours' mean has no red, their inks' mean has."""
    inks = np.zeros((512, 512, 4), np.uint8)
    inks[:, 0::2, 0] = 255
    inks[:, 1::2, 3] = 255
    crop, _ = crop_of(encoded(Image.fromarray(inks, "CMYK"), "TIFF"), filter="box")
    assert_all(crop, (0, 128, 128), within=1)


def test_hidden_colours_of_clear_pixels_do_not_bleed() -> None:
    """Red columns between clear ones that hide green: the averages hold no green beyond white's."""
    values = np.zeros((512, 512, 4), np.uint8)
    values[:, 0::2] = (255, 0, 0, 255)
    values[:, 1::2] = (0, 255, 0, 0)
    crop, _ = crop_of(encoded(Image.fromarray(values), "PNG"), filter="box")
    assert_all(crop, (255, 128, 128), within=1)


def stored_for(orientation: int, upright: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """How a camera that turns by `orientation` stores an upright picture (EXIF 2.3, figure of tag 0x0112)."""
    turned = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }
    return np.ascontiguousarray(turned[orientation])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "TIFF", "JPEG", "WEBP"])
def test_exif_rotation_turns_pictures_upright_or_is_ignored(format: str, orientation: int) -> None:
    if format == "WEBP" and not features.check("webp"):
        pytest.skip("this Pillow lacks WebP")
    upright = np.asarray(smooth(400, 300))
    stored = stored_for(orientation, upright)
    exact: dict[str, dict[str, Any]] = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}
    options = exact.get(format, {})
    if format == "TIFF":
        options = {"tiffinfo": {0x0112: orientation}}
    else:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options = {**options, "exif": exif}
    data = encoded(Image.fromarray(stored), format, **options)
    within = 6 if format == "JPEG" else 1
    crop, facts = crop_of(data)
    assert difference(crop, crop_of(encoded(Image.fromarray(upright), "PNG"))[0]).max() <= within
    assert facts == (Facts.ROTATED if orientation > 1 else Facts.NONE)
    ignoring, facts = crop_of(data, exif_rotation=False)
    assert difference(ignoring, crop_of(encoded(Image.fromarray(stored), "PNG"))[0]).max() <= within
    assert facts == Facts.NONE


def test_a_broken_exif_block_does_not_cost_the_picture() -> None:
    data = encoded(plain((10, 20, 30)), "JPEG", exif=b"Exif\0\0MM\0*\0\0\xff\xff\xff\xff")
    assert_all(crop_of(data)[0], (10, 20, 30), within=3)


def test_of_an_animation_the_first_frame_is_taken() -> None:
    frames = [plain((0, 0, 200)), plain((200, 0, 0))]
    for format in ("GIF", "PNG", "TIFF"):
        data = encoded(frames[0], format, save_all=True, append_images=frames[1:])
        assert_all(crop_of(data)[0], (0, 0, 200), within=3)


def test_the_content_decides_not_the_extension() -> None:
    data = encoded(plain((1, 2, 3)), "PNG")
    crop, facts = crop_of(data, name="n02105855_2933.JPEG")
    assert_all(crop, (1, 2, 3))
    assert facts == Facts.WRONG_EXTENSION
    for name in ("a.png", "a.PNG", "", "no extension"):
        assert crop_of(data, name=name)[1] == Facts.NONE


def test_a_camera_picture_of_several_parts_is_a_jpeg() -> None:
    data = encoded(plain((9, 9, 9)), "MPO", save_all=True, append_images=[plain((200, 200, 200))])
    crop, facts = crop_of(data, name="phone.jpg")
    assert_all(crop, (9, 9, 9), within=1)
    assert facts == Facts.NONE


def test_small_pictures_are_enlarged_and_noted() -> None:
    crop, facts = crop_of(encoded(plain((5, 6, 7), size=(255, 400)), "PNG"))
    assert_all(crop, (5, 6, 7))
    assert facts == Facts.SMALL
    assert crop_of(encoded(plain((5, 6, 7), size=(256, 400)), "PNG"))[1] == Facts.NONE


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("filter", ["bilinear", "lanczos"])
def test_a_large_jpeg_decoded_at_reduced_size_gives_the_same_crop(
    mode: str, filter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encoded(smooth(2051, 1603).convert(mode), "JPEG", quality=95)
    reduced = crop_of(data, filter=filter)[0]
    monkeypatch.setattr(pictures, "_DRAFT_GAP", 1000)
    apart = difference(reduced, crop_of(data, filter=filter)[0])
    assert apart.mean() < 0.25
    assert apart.max() <= 2


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has hardly any pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(bytes(100))), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


JPEG = encoded(noise(300, 300), "JPEG")
PNG = encoded(noise(300, 300), "PNG")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (bytes(5000), "holds only zero bytes"),
        (b"<!DOCTYPE html><html><body>404 not found</body></html>", "is a web page or XML, not a picture"),
        (b"\xef\xbb\xbf\n <html>", "is a web page or XML, not a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is a web page or XML, not a picture"),
        (b"hello", "is not a picture in a known format"),
        (encoded(plain((1, 2, 3)), "EPS"), "is PostScript, which is not read: convert it"),
        (JPEG[: len(JPEG) // 2], "is truncated"),
        (JPEG[:300], "is truncated"),
        (PNG[: len(PNG) // 2], "is truncated"),
        (PNG[:500] + b"\0\0\0" + PNG[503:], "is damaged: its pixels fail their checksum"),
        (
            encoded(plain(0, "F"), "TIFF"),
            "has floating-point pixels, whose scale is unknown: convert it to 8 or 16 bits",
        ),
        (encoded(plain(40000, "I"), "TIFF"), "has signed pixels, whose scale is unknown: convert it to 8 or 16 bits"),
        (encoded(plain(-5, "I"), "TIFF"), "has signed pixels, whose scale is unknown: convert it to 8 or 16 bits"),
        (encoded(plain(70000, "I"), "TIFF"), "has signed pixels, whose scale is unknown: convert it to 8 or 16 bits"),
        (png_header(20000, 20000), "has more than 178 megapixels: make it smaller"),
        (png_header(2_000_000_000, 2_000_000_000), "has more than 178 megapixels: make it smaller"),
    ],
)
def test_what_is_no_whole_picture_is_rejected_with_a_reason(data: bytes, reason: str) -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with pytest.raises(BadPictureError) as caught:
            crop_of(data)
    assert str(caught.value) == reason
    assert not warned


@pytest.mark.parametrize(
    ("data", "format"),
    [
        (b"RIFF\x24\0\0\0WEBPVP8 ", "WebP"),
        (b"\0\0\0\x20ftypavif\0\0\0\0", "AVIF"),
    ],
)
def test_a_format_that_this_pillow_lacks_is_named(data: bytes, format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "reader_of", lambda kind: None)
    with pytest.raises(BadPictureError, match=f"^is {format}, which pillow.* as built here does not read: convert it$"):
        crop_of(data)


def test_a_large_picture_within_the_bound_prints_no_warning(capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with pytest.raises(BadPictureError, match="is truncated"):
            crop_of(png_header(12000, 12000))
    assert not warned
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_damage_anywhere_gives_a_crop_or_one_line(format: str) -> None:
    if format == "WEBP" and not features.check("webp"):
        pytest.skip("this Pillow lacks WebP")
    whole = encoded(noise(70, 50), format)
    dice = random.Random(format)
    for _ in range(60):
        damaged = bytearray(whole[: dice.choice([len(whole), dice.randrange(len(whole))])])
        for _ in range(dice.randrange(5)):
            if damaged:
                damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        try:
            crop, _ = crop_of(bytes(damaged))
            assert crop.shape == (256, 256, 3)
        except BadPictureError as error:
            assert len(str(error).splitlines()) == 1
            assert "0x" not in str(error)


def test_a_file_that_is_none_or_not_there_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(BadPictureError, match="is not a regular file"):
        read_picture(tmp_path)
    with pytest.raises(BadPictureError, match="can't be read: No such file or directory"):
        read_picture(tmp_path / "none.jpg")


def test_a_giant_file_is_rejected_unread(tmp_path: Path) -> None:
    with (tmp_path / "giant.jpg").open("wb") as file:
        file.truncate((1 << 30) + 1)
    with pytest.raises(BadPictureError, match="has 1,073,741,825 bytes, more than 1,073,741,824"):
        read_picture(tmp_path / "giant.jpg")


def test_running_out_of_memory_is_not_the_pictures_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image.Image, "resize", exhausted)
    with pytest.raises(MemoryError):
        crop_of(PNG)


@pytest.mark.parametrize(
    ("imported", "installed", "expected"),
    [
        ("13.0.0", {"pillow": "13.0.0"}, "pillow 13.0.0"),
        ("12.1.1.post0", {"pillow-simd": "12.1.1.post0"}, "pillow-simd 12.1.1.post0"),
        ("12.1.1.post0", {"pillow": "13.0.0", "pillow-simd": "12.1.1.post0"}, "pillow-simd 12.1.1.post0"),
        ("13.0.0", {"pillow": "13.0.0", "pillow-simd": "12.1.1.post0"}, "pillow 13.0.0"),
        ("13.0.0", {}, "pillow 13.0.0"),
    ],
)
def test_the_pillow_that_is_imported_is_named(
    imported: str, installed: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(name: str) -> str:
        if name not in installed:
            raise metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr("PIL.__version__", imported)
    monkeypatch.setattr(metadata, "version", version)
    assert active_pillow() == expected


def test_real_photographs_match_the_textbook() -> None:
    if not SAMPLES.exists():
        pytest.skip("no imagenet-samples.tar here")
    seen: set[Facts] = set()
    with tarfile.open(SAMPLES) as archive:
        for member in [*archive.getmembers()[::3], archive.getmember("defective/n02105855_2933.JPEG")]:
            file = archive.extractfile(member)
            if file is None:
                continue
            data = file.read()
            crop, facts = crop_of(data, name=member.name, exif_rotation=False)
            seen.update(facts)
            image: Image.Image = Image.open(io.BytesIO(data))
            if image.mode == "RGBA":
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            assert np.abs(crop - textbook_crop(image.convert("RGB"))).max() < 2.5, member.name
    assert {Facts.GREYSCALE, Facts.CONVERTED, Facts.WRONG_EXTENSION, Facts.SMALL} <= seen


def test_a_signal_while_a_picture_is_decoded_is_no_fault_of_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> None:
        raise StoppedBySignalError("stopped by SIGTERM")

    for place in ("_opened", "_central_square", "_draft"):
        with monkeypatch.context() as patched, pytest.raises(StoppedBySignalError):
            patched.setattr(pictures, place, stopped)
            crop_of(JPEG)
    with monkeypatch.context() as patched, pytest.raises(StoppedBySignalError):
        patched.setattr(Image.Image, "getexif", stopped)
        crop_of(JPEG)
