"""The contest's format: a line for each test picture, in file-name order, with its five best classes by devkit ID."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from alexnet_cli.artifacts.scores import Scores, best_classes
from alexnet_cli.class_list import ClassList
from alexnet_cli.errors import ArtifactError, UsageError

BEST = 5


def submission_text(scores: Scores, ids: Sequence[int]) -> str:
    """Five IDs a line, the most probable first, separated by blanks; the lines in order of the pictures' file names.

    ids: the devkit's ID of each class index. Of equally probable classes the smaller index comes first.
    """
    best = best_classes(scores.probabilities, BEST)
    known = np.array(ids)
    return "".join(" ".join(map(str, known[best[index]])) + "\n" for index in file_order(scores.names))


def file_order(names: Sequence[str]) -> list[int]:
    """Indices of the pictures in order of their file names, folders left out; ArtifactError if two are the same."""
    order = sorted(range(len(names)), key=lambda index: PurePosixPath(names[index]).name)
    for one, next_one in itertools.pairwise(order):
        if PurePosixPath(names[one]).name == PurePosixPath(names[next_one]).name:
            raise ArtifactError(
                f"--submission: '{names[one]}' and '{names[next_one]}' have the same file name, so their lines have no "
                "order: rename one and preprocess again"
            )
    return order


def devkit_ids(classes: ClassList, devkit: Path | None, source: str) -> tuple[int, ...]:
    """Each class index's ID, from the class list or a devkit; UsageError or ArtifactError if there is none.

    source: where the class list comes from, for the message.
    """
    if len(classes) < BEST:
        raise ArtifactError(
            f"{source}: has {len(classes)} classes, and the contest's format wants the {BEST} best of each picture"
        )
    if devkit is not None:
        return _from_devkit(classes, devkit, source)
    if not classes.ids:
        raise UsageError(
            f"--submission: the class list of {source} has no devkit IDs: give --devkit "
            "ILSVRC2012_devkit_t12.tar.gz, or preprocess from the contest's own files"
        )
    return classes.ids


def _from_devkit(classes: ClassList, devkit: Path, source: str) -> tuple[int, ...]:
    from alexnet_cli.imagenet import read_devkit

    read = read_devkit(devkit)
    known = dict(zip(read.wnids, read.ids, strict=True))
    missing = [name for name in classes.names if name not in known]
    if missing:
        raise ArtifactError(
            f"{source}: {len(missing):,} of its {len(classes):,} classes are not in {devkit}, first '{missing[0]}': "
            "the classes must be WNIDs of the contest"
        )
    return tuple(known[name] for name in classes.names)
