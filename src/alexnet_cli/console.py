"""What the program says to people: progress and messages go to stderr, results to stdout. rich is imported late."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters (C0, DEL, C1), line separators, what changes the direction of text, lone surrogates."""

_NARROW = 110
"""Columns that a bar, count, rate, times and a note need."""


def printable(text: object) -> str:
    """Text that can't control a terminal: `\\x1b` for an escape character, in names above all.

    All that is said to people passes here: messages, errors, tables, reports, logs.
    """
    return _UNPRINTABLE.sub(_escape, str(text))


def printable_lines(text: str) -> str:
    """As `printable`, but line ends stay."""
    return "\n".join(map(printable, text.split("\n")))


def _escape(found: re.Match[str]) -> str:
    number = ord(found[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


class Advance(Protocol):
    """Moves a progress bar: `advance(pictures, note="loss 2.31")`."""

    def __call__(self, count: int = 1, *, note: str = "") -> None: ...


class Talk:
    """One command's voice. `quiet` silences progress and messages, never warnings or errors."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet

    def say(self, message: str) -> None:
        """A message on stderr, unless quiet."""
        if not self.quiet:
            print(printable(message), file=sys.stderr, flush=True)

    def warn(self, message: str) -> None:
        """A warning on stderr, always."""
        print(f"warning: {printable(message)}", file=sys.stderr, flush=True)

    @contextmanager
    def progress(self, label: str, total: int, *, unit: str = "pictures", done: int = 0) -> Iterator[Advance]:
        """A bar with count, rate and time left; ten lines in all if stderr is no terminal, or a dumb one."""
        if self.quiet:
            yield _silent
        elif sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown"):
            with _bar(label, total, unit, done) as advance:
                yield advance
        else:
            yield _Lines(label, total, unit, done, self)


def _silent(count: int = 1, *, note: str = "") -> None:
    return None


@contextmanager
def _bar(label: str, total: int, unit: str, done: int) -> Iterator[Advance]:
    from rich import progress as parts
    from rich.console import Console
    from rich.table import Column
    from rich.text import Text

    class Rate(parts.ProgressColumn):
        def render(self, task: parts.Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:,.0f} {unit}/s")

    # On a narrow terminal a share replaces the count and the bar is short: else rich would break what it says.
    narrow = terminal_width() < _NARROW
    whole: dict[str, Any] = {"table_column": Column(no_wrap=True)}
    bar = parts.BarColumn(5 if narrow else 30, **whole)
    count = parts.TaskProgressColumn(**whole) if narrow else parts.MofNCompleteColumn(**whole)
    columns = (parts.TextColumn("{task.description}", markup=False, **whole), bar, count, Rate(**whole))
    tail = (parts.TimeRemainingColumn(**whole), parts.TextColumn("{task.fields[note]}", markup=False, **whole))
    with parts.Progress(*columns, *tail, console=Console(stderr=True), speed_estimate_period=60) as progress:
        task = progress.add_task(printable(label), total=total, completed=done, note="")

        def advance(count: int = 1, *, note: str = "") -> None:
            if note:
                progress.update(task, advance=count, note=printable(note))
            else:
                progress.update(task, advance=count)

        yield advance


class _Lines:
    """Progress for logs: ten lines in all, each with count, rate and time left."""

    def __init__(self, label: str, total: int, unit: str, done: int, talk: Talk) -> None:
        self.label, self.total, self.unit, self.talk = label, total, unit, talk
        self.first = self.done = done
        self.start = time.perf_counter()
        self.tenth = 10 * done // max(total, 1)

    def __call__(self, count: int = 1, *, note: str = "") -> None:
        self.done += count
        tenth = 10 * self.done // max(self.total, 1)
        if tenth <= self.tenth:
            return
        self.tenth = tenth
        rate = (self.done - self.first) / max(time.perf_counter() - self.start, 1e-9)
        left = (self.total - self.done) / max(rate, 1e-9)
        text = f"{self.label}: {self.done:,}/{self.total:,}, {rate:,.0f} {self.unit}/s, {duration(left)} left"
        self.talk.say(f"{text}{', ' + note if note else ''}")


def duration(seconds: float) -> str:
    """Seconds as people read them: 42 s, 3:07 min, 5:20 h."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    return f"{minutes // 60}:{minutes % 60:02d} h"


def counted(count: int, what: str) -> str:
    """`1 picture`, `1,408 pictures`."""
    return f"{count:,} {what}{'s' * (count != 1)}"


def span(low: int, high: int) -> str:
    """`50`, `732 to 1,300`."""
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def size(count: float) -> str:
    """A number of bytes as people read it: 1.5 GB (powers of ten)."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def percent(fraction: float | None) -> str:
    """An error fraction as percent: 0.18214 -> '18.21%'; '–' if there is none."""
    return "–" if fraction is None else f"{100 * fraction:.2f}%"


def terminal_width() -> int:
    """The terminal's width in columns, or COLUMNS if that is set; 80 without a terminal."""
    return shutil.get_terminal_size().columns


def print_facts(title: str, facts: Mapping[str, str]) -> None:
    """Two aligned columns, name and value, on stdout."""
    width = max(len(name) for name in facts)
    print(printable(title))
    for name, value in facts.items():
        print(f"  {name:<{width}}  {printable(value)}")


def print_lines(text: str) -> None:
    """Lines on stdout; the text ends with a line end."""
    print(printable_lines(text), end="")


def print_json(result: Mapping[str, Any]) -> None:
    """The result as one JSON object on stdout."""
    print(json.dumps(result).replace("\x7f", "\\u007f"))  # the one control character that JSON does not escape
