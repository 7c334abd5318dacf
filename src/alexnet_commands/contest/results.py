"""The results of a contest folder, row by row next to the paper's table 2. The folder's layout is graph.py's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from alexnet_cli.artifacts.common.manifest import MANIFEST_FILE, Manifest
from alexnet_cli.artifacts.common.ownership import Kind, start_of
from alexnet_cli.artifacts.ensemble import KIND as ENSEMBLE_KIND
from alexnet_cli.artifacts.ensemble import SCHEMA as ENSEMBLE_SCHEMA
from alexnet_cli.artifacts.scores import read_scores_manifest
from alexnet_cli.console import percent
from alexnet_cli.errors import ArtifactError
from alexnet_commands.contest.graph import CNN, FINETUNED, FINETUNED_NETS

TITLE = "ILSVRC-2012, ten views, beside the paper's table 2 (* conv6, pre-trained)"
TABLE_FILE = "table.txt"
TABLE = Kind(
    name="table", title="table of `alexnet contest`", tell=lambda path: start_of(path, 99).startswith(TITLE.encode())
)
"""The results as text, in OUT."""


@dataclass(frozen=True)
class Row:
    """A line of the table: ten views, errors as fractions, None if there is none."""

    model: str
    nets: int
    """How many nets it is made of (the first and third row: how many it is the mean of)."""
    top1_error: float | None
    top5_error: float | None
    paper_top1_error: float
    paper_top5_error: float
    test_top5_error: float | None
    paper_test_top5_error: float | None


def table(out: Path, members: int) -> list[Row]:
    """The paper's four rows with ours; ArtifactError if the folder holds no scores.

    members: how many nets of five convolutions the ensembles have. A single net's row is the mean of those scored.
    """
    cnns, finetuned = _nets(out, CNN, members), _nets(out, FINETUNED, FINETUNED_NETS)
    if not cnns:
        raise ArtifactError(f"{out}: has no scores of nets (scores/val/{CNN}-1.h5 …): run `make contest` first")
    five, seven = members, members + FINETUNED_NETS
    test5, test7 = (_ensemble(out, count, "test")[1] for count in (five, seven))
    rows: list[tuple[str, int, Errors, tuple[float, float], float | None, float | None]] = [
        (_mean_of("1 CNN", cnns), len(cnns), _mean(cnns), (0.407, 0.182), None, None),
        (f"{five} CNNs", five, _ensemble(out, five, "val"), (0.381, 0.164), test5, 0.164),
        (_mean_of("1 CNN*", finetuned), len(finetuned), _mean(finetuned), (0.390, 0.166), None, None),
        (f"{seven} CNNs*", seven, _ensemble(out, seven, "val"), (0.367, 0.154), test7, 0.153),
    ]
    return [Row(model, count, *ours, *paper, test, paper_test) for model, count, ours, paper, test, paper_test in rows]


def nets(out: Path, members: int) -> dict[str, tuple[float | None, float | None]]:
    """Each scored net's top-1 and top-5 error on the validation pictures, by name."""
    return {**_nets(out, CNN, members), **_nets(out, FINETUNED, FINETUNED_NETS)}


def as_cells(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """The table's cells: ours and the paper's side by side."""
    return [
        (
            row.model,
            percent(row.top1_error),
            _paper(row.paper_top1_error),
            percent(row.top5_error),
            _paper(row.paper_top5_error),
            percent(row.test_top5_error),
            _paper(row.paper_test_top5_error),
        )
        for row in rows
    ]


HEADS = ("Model", "Top-1 val", "paper", "Top-5 val", "paper", "Top-5 test", "paper")

Errors = tuple[float | None, float | None]


def _nets(out: Path, kind: str, count: int) -> dict[str, Errors]:
    paths = [out / "scores" / "val" / f"{kind}-{number}.h5" for number in range(1, count + 1)]
    return {path.stem: _errors(read_scores_manifest(path)) for path in paths if path.is_file()}


def _errors(manifest: Manifest) -> Errors:
    return manifest.details.get("top1_error"), manifest.details.get("top5_error")


def _ensemble(out: Path, nets_in_it: int, split: str) -> Errors:
    path = out / "ensembles" / f"{nets_in_it}-{split}"
    if not (path / MANIFEST_FILE).is_file():
        return None, None
    text = (path / MANIFEST_FILE).read_bytes()
    return _errors(Manifest.from_json(text, kind=ENSEMBLE_KIND, schema=ENSEMBLE_SCHEMA, path=path))


def _mean(errors: dict[str, Errors]) -> Errors:
    first, fifth = ([pair[k] for pair in errors.values()] for k in (0, 1))
    return _mean_or_none(first), _mean_or_none(fifth)


def _mean_or_none(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _mean_of(name: str, errors: dict[str, Errors]) -> str:
    return name if len(errors) < 2 else f"{name} (mean of {len(errors)})"


def _paper(fraction: float | None) -> str:
    return "–" if fraction is None else f"{100 * fraction:.1f}%"
