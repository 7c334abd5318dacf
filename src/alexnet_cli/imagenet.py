"""What is known of ILSVRC-2012, and how its devkit is read.

    devkit = read_devkit(Path("ILSVRC2012_devkit_t12.tar.gz"))
    devkit.wnids[65], devkit.ids[65]          # ("n01751748", 490)
    devkit.validation[:3]                     # [65, 970, 230]: class indices, not IDs

The class index is the position of the WNID in sorted order. The devkit numbers the classes in another order: on the
50,000 validation labels `ID - 1` is the right index not once. Counts and defective files as published and as known to
the data set's users. Nothing of an archive is written to disk.
"""

from __future__ import annotations

import io
import lzma
import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from alexnet_cli.class_list import ClassList
from alexnet_cli.console import span
from alexnet_cli.errors import PictureError, ResourceError, UsageError, describe_os_error
from alexnet_cli.reading import read_regular, require_regular


@dataclass(frozen=True, kw_only=True)
class Official:
    """One split as it was published."""

    split: str
    """train, val or test."""
    pictures: int
    fewest: int
    """Pictures of the smallest class; 0 where there are no labels."""
    most: int
    """Pictures of the largest class; 0 where there are no labels."""
    names: str
    """Regular expression for the pictures' names without folder and extension."""


CLASSES = 1000
OFFICIAL: Mapping[str, Official] = {
    "train": Official(split="train", pictures=1_281_167, fewest=732, most=1300, names=r"n\d{8}_\d+"),
    "val": Official(split="val", pictures=50_000, fewest=50, most=50, names=r"ILSVRC2012_val_\d{8}"),
    "test": Official(split="test", pictures=100_000, fewest=0, most=0, names=r"ILSVRC2012_test_\d{8}"),
}

KNOWN_IDS: Mapping[int, str] = {1: "n02119789", 490: "n01751748"}
"""Devkit ID -> WNID."""
KNOWN_INDICES: Mapping[int, str] = {65: "n01751748"}
"""Class index -> WNID."""
KNOWN_VALIDATION = (65, 970, 230)
"""Class indices of ILSVRC2012_val_00000001, 2 and 3, whose devkit IDs are 490, 361 and 171."""

_CMYK = """
    n01739381_1309 n02077923_14822 n02447366_23489 n02492035_15739 n02747177_10752 n03018349_4028 n03062245_4620
    n03347037_9675 n03467068_12171 n03529860_11437 n03544143_17228 n03633091_5218 n03710637_5125 n03961711_5286
    n04033995_2932 n04258138_17003 n04264628_27969 n04336792_7448 n04371774_5854 n04596742_4225 n07583066_647
    n13037406_4650 ILSVRC2012_val_00019877
"""
DEFECTIVE: Mapping[str, str] = {"n02105855_2933": "PNG named .JPEG", **dict.fromkeys(_CMYK.split(), "CMYK")}
"""Name without folder and extension -> what is wrong with the file."""

DEVKIT_NAME = re.compile(
    r"ILSVRC20\d\d_devkit(?!.*\.(md5|sha\d*|asc|sig|torrent|part|crdownload|aria2)$).*", re.IGNORECASE
)
"""What a devkit, or the folder made of it, is called; not its checksum, or half of its download."""

_META = "meta.mat"
_TRUTH = re.compile(r"ILSVRC20\d\d_validation_ground_truth\.txt")
_ID_FIELD = re.compile(r"ILSVRC20\d\d_ID")
_MOST_BYTES = 1 << 26
"""Of one of the devkit's files, unpacked: the real ones have under 1 MB."""
_MOST_ARCHIVE_BYTES = 1 << 30
_MOST_DIGITS = 9


@dataclass(frozen=True, kw_only=True)
class Devkit:
    """The classes, sorted by WNID, and the validation labels."""

    path: Path
    wnids: tuple[str, ...]
    words: tuple[str, ...]
    """What people call each class: `tench, Tinca tinca`."""
    ids: tuple[int, ...]
    """The devkit's ID of each class."""
    train_pictures: tuple[int, ...] = ()
    """Pictures of each class in train, where meta.mat gives them."""
    validation: tuple[int, ...] = ()
    """The class index of each validation picture, in the order of their names; empty where the devkit has none."""

    @cached_property
    def classes(self) -> ClassList:
        """The class list with words and IDs."""
        return ClassList(self.wnids, words=self.words, ids=self.ids)

    @property
    def checks(self) -> str:
        """What was checked, in one line for people; see `read_devkit`."""
        text = f"{self.path.name}: {len(self.wnids):,} classes, IDs mapped through {_META} to sorted WNIDs"
        if self.validation:
            counts = Counter(self.validation).values()
            text += f"; {len(self.validation):,} validation labels, {span(min(counts), max(counts))} of each class"
            if is_ilsvrc2012(self.classes) and len(self.validation) == OFFICIAL["val"].pictures:
                text += f", the first three are {', '.join(map(str, KNOWN_VALIDATION))} as they must be"
        return text


def is_ilsvrc2012(classes: ClassList) -> bool:
    """Whether these are the thousand classes of ILSVRC-2012: 2010 has another thousand."""
    return len(classes) == CLASSES and all(classes.names[index] == wnid for index, wnid in KNOWN_INDICES.items())


def find_devkit(folder: Path) -> Path | None:
    """The devkit (archive or folder) that lies in a folder, archives first; None where there is none."""
    try:
        found = [entry for entry in folder.iterdir() if DEVKIT_NAME.fullmatch(entry.name)]
    except OSError:  # what was not requested need not be readable
        return None
    fit = [entry for entry in found if entry.is_file() or _meta_in(entry)]
    return min(fit, key=lambda entry: (entry.is_dir(), entry.name), default=None)


def is_devkit(path: Path) -> bool:
    """Whether a path looks like a devkit: by its name, or a folder with meta.mat."""
    return _meta_in(path) is not None if path.is_dir() else DEVKIT_NAME.fullmatch(path.name) is not None


def read_devkit(path: Path) -> Devkit:
    """Read a devkit: the archive (compressed or not) or a folder made of it.

    Keeps the leaves, ILSVRC2012_ID from 1 to 1000: the others are their ancestors. PictureError where the file is no
    devkit, IDs or WNIDs repeat, the ground truth names an unknown ID, or, of the real devkit, where one of the
    known figures (KNOWN_IDS, KNOWN_VALIDATION, 50 pictures of each class) does not come out.
    """
    meta, truth = _files_of(path)
    wnids, ids, words, pictures = zip(*sorted(_leaves(path, meta)), strict=True)
    for what, values in (("ID", ids), ("WNID", wnids)):
        value, count = Counter(values).most_common(1)[0]
        if count > 1:
            raise PictureError(f"{path}: {_META} gives the {what} {value} twice: download the devkit again")
    validation = [] if truth is None else parse_ids(path, truth.decode("utf-8", "replace"), ids)
    devkit = Devkit(
        path=path,
        wnids=wnids,
        ids=ids,
        words=words,
        train_pictures=pictures if all(pictures) else (),
        validation=tuple(validation),
    )
    if is_ilsvrc2012(devkit.classes) and (wrong := next(_wrong_figures(devkit), None)):
        raise PictureError(f"{path}: {wrong}: download it again")
    return devkit


def parse_ids(path: Path, text: str, ids: Sequence[int]) -> list[int]:
    """A ground truth's lines, one devkit ID each, as class indices. ids: each class's. PictureError names the line."""
    known = {number: index for index, number in enumerate(ids)}
    indices = []
    for number, line in enumerate(text.split("\n"), 1):
        word = line.strip()
        if not word:
            continue
        if not word.isdecimal() or len(word) > _MOST_DIGITS or int(word) not in known:
            raise PictureError(
                f"{path}, line {number}: expected a devkit ID, one of {len(known):,} from {min(known)} to "
                f"{max(known)}, found {word[:40]!r}"
            )
        indices.append(known[int(word)])
    return indices


def _wrong_figures(devkit: Devkit) -> Iterator[str]:
    """The figures known of the real devkit that this one does not have."""
    wnids = dict(zip(devkit.ids, devkit.wnids, strict=True))
    for number, wnid in KNOWN_IDS.items():
        if wnids.get(number) != wnid:
            yield f"expected ID {number} to be {wnid}, found {wnids.get(number, 'nothing')}"
    if not devkit.validation:
        return
    official = OFFICIAL["val"]
    if len(devkit.validation) != official.pictures:
        yield f"expected {official.pictures:,} validation labels, found {len(devkit.validation):,}"
    first = devkit.validation[: len(KNOWN_VALIDATION)]
    if first != KNOWN_VALIDATION:
        wanted, found = (", ".join(map(str, classes)) for classes in (KNOWN_VALIDATION, first))
        yield f"expected the first validation pictures' classes to be {wanted}, found {found}"
    for index, count in Counter(devkit.validation).items():
        if count != official.most:
            yield f"expected {official.most} validation pictures of {devkit.wnids[index]}, found {count}"


def _leaves(path: Path, content: bytes) -> list[tuple[str, int, str, int]]:
    """WNID, ID, words and number of training pictures of each class in meta.mat."""
    try:
        from scipy.io import loadmat
    except ImportError:
        raise UsageError(f"{path}: reading its {_META} needs scipy: pip install 'alexnet[ilsvrc]'") from None

    try:
        # A struct array: one record for each node, ILSVRC2012_ID, WNID, words, gloss, … its fields.
        synsets = loadmat(io.BytesIO(content), squeeze_me=True, variable_names=["synsets"])["synsets"].reshape(-1)
        fields = synsets.dtype.names or ()
        id_field = next(name for name in fields if _ID_FIELD.fullmatch(name))
        rows: list[tuple[str, int, str, int]] = [
            (
                str(node["WNID"]),
                int(node[id_field]),
                str(node["words"]),
                int(node["num_train_images"]) if "num_train_images" in fields else 0,
            )
            for node in synsets
        ]
    except MemoryError:
        raise
    except Exception as error:  # a damaged file makes the reader raise anything at all
        reason = str(error) or type(error).__name__
        raise PictureError(
            f"{path}: its {_META} is not the devkit's (expected a struct 'synsets' with ILSVRC2012_ID, WNID and "
            f"words; {reason[:80]}): download the devkit again"
        ) from None
    leaves = [row for row in rows if 1 <= row[1] <= CLASSES]
    if not leaves:
        raise PictureError(f"{path}: its {_META} holds no class with an ID from 1 to {CLASSES}: download it again")
    return leaves


def _files_of(path: Path) -> tuple[bytes, bytes | None]:
    """The content of meta.mat and of the validation ground truth."""
    if path.is_dir():
        meta = _meta_in(path)
        if meta is None:
            raise PictureError(f"{path}: holds no data/{_META}: give the devkit as it was downloaded")
        truths = [file for file in meta.parent.iterdir() if _TRUTH.fullmatch(file.name)]
        try:
            truth = read_regular(truths[0], PictureError, most=_MOST_BYTES) if truths else None
            return read_regular(meta, PictureError, most=_MOST_BYTES), truth
        except FileNotFoundError as error:
            raise ResourceError(describe_os_error(error, path)) from None
    content: dict[str, bytes] = {}
    with _opened(path) as archive:
        for member in archive:
            name = member.name.rpartition("/")[2]
            if not 0 <= member.size <= _MOST_ARCHIVE_BYTES - member.offset_data:  # packed, they may be a few kilobytes
                raise PictureError(f"{path}: unpacks to more than a devkit has: download it again")
            if not member.isfile() or member.size > _MOST_BYTES:
                continue
            if name == _META or _TRUTH.fullmatch(name):
                content["meta" if name == _META else "truth"] = archive.extractfile(member).read()
            if len(content) == 2:
                break
    if "meta" not in content:
        raise PictureError(f"{path}: holds no data/{_META}: give the devkit, ILSVRC2012_devkit_t12.tar.gz")
    return content["meta"], content.get("truth")


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The devkit's archive; whatever is wrong with it is one line."""
    try:
        require_regular(path, PictureError)
        with tarfile.open(path) as archive:
            yield archive
    except FileNotFoundError:
        raise PictureError(f"{path}: no such devkit: check the path") from None
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, ValueError, OverflowError, RecursionError):
        kind = "is empty" if path.stat().st_size == 0 else "is damaged, or no devkit"
        raise PictureError(f"{path}: {kind}: download ILSVRC2012_devkit_t12.tar.gz again") from None
    except OSError as error:
        if error.errno is None:  # the decompressor's own, such as a wrong checksum
            raise PictureError(f"{path}: is damaged ({error}): download it again") from None
        raise ResourceError(describe_os_error(error, path)) from None


def _meta_in(folder: Path) -> Path | None:
    """meta.mat of a folder that was made of a devkit, or of its data folder."""
    return next((file for file in (folder / "data" / _META, folder / _META) if file.is_file()), None)
