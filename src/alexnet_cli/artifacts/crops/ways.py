"""How a record becomes a crop: by numpy and Pillow, or in faster ways that pay where many are read.

ways = fast_ways("raw", crops=1_281_167, nbytes=196_608)
store.read_many(indices, out, ways)
"""

from __future__ import annotations

import importlib.util
import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alexnet_cli.artifacts.crops.copying import Copy, copier, fits

Decode = Callable[[memoryview, NDArray[np.uint8]], None]


def decode(value: memoryview, out: NDArray[np.uint8]) -> None:
    """A JPEG's pixels into `out`, (rows, columns, 3), by Pillow. ValueError, OSError, SyntaxError where they aren't."""
    with Image.open(io.BytesIO(value), formats=("JPEG",)) as image:
        _require_size(image.size, out)
        out[...] = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


@dataclass(frozen=True)
class Ways:
    """What a store reads with."""

    copy: Copy | None = None
    """Copies and sums in one pass; None: one after the other."""
    decode: Decode = decode


SLOW = Ways()


def fast_ways(codec: str, *, crops: int, nbytes: int) -> Ways:
    """The fastest that are here and pay for so many crops of so many bytes."""
    if codec == "raw":
        return Ways(copy=copier(crops) if fits(nbytes) else None)
    return Ways(decode=_torchvisions() or decode) if "torch" in sys.modules else SLOW


@cache
def _torchvisions() -> Decode | None:
    """torchvision's decoder, also libjpeg-turbo: it writes RGB; Pillow writes four bytes a pixel and packs them.

    Only its extension is loaded: importing the package takes longer than reading thousands of crops. None where it, or
    this private name of torchvision, is missing.
    """
    import torch

    found = importlib.util.find_spec("torchvision")
    folders = map(Path, found.submodule_search_locations or ()) if found else ()
    for file in (file for folder in folders for file in sorted(folder.glob("image*.so"))):
        try:
            torch.ops.load_library(str(file))  # type: ignore[no-untyped-call]
            jpeg: Any = torch.ops.image.decode_jpeg
            break
        except (OSError, RuntimeError, AttributeError):
            continue
    else:
        return None

    def decode_fast(value: memoryview, out: NDArray[np.uint8]) -> None:
        try:
            pixels = jpeg(torch.frombuffer(bytearray(value), dtype=torch.uint8), _RGB, False)
        except RuntimeError as error:
            raise ValueError(str(error).splitlines()[0]) from None
        _require_size((pixels.shape[2], pixels.shape[1]), out)
        np.copyto(out, pixels.permute(1, 2, 0).numpy())

    return decode_fast


_RGB = 3
"""torchvision's name of RGB pixels."""


def _require_size(size: tuple[int, int], out: NDArray[np.uint8]) -> None:
    if size != out.shape[1::-1]:
        raise ValueError(f"{size[0]}×{size[1]} pixels")
