"""The result of `alexnet train`, for people and for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Result:
    """The result of a training."""

    run: Path
    steps: int
    best_epoch: int | None
    top1_error: float | None
    """Of the best checkpoint, centre view; None without validation pictures."""
    top5_error: float | None
    images_per_second: float
    """Of the training steps alone."""
    seconds: float
    up_to_date: bool = False
    """Nothing was done: the existing run is finished, and is what was requested."""

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        values = {**asdict(self), "run": str(self.run)}
        if not self.up_to_date:
            del values["up_to_date"]
        return values
