"""Tables of text that fit a width: long text is wrapped, and columns that don't fit go into another table below.

lines_of(("layer", "parameters"), [("conv1", "34,944")], left=1, width=80)
"""

from __future__ import annotations

import csv
import io
import math
import textwrap
from collections.abc import Iterable, Sequence

from alexnet_cli.console import print_lines, printable, terminal_width

_GAP = 2
_LEAST = 12
"""Columns of text are not made narrower than this."""


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1, together: int = 0
) -> None:
    """A table of text on stdout that fits the terminal; the first `left` columns are text, the others numbers.

    together: as in `lines_of`.
    """
    lines = lines_of(columns, rows, left=left, width=terminal_width(), together=together)
    print_lines("\n".join([*([printable(title)] if title else []), "", *lines, "", ""]))


def lines_of(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, left: int, width: int, together: int = 0
) -> list[str]:
    """The lines of a table: heads, a rule, rows, without blanks at their ends.

    The first `left` columns are text, left-aligned, and may be wrapped; the others are numbers, right-aligned. If the
    columns don't all fit, several tables follow one another, each with the first column in front. together: so many
    columns at a time form a group, such as one of several nets, which stays in one table if it fits.
    """
    grid = [[printable(cell) for cell in row] for row in (heads, *rows)]
    natural = [max(cells(row[column]) for row in grid) for column in range(len(heads))]
    words = [[cells(word) for row in grid for word in row[column].split()] for column in range(left)]
    least = [min(natural[column], max([_LEAST, *words[column]])) for column in range(left)]
    lines: list[str] = []
    for block in _blocks(natural, least, width, together or len(heads)):
        widths = _shrunk([natural[column] for column in block], [*least, *natural[left:]], block, width)
        part = [[row[column] for column in block] for row in grid]
        part = [row for row in part if any(cell.strip() for cell in row)]
        lines += ([""] if lines else []) + _drawn(part, widths, [column < left for column in block])
    return lines


def csv_of(rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV, a line each: text without characters that act on a terminal, nothing for None and NaN."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([_field(value) for value in row] for row in rows)
    return file.getvalue()


def _field(value: object) -> object:
    if isinstance(value, float) and math.isnan(value):
        return ""
    return printable(value) if isinstance(value, str) else value


def cells(text: str) -> int:
    """Columns of a terminal that a text takes: Chinese characters take two."""
    from rich.cells import cell_len

    return cell_len(text)


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * len(widths) + 1


def _blocks(natural: Sequence[int], least: Sequence[int], width: int, together: int) -> list[list[int]]:
    """Which columns go into each table; the first of a group begins each table that holds some of it."""
    smallest = [*least, *natural[len(least) :]]
    blocks: list[list[int]] = []
    for start in range(0, len(natural), together):
        group = list(range(start, min(start + together, len(natural))))
        if blocks and _total([smallest[at] for at in [*blocks[-1], *group]]) <= width:
            blocks[-1] += group
            continue
        blocks.append(group[:1])
        for column in group[1:]:
            if len(blocks[-1]) > 1 and _total([smallest[at] for at in [*blocks[-1], column]]) > width:
                blocks.append(group[:1])
            blocks[-1].append(column)
    return blocks


def _shrunk(widths: list[int], smallest: Sequence[int], block: Sequence[int], width: int) -> list[int]:
    """The widths of a table's columns: natural ones, the widest text made narrower until all fit."""
    while _total(widths) > width:
        room = [found - smallest[column] for found, column in zip(widths, block, strict=True)]
        at = max(range(len(widths)), key=lambda place: (room[place] > 0, widths[place]))
        if room[at] <= 0:
            break
        widths[at] -= 1
    return widths


def _drawn(rows: Sequence[Sequence[str]], widths: Sequence[int], texts: Sequence[bool]) -> list[str]:
    lines: list[str] = []
    for number, row in enumerate(rows):
        wrapped = [
            textwrap.wrap(cell, width, break_on_hyphens=False) or [""] if text and cells(cell) > width else [cell]
            for cell, width, text in zip(row, widths, texts, strict=True)
        ]
        for line in range(max(map(len, wrapped))):
            parts = [cell[line] if line < len(cell) else "" for cell in wrapped]
            padded = [_padded(part, width, text) for part, width, text in zip(parts, widths, texts, strict=True)]
            lines.append(("  " + (" " * _GAP).join(padded)).rstrip())
        if number == 0:
            lines.append(" " + "─" * (_total(widths) - 1))
    return lines


def _padded(text: str, width: int, left: bool) -> str:
    blanks = " " * max(0, width - cells(text))
    return text + blanks if left else blanks + text
