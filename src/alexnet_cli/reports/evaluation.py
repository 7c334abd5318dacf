"""The report on scores: what a net or an ensemble gets wrong on a labelled crop store, and how sure it is.

    publish_report(Path("report"), manifest, scores, store, title="out/runs/1", overwrite=False)

A folder: report.html, and the tables behind it as CSV. artifacts/README.md lists their columns.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.artifacts.common.freshness import Request, is_current
from alexnet_cli.artifacts.common.manifest import (
    MANIFEST_FILE,
    Manifest,
    digest_of,
    digest_of_file,
    read_folder_manifest,
)
from alexnet_cli.artifacts.common.ownership import REPORT
from alexnet_cli.artifacts.common.publish import publishing_folder, write_verified
from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.artifacts.scores import Scores, ranks_of_labels
from alexnet_cli.console import Talk, percent
from alexnet_cli.errors import ArtifactError
from alexnet_cli.reports import charts, html
from alexnet_cli.reports.judging import (
    ByClass,
    Calibration,
    by_class,
    calibration,
    confusion,
    wilson_interval,
)
from alexnet_cli.tables import csv_of

KIND = "report"
SCHEMA = 1
PAGE = "report.html"
_FILES = (PAGE, "errors.csv", "classes.csv", "confusion.csv", "calibration.csv", "pictures.csv")
_SHOWN_PICTURES = 50
_SHOWN_SIDE = 128
_SHOWN_PAIRS = 50
_FEW_CLASSES = 40
"""Of so many, the confusion matrix has the names."""


@dataclass(frozen=True, eq=False)
class Judged:
    """Scores, and what follows from them."""

    scores: Scores
    predicted: NDArray[np.int64]
    confidence: NDArray[np.float64]
    ranks: NDArray[np.int64]
    classes: ByClass
    confusion: NDArray[np.int64]
    calibration: Calibration

    @classmethod
    def of(cls, scores: Scores) -> Judged:
        """Judge labelled scores."""
        said, labels = scores.probabilities, scores.labels
        predicted = said.argmax(axis=1).astype(np.int64)
        return cls(
            scores=scores,
            predicted=predicted,
            confidence=said.max(axis=1).astype(np.float64),
            ranks=ranks_of_labels(said, labels),
            classes=by_class(said, labels),
            confusion=confusion(labels, predicted, len(scores.classes)),
            calibration=calibration(said, labels),
        )

    def picked(self, *, right: bool) -> NDArray[np.int64]:
        """Indices of right pictures, the least sure first; or of wrong ones, the surest first."""
        found = np.flatnonzero((self.predicted == self.scores.labels) == right)
        key = self.confidence[found] if right else -self.confidence[found]
        return found[np.argsort(key, kind="stable")][:_SHOWN_PICTURES]


def intervals(scores: Scores) -> dict[str, list[float] | None]:
    """For `--json`: the 95% intervals of the errors of the averaged views; None without labels."""
    if not scores.labelled:
        return {"top1_interval": None, "top5_interval": None}
    ranks = ranks_of_labels(scores.probabilities, scores.labels)
    found = {f"top{k}_interval": wilson_interval(int((ranks > k).sum()), len(ranks)) for k in (1, 5)}
    return {name: list(interval) for name, interval in found.items()}


def is_current_report(path: Path, scores: Manifest, store: CropStore, talk: Talk) -> bool:
    """`--update`'s question: whether the existing report is whole and about these scores."""
    asked = Request(kind=KIND, schema=SCHEMA, parents=_parents(scores, store))
    return is_current(path, asked, talk, verify=_require_whole) is not None


def _require_whole(path: Path) -> None:
    """ArtifactError if a file of a report is missing or damaged."""
    manifest = read_folder_manifest(path, kind=KIND, schema=SCHEMA, unfinished="make it again")
    try:
        found = digest_of(digest_of_file(path / name) for name in _FILES)
    except OSError as error:
        raise ArtifactError(f"{path}: is damaged ({error.strerror}): make it again") from None
    if found != manifest.digest:
        raise ArtifactError(f"{path}: its files do not fit its digest: make it again")


def require_reportable(scores: Scores, manifest: Manifest, store: CropStore, path: Path) -> None:
    """ArtifactError unless the scores are of this store, and it has labels."""
    if not scores.labelled:
        raise ArtifactError(f"{store.path}: has no labels, and a report is about errors: give a labelled store")
    if manifest.parents.get("crops") != store.digest:
        raise ArtifactError(f"{path}: are scores of different pictures than {store.path}: give the store they are of")


def publish_report(
    path: Path, manifest: Manifest, scores: Scores, store: CropStore, *, title: str, overwrite: bool
) -> None:
    """Write the report folder, whole or not at all. `title` says which net this is about.

    UsageError if the output may not be replaced, ResourceError if the disk fails.
    """
    judged = Judged.of(scores)
    names, often = scores.classes.names, judged.confusion
    pairs = [(names[label], names[said], int(often[label, said])) for label, said in np.argwhere(often > 0)]
    found = judged.calibration
    columns = (found.edges[:-1], found.edges[1:], found.pictures, found.confidence, found.accuracy)
    bins = [tuple(value.item() for value in row) for row in zip(*columns, strict=True)]
    contents = (
        _page(judged, manifest, store, title),
        csv_of([("views", "measure", "error", "low", "high", "wrong", "pictures"), *_error_rows(judged)]),
        csv_of([_CLASS_HEAD, *_class_rows(judged)]),
        csv_of([("class", "predicted", "pictures"), *pairs]),
        csv_of([("above", "up_to", "pictures", "confidence", "accuracy"), *bins]),
        csv_of([_PICTURE_HEAD, *_picture_rows(judged)]),
    )
    files = dict(zip(_FILES, contents, strict=True))
    with publishing_folder(path, REPORT, overwrite=overwrite) as work:
        digests = [write_verified(work / name, content.encode()) for name, content in files.items()]
        about = Manifest(
            kind=KIND,
            schema=SCHEMA,
            digest=digest_of(digests),
            parents=_parents(manifest, store),
            details={"title": title, "pictures": len(scores.names)},
        )
        write_verified(work / MANIFEST_FILE, about.to_json().encode())


def _parents(scores: Manifest, store: CropStore) -> dict[str, str]:
    return {"scores": scores.digest, "crops": store.digest}


# ---------------------------------------------------------------------------------------------------------- the tables

_CLASS_HEAD = (
    "class",
    "words",
    "pictures",
    "top1_error",
    "low",
    "high",
    "top5_error",
    "precision",
    "recall",
    "predicted",
)
_PICTURE_HEAD = ("name", "class", "predicted", "confidence", "probability_of_class", "rank_of_class")


def _error_rows(judged: Judged) -> list[tuple[str, str, float, float, float, int, int]]:
    scores = judged.scores
    centre = ranks_of_labels(scores.centre_probabilities, scores.labels)
    rows = []
    for views, ranks in (("averaged", judged.ranks), ("centre", centre)):
        for k in (1, 5):
            wrong = int((ranks > k).sum())
            rows.append((views, f"top-{k}", wrong / len(ranks), *wilson_interval(wrong, len(ranks)), wrong, len(ranks)))
    return rows


def _class_rows(judged: Judged) -> list[tuple[object, ...]]:
    classes, found = judged.scores.classes, judged.classes
    rows: list[tuple[object, ...]] = []
    for index, name in enumerate(classes.names):
        pictures, right = int(found.pictures[index]), int(found.right[index])
        low, high = wilson_interval(pictures - right, pictures)
        error = 1 - right / pictures if pictures else math.nan
        error5 = 1 - int(found.in_five[index]) / pictures if pictures else math.nan
        shares = (error, low, high, error5, float(found.precision[index]), float(found.recall[index]))
        words = classes.words[index] if classes.words else ""
        rows.append((name, words, pictures, *shares, int(found.predicted[index])))
    return rows


def _picture_rows(judged: Judged) -> Iterable[tuple[object, ...]]:
    scores, names = judged.scores, judged.scores.classes.names
    for at, name in enumerate(scores.names):
        label, said = int(scores.labels[at]), int(judged.predicted[at])
        own = float(scores.probabilities[at, label])
        yield name, names[label], names[said], float(judged.confidence[at]), own, int(judged.ranks[at])


# ------------------------------------------------------------------------------------------------------------ the page


def _page(judged: Judged, manifest: Manifest, store: CropStore, title: str) -> str:
    scores, found = judged.scores, judged.calibration
    calibrated = (
        f"Expected calibration error, {len(found.pictures)} bins: {percent(found.expected_error)}. Bars below the "
        "diagonal: the net is surer than it should be."
    )
    sections = {
        "Errors": _errors(judged, manifest),
        "Calibration": charts.reliability_diagram(found) + html.paragraph(calibrated),
        "Classes": _classes(judged),
        "Confusions": _confusions(judged),
        "The most confident mistakes": _pictures(judged, judged.picked(right=False), store),
        "The most doubtful right ones": _pictures(judged, judged.picked(right=True), store),
    }
    about = (
        f"{len(scores.names):,} pictures of {len(scores.classes):,} classes, {store.path.name} "
        f"({store.digest[:12]}); scored {manifest.created}"
    )
    return html.page(f"What {title} gets wrong", sections, about=about)


def _errors(judged: Judged, manifest: Manifest) -> str:
    count = manifest.details.get("views_averaged")
    averaged = "all views" if count is None else "1 view" if count == 1 else f"{count} views"
    rows = []
    for views, measure, error, low, high, wrong, pictures in _error_rows(judged):
        name = f"{measure}, {'centre view' if views == 'centre' else averaged}"
        interval = f"{percent(low)} to {percent(high)}"
        rows.append((name, percent(error), interval, f"{wrong:,} of {pictures:,}"))
    loss = judged.scores.loss()
    words = f"Loss (mean cross-entropy, {averaged}): {loss:.4f}." if loss is not None else ""
    return html.table(("", "error", "95% interval (Wilson)", "wrong"), rows) + html.paragraph(words)


def _classes(judged: Judged) -> str:
    titles = judged.scores.classes.title
    rows = [
        (titles(place), f"{row[2]:,}", *(_share(value) for value in row[3:9]), f"{row[9]:,}")
        for place, row in enumerate(_class_rows(judged))
    ]
    rows.sort(key=lambda row: -1.0 if row[2] == "–" else float(row[2].removesuffix("%")), reverse=True)
    heads = ("class", "pictures", "top-1 error", "from", "to", "top-5 error", "precision", "recall", "predicted")
    return html.paragraph("The largest error first; from and to: its 95% interval.") + html.table(heads, rows)


def _share(value: object) -> str:
    return "–" if not isinstance(value, float) or math.isnan(value) else percent(value)


def _confusions(judged: Judged) -> str:
    classes, counts = judged.scores.classes, judged.confusion
    names = [classes.title(index) for index in range(len(classes))]
    if len(classes) <= _FEW_CLASSES:
        picture = charts.confusion_chart(counts, names)
    else:
        scale = max(1, 640 // len(classes))
        picture = html.pixel_image(charts.confusion_pixels(counts), scale=scale, name="confusion matrix")
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_SHOWN_PAIRS]
    pairs = [(int(at) // len(classes), int(at) % len(classes)) for at in order if wrong.flat[at] > 0]
    rows = [(names[a], names[b], f"{wrong[a, b]:,} of {counts[a].sum():,}") for a, b in pairs]
    words = html.paragraph("A row for each class, a column for what it is taken for.")
    return words + picture + (html.table(("class", "taken for", "pictures"), rows, left=2) if rows else "")


def _pictures(judged: Judged, indices: NDArray[np.int64], store: CropStore) -> str:
    if not len(indices):
        return html.paragraph("There are none.")
    scores, title = judged.scores, judged.scores.classes.title
    found = []
    for at in indices.tolist():
        label, said = int(scores.labels[at]), int(judged.predicted[at])
        lines = [f"{title(said)} {100 * judged.confidence[at]:.1f}%"]
        if label != said:
            lines.append(f"is {title(label)} {100 * float(scores.probabilities[at, label]):.1f}%")
        lines.append(scores.names[at])
        picture = html.photograph(store.read(at), side=_SHOWN_SIDE, name=scores.names[at])
        found.append(html.figure(picture, lines))
    return html.cards(found)
