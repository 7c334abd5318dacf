"""How a record becomes a crop: by numpy and Pillow, or in faster ways that pay if many are read.

ways = fast_ways("raw", crops=1_281_167, nbytes=196_608)
store.read_many(indices, out, ways)
"""

from __future__ import annotations

import importlib.util
import io
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alexnet_cli.artifacts.crops.copying import Copy, copier, fits

if TYPE_CHECKING:
    import torch

Decode = Callable[[memoryview, NDArray[np.uint8]], None]


def decode(value: memoryview, out: NDArray[np.uint8]) -> None:
    """A JPEG's pixels into `out`, (rows, columns, 3), by Pillow. ValueError, OSError, SyntaxError if they aren't."""
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

    None if it, or this private name of torchvision, is missing.
    """
    import torch

    jpeg = _operation("decode_jpeg")
    if jpeg is None:
        return None

    def decode_fast(value: memoryview, out: NDArray[np.uint8]) -> None:
        try:
            pixels = jpeg(torch.frombuffer(bytearray(value), dtype=torch.uint8), _RGB, False)
        except RuntimeError as error:
            raise ValueError(str(error).splitlines()[0]) from None
        _require_size((pixels.shape[2], pixels.shape[1]), out)
        np.copyto(out, pixels.permute(1, 2, 0).numpy())

    return decode_fast


@cache
def nvjpeg(device: torch.device) -> Callable[[list[torch.Tensor]], list[torch.Tensor]] | None:
    """What decodes JPEGs, uint8 (bytes,) each, on a CUDA device: uint8 (3, rows, columns) each, RGB, or RuntimeError.

    nvJPEG, by torchvision. Its pixels differ from libjpeg-turbo's by a rounding, and by more at edges between colours:
    crops hold colour at half their size (4:2:0), and each decoder enlarges it in its own way. None if it is missing
    or does not work, which one small JPEG tells, and under ALEXNET_KERNELS=0.
    """
    import torch

    jpegs = None if os.environ.get("ALEXNET_KERNELS") == "0" else _operation("decode_jpegs_cuda")
    if jpegs is None:
        return None
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "JPEG")
    torch.cuda.synchronize(device)  # nvJPEG does not wait until the memory that it gets is free
    try:
        jpegs([torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8)], _RGB, device)
    except RuntimeError:
        return None
    return lambda records: jpegs(records, _RGB, device)


@cache
def _operation(name: str) -> Any:
    """One of torchvision's for pictures; None if it is missing.

    Only its extension is loaded: importing the package takes longer than reading thousands of crops.
    """
    import torch

    found = importlib.util.find_spec("torchvision")
    folders = map(Path, found.submodule_search_locations or ()) if found else ()
    for file in (file for folder in folders for file in sorted(folder.glob("image*.so"))):
        try:
            torch.ops.load_library(str(file))  # type: ignore[no-untyped-call]
            return getattr(torch.ops.image, name)
        except (OSError, RuntimeError, AttributeError):
            continue
    return None


_RGB = 3
"""torchvision's name of RGB pixels."""


def _require_size(size: tuple[int, int], out: NDArray[np.uint8]) -> None:
    if size != out.shape[1::-1]:
        raise ValueError(f"{size[0]}×{size[1]} pixels")
