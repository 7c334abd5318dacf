"""scikit-learn's hand-written digits as a tree of JPEGs with ImageNet's habits: sizes, shapes, odd files.

    run(SampleConfig(out=Path("pictures")))

Every picture is a function of its position in the set, so the tree has the same bytes each time.
"""

from __future__ import annotations

import os
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alexnet_cli.artifacts.common.freshness import Request, is_current
from alexnet_cli.artifacts.common.manifest import MANIFEST_FILE, Manifest, digest_of, read_folder_manifest
from alexnet_cli.artifacts.common.ownership import SAMPLE, require_output
from alexnet_cli.artifacts.common.publish import publishing_folder, write_verified
from alexnet_cli.console import Talk
from alexnet_cli.errors import ArtifactError, ResourceError, UsageError, describe_os_error
from alexnet_commands.sample.config import SampleConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

SCHEMA = 2
"""Of the manifest; the first samples had a sample.json in its place."""
MADE_FROM = {"source": "scikit-learn load_digits", "drawing": 1}
"""`drawing` counts up when this file draws or divides the digits in another way."""
VAL_EVERY = 5
QUALITY = 92
GREY_EVERY = 50
CMYK_PICTURE = 100
PNG_PICTURE = 200
SHORTER = (200, 420)
LONGER_OVER_SHORTER = (1.0, 1.33, 1.5, 0.75, 0.67)
"""Width over height, as photographs have it; half of the pictures are landscape, as ImageNet's are."""
BOX = (0.60, 0.66)
"""Side of the digit's 8×8 field over the picture's shorter side."""
SEEN = 0.75
"""The middle part of a 256 crop that every 224 patch sees: the digit and its soft rim lie inside."""


@dataclass(frozen=True)
class Result:
    """What was written."""

    out: Path
    train: int
    val: int
    classes: int
    up_to_date: bool = False
    """Nothing was done: the sample is there (--update)."""

    def as_json(self) -> dict[str, Any]:
        """The `--json` object."""
        counts = {"train": self.train, "val": self.val, "classes": self.classes, "out": str(self.out)}
        return {**counts, **({"up_to_date": True} if self.up_to_date else {})}


@dataclass(frozen=True)
class Picture:
    """One digit and where it goes."""

    index: int
    """Position in scikit-learn's set: everything drawn at random is a function of it."""
    digit: int
    split: str

    @property
    def name(self) -> str:
        return f"{self.split}/digit-{self.digit}/digit-{self.digit}_{self.index:05d}.JPEG"


def run(config: SampleConfig) -> Result:
    """Write the tree, whole or not at all.

    UsageError: scikit-learn is missing, or the output exists. ResourceError: the output can't be written.
    """
    require_output(config.out, SAMPLE, overwrite=config.replaces)
    talk = Talk(quiet=config.quiet)
    if config.update:
        asked = Request(kind=SAMPLE.name, schema=SCHEMA, options=MADE_FROM)
        if earlier := is_current(config.out, asked, talk, verify=read_sample):
            return Result(out=config.out, up_to_date=True, **earlier.details)
    images, digits = load_digits()
    pictures = split(digits.tolist())
    train = sum(picture.split == "train" for picture in pictures)
    result = Result(config.out, train, len(pictures) - train, len(set(digits.tolist())))
    with publishing_folder(config.out, SAMPLE, overwrite=config.replaces, synced=True) as work:
        _write_tree(work, images, pictures, talk)
        manifest = Manifest(
            kind=SAMPLE.name,
            schema=SCHEMA,
            digest=_digest(work),
            options=MADE_FROM,
            details={"train": result.train, "val": result.val, "classes": result.classes},
        )
        write_verified(work / MANIFEST_FILE, manifest.to_json().encode())
        os.sync()  # at once: 1,797 files synced one by one take ten times as long
    return result


def read_sample(folder: Path) -> Manifest:
    """A sample's manifest; ArtifactError if it is unfinished, or a picture is missing, damaged or one too many."""
    manifest = read_folder_manifest(folder, kind=SAMPLE.name, schema=SCHEMA, unfinished="make it again")
    if _digest(folder) != manifest.digest:
        raise ArtifactError(f"{folder}: its pictures do not fit its digest: make it again")
    return manifest


def _digest(folder: Path) -> str:
    """SHA-256 over the names and bytes of all pictures."""
    try:
        names = sorted(path.relative_to(folder).as_posix() for path in folder.glob("*/*/*.JPEG"))
        return digest_of(part for name in names for part in (name, (folder / name).read_bytes()))
    except OSError as error:
        raise ResourceError(describe_os_error(error, folder)) from error


def load_digits() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The digits: float64 (1797, 8, 8), ink 0–16, and their values int64 (1797,)."""
    try:
        from sklearn.datasets import load_digits as load
    except ImportError:
        raise UsageError("the sample needs scikit-learn: pip install 'alexnet[sample]'") from None
    digits = load()
    return np.asarray(digits.images, np.float64), np.asarray(digits.target, np.int64)


def split(digits: Sequence[int]) -> list[Picture]:
    """Every fifth picture of the set sorted by class goes to val: 360 of 1,797, each class in proportion."""
    order = sorted(range(len(digits)), key=lambda index: (digits[index], index))
    return [Picture(index, digits[index], "train" if place % VAL_EVERY else "val") for place, index in enumerate(order)]


def draw(image: NDArray[np.float64], index: int) -> Image.Image:
    """A digit (8, 8), ink 0–16, as a picture: dark ink on pale paper, both with a tint of their own."""
    draws = random.Random(index)

    def between(low: float, high: float) -> float:
        return low + (high - low) * draws.random()

    shorter = round(between(*SHORTER))
    ratio = LONGER_OVER_SHORTER[int(draws.random() * len(LONGER_OVER_SHORTER))]
    width, height = (round(shorter * ratio), shorter) if ratio >= 1 else (shorter, round(shorter / ratio))
    side = round(shorter * between(*BOX))
    rim = round(side / 8)
    room = (shorter * SEEN - side - rim) / 2
    left = round((width - side) / 2 + between(-room, room))
    top = round((height - side) / 2 + between(-room, room))
    paper = [between(205, 250) for _ in range(3)]
    ink = [between(0, 70) for _ in range(3)]

    # A rim of paper around the 8×8 field: strokes that touch its edge end as softly as they begin.
    small = Image.fromarray(np.pad(np.rint(image * (255 / 16)).astype(np.uint8), 1))
    large = small.resize((side + 2 * rim, side + 2 * rim), Image.Resampling.BICUBIC)
    field = Image.new("L", (width, height), 0)
    field.paste(large, (left - rim, top - rim))
    planes = [
        field.point([round(light + (dark - light) * value / 255) for value in range(256)])
        for light, dark in zip(paper, ink, strict=True)
    ]
    return Image.merge("RGB", planes)


def save(picture: Image.Image, path: Path, index: int) -> None:
    """Save as ImageNet would have it: mostly RGB JPEG, now and then something else under the same name."""
    if index == PNG_PICTURE:
        picture.convert("RGBA").save(path, format="PNG")
    elif index == CMYK_PICTURE:
        picture.convert("CMYK").save(path, format="JPEG", quality=QUALITY)
    elif index % GREY_EVERY == 1:
        picture.convert("L").save(path, format="JPEG", quality=QUALITY)
    else:
        picture.save(path, format="JPEG", quality=QUALITY)


def _write_tree(folder: Path, images: NDArray[np.float64], pictures: Sequence[Picture], talk: Talk) -> None:
    for parent in sorted({(folder / picture.name).parent for picture in pictures}):
        parent.mkdir(parents=True)

    def write(picture: Picture) -> None:
        save(draw(images[picture.index], picture.index), folder / picture.name, picture.index)

    with ThreadPoolExecutor() as pool, talk.progress("sample", len(pictures)) as advance:
        for _ in pool.map(write, pictures):
            advance()
