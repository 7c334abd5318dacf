"""What is known of ILSVRC-2012's files, beside what a store holds: official counts, and the known defective files.

Counts as published with the data set; the defective files are long known to its users.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.artifacts.crops import Crop
from alexnet_cli.class_list import ClassList
from alexnet_cli.pictures import Facts
from stages.preprocess.rejects import Rejects


@dataclass(frozen=True)
class OfficialSet:
    """One split of ILSVRC-2012 as it was published."""

    name: str
    pictures: int
    fewest: int
    """Pictures of the smallest class; 0 where the split has no labels."""
    most: int
    files: str
    """What its files are called: a regular expression for the name without extension."""


SETS = (
    OfficialSet("ILSVRC-2012 train", 1_281_167, 732, 1300, r"n\d{8}_\d+"),
    OfficialSet("ILSVRC-2012 val", 50_000, 50, 50, r"ILSVRC2012_val_\d{8}"),
    OfficialSet("ILSVRC-2012 test", 100_000, 0, 0, r"ILSVRC2012_test_\d{8}"),
)

_CMYK = (
    "n01739381_1309 n02077923_14822 n02447366_23489 n02492035_15739 n02747177_10752 n03018349_4028 n03062245_4620 "
    "n03347037_9675 n03467068_12171 n03529860_11437 n03544143_17228 n03633091_5218 n03710637_5125 n03961711_5286 "
    "n04033995_2932 n04258138_17003 n04264628_27969 n04336792_7448 n04371774_5854 n04596742_4225 n07583066_647 "
    "n13037406_4650 ILSVRC2012_val_00019877"
)
DEFECTIVE: Mapping[str, str] = {
    "n02105855_2933": "PNG named .JPEG",
    **dict.fromkeys(_CMYK.split(), "CMYK"),
}
"""Name without extension -> what is wrong with it."""

_LANDMARKS = {0: "n01440764", 65: "n01751748", 278: "n02119789", 999: "n15075141"}


def is_ilsvrc2012(classes: ClassList) -> bool:
    """Whether these are the thousand classes of ILSVRC-2012 (2010 has another thousand)."""
    return len(classes) == 1000 and all(classes.names[index] == name for index, name in _LANDMARKS.items())


def official_set(names: Sequence[str], classes: ClassList) -> OfficialSet | None:
    """Which split of ILSVRC-2012 these pictures are part of, by classes and file names; None for anything else.

    Test pictures have no classes that could tell.
    """
    if not names:
        return None
    tried = [names[index] for index in np.linspace(0, len(names) - 1, 100).astype(int)]
    for candidate in SETS:
        fitting = all(re.fullmatch(candidate.files, _stem(name)) for name in tried)
        if fitting and (is_ilsvrc2012(classes) or (not candidate.most and not len(classes))):
            return candidate
    return None


def compare_with_official(
    official: OfficialSet, counts: NDArray[np.int64], pictures: int, rejects: Rejects, classes: ClassList
) -> dict[str, Any]:
    """The counts beside the official ones. Rejected pictures were there: they count."""
    found = counts.copy()
    index = {name: number for number, name in enumerate(classes.names)}
    for folder, rejected in Counter(name.split("/")[0] for name, _ in rejects).items():
        if folder in index:
            found[index[folder]] += rejected
    unlike = (found < official.fewest) | (found > official.most)
    outside = np.flatnonzero(unlike).tolist() if official.most else []
    listed = [[classes.names[number], int(found[number])] for number in outside]
    return {
        "set": official.name,
        "pictures": official.pictures,
        "found": pictures + len(rejects),
        "in_each_class": [official.fewest, official.most] if official.most else None,
        "classes_outside": len(listed),
        "listed": listed,
    }


def official_text(compared: Mapping[str, Any]) -> str:
    """`ILSVRC-2012 train: all 1,281,167 pictures, 732 to 1,300 of each class`."""
    expected, found = compared["pictures"], compared["found"]
    text = f"all {expected:,} pictures" if found == expected else f"{found:,} PICTURES INSTEAD OF {expected:,}"
    if compared["in_each_class"] is not None:
        fewest, most = compared["in_each_class"]
        each = f"{most:,}" if fewest == most else f"{fewest:,} to {most:,}"
        if compared["classes_outside"]:
            name, count = (compared.get("listed") or compared["first"])[0]
            text += f", {compared['classes_outside']:,} CLASSES WITHOUT THE OFFICIAL {each}, such as {name} ({count:,})"
        else:
            text += f", {each} of each class"
    return f"{compared['set']}: {text}"


def known_defective(names: Sequence[str], facts: Crop | None, rejects: Rejects) -> list[dict[str, str]]:
    """The known defective files that are among these pictures, and how each was handled."""
    found = []
    for index, name in enumerate(names):
        defect = DEFECTIVE.get(_stem(name))
        if defect is not None:
            handled = _handled(defect, Facts.NONE if facts is None else Facts(int(facts[index])))
            found.append({"name": name, "defect": defect, "handled": handled})
    for name, reason in rejects:
        defect = DEFECTIVE.get(_stem(name))
        if defect is not None:
            found.append({"name": name, "defect": defect, "handled": f"rejected: {reason}"})
    return found


def _handled(defect: str, facts: Facts) -> str:
    if defect == "CMYK":
        return "converted to RGB" if Facts.CMYK in facts else "is not CMYK here: somebody repaired it before"
    if Facts.WRONG_EXTENSION in facts:
        return "read as the PNG that it is, transparency over white"
    return "is no PNG here: somebody repaired it before"


def _stem(name: str) -> str:
    file = name.rpartition("/")[2]
    return file.rpartition(".")[0] or file
