"""What a training works with, and how far it is."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from alexnet_cli.input.patches import InputTransform
from alexnet_cli.parallel.ranks import Ranks
from alexnet_stages.train.init_from import Origin
from alexnet_stages.train.inputs import Inputs


@dataclass
class Progress:
    """How far a training is."""

    epoch: int = 1
    """The current epoch, counted from 1."""
    batch: int = 0
    """Mini-batches done in it."""
    step: int = 0
    """Mini-batches done in all."""
    loss_sum: float = 0.0
    """Sum of the losses of this epoch's steps."""
    wrong: int = 0
    """Training patches of this epoch that the net classified wrongly, as it was when it saw them."""
    judged: int = 0
    """Of how many patches: fewer than were trained on, in an epoch that an older version had begun."""
    stuck_sum: float = 0.0
    """Sum of the losses in the window that ends at `stuck_after`."""
    epoch_seconds: float = 0.0
    """Time of this epoch's steps."""
    seconds: float = 0.0
    """Time of all steps."""


@dataclass(frozen=True, eq=False)
class Checked(Inputs):
    """What a training works from, and what its first values come from (`--init-from`)."""

    origin: Origin | None


@dataclass(frozen=True, eq=False, kw_only=True)
class Setting(Checked):
    """What a session works with."""

    transform: InputTransform
    ranks: Ranks
    precision: str
    compile: bool
    cuda_graph: bool
    seed: int
    threads: int
    checkpoint_seconds: float
    log: tuple[str, ...]
    """Names of loggers."""

    @property
    def device(self) -> torch.device:
        """This process's."""
        return self.ranks.device
