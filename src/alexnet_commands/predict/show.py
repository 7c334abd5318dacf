"""Predictions as people and programs read them: text with bars, CSV, JSON."""

from __future__ import annotations

import json
import sys

from alexnet_cli.artifacts.common.ownership import PREDICTIONS
from alexnet_cli.artifacts.common.publish import publish_file
from alexnet_cli.console import print_json, print_lines, printable, terminal_width
from alexnet_cli.errors import PictureError
from alexnet_cli.tables import cells, csv_of
from alexnet_commands.predict.config import PredictConfig
from alexnet_commands.predict.run import Prediction, Result

CSV_HEAD = ("path", "rank", "class", "words", "probability", "error")
_WIDEST = 100
_BAR = 20
_PARTS = " ▏▎▍▌▋▊▉█"


def show(result: Result, config: PredictConfig) -> None:
    """Write the result as the options say."""
    form = config.written_as()
    if config.out is not None:
        publish_file(config.out, _as_text(result, form).encode(), PREDICTIONS, overwrite=config.overwrite)
    if config.json:
        print_json(result.as_json())
    elif config.out is None and form is not None:
        print_lines(_as_text(result, form))
    elif config.out is None:
        print_lines(for_people(result, terminal_width(), blocks=_has_blocks()))


def require_all(result: Result) -> None:
    """PictureError, at the very end, if a picture could not be read."""
    failed = result.failed
    if failed:
        more = f", and {len(failed) - 1:,} more of {len(result.rows):,}" if len(failed) > 1 else ""
        others = "; the other pictures are done" if len(failed) < len(result.rows) else ""
        raise PictureError(f"{failed[0].path}: {failed[0].error}{more}{others}")


def _as_text(result: Result, form: str | None) -> str:
    if form == "csv":
        return as_csv(result)
    if form == "jsonl":
        return "".join(f"{json.dumps(result.row_as_json(row))}\n" for row in result.rows)
    return f"{json.dumps(result.as_json())}\n"


def as_csv(result: Result) -> str:
    """A line for each picture and class; one that could not be read has a line with its error."""
    rows: list[tuple[object, ...]] = [CSV_HEAD]
    for row in result.rows:
        for rank, one in enumerate(row.predictions, 1):
            name = result.classes.names[one.index]
            rows.append((row.path, rank, name, result.words(one.index) or "", repr(one.probability), ""))
        if row.error is not None:
            rows.append((row.path, "", "", "", "", row.error))
    return csv_of(rows)


def for_people(result: Result, width: int, *, blocks: bool) -> str:
    """Each picture's name, and below it a line for each class: name, words, probability, bar (paper, Fig. 4, left)."""
    width = min(width, _WIDEST)
    titles = [_title(result, one) for row in result.rows for one in row.predictions]
    wide = min(max(map(cells, titles), default=0), max(10, width - _BAR - 12))
    lines = []
    for row in result.rows:
        lines.append(printable(row.path))
        if row.error is not None:
            lines.append(f"  {printable(row.error)}")
        lines += [
            f"  {_fit(_title(result, one), wide)}  {100 * one.probability:5.1f}%  {_bar(one, blocks)}".rstrip()
            for one in row.predictions
        ]
        lines.append("")
    return "\n".join(lines)


def _title(result: Result, one: Prediction) -> str:
    name, words = result.classes.names[one.index], result.words(one.index)
    return printable(f"{name}  {words}" if words and words != name else name)


def _bar(one: Prediction, blocks: bool) -> str:
    """As long as the probability is large, in eighths of a character if the terminal has blocks."""
    if not blocks:
        return "#" * round(_BAR * one.probability)
    eighths = round(8 * _BAR * one.probability)
    return "█" * (eighths // 8) + _PARTS[eighths % 8].strip()


def _fit(text: str, width: int) -> str:
    """Text in a column of a width, cut off with an ellipsis if it is longer."""
    from rich.cells import set_cell_size

    if cells(text) > width:
        text = set_cell_size(text, width - 1).rstrip() + "…"
    return set_cell_size(text, width)


def _has_blocks() -> bool:
    """Whether stdout's encoding has block characters."""
    try:
        f"…{_PARTS}".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
