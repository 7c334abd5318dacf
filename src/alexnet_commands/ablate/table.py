"""An ablation's results: means, standard deviations and differences seed by seed, with the published ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev

PUBLISHED = {
    "no-overlap": (0.004, 0.003),
    "no-overlap-paper": (0.004, 0.003),
    "no-norm": (0.014, 0.012),
    "one-column": (0.017, 0.012),
    "no-exchange": (0.01164, 0.0112),
}
"""Top-1 and top-5 error more than the paper's net has, on ImageNet: paper, 3.2 to 3.4; no-exchange: the notebook's nets
150 and 145."""
PUBLISHED_ERRORS = {"cifar-26": 0.26, "cifar-18": 0.18}
"""Test error on CIFAR-10, as the released source names its nets."""
_PUBLISHED_EPOCHS = {("figure-1-relu", 0.25): 6.0, ("figure-1-tanh", 0.25): 36.0}
REFERENCES = ("paper", "source-2012")
"""The recipes of the paper's net."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """One net's errors as fractions."""

    recipe: str
    seed: int
    top1_error: float
    """Over all views of `alexnet eval`: ten, or as many as the recipe's patch and flips leave."""
    top5_error: float
    centre_top1_error: float
    seconds: float
    """Of its training steps."""
    reached: float | None = None
    """After how many epochs the training error had fallen to the target."""


def epochs_until(errors: Sequence[float], target: float) -> float | None:
    """After how many epochs an error has fallen to a target, between epochs on a straight line; None: it has not.

    errors: one for each epoch, its mean over the epoch, which counts as that in the epoch's middle.
    """
    for epoch, error in enumerate(errors):
        if error <= target:
            if epoch == 0:
                return 0.5
            above = errors[epoch - 1]
            return epoch - 0.5 + (above - target) / (above - error)
    return None


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Mean and standard deviation (over n − 1; None for a single value)."""

    mean: float
    deviation: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of some values."""
        return cls(mean=fmean(values), deviation=stdev(values) if len(values) > 1 else None)

    def text(self, form: str, *, factor: int = 100) -> str:
        """`1.23 ± 0.45`, both multiplied by a factor. form: of the mean, such as "+.2f" for a difference in points."""
        mean = f"{factor * self.mean:{form}}"
        return mean if self.deviation is None else f"{mean} ± {factor * self.deviation:{form.lstrip('+')}}"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One recipe over all seeds. Differences are to the first recipe's net of the same seed; the first has none."""

    recipe: str
    seeds: int
    top1_error: Spread
    top5_error: Spread
    centre_top1_error: Spread
    top1_difference: Spread | None
    top5_difference: Spread | None
    published_top1_difference: float | None
    published_top5_difference: float | None
    published_top1_error: float | None
    reached: Spread | None
    """Epochs to the target training error; None if a run has not reached it."""
    reached_ratio: Spread | None
    """How many times the first recipe's epochs, seed by seed."""
    published_reached: float | None
    minutes: float
    """Mean of the training steps of a run."""


def rows_of(scores: Sequence[Score], target: float | None = None) -> list[Row]:
    """A row for each recipe, in the order of the scores, which hold every seed of every recipe.

    target: the training error that `reached` is about.
    """
    by_recipe: dict[str, dict[int, Score]] = {}
    for score in scores:
        by_recipe.setdefault(score.recipe, {})[score.seed] = score
    first = next(iter(by_recipe))
    return [
        _row(name, own, None if name == first else by_recipe[first], first, target) for name, own in by_recipe.items()
    ]


def published_epochs(recipe: str, target: float | None) -> float | None:
    """The paper's epochs to a training error on CIFAR-10, read off figure 1, which says nothing of errors but 25%."""
    return None if target is None else _PUBLISHED_EPOCHS.get((recipe, target))


def _row(
    name: str, own: Mapping[int, Score], other: Mapping[int, Score] | None, first: str, target: float | None
) -> Row:
    def spread(field: str) -> Spread:
        return Spread.of([getattr(score, field) for score in own.values()])

    def difference(field: str) -> Spread | None:
        if other is None:
            return None
        return Spread.of([getattr(score, field) - getattr(other[seed], field) for seed, score in own.items()])

    reached = [score.reached for score in own.values() if score.reached is not None]
    all_reached = len(reached) == len(own)
    ratios: list[float] = []
    if other is not None and all_reached:
        pairs = ((score.reached, other[seed].reached) for seed, score in own.items())
        ratios = [mine / theirs for mine, theirs in pairs if mine is not None and theirs]
    known = PUBLISHED.get(name) if first in REFERENCES and other is not None else None
    return Row(
        recipe=name,
        seeds=len(own),
        top1_error=spread("top1_error"),
        top5_error=spread("top5_error"),
        centre_top1_error=spread("centre_top1_error"),
        top1_difference=difference("top1_error"),
        top5_difference=difference("top5_error"),
        published_top1_difference=known[0] if known else None,
        published_top5_difference=known[1] if known else None,
        published_top1_error=PUBLISHED_ERRORS.get(name),
        reached=Spread.of(reached) if all_reached else None,
        reached_ratio=Spread.of(ratios) if len(ratios) == len(own) else None,
        published_reached=published_epochs(name, target),
        minutes=fmean(score.seconds for score in own.values()) / 60,
    )


HEADS = (
    "recipe",
    "top-1 error",
    "published",
    "top-5 error",
    "centre view",
    "top-1 more",
    "paper",
    "top-5 more",
    "paper",
)


def as_cells(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """The table's cells: ours and the published differences side by side."""
    return [
        (
            row.recipe,
            f"{row.top1_error.text('.2f')}%",
            "–" if row.published_top1_error is None else f"{100 * row.published_top1_error:.0f}%",
            f"{row.top5_error.text('.2f')}%",
            f"{row.centre_top1_error.text('.2f')}%",
            row.top1_difference.text("+.2f") if row.top1_difference else "–",
            _points(row.published_top1_difference),
            row.top5_difference.text("+.2f") if row.top5_difference else "–",
            _points(row.published_top5_difference),
        )
        for row in rows
    ]


EPOCH_HEADS = ("recipe", "epochs", "paper", "times the first's", "paper")


def epoch_cells(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """The cells of the second table: epochs to a training error, and their ratio to the first recipe's."""
    first = rows[0].published_reached
    return [
        (
            row.recipe,
            row.reached.text(".1f", factor=1) if row.reached else "not reached",
            "–" if row.published_reached is None else f"{row.published_reached:.0f}",
            row.reached_ratio.text(".1f", factor=1) if row.reached_ratio else "–",
            f"{row.published_reached / first:.0f}" if first and row.published_reached and row is not rows[0] else "–",
        )
        for row in rows
    ]


def _points(fraction: float | None) -> str:
    return "–" if fraction is None else f"{100 * fraction:+.1f}"


def table_csv(rows: Sequence[Row]) -> list[list[str]]:
    """The table with errors as fractions: a head, and a line for each recipe; empty if there is no value."""
    spreads = ("top1_error", "top5_error", "centre_top1_error", "top1_difference", "top5_difference", "reached")
    plain = ("published_top1_error", "published_top1_difference", "published_top5_difference", "minutes")
    lines = [["recipe", "seeds", *(f"{name}{end}" for name in spreads for end in ("", "_deviation")), *plain]]
    for row in rows:
        found: list[Spread | None] = [getattr(row, name) for name in spreads]
        pairs = [value for each in found for value in ((each.mean, each.deviation) if each else (None, None))]
        numbers = [*pairs, *(getattr(row, name) for name in plain)]
        lines.append([row.recipe, str(row.seeds), *("" if value is None else repr(value) for value in numbers)])
    return lines


def scores_csv(scores: Sequence[Score]) -> list[list[str]]:
    """Every run: a head, and a line for each; empty if there is no value."""
    lines = [["" if value is None else str(value) for value in asdict(score).values()] for score in scores]
    return [list(asdict(scores[0])), *lines]
