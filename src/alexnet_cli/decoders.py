"""Which decoder reads which format: the Pillow that is imported, or a second one for what the first can't read.

pillow-simd scales fastest, but is built with what the machine has: often without WebP, AVIF, JPEG 2000, libtiff and
colour management. `make setup` then installs stock Pillow as well, in a separate folder. It is imported under another
name, so one process can use both.

    reader = reader_of("WEBP")          # Decoder(name="pillow 13.0.0", …)
    readers()                           # {"JPEG": "pillow-simd 12.1.1.post0", …, "WEBP": "pillow 13.0.0", …}
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
import sysconfig
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import PIL

BESIDE = "alexnet_stock_pillow"
"""The folder in site-packages that holds stock Pillow's PIL, and the name under which that is imported."""

NEEDS: dict[str, str] = {
    "JPEG": "jpeg_decoder",
    "MPO": "jpeg_decoder",
    "PNG": "zip_decoder",
    "GIF": "gif_decoder",
    "BMP": "raw_decoder",
    "TIFF": "libtiff_decoder",
    "WEBP": "_webp",
    "PPM": "raw_decoder",
    "JPEG2000": "jpeg2k_decoder",
    "AVIF": "_avif",
}
"""Format -> the codec, or with an underscore the extension module, that a Pillow needs for it."""

for _package in ("PIL", BESIDE):  # else it complains on stderr about damaged files, without their names
    logging.getLogger(_package).addHandler(logging.NullHandler())

COLOUR_MANAGEMENT = "_imagingcms"
HEIF = "HEIF"

_DISTRUSTED = {"pillow-simd": ("BMP",)}
"""What a decoder gets wrong: pillow-simd 12.1.1 mixes up the rows of run-length encoded BMPs."""


@dataclass(frozen=True)
class Decoder:
    """One Pillow."""

    name: str
    """`pillow 13.0.0`"""
    package: str
    """What its modules are imported from."""

    @property
    def image(self) -> Any:
        """Its module `Image`."""
        return self.module("Image")

    def module(self, name: str) -> Any:
        """One of its modules."""
        return importlib.import_module(f"{self.package}.{name}")

    def own(self, image: Any) -> Any:
        """The same picture, as an image of this Pillow."""
        if type(image).__module__.split(".")[0] == self.package:
            return image
        return self.image.frombytes(image.mode, image.size, image.tobytes())

    def has(self, need: str) -> bool:
        """Whether it has a codec, or can import an extension module."""
        if not need.startswith("_"):
            return hasattr(self.image.core, need)
        try:
            self.module(need)
        except ImportError:
            return False
        return True

    def reads(self, kind: str) -> bool:
        """Whether it reads a format, and rightly."""
        return self.has(NEEDS[kind]) and kind not in _DISTRUSTED.get(self.name.split(" ")[0], ())


def active_pillow() -> str:
    """Which Pillow is imported, with its version: "pillow 13.0.0" or "pillow-simd 12.1.1.post0"."""
    version = PIL.__version__
    for name in ("pillow-simd", "pillow"):
        try:
            installed = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        if installed == version:
            return f"{name} {version}"
    return f"pillow {version}"


def replaced_simd() -> str | None:
    """The pillow-simd that is installed but no longer imported, because plain Pillow's files have replaced its files.

    pip does that for a package that needs a newer Pillow than pillow-simd's.
    """
    try:
        simd = metadata.version("pillow-simd")
    except metadata.PackageNotFoundError:
        return None
    return None if simd == PIL.__version__ else f"pillow-simd {simd}"


@cache
def active() -> Decoder:
    """The Pillow that `import PIL` gives."""
    return Decoder(active_pillow(), "PIL")


@cache
def beside() -> Decoder | None:
    """The stock Pillow that is installed next to the active one; None without one that can be imported."""
    for place in (Path(PIL.__file__).parents[1], Path(sysconfig.get_path("platlib"))):
        folder = place / BESIDE / "PIL"
        if (folder / "__init__.py").is_file():
            try:
                package = _import_as(BESIDE, folder)
                importlib.import_module(f"{BESIDE}.Image")
            except ImportError:  # made for another Python
                sys.modules.pop(BESIDE, None)
                continue
            return Decoder(f"pillow {package.__version__}", BESIDE)
    return None


def _import_as(name: str, folder: Path) -> ModuleType:
    """The package in a folder, imported under another name."""
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(name)
    package = importlib.util.module_from_spec(spec)
    sys.modules[name] = package
    spec.loader.exec_module(package)
    return package


@cache
def reader_of(kind: str) -> Decoder | None:
    """Who reads a format: the active Pillow if it can, else the second one; None if neither can."""
    for decoder in _decoders():
        if decoder.reads(kind):
            return decoder
    # An active Pillow that reads most of a format (TIFF without libtiff, BMP) is better than nothing.
    return active() if kind in ("TIFF", "BMP") else None


def colour_manager() -> Decoder | None:
    """Who converts Lab to RGB."""
    return next((one for one in _decoders() if one.has(COLOUR_MANAGEMENT)), None)


def _decoders() -> list[Decoder]:
    """All decoders, the preferred one first."""
    return [active(), *filter(None, [beside()])]


def heif_version() -> str | None:
    """`pillow-heif 1.8.1`, which reads HEIC; None if the extra `heif` is not installed."""
    if importlib.util.find_spec("pillow_heif") is None:
        return None
    try:
        return f"pillow-heif {metadata.version('pillow-heif')}"
    except metadata.PackageNotFoundError:
        return "pillow-heif"


def readers() -> dict[str, str | None]:
    """Format -> who reads it, with version; None if nothing does."""
    found = {kind: _name(reader_of(kind)) for kind in NEEDS}
    return {**found, HEIF: heif_version(), "Lab colours": _name(colour_manager())}


def _name(decoder: Decoder | None) -> str | None:
    return None if decoder is None else decoder.name


def decoding() -> str:
    """What decides the pixels, in one line: `pillow-simd 12.1.1.post0; pillow 13.0.0 for BMP, TIFF, WEBP`."""
    others: dict[str, list[str]] = {}
    for kind, name in readers().items():
        if name is not None and name != active().name:
            others.setdefault(name, []).append(kind)
    return "; ".join([active().name, *(f"{name} for {', '.join(kinds)}" for name, kinds in others.items())])


def kind_of(data: bytes) -> str | None:
    """The format of an encoded picture, by its first bytes: a key of NEEDS, or HEIF; None for any other file."""
    for kind, start, mark in _MARKS:
        if data.startswith(mark, start):
            return kind
    return "PPM" if len(data) > 2 and data[:1] == b"P" and data[1:2] in b"123456fy" else None


_MARKS = (
    ("JPEG", 0, b"\xff\xd8\xff"),
    ("PNG", 0, b"\x89PNG\r\n\x1a\n"),
    ("GIF", 0, b"GIF8"),
    ("BMP", 0, b"BM"),
    ("TIFF", 0, b"II*\0"),
    ("TIFF", 0, b"MM\0*"),
    ("TIFF", 0, b"II+\0"),
    ("TIFF", 0, b"MM\0+"),
    ("WEBP", 8, b"WEBP"),
    *(("AVIF", 4, b"ftyp" + brand) for brand in (b"avif", b"avis")),
    *((HEIF, 4, b"ftyp" + brand) for brand in b"heic heix hevc hevx heim heis mif1 msf1".split()),
    ("JPEG2000", 0, b"\0\0\0\x0cjP  \r\n\x87\n"),
    ("JPEG2000", 0, b"\xff\x4f\xff\x51"),
)
"""Format, position, bytes."""
