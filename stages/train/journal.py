"""What a run writes down during training: metrics.csv, log.txt, and what it gives to the loggers of `--log`."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from alexnet_cli.artifacts.filters import first_convolution
from alexnet_cli.artifacts.run import LOG, RunFolder
from alexnet_cli.console import Talk, printable
from alexnet_cli.loggers.find import DEFAULT
from alexnet_cli.loggers.logbook import Logbook
from alexnet_cli.recipes.net import Net


class Journal:
    """Open it after the checkpoint to resume from is known: rows and events after that step are dropped."""

    def __init__(
        self, folder: RunFolder, talk: Talk, step: int, *, writes: bool = True, log: Sequence[str] = (DEFAULT,)
    ) -> None:
        """writes: whether this rank keeps the journal; the others only say what they have to say to their own logs.
        log: names of loggers."""
        self.folder, self.talk, self.writes = folder, talk, writes
        self.rows: list[dict[str, Any]] = [dict(row) for row in folder.metrics() if int(row["step"]) <= step]
        self._logbook = Logbook(log if writes else (), self.warn)
        self.reopen(step)

    def reopen(self, step: int) -> None:
        """Let the loggers begin in the run folder under its present name."""
        self._logbook.begin(self.folder, step)

    def close(self) -> None:
        """Let the loggers write what they hold back."""
        self._logbook.finish()

    def note(self, message: str) -> None:
        """To the screen and the log."""
        self.talk.say(message)
        self._log(message)

    def warn(self, message: str) -> None:
        """A warning, to the screen and the log."""
        self.talk.warn(message)
        self._log(f"warning: {message}")

    def loss(self, step: int, value: float) -> None:
        """The loss of one step, for the loggers."""
        self._logbook.scalars(step, {"train/loss": value})

    def filters(self, step: int, net: Net, model: Mapping[str, Tensor]) -> None:
        """The first convolution's kernels, for the loggers. model: whole tensors by name."""
        name = first_convolution(net)
        weight = model.get(f"{name}.weight")
        if weight is not None and weight.shape[1] == 3 and not self._logbook.empty:
            self._logbook.filters(step, str(name), weight.detach().float().cpu().numpy(), net.columns)

    def epoch(self, row: dict[str, Any]) -> None:
        """One row of metrics.csv, also for the loggers. It replaces the same epoch's row of a run that was killed."""
        if not self.writes:
            return
        self.rows = [earlier for earlier in self.rows if int(earlier["epoch"]) < row["epoch"]] + [row]
        self.folder.write_metrics(list(self.rows))
        told = {f"epoch/{name}": value for name, value in row.items() if name not in ("epoch", "step")}
        self._logbook.scalars(row["step"], told)

    def _log(self, message: str) -> None:
        if not self.writes:
            return
        moment = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        with (self.folder.path / LOG).open("a", encoding="utf-8") as file:
            file.write(f"{moment} {printable(message)}\n")
