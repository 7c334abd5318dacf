"""Names of folders and archives that are not classes: parts of a data set, or pictures of every class."""

from __future__ import annotations

import re
from collections.abc import Collection

SPLIT_FOLDERS = {
    "train": ("train", "training"),
    "val": ("val", "validation", "valid"),
    "test": ("test", "testing"),
}
"""Split -> what its folder may be called, in small or large letters."""
PLAIN_FOLDERS = ("images", "imgs", "pictures", "photos", "jpegimages", "jpg", "jpeg")
_SPLIT_WORDS = frozenset(word for words in SPLIT_FOLDERS.values() for word in words)
_ALWAYS_PARTS = frozenset({"fold", "part", "batch", "shard", "chunk"})


def split_called(name: str) -> str | None:
    """The split that a folder's name stands for."""
    return next((split for split, names in SPLIT_FOLDERS.items() if name.lower() in names), None)


def is_plain(name: str) -> bool:
    """Whether a folder's name only says that it holds pictures."""
    return name.lower() in PLAIN_FOLDERS


def are_parts(names: Collection[str]) -> bool:
    """Whether folders are parts of a data set: two are splits, or all are named after a split or numbered parts.

    `train` and `cat` are classes: a train is something to take pictures of.
    """
    if len({split for name in names if (split := split_called(name))}) > 1:
        return True
    return all(_is_part(name) for name in names)


def _is_part(name: str) -> bool:
    """Whether a name has a word such as `train`: `seg_train`, `train2017`; or is `fold1`, `batch_2`."""
    words = re.findall(r"[a-z]+", name.lower())
    return bool(_SPLIT_WORDS & set(words)) or (len(words) == 1 and words[0] in _ALWAYS_PARTS and name[-1].isdigit())
