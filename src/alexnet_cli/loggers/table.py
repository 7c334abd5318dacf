"""`--log csv`: all scalars as a table, RUN/logs/csv/scalars.csv, one figure a line: step, name, value."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from alexnet_cli.loggers.protocol import Beginning, Logger

FILE = "scalars.csv"
_HEAD = ["step", "name", "value"]


class Table(Logger):
    """Scalars only: metrics.csv and config.json hold the rest."""

    def begin(self, run: Beginning) -> None:
        """Keep the lines up to `run.step`."""
        self._path: Path = run.folder / FILE
        run.folder.mkdir(parents=True, exist_ok=True)
        kept = []
        if run.step and self._path.is_file():
            with self._path.open(encoding="utf-8", newline="") as file:
                kept = [row for row in csv.reader(file) if row and row[0].isdecimal() and int(row[0]) <= run.step]
        self._write("w", [_HEAD, *kept])

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """One line each."""
        self._write("a", [[str(step), name, repr(value)] for name, value in values.items()])

    def _write(self, mode: str, rows: list[list[str]]) -> None:
        with self._path.open(mode, encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
