"""What a logger is. A package of your own declares one, and `alexnet train --log NAME` finds it:

    [project.entry-points."alexnet.loggers"]
    mine = "my_package:MyLogger"

The entry point is called without arguments before any work. It raises UsageError where it can't be used here, such as
for a package that is missing; imports that take long belong into `begin`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Value = str | float | bool


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """What a logger is told when a run begins or resumes."""

    name: str
    """The run folder's name."""
    folder: Path
    """The logger's own folder in the run folder; not there yet at first. `--overwrite` removes it with the run."""
    step: int
    """Steps done. Above 0 the run is resumed: what was logged after this step, by a run that was killed, should go."""
    config: Mapping[str, Any]
    """The run's config.json: recipe, seed, precision, what it was trained on."""


class Logger(Protocol):
    """Takes what a training has to tell, on the first rank only. A subclass may leave out what it has no use for.

    The calls come from one thread. An exception from `begin` ends the training before its first step. One from the
    others is told as a warning, and the logger is asked no more: a training outlives its loggers.
    """

    def begin(self, run: Beginning) -> None:
        """The run begins or resumes. Called again after `finish` where the run folder was renamed meanwhile."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Figures after a step: `train/loss`, `epoch/validation_top1_error` … All are finite."""

    def image(self, step: int, name: str, picture: NDArray[np.uint8]) -> None:
        """A picture after a step, uint8 (H, W, 3)."""

    def text(self, name: str, text: str) -> None:
        """A text about the whole run, such as `recipe`, in JSON."""

    def hparams(self, values: Mapping[str, Value]) -> None:
        """What was chosen for the run, flat: `training.rate` → 0.01, `seed` → 1 …"""

    def finish(self) -> None:
        """The training ends or pauses: write what waits."""
