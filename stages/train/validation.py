"""What a net says of the validation pictures after an epoch: loss and errors of the centre view."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.artifacts.scores import Scores, mean_loss, top_k_error
from alexnet_cli.evaluation import Net, evaluate
from alexnet_cli.parallel.ranks import Ranks


class Validation(NamedTuple):
    """What the validation pictures' centre views say of an epoch."""

    loss: float
    """Mean cross-entropy."""
    top1_error: float
    top5_error: float

    @classmethod
    def of(cls, probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> Validation:
        """Judge probabilities (pictures, classes)."""
        top1, top5 = (top_k_error(probabilities, labels, k) for k in (1, 5))
        return cls(mean_loss(probabilities, labels), top1, top5)


def scores_of(
    net: Net, store: CropStore, *, threads: int, ranks: Ranks, advance: Callable[[int], None], stops: Callable[[], bool]
) -> Scores | None:
    """The scores of the centre view; None where `stops`, which is asked after each mini-batch, says so."""

    def move(count: int) -> None:
        advance(count)
        if stops():
            raise _StopError

    try:
        return evaluate(net, store, views=1, threads=threads, ranks=ranks, advance=move)
    except _StopError:
        return None


class _StopError(Exception):
    """A signal came during validation: it starts again when the run is resumed."""
