"""TensorBoard's event files, in RUN/tensorboard: `tensorboard --logdir out/runs`."""

from __future__ import annotations

import itertools
import os
import socket
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from alexnet_cli.loggers.find import require_package
from alexnet_cli.loggers.protocol import Beginning, Value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_RESULTS = ("epoch/train_loss", "epoch/validation_loss", "epoch/validation_top1_error", "epoch/validation_top5_error")
"""What the page of hyperparameters compares runs by."""
_NUMBERS = itertools.count()
"""Of this process's files: several runs may begin in one second."""


class TensorBoard:
    """Scalars, the first convolution's kernels, the recipe as text, hyperparameters."""

    def __init__(self) -> None:
        require_package("tensorboard")
        self._records: Any = None

    def begin(self, run: Beginning) -> None:
        """Open a file of events; what earlier files have after `run.step` is not shown any more.

        Events are written by whoever tells them. TensorBoard's own writer has a thread for it, which prints a traceback
        when the disk is full, and for which `flush` may wait forever then.
        """
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        run.folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{os.getpid()}"
        self._records = RecordWriter((run.folder / f"{name}.{next(_NUMBERS)}").open("ab"))
        self._write(0, file_version="brain.Event:2")
        if run.step:
            self._write(run.step + 1, session_log=SessionLog(status=SessionLog.START))
        self._records.flush()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Written at once."""
        from torch.utils.tensorboard.summary import scalar

        for name, value in values.items():
            self._write(step, summary=scalar(name, value))  # type: ignore[no-untyped-call]
        self._records.flush()

    def image(self, step: int, name: str, picture: NDArray[np.uint8]) -> None:
        """A PNG inside the events."""
        from torch.utils.tensorboard.summary import image

        self._write(step, summary=image(name, picture, dataformats="HWC"))  # type: ignore[no-untyped-call]

    def text(self, name: str, text: str) -> None:
        """Shown as it is: four spaces before each line make code of Markdown."""
        from torch.utils.tensorboard.summary import text as as_summary

        code = "\n".join(f"    {line}" for line in text.splitlines())
        self._write(0, summary=as_summary(name, code))  # type: ignore[no-untyped-call]

    def hparams(self, values: Mapping[str, Value]) -> None:
        """For the page HPARAMS, in the run's own file: `add_hparams` would make a second run of it."""
        from torch.utils.tensorboard.summary import hparams

        for summary in hparams(dict(values), dict.fromkeys(_RESULTS, 0.0))[:2]:  # type: ignore[no-untyped-call]
            self._write(0, summary=summary)

    def finish(self) -> None:
        """Close the file."""
        self._records.close()

    def _write(self, step: int, **what: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._records.write(Event(wall_time=time.time(), step=step, **what).SerializeToString())
