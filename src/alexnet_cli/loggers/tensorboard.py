"""TensorBoard's event files, in RUN/tensorboard: `tensorboard --logdir out/runs`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from alexnet_cli.loggers.find import require_package
from alexnet_cli.loggers.protocol import Beginning, Value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_RESULTS = ("epoch/train_loss", "epoch/validation_loss", "epoch/validation_top1_error", "epoch/validation_top5_error")
"""What the page of hyperparameters compares runs by."""


class TensorBoard:
    """Scalars, the first convolution's kernels, the recipe as text, hyperparameters."""

    def __init__(self) -> None:
        require_package("tensorboard", "tensorboard")
        self._writer: Any = None

    def begin(self, run: Beginning) -> None:
        """Open a file of events; what earlier files have after `run.step` is not shown any more."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(run.folder), purge_step=run.step + 1 if run.step else None)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Written at once."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def image(self, step: int, name: str, picture: NDArray[np.uint8]) -> None:
        """A PNG inside the events."""
        self._writer.add_image(name, picture, step, dataformats="HWC")

    def text(self, name: str, text: str) -> None:
        """Shown as it is: four spaces before each line make code of Markdown."""
        self._writer.add_text(name, "\n".join(f"    {line}" for line in text.splitlines()), 0)

    def hparams(self, values: Mapping[str, Value]) -> None:
        """For the page HPARAMS, in the run's own file: `add_hparams` would make a second run of it."""
        from torch.utils.tensorboard.summary import hparams

        for summary in hparams(dict(values), dict.fromkeys(_RESULTS, 0.0))[:2]:  # type: ignore[no-untyped-call]
            self._writer.file_writer.add_summary(summary)

    def finish(self) -> None:
        """Close the file."""
        self._writer.close()
