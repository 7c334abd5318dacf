"""WebDataset shards: tars in which files with the same name before the first dot make one sample.

    n01440764_10026.jpg   n01440764_10026.cls   n01440764_10026.json

`a.image.jpg` belongs to `a.cls`, unless there is an `a.image.cls`: then the name has a dot. If a sample has several
pictures, `a.jpg` counts, else the one called image; `a.seg.png` does not.

The class is in .cls (a number or a name), else in .json. If each sample's key begins with the same WNID as all others
of its number, the WNIDs are the names. If no sample has either file and every key has a WNID (`n01440764_10026`,
`n01440764/10026`, `val_1_n01440764`), the WNIDs are the classes.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from alexnet_cli.class_list import ClassList, are_numbers, number_of
from alexnet_cli.console import Talk
from alexnet_cli.errors import PictureError
from alexnet_cli.extensions import PICTURE_EXTENSIONS
from alexnet_cli.reading import read_regular
from alexnet_cli.sources.ignored import is_hidden_path
from alexnet_cli.sources.tars import Archive, Member, extension_of, is_picture, is_tar_name
from alexnet_stages.preprocess.sources.archives import content_of, members
from alexnet_stages.preprocess.sources.listing import Found, Listing

_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MOST_SHARDS = 1_000_000
_MOST_LIST_BYTES = 1 << 28
_MOST_LABEL_BYTES = 1 << 20
_MOST_CLASS_CHARACTERS = 1000
_MOST_DIGITS = 40
"""Digits of both numbers in braces."""
_JSON_KEYS = ("wnid", "synset", "cls", "label", "class", "class_name")
_WNID = re.compile(r"(n\d{8})[_/]")
_WNID_BEHIND = re.compile(r".*_(n\d{8})\.\w+")
"""Of Hugging Face's ImageNet, `ILSVRC2012_val_00000001_n01751748.JPEG`."""
_CALLED = ("image", "img", "picture", "photo", "rgb", "input")
"""Names of the picture in a sample that holds others too."""
_NO_PICTURES = ("seg", "mask", "segmentation", "depth", "label", "target", "edge", "edges", "normal", "cond", "control")
_HASHED = re.compile(r"(?=.*\d)[0-9a-f-]{6,}")
"""Named after a checksum or a UUID."""
_LETTERED = re.compile(
    r"((?:.*[-_. ])?(?:part|shard|batch|chunk|images?|imgs?|data|train|val|test|split|vol)[-_. ]?)[a-z]{1,2}"
)
"""What `split` makes: `part_a`, `train-ab`."""
LISTS = (".txt", ".list", ".lst")


def are_numbered(names: Sequence[str]) -> bool:
    """Whether archives are named after their number, `im-000000` or `3fa9c1`, and not after a class."""
    if all(re.fullmatch(r"n\d{8}", name) for name in names):
        return False
    if len(names) > 1 and len({match[1] if (match := _LETTERED.fullmatch(name)) else name for name in names}) == 1:
        return True
    if all(map(_HASHED.fullmatch, names)):
        return True
    names = [re.sub(r"(\d+)(?:[-_. ]?of[-_. ]?|-)\d+$", r"\1", name) for name in names]
    parts = [part for name in names if (part := re.fullmatch(r"(.*?)(\d+)(\D*)", name))]
    if len(parts) < len(names) or len({(part[1], part[3]) for part in parts}) > 1:
        return False
    before = parts[0][1]
    padded = len({len(part[2]) for part in parts}) == 1 and any(re.match(r"0\d\d", part[2]) for part in parts)
    return not before or before[-1] in "-_. " or padded


def expand_braces(text: str) -> list[str]:
    """`a-{008..010}.tar` -> a-008.tar, a-009.tar, a-010.tar. PictureError if the range makes no sense."""
    match = _BRACES.search(text)
    if match is None:
        return [text]
    if len(match[0]) > _MOST_DIGITS:
        raise PictureError(f"{text[:60]}: expected a range of numbers, found one of {len(match[0])} characters")
    first, last = int(match[1]), int(match[2])
    if not first <= last < first + _MOST_SHARDS:
        raise PictureError(f"{text}: expected a range from a smaller to a larger number, found {match[0]}")
    numbers = [f"{number:0{len(match[1])}d}" for number in range(first, last + 1)]
    ends = expand_braces(text[match.end() :])
    if len(numbers) * len(ends) > _MOST_SHARDS:
        raise PictureError(f"{text}: expected up to {_MOST_SHARDS:,} shards, found {len(numbers) * len(ends):,}")
    return [text[: match.start()] + number + end for number in numbers for end in ends]


def read_shard_list(path: Path) -> list[Path]:
    """The shards that a text file lists, one a line, relative to the file; braces may be used."""
    try:
        lines = read_regular(path, PictureError, most=_MOST_LIST_BYTES).decode().split("\n")
    except UnicodeDecodeError:
        raise PictureError(f"{path}: is neither a tar nor a list of shards: give a folder of pictures") from None
    words = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    for word in words:
        if not is_tar_name(word):
            raise PictureError(
                f"{path}: is a file, not a folder of pictures, nor a list of shards (expected the path of a tar on "
                f"each line, found {word[:60]!r}): give a folder, a tar, or --labels {path} with the folder"
            )
    return [path.parent / name for word in words for name in expand_braces(word)]


def is_shard(found: Sequence[Member]) -> bool:
    """Whether an archive's first files look like a shard's: with .cls, or with a .json for a picture."""
    stems = {member.name[: -len(_extension(member.name))] for member in found if is_picture(member.name)}
    return any(
        member.name.endswith(".cls")
        or (member.name.endswith(".json") and member.name[: -len(_extension(member.name))] in stems)
        for member in found
    )


def index_shards(root: Path, paths: Sequence[Path], talk: Talk, *, labelled: bool, key: str | None = None) -> Found:
    """The samples of all shards, sorted by name; the class of each, unless `labelled` is false.

    key: of the labels in .json, if the user gives it.
    """
    twice = {path for path in paths if paths.count(path) > 1} if len(paths) < 10_000 else set()
    if twice:
        raise PictureError(f"{root}: expected each shard once, found {min(twice)} twice")
    found = Found(root=root, archives=list(paths))
    listing = found.listing
    classes: dict[str, str] = {}
    meanings: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    lacking: tuple[Path, str] | None = None
    with talk.progress("indexing", len(paths), unit="shards") as advance:
        for path in paths:
            number = listing.file(str(path))
            for called, picture, beside in _samples(path, found):
                name = picture.name
                if name in classes:
                    raise PictureError(f"{path}: expected each picture once, found {name} twice, in one or two shards")
                label = _label(path, beside, key, meanings) if labelled else ""
                if labelled and not label and lacking is None:
                    lacking = (path, called)
                classes[name] = sys.intern(label)
                listing.add_member(name, picture, file=number)
            advance()
    _require_one_meaning(root, meanings)
    found.listing = listing.sorted()
    if labelled:
        if lacking and any(classes.values()):
            raise PictureError(
                f"{lacking[0]}: {lacking[1]} has no .cls and no .json: give --labels FILE or --unlabelled"
            )
        found.labels = _from_keys(*lacking, found) if lacking else _class_names(found.listing, classes)
    return found


def _from_keys(path: Path, key: str, found: Found) -> list[str]:
    """The WNID that each sample's name begins with. PictureError if one has none."""
    labels = []
    for name in found.listing.names:
        wnid = wnid_of(name)
        if wnid is None:
            raise PictureError(
                f"{path}: {key} has no .cls and no .json, and {name} begins with no WNID such as n01440764_: "
                "give --labels FILE ('name label' lines or CSV) or --unlabelled, or make shards with .cls files"
            )
        labels.append(sys.intern(wnid))
    return labels


def wnid_of(name: str) -> str | None:
    """The WNID in a picture's name: of `n01440764_1.JPEG`, `n01440764/1.JPEG`, or `val_1_n01440764.JPEG`."""
    file = name.rpartition("/")[2]
    match = _WNID.match(file) or _WNID.match(name) or _WNID_BEHIND.fullmatch(file)
    return match[1] if match else None


def named_by(found: Found, labels: list[str], given: ClassList) -> list[str]:
    """Labels that are numbers, as names of a given class list: by the numbers that it gives, else by index.

    If the list's names are numbers, the labels are names already.
    """
    if not labels or not are_numbers(labels) or are_numbers(given.names):
        return labels
    first = given.counted_from or 0
    numbers = {label: number_of(label) for label in set(labels)}
    lowest, highest = min(numbers.values()), max(numbers.values())
    if lowest < 0:
        return labels  # -1 is not a label: comparing them with the list will report it
    if not first <= lowest <= highest < first + len(given):
        wrong = lowest if lowest < first else highest
        advice = (
            f": number the classes in that file from {lowest}" if lowest < 2 and highest - lowest < len(given) else ""
        )
        raise PictureError(
            f"{found.root}: expected labels from {first} to {first + len(given) - 1} (--classes), found {wrong}{advice}"
        )
    found.notes.append(f"the labels are numbers, counted from {first}: {lowest} is {given.names[lowest - first]}")
    return [given.names[numbers[label] - first] for label in labels]


def _samples(path: Path, found: Found) -> Iterator[tuple[str, Member, dict[str, Member]]]:
    """Key, picture, and `.cls` and `.json` of each sample of a shard."""
    pictures: dict[str, list[Member]] = {}
    labels: dict[str, dict[str, Member]] = {}
    for member in members(Archive(path)):
        last = extension_of(member.name)
        if is_hidden_path(member.name):
            found.ignored["hidden"] += 1
        elif last in PICTURE_EXTENSIONS:
            pictures.setdefault(member.name.removesuffix(_extension(member.name)), []).append(member)
        elif last in (".cls", ".json"):
            labels.setdefault(member.name[: -len(last)], {})[last] = member
        else:
            found.ignored[_extension(member.name).lower() or "no extension"] += 1
    for key, together in pictures.items():
        chosen = _pictures_of(path, key, together, labels)
        yield from ((own, member, labels.get(own, {})) for own, member in chosen)
        for member in set(together) - {member for _, member in chosen}:
            found.ignored[_extension(member.name).lower()] += 1


def _pictures_of(
    path: Path, key: str, together: Sequence[Member], labels: Mapping[str, object]
) -> list[tuple[str, Member]]:
    """Which of the pictures with the same name before the first dot are samples, each with its key."""
    stems = {member: member.name[: -len(extension_of(member.name))] for member in together}
    plain = [member for member in together if stems[member] == key]
    if len(plain) > 1 or len(stems) < len(together):
        raise PictureError(f"{path}: expected one picture in each sample, found two of {key}")
    part = {member: stems[member][len(key) + 1 :].lower() for member in together if member not in plain}
    labelled = [(stems[member], member) for member in part if stems[member] in labels]
    rest = [member for member in part if stems[member] not in labels and part[member] not in _NO_PICTURES]
    if plain:
        return [(key, plain[0]), *labelled]
    if labelled:
        return [*labelled, *((stems[member], member) for member in rest)]
    called = [member for member in rest if part[member] in _CALLED] if len(rest) > 1 else rest
    if len(called) == 1:
        return [(key, called[0])]
    if key not in labels and all(part[member].isdecimal() for member in rest):
        return [(stems[member], member) for member in rest]
    names = " and ".join(member.name for member in rest[:2])
    raise PictureError(f"{path}: expected one picture in each sample, found {names}: name one {key}.image.jpg")


def _extension(name: str) -> str:
    """All from the first dot of the file's name: `.seg.png`."""
    file = name.rpartition("/")[2]
    return file[file.index(".") :] if "." in file else ""


def _require_one_meaning(root: Path, meanings: Mapping[tuple[str, ...], set[tuple[str, ...]]]) -> None:
    """PictureError if two keys of .json divide the pictures differently."""
    for keys, found in meanings.items():
        for at in range(1, len(keys)):
            pairs = {(values[0], values[at]) for values in found}
            if not len(pairs) == len({one for one, _ in pairs}) == len({two for _, two in pairs}):
                raise PictureError(
                    f"{root}: {keys[0]!r} and {keys[at]!r} in .json may both be the labels, and differ: give "
                    "--label-column KEY"
                )


def _label(
    path: Path, beside: Mapping[str, Member], key: str | None, meanings: dict[tuple[str, ...], set[tuple[str, ...]]]
) -> str:
    """A sample's class: a number or a name; empty if it has neither .cls nor .json.

    beside: these files, by extension. meanings: grows by the values of the keys in .json that may all be the class.
    """
    member = beside.get(".cls") if key is None else None
    member = member or beside.get(".json")
    if member is None:
        return ""
    if member.size > _MOST_LABEL_BYTES:
        raise PictureError(f"{path}: {member.name} has {member.size:,} bytes: expected a class")
    text = content_of(path, member).decode("utf-8", "replace").strip()
    if member.name.endswith(".json"):
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            raise PictureError(f"{path}: {member.name} is not JSON: make the shard again") from None
        wanted = _JSON_KEYS if key is None else (key,)
        keys = [name for name in wanted if isinstance(values, dict) and isinstance(values.get(name), int | str)]
        if not keys:
            what = f"one of {', '.join(wanted)}, found none of them" if key is None else f"the key {key}, found none"
            raise PictureError(
                f"{path}: {member.name}: expected {what}: give --labels FILE, --label-column KEY or --unlabelled"
            )
        text = str(values[keys[0]])
        if len(keys) > 1:
            meanings.setdefault(tuple(keys), set()).add(tuple(str(values[name]) for name in keys))
    if not text or "\n" in text or len(text) > _MOST_CLASS_CHARACTERS:
        raise PictureError(f"{path}: {member.name}: expected a class, found {text[:40]!r}")
    return text


def _class_names(listing: Listing, classes: Mapping[str, str]) -> list[str]:
    """The class of each picture in the listing's order; numbers become WNIDs if the pictures' names have them."""
    labels = [classes[name] for name in listing.names]
    numbers = set(labels)
    if not numbers or not all(number.isdecimal() for number in numbers):
        return labels
    wnids: dict[str, set[str]] = {number: set() for number in numbers}
    for name, label in zip(listing.names, labels, strict=True):
        wnids[label].add(wnid_of(name) or "")
    single = [next(iter(found)) for found in wnids.values() if len(found) == 1]
    if len(set(single)) == len(numbers) and "" not in single:
        return [next(iter(wnids[label])) for label in labels]
    return labels
