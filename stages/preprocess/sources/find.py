"""A source's pictures with their labels: recognise, index, label, check."""

from __future__ import annotations

import contextlib
import sys
from array import array
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from alexnet_cli.artifacts.crops.store import UNLABELLED
from alexnet_cli.class_files import read_class_list
from alexnet_cli.class_list import UNLABELLED_NAME, ClassList, plain_names
from alexnet_cli.console import Talk, span
from alexnet_cli.errors import PictureError
from alexnet_cli.imagenet import Devkit, is_devkit, read_devkit
from alexnet_cli.sources.tars import Archive, inner_archives
from alexnet_stages.preprocess.config import PreprocessConfig
from alexnet_stages.preprocess.sources import checks
from alexnet_stages.preprocess.sources.beside import ABOVE, SOLUTION, labels_beside
from alexnet_stages.preprocess.sources.folders import index_folder
from alexnet_stages.preprocess.sources.labels import from_devkit, labels_of, read_words, words_in
from alexnet_stages.preprocess.sources.listing import Found, Sources, fingerprint, require_unique
from alexnet_stages.preprocess.sources.parquet import index_parquet
from alexnet_stages.preprocess.sources.recognise import KAGGLE, Kind, Layout, recognise
from alexnet_stages.preprocess.sources.splits import is_plain
from alexnet_stages.preprocess.sources.tables import NoLabelsError
from alexnet_stages.preprocess.sources.tars import index_class_tars, index_tar
from alexnet_stages.preprocess.sources.webdataset import index_shards, named_by, wnid_of


@dataclass(frozen=True, kw_only=True)
class _Labelling:
    """Each picture's class, and the classes that there are."""

    names: list[str] | None
    """None: the pictures have no labels."""
    how: str
    """Where the labels come from, in words."""
    known: ClassList | None = None
    """All classes, if the source of the labels gives them."""
    known_by: Path | str = ""
    from_table: bool = False
    """From a table or the samples' own data, of which --label-column chooses a column."""
    from_folders: bool = False
    guessed: bool = False
    """Whether nobody said that the table or the names hold labels."""


def find_sources(config: PreprocessConfig, talk: Talk | None = None) -> Sources:
    """Recognise and index the source, and label its pictures.

    PictureError names what is wrong with the source or the labels, what was expected and what was found;
    ResourceError if something can't be read, ArtifactError if `config.classes` is not a finished store.
    """
    layout = recognise(config.source, config.split)
    given = read_class_list(config.classes) if config.classes else None
    devkit = _devkit(config, layout)
    found = _index(layout, config, talk or Talk(quiet=True))
    require_unique(found.root, found.listing)
    checks.require_pictures(found)
    if layout.kind in (Kind.CLASS_TARS, Kind.TAR_OF_TARS) and config.labels is None and not config.unlabelled:
        checks.require_class_archives(found)
    labelling = _spelt(found, _label(config, layout, found, given, devkit), given)
    if config.label_column is not None and not labelling.from_table:
        raise PictureError(
            f"{found.root}: --label-column {config.label_column}: has no table of labels ({labelling.how}): leave it "
            "out, or give --labels FILE"
        )
    classes = _classes(config, found, labelling, given)
    if devkit:
        classes = classes.explained_by(devkit.classes)
    if layout.words or found.words:
        words = read_words(layout.words) if layout.words else words_in(found.words or b"")
        classes = classes.explained_by(words)
    index = {name: position for position, name in enumerate(classes.names)}
    names = labelling.names
    labels = array("q", (index[name] for name in names) if names is not None else ())
    labels = labels or array("q", [UNLABELLED]) * len(found.listing)
    guessed = layout.labels is not None or labelling.guessed or (names is None and not config.unlabelled)
    plain = layout.kind is Kind.FOLDER and not guessed and not classes.words
    notes = [*found.notes] if plain else [_summary(layout, found, labelling, labels, classes), *found.notes]
    if names is not None:
        notes += checks.describe_classes(labels, classes, given_by=config.classes if given else None)
    notes += [devkit.checks] if devkit and classes.ids == devkit.ids else []
    if devkit and layout.split == "train" and labels[0] != UNLABELLED and classes == devkit.classes:
        compared = checks.compare_with_devkit(devkit, labels)
        notes += [compared] if compared else []
    notes += _checked(config, layout, found, labels, classes)
    archives = found.archive_states()
    return Sources(
        root=found.root,
        labels=labels,
        classes=classes,
        ignored=dict(found.ignored),
        fingerprint=fingerprint(found.listing, labels, archives),
        archives=archives,
        pictures=found.listing,
        notes=tuple(notes),
    )


def _devkit(config: PreprocessConfig, layout: Layout) -> Devkit | None:
    """The devkit: given, or next to the source."""
    if config.labels is not None and is_devkit(config.labels):
        return read_devkit(config.labels)
    if layout.devkit is not None and config.labels is None:
        return read_devkit(layout.devkit)
    return None


def _index(layout: Layout, config: PreprocessConfig, talk: Talk) -> Found:
    if layout.kind is Kind.FOLDER:
        return index_folder(layout.root)
    if layout.kind is Kind.TAR:
        return index_tar(layout.root, layout.prefix, talk)
    if layout.kind is Kind.SHARDS:
        labelled = not config.unlabelled and config.labels is None
        return index_shards(layout.root, layout.archives, talk, labelled=labelled, key=config.label_column)
    if layout.kind is Kind.PARQUET:
        if config.labels is not None:
            raise PictureError(f"{layout.root}: has its labels in itself: leave --labels out, or give --unlabelled")
        labelled, column = not config.unlabelled, config.label_column
        return index_parquet(layout.root, layout.archives, talk, labelled=labelled, column=column)
    if layout.kind is Kind.TAR_OF_TARS:
        archives = inner_archives(layout.root)
    else:
        archives = [Archive(path) for path in layout.archives]
    found = index_class_tars(layout.root, archives, talk)
    found.listing = found.listing.sorted()
    return found


def _label(
    config: PreprocessConfig, layout: Layout, found: Found, given: ClassList | None, devkit: Devkit | None
) -> _Labelling:
    """Each picture's class: from what the user gave, else from the source."""
    names = found.listing.names
    if config.unlabelled:
        return _Labelling(names=None, how="without labels")
    if config.labels is not None and not is_devkit(config.labels):
        labels = labels_of(config.labels, found, given, column=config.label_column)
        if given is not None and given.counted_from is not None:
            labels = named_by(found, labels, given)
        return _Labelling(names=labels, how=f"labels from {config.labels}", from_table=True)
    if found.labels is not None:
        by_number = given is not None and found.known is None
        return _Labelling(
            names=named_by(found, found.labels, given) if given and by_number else found.labels,
            how="labels from the samples",
            from_table=True,
            known=found.known if given is None else None,
            known_by="its schema",
        )
    split = layout.split or (checks.split_by_names(names) if len(names) else None)
    if layout.kind in (Kind.FOLDER, Kind.TAR) and layout.labels is None and config.labels is None:
        try:
            beside = labels_beside(found, config.label_column)
        except NoLabelsError:
            if split != "test":
                raise
            beside = None
        if beside is not None:
            return _Labelling(names=beside[0], how=f"labels from {beside[1]}", from_table=True, guessed=True)
    # Tiny-ImageNet's test pictures lie in test/images.
    plain = split == "test" and all(map(is_plain, {name.partition("/")[0] for name in names}))
    grouped = bool(len(names)) and any("/" in name for name in names) and not plain
    if grouped or layout.kind in (Kind.CLASS_TARS, Kind.TAR_OF_TARS):
        return _grouped(config, layout, found, devkit, given)
    if split == "test" and config.labels is None:
        return _Labelling(names=None, how="the test split: without labels", known=devkit.classes if devkit else None)
    if devkit is not None and (config.labels is not None or split == "val"):
        return _Labelling(
            names=from_devkit(devkit, found.root, names),
            how=f"labels from {devkit.path.name}",
            known=devkit.classes,
            known_by=devkit.path,
        )
    solution = found.texts.get(ABOVE + SOLUTION)
    if split == "val" and (layout.labels is not None or isinstance(solution, bytes)):
        table = layout.labels if layout.labels is not None and solution is None else found.root / SOLUTION
        content = solution if isinstance(solution, bytes) else None
        return _Labelling(
            names=labels_of(table, found, given, column=config.label_column, content=content),
            how=f"labels from {SOLUTION}",
            from_table=True,
        )
    if split == "val" and (layout.kaggle or KAGGLE in found.below):
        where = "in a folder above it" if layout.kaggle else "in it or next to it"
        raise PictureError(
            f"{found.root}: its labels are in {SOLUTION}, expected {where}, found none: put it there, or give --labels "
            "FILE or --unlabelled"
        )
    if split == "val" and layout.kind is Kind.TAR:
        raise PictureError(
            f"{found.root}: its labels are in the devkit, expected next to it, found none: put "
            "ILSVRC2012_devkit_t12.tar.gz there, or give --labels DEVKIT or --unlabelled"
        )
    return _grouped(config, layout, found, devkit, given)


def _grouped(
    config: PreprocessConfig, layout: Layout, found: Found, devkit: Devkit | None, given: ClassList | None
) -> _Labelling:
    """Each picture's class is its first folder's name."""
    classes = []
    told = layout.kind in (Kind.CLASS_TARS, Kind.TAR_OF_TARS)
    if not told:
        checks.refuse_objects(found)
        if wnids := _wnids(found):
            return _Labelling(names=wnids, how="classes from the WNIDs in the pictures' names", guessed=True)
    for name in found.listing.names:
        folder, slash, _ = name.partition("/")
        if not slash:
            raise PictureError(
                f"{found.place / name}: lies in no class folder: make one folder for each class, "
                f"or give --labels {_table_beside(found.root)} or --unlabelled{checks.first_words(found.listing.names)}"
            )
        classes.append(sys.intern(folder))  # else a million copies
    filled = set(classes)
    told = told or (given is not None and filled <= given.spelt(filled).keys() & set(given.names))
    if filled and not told:
        checks.require_the_level(found, filled)
    if classes:
        checks.require_filled(found, classes)
        checks.refuse_packed_classes(found, filled)
    # A devkit that the user names, or that lies next to ILSVRC's tar, says which classes there must be. One next to
    # folders may belong to something else: it only explains.
    binding = devkit is not None and (config.labels is not None or layout.kind is Kind.TAR_OF_TARS)
    known = devkit.classes if devkit is not None and binding else None
    return _Labelling(
        names=classes,
        how="classes from the folders" if layout.kind is Kind.FOLDER else "classes from the archive",
        known=known,
        known_by=devkit.path if devkit else "",
        from_folders=True,
    )


def _wnids(found: Found) -> list[str]:
    """The WNID in each name of a source without folders, if each has one and they differ; else nothing."""
    if found.folders or found.packed or not len(found.listing):
        return []
    wnids = []
    for name in found.listing.names:
        wnid = wnid_of(name)
        if wnid is None:
            return []
        wnids.append(sys.intern(wnid))
    return wnids if len(set(wnids)) > 1 else []


def _table_beside(folder: Path) -> str:
    """A file that may hold the labels of a folder of pictures; FILE if there is none, or more than one."""
    with contextlib.suppress(OSError):
        for place in (folder, folder.parent):
            tables = [entry for entry in place.iterdir() if entry.suffix.lower() in (".csv", ".tsv", ".jsonl")]
            if len(tables) == 1:
                return str(tables[0])
    return "FILE"


def _spelt(found: Found, labelling: _Labelling, given: ClassList | None) -> _Labelling:
    """The labels as the class list spells them (`00` for `0`), or no labels if all are -1.

    PictureError if two folders are one class, or if only some of the pictures have a label.
    """
    names = labelling.names
    if not names:
        return labelling
    known = given or labelling.known
    spelt = known.spelt(names) if known is not None else plain_names(names)
    if labelling.from_folders:
        checks.require_one_folder_each(found, spelt)
    nameless = {name for name, plain in spelt.items() if plain == UNLABELLED_NAME}
    if nameless == set(spelt) and not labelling.from_folders:
        return replace(labelling, names=None, how=f"{labelling.how}: all are {UNLABELLED_NAME}, so without labels")
    if nameless:
        checks.refuse_unlabelled(found, names, nameless)
    return replace(labelling, names=[spelt[name] for name in names])


def _classes(config: PreprocessConfig, found: Found, labelling: _Labelling, given: ClassList | None) -> ClassList:
    """The class list: --classes, the devkit's, or the sorted names found. PictureError if they don't fit."""
    names = labelling.names
    if names is None:
        return given or labelling.known or ClassList(())
    checks.require_class_names(found.root, sorted(set(names)))
    if labelling.known is not None:
        checks.require_class_names(found.root, labelling.known.names)
    complete = not config.allow_missing
    if labelling.known is not None:
        checks.require_classes(found, names, labelling.known, known_by=labelling.known_by, complete=complete)
    if given is not None:
        checks.require_classes(found, names, given, known_by=str(config.classes), complete=complete)
    if given is None and labelling.known is None and labelling.from_folders:
        checks.require_several(found, names)
    return given or labelling.known or ClassList.sorted(names)


def _summary(layout: Layout, found: Found, labelling: _Labelling, labels: array[int], classes: ClassList) -> str:
    """`x.tar, a tar of a tar for each class: 1,281,167 pictures of 1,000 classes, n01440764 (tench) to …, …`."""
    kind = layout.kind.value.replace("tar", "zip") if found.root.suffix.lower() == ".zip" else layout.kind.value
    text = f"{found.root}, {kind}: {len(found.listing):,} pictures"
    if labelling.names is not None:
        counts = Counter(labels).values()
        ends = f"{classes.title(0)} to {classes.title(len(classes) - 1)}"
        text += f" of {len(counts):,} classes, {ends}, {span(min(counts), max(counts))} of each"
    return f"{text}; {labelling.how}"


def _checked(
    config: PreprocessConfig, layout: Layout, found: Found, labels: array[int], classes: ClassList
) -> list[str]:
    """Lines on the comparison with what is known about ILSVRC-2012."""
    names = found.listing.names
    lines = []
    if labels[0] != UNLABELLED:
        known = checks.check_known_labels(found.root, names, labels, classes)
        lines += [known] if known else []
    if config.expect:
        split = layout.split or checks.split_by_names(names)
        if split is None:
            raise PictureError(
                f"{found.root}: --expect {config.expect}: can't tell which split this is ({names[0]}): give --split"
            )
        lines.append(checks.require_official(found.root, names, labels, classes, split))
    return lines
