"""The report on a store's pictures: counts, noteworthy and known defective files, duplicates.

report = make_report(contents, digest=..., elsewhere=[open_crops(Path("train.lmdb"))])
report["summary"]              # short, also in the store's manifest
text_of(report, "val.lmdb")    # report.txt

It is made only from what the store holds: the report on all shards equals that on a store in one piece.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.artifacts.common.publish import write_text
from alexnet_cli.artifacts.crops.shards import REPORT_FILE
from alexnet_cli.artifacts.crops.store import UNLABELLED, Crop, CropStore
from alexnet_cli.class_list import ClassList
from alexnet_cli.console import printable
from alexnet_cli.pictures import Facts
from alexnet_stages.preprocess.duplicates import SHOWN, duplicates_between, duplicates_within
from alexnet_stages.preprocess.official import compare_with_official, known_defective, official_set, official_text
from alexnet_stages.preprocess.rejects import Rejects

TEXT_FILE = "report.txt"
FIRST = 5
"""Names of each kind that a summary shows."""

HANDLED = {
    Facts.GREYSCALE: ("greyscale", "stored with R = G = B"),
    Facts.CMYK: ("CMYK", "converted to RGB"),
    Facts.CONVERTED: (
        "converted",
        "palette, transparency, 16 bits, another mode or profile: made 8-bit RGB, over white",
    ),
    Facts.ROTATED: ("turned upright", "as their EXIF orientation says"),
    Facts.SMALL: ("enlarged", "the shorter side is under the crop's"),
    Facts.WRONG_EXTENSION: ("wrong extension", "read as what they are, not as what they are named"),
    Facts.ANIMATED: ("animated", "the first of several frames or pages is stored"),
    Facts.TRUNCATED: ("truncated", "the decoded part of a JPEG is stored, with grey for the rest"),
}
"""Fact -> its name for people, and what was done."""


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a report is made from: a store's arrays, finished or not."""

    names: Sequence[str]
    labels: NDArray[np.int64]
    classes: ClassList
    facts: Crop | None
    """uint8 (pictures,)."""
    digests: Crop | None
    """uint8 (pictures, 16)."""
    rejects: Rejects
    notes: Sequence[str] = ()
    """What kind of source it was, and what was checked."""


def fact_key(fact: Facts) -> str:
    """The name of a fact in JSON: `wrong_extension`."""
    return str(fact.name).lower()


def count_facts(facts: Crop | None) -> dict[str, int]:
    """How many pictures have each fact."""
    values = np.zeros(0, np.uint8) if facts is None else facts
    return {fact_key(fact): int(np.count_nonzero(values & fact)) for fact in Facts}


def make_report(
    contents: Contents, *, digest: str, whole: bool = True, elsewhere: Sequence[CropStore] = ()
) -> dict[str, Any]:
    """The whole report. `summary` is its short part; the rest lists names, at most SHOWN of a kind.

    digest: the store's. whole: False for a single shard. elsewhere: stores to look for duplicates in.
    """
    summary: dict[str, Any] = {
        "pictures": len(contents.names),
        "rejected": len(contents.rejects),
        "facts": count_facts(contents.facts),
        "notes": list(contents.notes),
    }
    report: dict[str, Any] = {"store": digest, "summary": summary}
    counts = np.zeros(len(contents.classes), np.int64)
    if (contents.labels != UNLABELLED).any():
        counts = np.bincount(contents.labels, minlength=len(contents.classes))
        report["classes"] = dict(zip(contents.classes.names, counts.tolist(), strict=True))
        if contents.classes.words:
            report["words"] = dict(zip(contents.classes.names, contents.classes.words, strict=True))
        if whole:
            summary["classes"] = _class_sizes(counts, contents.classes)
    official = official_set(contents.names, contents.classes) if whole else None
    if official is not None:
        compared = compare_with_official(official, counts, len(contents.names), contents.rejects, contents.classes)
        report["official"] = compared
        summary["official"] = _short(compared)
    defective = known_defective(contents.names, contents.facts, contents.rejects)
    if defective:
        report["known_defective"] = defective
        summary["known_defective"] = {"found": len(defective), "first": defective[:FIRST]}
    if contents.facts is not None:
        chosen = {fact: np.flatnonzero(contents.facts & fact)[:SHOWN].tolist() for fact in Facts}
        report["pictures"] = {
            fact_key(fact): [contents.names[at] for at in indices] for fact, indices in chosen.items()
        }
    if contents.digests is not None:
        found = duplicates_within(contents.digests, contents.names, contents.labels, contents.classes)
        report["duplicates"] = found
        summary["duplicates"] = _short(found)
        report["elsewhere"] = [_compared(contents, other) for other in elsewhere]
        summary["elsewhere"] = [_short(compared) for compared in report["elsewhere"]]
    return report


def write_report(folder: Path, report: dict[str, Any], title: str) -> None:
    """Write `report.json` and `report.txt` into a folder, each whole or not at all."""
    write_text(folder / REPORT_FILE, json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    write_text(folder / TEXT_FILE, text_of(report, title))


def class_sizes_text(sizes: dict[str, Any]) -> str:
    """`732 (n02106662) to 1,300 (n01440764) each, median 1,300`."""
    (small, fewest), (large, most) = sizes["smallest"], sizes["largest"]
    if fewest == most:
        return f"{most:,} of each"
    text = f"{fewest:,} ({small}) to {most:,} ({large}) of each, median {sizes['median']:,g}"
    if sizes["imbalance"] is None:
        return f"{text}; {sizes['empty']:,} without any"
    return f"{text}, largest : smallest = {sizes['imbalance']:.1f}"


def defective_text(found: dict[str, Any]) -> str:
    """`2 known defective files, such as a_1.JPEG (CMYK: converted to RGB)`."""
    first = found["first"][0]
    example = f"{first['name']} ({first['defect']}: {first['handled']})"
    return example if found["found"] == 1 else f"{found['found']:,}, such as {example}"


def facts_text(facts: dict[str, int]) -> str:
    """`2 greyscale, 1 CMYK`: the facts that occur."""
    return ", ".join(f"{facts[fact_key(fact)]:,} {HANDLED[fact][0]}" for fact in Facts if facts.get(fact_key(fact)))


def duplicates_text(summary: dict[str, Any]) -> str:
    """One line on duplicates within a store."""
    found = summary["duplicates"]
    copies, pictures = found["superfluous"], found["groups"]
    text = f"{copies:,} cop{'y' if copies == 1 else 'ies'} too many, of {pictures:,} picture{'s' * (pictures != 1)}"
    if found["conflicting"]:
        text += f", {found['conflicting']:,} WITH DIFFERENT LABELS"
    return f"{text}, such as {_pair(found['first'][0])}"


def elsewhere_text(found: dict[str, Any]) -> str:
    """One line on pictures that another store has too."""
    if "pictures" not in found:
        return f"{found['store']} has no digests: made by an older version, not compared"
    if not found["pictures"]:
        return f"none in {found['store']}"
    first = found["first"][0]
    text = f"{found['pictures']:,} in {found['store']} too"
    if found["conflicting"]:
        text += f", {found['conflicting']:,} WITH DIFFERENT LABELS"
    return f"{text}, such as {first['name']} = {first['other']}"


def text_of(report: dict[str, Any], title: str) -> str:
    """The report for people."""
    summary = report["summary"]
    lines = [f"{title}: {summary['pictures']:,} pictures", *_indented(summary["notes"], 0), ""]
    if summary["rejected"]:
        lines += [f"Rejected: {summary['rejected']:,}, listed in rejects.tsv", ""]
    if "classes" in summary:
        lines += [f"Classes: {summary['classes']['count']:,}, {class_sizes_text(summary['classes'])}", ""]
    if "official" in report:
        outside = [f"{name}  {count:,}" for name, count in report["official"]["listed"]]
        lines += [official_text(report["official"]), *_indented(outside, len(outside)), ""]
    if "known_defective" in report:
        lines += [f"Known defective files: {len(report['known_defective'])}"]
        lines += [f"  {entry['name']}  {entry['defect']}: {entry['handled']}" for entry in report["known_defective"]]
        lines += [""]
    for fact in Facts:
        names = report.get("pictures", {}).get(fact_key(fact), [])
        if names:
            title, handled = HANDLED[fact]
            count = summary["facts"][fact_key(fact)]
            lines += [f"{title[0].upper()}{title[1:]}: {count:,} ({handled})", *_indented(names, count), ""]
    if summary.get("duplicates", {}).get("groups"):
        lines += [f"Exact duplicates: {duplicates_text(summary)}"]
        groups = report["duplicates"]["listed"]
        texts = [f"{_pair(group)}{_conflict(group['classes'])}" for group in groups]
        lines += [*_indented(texts, summary["duplicates"]["groups"]), ""]
    for found in report.get("elsewhere", []):
        lines += [f"Exact duplicates: {elsewhere_text({**found, 'first': found.get('listed', [])})}"]
        texts = [_across(entry) for entry in found.get("listed", [])]
        lines += [*_indented(texts, found.get("pictures", 0)), ""]
    if "classes" in report:
        lines += ["Pictures of each class, the smallest first"]
        words = report.get("words", {})
        by_size = sorted(report["classes"].items(), key=lambda pair: (pair[1], pair[0]))
        lines += [f"  {count:>9,}  {name}  {words.get(name, '')}".rstrip() for name, count in by_size]
    return "\n".join(map(printable, lines)).rstrip("\n") + "\n"


def _class_sizes(counts: NDArray[np.int64], classes: ClassList) -> dict[str, Any]:
    smallest, largest = int(counts.argmin()), int(counts.argmax())
    fewest, most = int(counts[smallest]), int(counts[largest])
    return {
        "count": len(classes),
        "smallest": [classes.title(smallest), fewest],
        "median": float(np.median(counts)),
        "largest": [classes.title(largest), most],
        "imbalance": most / fewest if fewest else None,
        "empty": int(np.count_nonzero(counts == 0)),
    }


def _compared(contents: Contents, other: CropStore) -> dict[str, Any]:
    about = {"store": str(other.path), "digest": other.digest}
    if other.digests is None or contents.digests is None:
        return about
    mine = contents.digests, contents.names, contents.labels, contents.classes
    return {**about, **duplicates_between(mine, (other.digests, other.names, other.labels, other.classes))}


def _short(found: dict[str, Any]) -> dict[str, Any]:
    """For the summary: the counts, and the first few of what is listed."""
    counts = {key: value for key, value in found.items() if key != "listed"}
    return {**counts, "first": found["listed"][:FIRST]} if "listed" in found else counts


def _indented(texts: Sequence[str], total: int) -> list[str]:
    more = [f"  … and {total - len(texts):,} more"] if total > len(texts) else []
    return [f"  {text}" for text in texts] + more


def _pair(group: dict[str, Any]) -> str:
    shown = " = ".join(group["names"][:3])
    return shown if group["pictures"] <= 3 else f"{shown} = {group['pictures'] - 3:,} more"


def _conflict(classes: Sequence[str]) -> str:
    return f"  DIFFERENT LABELS: {', '.join(classes)}" if len(classes) > 1 else ""


def _across(entry: dict[str, Any]) -> str:
    ours, theirs = entry["classes"], entry["other_classes"]
    conflict = f"  DIFFERENT LABELS: {', '.join(ours)} here, {', '.join(theirs)} there"
    return f"{entry['name']} = {entry['other']}" + (conflict if ours and theirs and ours != theirs else "")
