"""A store compared with what is known about ILSVRC-2012: the official counts, and the known defective files."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.artifacts.crops.store import Crop
from alexnet_cli.class_list import ClassList
from alexnet_cli.console import span
from alexnet_cli.imagenet import DEFECTIVE, OFFICIAL, Official, is_ilsvrc2012
from alexnet_cli.pictures import Facts
from alexnet_stages.preprocess.rejects import Rejects


def official_set(names: Sequence[str], classes: ClassList) -> Official | None:
    """The split of ILSVRC-2012 that pictures belong to, by their file names and classes; None for anything else.

    Test pictures have no classes.
    """
    if not names:
        return None
    tried = [names[index] for index in np.linspace(0, len(names) - 1, 100).astype(int)]
    for official in OFFICIAL.values():
        fitting = all(re.fullmatch(official.names, _stem(name)) for name in tried)
        if fitting and (is_ilsvrc2012(classes) or (not official.most and not len(classes))):
            return official
    return None


def compare_with_official(
    official: Official, counts: NDArray[np.int64], pictures: int, rejects: Rejects, classes: ClassList
) -> dict[str, Any]:
    """The counts, compared with the official ones. Rejected pictures count too."""
    found = counts.copy()
    index = {name: number for number, name in enumerate(classes.names)}
    for folder, rejected in Counter(name.split("/")[0] for name, _ in rejects).items():
        if folder in index:
            found[index[folder]] += rejected
    unlike = (found < official.fewest) | (found > official.most)
    outside = np.flatnonzero(unlike).tolist() if official.most else []
    listed = [[classes.title(number), int(found[number])] for number in outside]
    return {
        "set": f"ILSVRC-2012 {official.split}",
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
        each = span(fewest, most)
        if compared["classes_outside"]:
            name, count = (compared.get("listed") or compared["first"])[0]
            text += f", {compared['classes_outside']:,} CLASSES WITHOUT THE OFFICIAL {each}, such as {name} ({count:,})"
        else:
            text += f", {each} of each class"
    return f"{compared['set']}: {text}"


def known_defective(names: Sequence[str], facts: Crop | None, rejects: Rejects) -> list[dict[str, str]]:
    """The known defective files among these pictures, and how each was handled."""
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
        return "converted to RGB" if Facts.CMYK in facts else "is not CMYK here: it was repaired earlier"
    if Facts.WRONG_EXTENSION in facts:
        return "read as the PNG that it is, transparency over white"
    return "is not a PNG here: it was repaired earlier"


def _stem(name: str) -> str:
    file = name.rpartition("/")[2]
    return file.rpartition(".")[0] or file
