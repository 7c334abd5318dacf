"""What a training works with, and where it stands."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.input.patches import InputTransform
from alexnet_cli.parallel.ranks import Ranks
from alexnet_cli.recipes.recipe import Recipe
from alexnet_stages.train.init_from import Origin


@dataclass
class Progress:
    """Where a training stands."""

    epoch: int = 1
    """The current epoch, counted from 1."""
    batch: int = 0
    """Mini-batches done in it."""
    step: int = 0
    """Mini-batches done in all."""
    loss_sum: float = 0.0
    """Sum of the losses of this epoch's steps."""
    wrong: int = 0
    """Training patches of this epoch whose class the net did not tell, as it was when it saw them."""
    judged: int = 0
    """Of so many patches; fewer than were trained on in the epoch that an older version had begun."""
    stuck_sum: float = 0.0
    """Sum of the losses in the window that ends at `stuck_after`."""
    epoch_seconds: float = 0.0
    """Time of this epoch's steps."""
    seconds: float = 0.0
    """Time of all steps."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a session works with."""

    recipe: Recipe
    store: CropStore
    val: CropStore | None
    transform: InputTransform
    ranks: Ranks
    precision: str
    compile: bool
    seed: int
    threads: int
    checkpoint_seconds: float
    parents: dict[str, str]
    origin: Origin | None = None
    """Where the first values come from (`--init-from`)."""
    log: tuple[str, ...] = ()
    """Names of loggers."""

    @property
    def device(self) -> torch.device:
        """This process's."""
        return self.ranks.device
