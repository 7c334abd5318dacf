"""What a run writes down while it trains: metrics.csv, TensorBoard events and log.txt."""

from __future__ import annotations

import datetime
import math
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from alexnet_cli.artifacts.run import LOG, TENSORBOARD, RunFolder
from alexnet_cli.console import Talk, printable


class Journal:
    """Open it after the checkpoint to go on from is known: rows and events after that step are dropped."""

    def __init__(self, folder: RunFolder, talk: Talk, step: int, *, writes: bool = True) -> None:
        """writes: whether this rank keeps the journal; the others only say what they have to say to their own logs."""
        self.folder, self.talk, self.writes = folder, talk, writes
        self.rows: list[dict[str, Any]] = [dict(row) for row in folder.metrics() if int(row["step"]) <= step]
        self._events: SummaryWriter | None = None
        self.reopen(step)

    def reopen(self, step: int) -> None:
        """Open the events in the run folder as it is called now."""
        if self.writes:
            self._events = SummaryWriter(str(self.folder.path / TENSORBOARD), purge_step=step + 1 if step else None)

    def close(self) -> None:
        """Flush the events."""
        if self._events:
            self._events.close()

    def note(self, message: str) -> None:
        """To the screen and the log."""
        self.talk.say(message)
        self._log(message)

    def warn(self, message: str) -> None:
        """A warning, to the screen and the log."""
        self.talk.warn(message)
        self._log(f"warning: {message}")

    def loss(self, step: int, value: float) -> None:
        """The loss of one step, for TensorBoard."""
        if self._events:
            self._events.add_scalar("train/loss", value, step)

    def epoch(self, row: dict[str, Any]) -> None:
        """One row of metrics.csv, and the same as events. An epoch's end that a killed run had already told goes."""
        if self._events is None:
            return
        self.rows = [earlier for earlier in self.rows if int(earlier["epoch"]) < row["epoch"]] + [row]
        self.folder.write_metrics(list(self.rows))
        for name, value in row.items():
            if name not in ("epoch", "step") and isinstance(value, float) and math.isfinite(value):
                self._events.add_scalar(f"epoch/{name}", value, row["step"])
        self._events.flush()

    def _log(self, message: str) -> None:
        if not self.writes:
            return
        moment = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        with (self.folder.path / LOG).open("a", encoding="utf-8") as file:
            file.write(f"{moment} {printable(message)}\n")
