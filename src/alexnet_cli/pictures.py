"""One picture file -> the square RGB crop that the paper trains on: shorter side to 256, central 256×256.

    crop, facts = crop_of(read_picture(path), name=path.name)      # uint8 (256, 256, 3)

decoders.py says which decoder reads which format, untrusted.py which files no decoder gets.

Scaling and cutting are one Pillow `resize` whose box is the picture's central square: a 1×60000 picture never becomes
a 256×15360000 one. Works with Pillow and with pillow-simd.
"""

from __future__ import annotations

import enum
import io
import os
import re
import stat
import warnings
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
from PIL import Image

from alexnet_cli import bmp, colour, tiff
from alexnet_cli.artifacts.crops.store import SIDE, Crop
from alexnet_cli.decoders import HEIF, NEEDS, Decoder, active, active_pillow, beside, colour_manager, kind_of, reader_of
from alexnet_cli.errors import THE_MACHINES, AlexNetError, PictureError, ResourceError, describe_os_error
from alexnet_cli.extensions import EXTENSIONS
from alexnet_cli.untrusted import damage_of, is_cut, is_unusual_jpeg, unread

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

# 179 megapixels, Pillow's own bound for "surely a decompression bomb": 0.7 GB decoded.
MAX_PIXELS = 2 * 89_478_485
_TOO_LARGE = f"has more than {MAX_PIXELS // 1_000_000} megapixels: make it smaller"
MAX_FILE_BYTES = 1 << 30

# libjpeg can scale by 1/2, 1/4, 1/8 while it decodes, much faster. The result is at least this many times larger than
# the crop: with 3 a photograph's crop is within rounding of that from a full decode (tests/test_pictures.py).
_DRAFT_GAP = 3

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION_TAG = 0x0112

_JPEGS_END = b"\xff\xd9"
_NEARLY_GREY = 16
"""libjpeg decodes a JPEG without any pixels as grey with a few specks."""


class Facts(enum.IntFlag):
    """What is noteworthy about a picture. The summary counts each."""

    NONE = 0
    GREYSCALE = 1
    CMYK = 2
    CONVERTED = 4
    """Neither RGB, greyscale nor CMYK of 8 bits (palette, alpha, 16 bits, one bit, YCbCr, Lab), or made sRGB."""
    ROTATED = 8
    """EXIF rotation was applied."""
    SMALL = 16
    """The shorter side is under the crop's (256, unless another side was requested): enlarged."""
    WRONG_EXTENSION = 32
    """The extension is that of another format."""
    ANIMATED = 64
    """More than one frame or page, of which the first was taken."""
    TRUNCATED = 128
    """A JPEG that is cut off: the part that can be decoded was taken."""


Cropped = tuple[Image.Image, Facts]


class BadPictureError(PictureError):
    """One picture that can't become a crop. The text is only the reason, without the file's name."""


def read_picture(path: str | os.PathLike[str]) -> bytes:
    """A picture file's bytes; BadPictureError if it is not a regular file, too large or unreadable.

    ResourceError if the disk fails: another try may succeed.
    """
    try:
        status = os.stat(path)  # noqa: PTH116 (a Path for each of a million names costs more than reading some of them)
        if not stat.S_ISREG(status.st_mode):
            raise BadPictureError("is not a regular file")
        if status.st_size > MAX_FILE_BYTES:
            raise BadPictureError(f"has {status.st_size:,} bytes, more than {MAX_FILE_BYTES:,}")
        with open(path, "rb") as file:  # noqa: PTH123
            return file.read()
    except OSError as error:
        if error.errno in THE_MACHINES:
            raise ResourceError(describe_os_error(error, os.fspath(path))) from None
        raise BadPictureError(f"can't be read: {error.strerror or error}") from None


def crop_of(data: bytes, **how: Any) -> tuple[Crop, Facts]:
    """An encoded picture's crop, uint8 (side, side, 3) RGB, and what is noteworthy. how: as in `crop_image`."""
    image, facts = crop_image(data, **how)
    return np.array(image), facts


def crop_image(
    data: bytes,
    *,
    name: str = "",
    side: int = SIDE,
    filter: str = "bilinear",
    exif_rotation: bool = True,
    colour_profile: str = "ignore",
    truncated: str = "refuse",
) -> tuple[Image.Image, Facts]:
    """An encoded picture's crop as a Pillow image, RGB, side×side.

    Shorter side scaled to `side`, central square cut out (paper, section 2: 256). All filters but "nearest" are
    antialiased. A picture that has this size already keeps its pixels. The content decides the format; `name` only
    decides whether the extension is noted as wrong. Transparent pictures are put on white. The first frame of an
    animation is taken.

    colour_profile: "convert" applies the file's, "ignore" takes the numbers as they are. truncated: "keep" takes what
    can be decoded of a JPEG that is cut off, with grey for the rest; "refuse" rejects it.

    BadPictureError gives the reason in one line.
    """
    to_srgb = colour_profile == "convert"
    crop = partial(_crop, name=name, side=side, filter=filter, exif_rotation=exif_rotation, to_srgb=to_srgb)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with _opened(data) as image:
                return crop(image, data)
        except (AlexNetError, MemoryError):  # a signal's too
            raise
        except Exception as error:  # decoders raise anything at all over broken files
            cut_off = kind_of(data) == "JPEG" and not data.rstrip(b"\0").endswith(_JPEGS_END)
            if truncated == "keep" and cut_off:
                return _crop_of_part(data, crop)
            raise BadPictureError(_reason(data, error)) from None


def _crop_of_part(data: bytes, crop_of_image: Callable[[Image.Image, bytes], Cropped]) -> Cropped:
    """The crop of a JPEG that is cut off: given an end, libjpeg shows what is missing as grey."""
    try:
        with _opened(data + _JPEGS_END) as image:
            crop, facts = crop_of_image(image, data)
    except (AlexNetError, MemoryError):  # a signal's too
        raise
    except Exception:
        raise BadPictureError("is truncated") from None
    if np.ptp(np.asarray(crop).reshape(-1, 3), axis=0).max() < _NEARLY_GREY:
        raise BadPictureError("is truncated, and nothing of it can be read")
    return crop, facts | Facts.TRUNCATED


def _opened(data: bytes) -> Any:
    """The picture, opened by the decoder that reads its format."""
    kind = kind_of(data)
    if kind == HEIF:
        return _heif(data)
    reader = reader_of(kind) if kind in NEEDS else active()
    if kind == "JPEG" and is_unusual_jpeg(data):  # a newer libjpeg-turbo reads lossless ones
        reader = beside() or reader
    if reader is None:
        called = {"JPEG2000": "JPEG 2000", "WEBP": "WebP"}.get(kind or "", kind)
        raise BadPictureError(f"is {called}, which {active_pillow()} as built here does not read: convert it")
    if reason := damage_of(data, kind, trusted=reader.reads(kind) if kind in NEEDS else True):
        raise BadPictureError(reason)
    if kind == "TIFF":
        tiff.teach(reader)
    return reader.image.open(io.BytesIO(bmp.with_bytes(data) if kind == "BMP" else data), formats=_formats(reader))


def _heif(data: bytes) -> Any:
    try:
        import pillow_heif
    except ImportError:
        raise BadPictureError("is HEIC: install what reads it, pip install 'alexnet[heif]', or convert it") from None
    image = pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=True).to_pillow()
    image.format = HEIF
    return image


def _crop(
    image: Image.Image, data: bytes, *, name: str, side: int, filter: str, exif_rotation: bool, to_srgb: bool
) -> Cropped:
    facts = Facts.NONE
    kind = image.format or ""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise BadPictureError(_TOO_LARGE)
    if kind == "TIFF" and (reason := tiff.misread(image)):
        raise BadPictureError(reason)
    if min(width, height) < side:
        facts |= Facts.SMALL
    extension = os.path.splitext(name)[1].lower()  # noqa: PTH122
    if extension and extension not in EXTENSIONS.get(kind, (extension,)):
        facts |= Facts.WRONG_EXTENSION

    # The second picture in a camera's MPO is a preview or the other eye's view of the same.
    if kind != "MPO" and getattr(image, "is_animated", False):
        facts |= Facts.ANIMATED

    turn = _orientation(image)
    extent = _draft(image, kind, side, filter)
    image.load()
    if kind == "TIFF" and image.mode == "P":
        tiff.repair_colour_map(image)
    if kind == "PNG":
        _mend_transparent_colour(image, data[24])
    # Pillow turns TIFFs upright while it loads them, other formats never.
    turned = kind == "TIFF" and turn in _UPRIGHT
    if turned:
        extent = image.size
    if to_srgb:
        image, conversion = _in_srgb(image, data)
        facts |= conversion
    prepared, conversion = _prepared(image)
    small = prepared.resize((side, side), FILTERS[filter], box=_central_square(*extent))
    crop = _opaque(small)
    if turn in _UPRIGHT and exif_rotation:
        facts |= Facts.ROTATED
    if turn in _UPRIGHT and exif_rotation != turned:
        back = {6: 8, 8: 6}.get(turn, turn)
        crop = crop.transpose(_UPRIGHT[turn if exif_rotation else back])
    return active().own(crop), facts | conversion


def _in_srgb(image: Image.Image, data: bytes) -> Cropped:
    """The picture in sRGB, by its profile, and what is noteworthy about that."""
    profile, facts = colour.profile_of(image, data), Facts.NONE
    if not profile:
        return image, facts
    if image.mode.startswith("I"):
        image, facts = _eight_bits(image), Facts.CONVERTED
    converted = colour.to_srgb(image, profile)
    if converted is not image:
        own = {"L": Facts.GREYSCALE, "LA": Facts.GREYSCALE, "CMYK": Facts.CMYK}.get(image.mode, Facts.NONE)
        same = image.mode == converted.mode and image.tobytes() == converted.tobytes()
        facts |= own | (Facts.NONE if same else Facts.CONVERTED)
    return converted, facts


def _mend_transparent_colour(image: Image.Image, bits: int) -> None:
    """PNG gives its transparent colour in the file's bits; Pillow compares that with pixels of 8 bits."""
    colour = image.info.get("transparency")
    if image.mode == "L" and isinstance(colour, int):
        image.info["transparency"] = colour * 255 // ((1 << bits) - 1)
    elif image.mode == "RGB" and isinstance(colour, tuple) and bits == 16:
        image.info["transparency"] = tuple(value >> 8 for value in colour)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation; 1 if there is none that can be read."""
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except AlexNetError:  # a signal's
        raise
    except Exception:  # a broken EXIF block, with a whole picture behind it, is common
        return 1


def _draft(image: Image.Image, kind: str, side: int, filter: str) -> tuple[float, float]:
    """Let libjpeg reduce a large JPEG while decoding; the picture's extent afterwards, in (fractional) pixels."""
    least = _DRAFT_GAP * side
    if kind in ("JPEG", "MPO") and filter != "nearest" and min(image.size) >= 2 * least:
        reduced = image.draft(None, (least, least))
        if reduced is not None:
            return reduced[1][2], reduced[1][3]
    return image.size


def _central_square(width: float, height: float) -> tuple[float, float, float, float]:
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def _prepared(image: Image.Image) -> tuple[Image.Image, Facts]:
    """The picture in a mode whose values may be averaged: L, RGB, or La, RGBa with premultiplied alpha.

    Conversions that are not linear (palette, CMYK, Lab, alpha) come before the averaging; grey to RGB comes after.
    """
    mode = image.mode
    if mode in ("RGB", "L") and "transparency" not in image.info:
        return image, Facts.GREYSCALE if mode == "L" else Facts.NONE
    if mode == "CMYK":
        return image.convert("RGB"), Facts.CMYK
    facts = Facts.CONVERTED
    if mode in ("1", "L", "LA", "La") or mode.startswith("I"):
        facts |= Facts.GREYSCALE
    if mode == "F":
        raise BadPictureError(f"has floating-point {tiff.WITHOUT_SCALE}")
    if mode == "LAB":
        return _from_lab(image), facts
    if mode.startswith("I"):
        image = _eight_bits(image)
    if mode in ("La", "RGBa"):
        return image, facts
    if image.has_transparency_data:
        grey = image.mode in ("1", "L", "LA")
        return image.convert("LA" if grey else "RGBA").convert("La" if grey else "RGBa"), facts
    return image.convert("L" if image.mode in ("1", "L") else "RGB"), facts


def _eight_bits(image: Image.Image) -> Image.Image:
    """16 bits to 8, divided by 257 and rounded: 65535 becomes 255. A transparent value becomes alpha.

    A TIFF may have 12 bits, or black as the greatest value: Pillow leaves both as they are.
    """
    values = np.asarray(image).astype(np.int64)
    # A 32-bit TIFF is refused even if its values fit: the rule must not depend on what a picture shows.
    if (image.format == "TIFF" and image.mode == "I") or values.min() < 0 or values.max() > 65535:
        raise BadPictureError(f"has 32-bit {tiff.WITHOUT_SCALE}")
    if image.format == "TIFF":
        tags: Any = image.tag_v2  # type: ignore[attr-defined]
        greatest = (1 << max(tags.get(tiff.BITS_TAG, (16,)))) - 1
        values = (values * 65535 + greatest // 2) // greatest
        values = 65535 - values if tags.get(tiff.PHOTOMETRIC_TAG) == tiff.ZERO_IS_WHITE else values
    grey = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    key = image.info.get("transparency")
    if isinstance(key, int):
        grey.putalpha(Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8)))
    return grey


def _from_lab(image: Image.Image) -> Image.Image:
    manager = colour_manager()
    if manager is None:
        raise BadPictureError(f"has Lab colours, which {active_pillow()} as built here does not convert: convert it")
    ImageCms = manager.module("ImageCms")  # noqa: N806
    lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(manager.own(image), lab, rgb, outputMode="RGB")
    assert converted is not None
    return converted  # type: ignore[no-any-return]


def _opaque(image: Image.Image) -> Image.Image:
    """RGB of a small L, RGB, La or RGBa image; transparency over white."""
    if image.mode in ("La", "RGBa"):
        values = np.asarray(image).astype(np.int16)
        over_white = values[..., :-1] + (255 - values[..., -1:])
        colours = np.broadcast_to(over_white.clip(0, 255), (*over_white.shape[:2], 3)).astype(np.uint8)
        return Image.fromarray(colours)
    return image if image.mode == "RGB" else image.convert("RGB")


@cache
def _formats(reader: Decoder) -> tuple[str, ...]:
    """The formats of EXTENSIONS that a Pillow knows."""
    reader.image.init()
    return tuple(name for name in EXTENSIONS if name in reader.image.OPEN)


def _reason(data: bytes, error: Exception) -> str:
    """Why a picture was rejected, in one line, the same on every machine."""
    if not data:
        return "is empty"
    kind = kind_of(data)
    reader = (reader_of(kind) if kind in NEEDS else active()) or active()
    if isinstance(error, reader.image.DecompressionBombError):
        return _TOO_LARGE
    opened = not isinstance(error, reader.image.UnidentifiedImageError)
    if kind == "TIFF" and (reason := tiff.unread(data, reader, opened=opened)):
        return reason
    start = data[:200].removeprefix(b"\xef\xbb\xbf")
    if not opened and re.match(rb"\s*(<!doctype|<html|<\?xml|<head|<svg)", start, re.IGNORECASE):
        return "is a web page or XML, not a picture"
    if not opened and not any(data):
        return "holds only zero bytes"
    if reason := unread(data):
        return reason
    if not opened and kind is None:
        return "is not a picture in a known format"
    if not opened:
        return f"is {kind}, but damaged or of a kind that is not read: convert it"
    if is_cut(data, kind):
        return "is truncated"
    text = " ".join(re.sub(r"<[^>]*>|0x[0-9a-f]+", "", str(error)).split()).rstrip(" :")
    return f"can't be decoded: {text[:150] or 'it is damaged'}"
