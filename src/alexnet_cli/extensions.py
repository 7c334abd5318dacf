"""The formats that may be opened, and their files' extensions. EPS and PDF are left out: they start other programs."""

from __future__ import annotations

EXTENSIONS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "MPO": (".jpg", ".jpeg", ".mpo"),
    "PNG": (".png", ".apng"),
    "GIF": (".gif",),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "JPEG2000": (".jp2", ".j2k", ".jpx", ".j2c"),
    "AVIF": (".avif",),
    "HEIF": (".heic", ".heif", ".hif"),
}
"""Format -> what the names of its files end in."""

PICTURE_EXTENSIONS = frozenset(extension for names in EXTENSIONS.values() for extension in names)
"""A file of another name is not a picture, whatever it holds."""
