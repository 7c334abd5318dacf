"""Checks of what a source holds against what was expected: a difference ends the command with code 3."""

from __future__ import annotations

import os
import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Container, Mapping, Sequence
from pathlib import Path

from alexnet_cli.class_list import UNLABELLED_NAME, ClassList, are_numbers, number_of
from alexnet_cli.console import span
from alexnet_cli.errors import PictureError
from alexnet_cli.imagenet import CLASSES, KNOWN_VALIDATION, OFFICIAL, Devkit, is_devkit, is_ilsvrc2012
from alexnet_cli.sources.tars import is_archive_name, is_picture
from alexnet_stages.preprocess.sources.archives import first_members
from alexnet_stages.preprocess.sources.foreign import foreign_files
from alexnet_stages.preprocess.sources.listing import Found
from alexnet_stages.preprocess.sources.splits import are_parts, is_plain, split_called
from alexnet_stages.preprocess.sources.webdataset import are_numbered, wnid_of

_SHOWN = 3
_OBJECTS = (
    ({"jpegimages", "annotations"}, "Pascal VOC's layout, which names objects in the pictures"),
    ({"images", "labels"}, "YOLO's layout, which names objects in the pictures"),
    ({"images", "annotations"}, "a layout of pictures with annotations, which are not read"),
    ({"images", "masks"}, "a layout of pictures with outlines"),
    ({"train2017", "annotations"}, "COCO's layout, which names objects in the pictures"),
    ({"val2017", "annotations"}, "COCO's layout, which names objects in the pictures"),
)
"""Folders next to each other, in small letters, and what that means."""
_WNID = re.compile(r"n\d{8}")
_NO_CLASS = re.compile(
    r"(\d+\.|_*)?(background|un-?(label|tagg|sort)l?ed|un-?(known|defined)|un-?(classifi|categori[sz])ed|void|junk|garbage|"
    r"no[_ -]?(class|label)|none|null|nan|#?n/?a|misc(ellaneous)?|others?|clutter|ignored?|distractors?|(hard[_ -])?neg"
    r"(ative)?s?|to[_ -]?(do|sort)|tmp|temp|trash|backup|old|archive|deleted|removed|excluded|(new|untitled) folder|"
    r"duplicates|rejects?|invalid|corrupt(ed)?|images|data(set)?|annotations?|labels?|masks?|thumb(nail)?s?|previews?|"
    r"originals?|checkpoints|results|samples|dcim|train(ing)?|val(id|idation)?|test(ing)?)"
    r"([_ -](google|noise|class|images|set|\d+))?(_*| \(\d+\))|[-_?.]+|[@#$~].*|recycle[ _-]?bin",
    re.IGNORECASE,
)
"""Names of folders whose pictures have no class."""
_COPY = re.compile(r"(?:copy of (.+)|(.+?)(?:[ _-]+copy(?: ?\(?\d+\)?)?| \(\d+\)|[._]bak|[._-]old))", re.IGNORECASE)
"""Names of copies of a folder."""


def require_pictures(found: Found) -> None:
    """PictureError if there are no pictures."""
    if not len(found.listing):
        if found.packed:
            raise PictureError(f"{found.packed[0]}: is an archive in an archive or folder, not read: unpack it first")
        packed = sorted(ending for ending in found.ignored if is_archive_name(f"x{ending}") or ending == ".parquet")
        if packed:
            raise PictureError(
                f"{found.root}: holds no pictures, but {packed[0]} files in folders: give the folder that they lie in"
            )
        if foreign := foreign_files(ending for ending, _ in found.ignored.most_common()):
            raise PictureError(f"{found.root}: {foreign}")
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in found.ignored.most_common(3))
        others = f"other files: {kinds}" if kinds else "it is empty"
        raise PictureError(f"{found.root}: holds no pictures: check the path ({others})")


def require_class_names(root: Path, names: Sequence[str]) -> None:
    """PictureError if a class's name is empty, `.` or `..`, has several lines, or occurs twice."""
    for name, count in Counter(names).items():
        if name in ("", ".", "..") or len(name.splitlines()) > 1:
            raise PictureError(f"{root}: has a class named {name!a}: give it another name")
        if count > 1:
            raise PictureError(f"{root}: its class list names '{name}' twice: give each class a different name")


def require_class_archives(found: Found) -> None:
    """PictureError unless each archive holds one class: shards of mixed pictures would silently give wrong classes.

    Signs of mixed pictures: archives named after a split or a number, several WNIDs in an archive not named after a
    WNID, the same class folders in two archives.
    """
    names = {archive: Path(place).name for archive, place in found.folders.items()}
    if len(names) > 1 and are_parts(set(names.values())):
        raise PictureError(
            f"{found.root}: holds the archives of {_some(sorted(names))}, not of classes: give one, such as "
            f"{found.folders[min(names)]}"
        )
    wnids, folders = _inside(found.listing.names)
    advice = "give --labels FILE ('name label' lines or CSV) or --unlabelled, or make one archive for each class"
    for archive, inside in sorted(wnids.items()):
        if len(inside) > 1 and not _WNID.fullmatch(archive):
            raise PictureError(
                f"{found.folders.get(archive, found.root)}: expected the pictures of one class, found those of "
                f"{len(inside)} WNIDs ({_some(sorted(inside))}): {advice}"
            )
    holders = Counter(folder for inside in folders.values() if len(inside) > 1 for folder in inside)
    shared = sorted(folder for folder, count in holders.items() if count > 1)
    if len(shared) > 1:
        raise PictureError(
            f"{found.root}: expected an archive for each class, found the folders {_some(shared)} in more than one: "
            f"{advice}"
        )
    mine = {archive: folders.get(archive, set()) - {archive} for archive in names}
    named = {archive: inside for archive, inside in mine.items() if inside and not all(map(is_plain, inside))}
    if (
        named
        and not set.intersection(*map(set, mine.values()))
        and not any(archive.casefold() in {folder.casefold() for folder in inside} for archive, inside in named.items())
    ):
        archive, inside = min(named.items())
        raise PictureError(
            f"{found.folders[archive]}: is named after a different class than the folder in it, "
            f"{_some(sorted(inside))}: name each archive after its folder, unpack them, or {advice}"
        )
    if are_numbered(sorted(names)) and found.loose:
        raise PictureError(
            f"{found.root}: its archives are named after numbers, such as {min(names)}, not after classes: {advice}, "
            "with its pictures in a folder of its name"
        )


def _inside(names: Sequence[str]) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """The WNIDs in each archive, and its folders at the top, given names `archive/…`."""
    wnids: dict[str, set[str]] = {}
    folders: dict[str, set[str]] = {}
    for name in names:
        archive, _, own = name.partition("/")
        folder, slash, _ = posixpath.normpath(f"/{own}").lstrip("/").partition("/")
        if slash:
            folders.setdefault(archive, set()).add(folder)
        wnid = wnid_of(own)
        if wnid is not None:
            wnids.setdefault(archive, set()).add(wnid)
    return wnids, folders


def require_one_folder_each(found: Found, spelt: Mapping[str, str]) -> None:
    """PictureError if two class folders or archives are one class, such as `0` and `00`."""
    written: dict[str, str] = {}
    for name, plain in sorted(spelt.items()):
        if plain in written:
            same = unicodedata.normalize("NFC", written[plain]) == unicodedata.normalize("NFC", name)
            how = "one name, whose accents are written in two ways" if same else "one name, but for blanks around it"
            how = "the same number" if are_numbers([plain]) else how
            raise PictureError(
                f"{found.root}: the class folders {written[plain]!a} and {name!a} are {how}: put their pictures "
                "into one"
            )
        written[plain] = name


def refuse_unlabelled(found: Found, names: Sequence[str], nameless: Container[str]) -> None:
    """PictureError for a source in which some pictures have the label -1."""
    lost = [position for position, name in enumerate(names) if name in nameless]
    raise PictureError(
        f"{found.root}: {len(lost):,} of {len(names):,} pictures have the label {UNLABELLED_NAME}, "
        f"which is not a class, such as {found.listing.names[lost[0]]}: leave them out, or give --unlabelled"
    )


def describe_classes(labels: Sequence[int], classes: ClassList, *, given_by: Path | None) -> list[str]:
    """Lines on the classes' order, if it is not that of their names, and on names that do not look like classes."""
    lines = []
    if are_numbers(classes.names):
        numbers = [number_of(name) for name in classes.names]
        if numbers != sorted(numbers):
            lines.append(f"classes in the order of {given_by}, not of the numbers: {_some(classes.names)}")
        else:
            first, last = classes.names[0], classes.names[-1]
            text = f"the class names are numbers, in numeric order: {first} to {last}"
            if numbers != list(range(len(numbers))):
                index = next(place for place, number in enumerate(numbers) if number != place)
                text += f"; index and name differ: class {classes.names[index]} has index {index}"
            lines.append(text)
    elif given_by is not None and list(classes.names) != sorted(classes.names):
        lines.append(f"classes in the order of {given_by}: {_some(classes.names)}")
    lines += _alike(classes.names)
    doubtful = [index for index, name in enumerate(classes.names) if _NO_CLASS.fullmatch(name)]
    if doubtful:
        counts = Counter(labels)
        some = ", ".join(f"{classes.names[index]} ({counts[index]:,})" for index in doubtful[:_SHOWN])
        more = ", …" if len(doubtful) > _SHOWN else ""
        lines.append(
            f"DO NOT LOOK LIKE CLASSES, but are trained as classes: {some}{more}; if that is wrong, remove them"
        )
    return lines


def _alike(names: Sequence[str]) -> list[str]:
    """Lines on classes that may be the same: names that differ only by case, and copies."""
    lines = []
    folded: dict[str, str] = {}
    there = set(names)
    for name in names:
        copied = _COPY.fullmatch(name)
        other = (copied[1] or copied[2]) if copied else None
        if other in there:
            lines.append(f"the class {name!r} MAY BE A COPY of {other!r}; if so, put their pictures into one folder")
        other = folded.setdefault(name.casefold(), name)
        if other != name and len(name) > 1:
            lines.append(f"the classes {other!r} and {name!r} DIFFER BY CASE alone; if they are one, rename one")
    return lines if len(lines) <= _SHOWN else [*lines[:_SHOWN], f"… and {len(lines) - _SHOWN:,} more such classes"]


def require_filled(found: Found, classes: Sequence[str]) -> None:
    """PictureError if a class's folder or archive holds no pictures."""
    filled = set(classes)
    for name in sorted(found.folders):
        if name not in filled and not (len(filled) == 1 and is_plain(min(filled))):  # then this is the wrong level
            raise PictureError(
                f"{found.folders[name]}: the class folder holds no pictures: remove it, or put its pictures in"
            )


def require_the_level(found: Found, folders: Collection[str]) -> None:
    """PictureError if folders are parts of a data set, or hold the same folders: then they are not the classes."""
    first = min(folders, key=lambda name: (split_called(name) != "train", name))
    names = _some(sorted(folders))
    if are_parts(folders) and (len(folders) > 1 or all(name.count("/") > 1 for name in found.listing.names)):
        raise PictureError(
            f"{found.root}: holds {names}, not class folders: give one, such as {found.place / first}, or --split"
        )
    holders: dict[str, set[str]] = {}
    for name in found.listing.names:
        folder, inner, file = (*name.split("/", 2), "", "")[:3]
        if not file:
            return
        holders.setdefault(inner, set()).add(folder)
    shared = sorted(inner for inner, above in holders.items() if len(above) > 1)
    if len(shared) > 1:
        if are_parts(shared):
            raise PictureError(
                f"{found.root}: the folders {names} hold the parts {_some(shared)}: put the classes into the parts, "
                f"such as {shared[0]}/{first}, and give one part"
            )
        raise PictureError(
            f"{found.root}: the folders {names} hold the same folders, {_some(shared)}: give one, such as "
            f"{found.place / first}, or a file of the classes' names as --classes if {names} are the classes"
        )
    if len(holders) > max(1, len(folders)):
        some = _some([f"{min(above)}/{inner}" for inner, above in sorted(holders.items())])
        found.notes.append(f"folders in class folders, such as {some}, ARE NOT CLASSES of their own")


def refuse_objects(found: Found) -> None:
    """PictureError for data sets that name or outline the objects in a picture instead of its class."""
    there = {name.lower() for name in found.folders}
    what = next((what for names, what in _OBJECTS if names <= there), None)
    if what:
        raise PictureError(
            f"{found.root}: is {what}: a net for classes needs one for each picture: make a folder for each class, "
            "or give --labels FILE ('name label' lines or CSV)"
        )


def refuse_packed_classes(found: Found, folders: Container[str]) -> None:
    """PictureError for an archive among class folders, unless the folders were unpacked from it."""
    for path in found.packed:
        if found.root.is_dir() and _holds_only(Path(path), folders):
            continue
        raise PictureError(
            f"{path}: is an archive among class folders, so its class would be missing: unpack it, or move it away"
        )


def _holds_only(archive: Path, folders: Container[str]) -> bool:
    """Whether an archive's first pictures lie in these folders."""
    if is_devkit(archive):
        return True
    try:
        names = [member.name for member in first_members(archive) if is_picture(member.name)]
    except PictureError:
        return False
    return bool(names) and all(any(part in folders for part in name.split("/")[:-1]) for name in names)


def first_words(names: Sequence[str]) -> str:
    """` (their names begin with cat, dog: …)` for cat.1.jpg and dog.1.jpg, to end a message; else nothing."""
    words: Counter[str] = Counter()
    for name in names:
        match = re.fullmatch(r"(\D*[^\W\d_])[._ -]*\(?\d+\)?\.\w+", name.rpartition("/")[2])
        if match is None:
            return ""
        words[match[1]] += 1
    if not 1 < len(words) <= len(names) // 2:
        return ""
    return f" (their names begin with {_some(sorted(words))}: if those are the classes, sort them into folders)"


def require_several(found: Found, classes: Sequence[str]) -> None:
    """PictureError if all pictures are of one class: probably the folder above or below is meant."""
    if len(set(classes)) != 1:
        return
    name = classes[0]
    above = os.path.commonpath({picture.rpartition("/")[0] for picture in found.listing.names})
    parts = above.split("/")
    deeper = all(picture.count("/") > len(parts) for picture in found.listing.names)
    advice = "give the folder above, or --classes"
    if deeper:
        advice = f"give {found.place / above}"
    elif is_plain(name) or len(parts) > 1 or split_called(name):
        advice = f"give {found.place / above} with --labels FILE{first_words(found.listing.names)}"
    raise PictureError(
        f"{found.root}: expected two or more class folders, found one, '{name}', with {len(found.listing):,} pictures: "
        f"is this the wrong level? {advice}"
    )


def require_classes(
    found: Found, classes: Sequence[str], known: ClassList, *, known_by: Path | str, complete: bool
) -> None:
    """PictureError if a picture's class is not known, or, with `complete`, if a known class has no pictures."""
    there, wanted = set(classes), set(known.names)
    for picture, name in zip(found.listing.names, classes, strict=True):
        if name not in wanted:
            extra = sorted(there - wanted)
            more = f" (found {len(there):,}, of which {len(extra):,} are not: {_some(extra)})" if len(extra) > 1 else ""
            which = "" if wanted & there else f", such as {known.names[0]!r}"
            raise PictureError(
                f"{found.root / picture}: its class '{name}' is not among the {len(known)} classes of {known_by}"
                f"{which}{more}"
            )
    missing = [name for name in known.names if name not in there]
    if missing and complete:
        raise PictureError(
            f"{found.root}: expected the {len(known):,} classes of {known_by}, found {len(there):,}: "
            f"{len(missing):,} without pictures, {_some(missing)}: add them, or give --allow-missing"
        )


def check_known_labels(root: Path, names: Sequence[str], labels: Sequence[int], classes: ClassList) -> str | None:
    """A line that says how many known labels of ILSVRC-2012's validation pictures are right; None for other pictures.

    PictureError if one is wrong: the labels are in another order.
    """
    if not is_ilsvrc2012(classes) or not re.fullmatch(OFFICIAL["val"].names, _stem(names[0])):
        return None
    wanted = {f"ILSVRC2012_val_{number:08d}": index for number, index in enumerate(KNOWN_VALIDATION, 1)}
    checked = 0
    for name, label in zip(names, labels, strict=True):
        expected = wanted.get(_stem(name))
        if expected is not None:
            checked += 1
            if label != expected:
                raise PictureError(
                    f"{root}: expected {name} to be class {expected} ({classes.title(expected)}), found {label} "
                    f"({classes.title(label)}): the labels are in another order; devkit IDs need the devkit"
                )
    return f"{checked} of {len(KNOWN_VALIDATION)} known validation labels checked: right" if checked else None


def compare_with_devkit(devkit: Devkit, labels: Sequence[int]) -> str | None:
    """A line that compares the number of pictures in each train class with meta.mat's; None if it gives none."""
    if not devkit.train_pictures:
        return None
    counts = Counter(labels)
    unlike = [index for index, number in enumerate(devkit.train_pictures) if counts[index] != number]
    if not unlike:
        return f"{devkit.path.name}: each class has the number of training pictures that it gives"
    index = unlike[0]
    return (
        f"{devkit.path.name}: {len(unlike):,} classes have ANOTHER NUMBER of training pictures than it says, such as "
        f"{devkit.classes.title(index)}: expected {devkit.train_pictures[index]:,}, found {counts[index]:,}"
    )


def require_official(root: Path, names: Sequence[str], labels: Sequence[int], classes: ClassList, split: str) -> str:
    """PictureError unless these are the official counts and classes of a split of ILSVRC-2012; a line that says so."""
    official = OFFICIAL[split]
    where = f"{root}: --expect ilsvrc2012, {split}"
    if len(names) != official.pictures:
        raise PictureError(f"{where}: expected {official.pictures:,} pictures, found {len(names):,}")
    if not official.most:
        return f"as ILSVRC-2012 {split} must be: {len(names):,} pictures"
    if not is_ilsvrc2012(classes):
        what = "other ones" if len(classes) == CLASSES else f"{len(classes):,}"
        raise PictureError(f"{where}: expected its {CLASSES:,} classes, found {what}")
    counts = Counter(labels)
    outside = [index for index in range(len(classes)) if not official.fewest <= counts[index] <= official.most]
    if outside:
        some = ", ".join(f"{classes.title(index)}: {counts[index]:,}" for index in outside[:_SHOWN])
        raise PictureError(
            f"{where}: expected {span(official.fewest, official.most)} pictures of each class, found another number in "
            f"{len(outside):,}: {some}"
        )
    return (
        f"as ILSVRC-2012 {split} must be: {len(names):,} pictures of {len(classes):,} classes, "
        f"{span(official.fewest, official.most)} of each"
    )


def split_by_names(names: Sequence[str]) -> str | None:
    """The split of ILSVRC-2012 that pictures are named after."""
    ends = _stem(names[0]), _stem(names[-1])
    fitting = (split for split, official in OFFICIAL.items() if all(re.fullmatch(official.names, end) for end in ends))
    return next(fitting, None)


def _stem(name: str) -> str:
    return name.rpartition("/")[2].partition(".")[0]


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return f"{shown}, …" if len(names) > _SHOWN else shown
