"""Member weights that minimise the top-5 error on held-out pictures (the 2012 scripts could search them too).

The search is deterministic: the same scores give the same weights. It sees only the held-out scores; other pictures
tell whether the weights help (`distinct.py` refuses the same ones).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.artifacts.scores import Scores

TOP = 5
GRID = 20
"""Parts that the weights of up to EXHAUSTIVE members are made of: 231 points for three members."""
EXHAUSTIVE = 3
LEVELS = 24
"""More members: each weight is one of 0 … LEVELS; equal weights are LEVELS / 2 each."""
SWEEPS = 20
"""At most this many passes over the members; a pass without a better weight ends the search."""
SMALL = 1000
"""Held-out pictures below which a fit is called small: there, one standard error is more than a point at 18%."""
_PICTURES_AT_ONCE = 2048

Weights = tuple[float, ...]
Objective = tuple[int, int, float]
"""Pictures wrong in their top 5, wrong in their top 1, squared distance from equal weights. Smaller is better."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What the search came to, on the held-out pictures."""

    weights: Weights
    """One for each member, summing to 1."""
    pictures: int
    equal: tuple[float, float]
    """Top-1 and top-5 error of equal weights."""
    fitted: tuple[float, float]
    """Top-1 and top-5 error of the fitted weights, on the pictures that they were fitted to."""
    standard_error: float
    """Of the difference in top-5 error, over the pictures on which the two averages disagree."""
    tried: int
    """How many weightings were compared."""

    @property
    def gain(self) -> float:
        """By how much the top-5 error fell; a fraction."""
        return self.equal[1] - self.fitted[1]

    def warnings(self) -> Iterator[str]:
        """Why the weights may mean nothing."""
        if self.pictures < SMALL:
            error = self.fitted[1]
            deviation = math.sqrt(error * (1 - error) / self.pictures)
            yield (
                f"the weights were fitted on {self.pictures:,} pictures only: their top-5 error has a standard "
                f"error of {100 * deviation:.2f} points; hold out {SMALL:,} or more"
            )
        if self.gain < 2 * self.standard_error or self.gain == 0:
            yield (
                f"the fitted weights gain {100 * self.gain:.2f} points of top-5 error on the held-out pictures, "
                f"with a standard error of {100 * self.standard_error:.2f}: that is within noise, equal weights may do "
                "as well"
            )

    def as_json(self) -> dict[str, Any]:
        """For `--json` and fit.json."""
        return {
            "weights": list(self.weights),
            "pictures": self.pictures,
            "equal_top1_error": self.equal[0],
            "equal_top5_error": self.equal[1],
            "top1_error": self.fitted[0],
            "top5_error": self.fitted[1],
            "gain": self.gain,
            "standard_error": self.standard_error,
            "tried": self.tried,
            "warnings": list(self.warnings()),
        }


def fit_weights(members: Sequence[Scores]) -> Fit:
    """The best weights for these members' scores of the same labelled pictures.

    Fewest pictures wrong in the top 5, of equals the fewest wrong in the top 1, of equals the closest to equal weights.
    Up to three members: all weights in twentieths. More: one member after another takes its best of 25 weights
    while the others keep theirs, starting from equal weights, until none changes.
    """
    errors = _Errors(members)
    search = _exhaustive if len(members) <= EXHAUSTIVE else _one_after_another
    best, tried = search(errors)
    equal = (1 / len(members),) * len(members)
    before, after = errors.wrong(equal, TOP), errors.wrong(best, TOP)
    changed = int((before != after).sum())
    net = int(before.sum()) - int(after.sum())
    pictures = errors.pictures
    return Fit(
        weights=best,
        pictures=pictures,
        equal=(float(errors.wrong(equal, 1).mean()), float(before.mean())),
        fitted=(float(errors.wrong(best, 1).mean()), float(after.mean())),
        standard_error=math.sqrt(max(changed - net * net / pictures, 0.0)) / pictures,
        tried=tried,
    )


class _Errors:
    """Which pictures a weighting gets wrong, without averaging all probabilities again for each weighting.

    A class can only pass the label's if it does so for some member, so the few pairs (picture, class) for which
    that is the case hold all that matters: by how much the class lies above the label, for each member.
    """

    def __init__(self, members: Sequence[Scores]) -> None:
        self.members = len(members)
        self.labels = members[0].labels
        self.pictures = len(self.labels)
        self._owner, self._above, self._earlier = self._pairs(members)

    def _pairs(self, members: Sequence[Scores]) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]:
        """(pairs,) the picture; (pairs, members) probability of the class less the label's; (pairs,) wins a tie."""
        owners, aboves, earliers = [], [], []
        for start in range(0, self.pictures, _PICTURES_AT_ONCE):
            labels = self.labels[start : start + _PICTURES_AT_ONCE]
            rows = np.arange(len(labels))
            chunk = np.stack(
                [member.probabilities[start : start + len(labels)].astype(np.float64) for member in members]
            )  # (members, pictures, classes)
            above = chunk - chunk[:, rows, labels][:, :, None]
            picture, column = np.nonzero((above >= 0).any(axis=0))
            rival = column != labels[picture]
            picture, column = picture[rival], column[rival]
            owners.append(start + picture)
            aboves.append(above[:, picture, column].T)
            earliers.append(column < labels[picture])
        return np.concatenate(owners), np.concatenate(aboves), np.concatenate(earliers)

    def wrong(self, weights: Weights, k: int) -> NDArray[np.bool_]:
        """(pictures,): whether the weighted average's k best classes lack the label; ties go to the smaller index."""
        sums = self._above @ np.array(weights)
        passes = (sums > 0) | ((sums == 0) & self._earlier)
        return np.bincount(self._owner[passes], minlength=self.pictures) >= k

    def objective(self, weights: Weights) -> Objective:
        distance = sum((weight - 1 / self.members) ** 2 for weight in weights)
        # Rounded: weights equally far from equal ones tie, whatever the order of the sum.
        return int(self.wrong(weights, TOP).sum()), int(self.wrong(weights, 1).sum()), round(distance, 12)


def _exhaustive(errors: _Errors) -> tuple[Weights, int]:
    equal = (1 / errors.members,) * errors.members
    candidates = [equal, *_simplex(errors.members)]
    return min(candidates, key=errors.objective), len(candidates)


def _simplex(members: int) -> Iterator[Weights]:
    """All weightings in GRID-ths that sum to 1, in lexical order."""
    for head in itertools.product(range(GRID + 1), repeat=members - 1):
        if sum(head) <= GRID:
            yield tuple(part / GRID for part in (*head, GRID - sum(head)))


def _one_after_another(errors: _Errors) -> tuple[Weights, int]:
    levels = [LEVELS // 2] * errors.members
    best, tried = errors.objective(_normalised(levels)), 1
    for _ in range(SWEEPS):
        before = list(levels)
        for member in range(errors.members):
            for level in range(LEVELS + 1):
                candidate = [*levels[:member], level, *levels[member + 1 :]]
                if level == levels[member] or not any(candidate):
                    continue
                objective, tried = errors.objective(_normalised(candidate)), tried + 1
                if objective < best:
                    best, chosen = objective, level
                    levels = [*levels[:member], chosen, *levels[member + 1 :]]
        if levels == before:
            break
    return _normalised(levels), tried


def _normalised(levels: Sequence[int]) -> Weights:
    return tuple(level / sum(levels) for level in levels)
