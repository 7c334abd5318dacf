"""A picture's own colours to sRGB, by the ICC profile in its file.

    image = to_srgb(image, profile_of(image, data))     # as it was without a profile that can be used

Cameras write Adobe RGB, telephones Display P3, printers CMYK. Without this the numbers are taken for sRGB as they are.
"""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

from alexnet_cli.decoders import Decoder, active, colour_manager
from alexnet_cli.untrusted import boxes

_MODES = {"L": "L", "LA": "L", "RGB": "RGB", "RGBA": "RGB", "CMYK": "CMYK"}
"""A picture's mode -> that of its colours."""
_RESTRICTED, _ANY = 2, 3
"""Methods in a JPEG 2000's box `colr` that have a profile (ISO 15444-1 I.5.3.3, 15444-2)."""


def profile_of(image: Any, data: bytes) -> object:
    """The profile in a picture's file, None if there is none. Pillow does not give that of JPEG 2000."""
    if image.format != "JPEG2000":
        return image.info.get("icc_profile")
    header = next((content for kind, content in boxes(data) if kind == b"jp2h"), b"")
    colours = (content for kind, content in boxes(header) if kind == b"colr")
    return next((content[3:] for content in colours if content[:1] and content[0] in (_RESTRICTED, _ANY)), None)


def to_srgb(image: Any, profile: object) -> Any:
    """A loaded picture in sRGB: RGB, or RGBA if it has transparency; by the rendering intent in the profile.

    Pictures of more than 8 bits stay as they are.
    """
    manager = colour_manager()
    plain = _plain(image)
    if not isinstance(profile, bytes) or manager is None or plain.mode not in _MODES:
        return image
    mode = _MODES[plain.mode]
    transform = _transform(manager, profile, mode)
    if transform is None:
        return image
    plain = manager.own(plain)
    colours = manager.module("ImageCms").applyTransform(plain.convert(mode), transform)
    if mode != plain.mode:
        colours.putalpha(plain.getchannel("A"))
    return active().own(colours)


def _plain(image: Any) -> Any:
    """A palette's colours; a transparent value as alpha."""
    if image.mode == "P":
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    if image.mode in ("L", "RGB") and "transparency" in image.info:
        return image.convert("LA" if image.mode == "L" else "RGBA")
    return image


@lru_cache(64)
def _transform(manager: Decoder, profile: bytes, mode: str) -> Any:
    """From a profile to sRGB for pixels of a mode; None if the profile is damaged, or for other pixels."""
    cms = manager.module("ImageCms")
    try:
        source = cms.ImageCmsProfile(io.BytesIO(profile))
        intent = cms.getDefaultIntent(source)
        return cms.buildTransform(source, _srgb(manager), mode, "RGB", renderingIntent=intent)
    except (cms.PyCMSError, OSError, ValueError, TypeError):
        return None


@lru_cache(2)
def _srgb(manager: Decoder) -> Any:
    return manager.module("ImageCms").createProfile("sRGB")
