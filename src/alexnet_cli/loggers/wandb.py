"""Weights & Biases. wandb's own settings hold (WANDB_MODE=offline, WANDB_PROJECT …); files lie in RUN/logs/wandb."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from alexnet_cli.loggers.find import require_package
from alexnet_cli.loggers.protocol import Beginning, Logger, Value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_ID = "run-id.txt"


class Wandb(Logger):
    """Scalars and pictures; the run's config, which holds the recipe, in place of texts."""

    def __init__(self) -> None:
        require_package("wandb")
        self._run: Any = None

    def begin(self, run: Beginning) -> None:
        """Begin a run, or resume the one whose ID the folder holds."""
        import wandb

        run.folder.mkdir(parents=True, exist_ok=True)
        file = run.folder / _ID
        known = file.read_text(encoding="utf-8").strip() if run.step and file.is_file() else None
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "alexnet"),
            name=run.name,
            dir=str(run.folder),
            id=known,
            resume="allow" if known else None,
            config=dict(run.config),
        )
        file.write_text(f"{self._run.id}\n", encoding="utf-8")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Under wandb's own step."""
        self._run.log(dict(values), step=step)

    def image(self, step: int, name: str, picture: NDArray[np.uint8]) -> None:
        """As a PNG."""
        import wandb

        self._run.log({name: wandb.Image(picture)}, step=step)

    def hparams(self, values: Mapping[str, Value]) -> None:
        """For wandb's tables of runs."""
        self._run.config.update({"chosen": dict(values)}, allow_val_change=True)

    def finish(self) -> None:
        """Upload or write what waits."""
        self._run.finish()
