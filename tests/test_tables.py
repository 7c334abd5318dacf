"""Tables on terminals of every width: nothing is lost, nothing is wider than the terminal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from alexnet_cli.console import Talk
from alexnet_cli.tables import lines_of

HEADS = ("name", "what it is", "pictures", "multiply-adds")
ROWS = [
    (
        "conv6",
        "the source's net 145 with a sixth convolution over pool5, marked * in table 2",
        "1,281,167",
        "724,406,816",
    ),
    ("no-norm", "without normalisation layers", "50,000", "1"),
    ("日本", "full-width letters take two columns", "7", "22"),
]


def test_a_table_with_room_has_a_line_for_each_row_and_aligned_columns() -> None:
    lines = lines_of(("name", "number"), [("a", "1"), ("bb", "22")], left=1, width=80)
    assert lines == ["  name  number", " ──────────────", "  a          1", "  bb        22"]


@pytest.mark.parametrize("width", [40, 60, 80, 120, 400])
def test_no_line_is_wider_than_the_terminal_and_no_word_is_lost(width: int) -> None:
    from rich.cells import cell_len

    lines = lines_of(HEADS, ROWS, left=2, width=width)
    assert max(map(cell_len, lines)) <= width
    words = " ".join(lines).split()
    for row in (HEADS, *ROWS):
        for cell in row:
            assert all(word in words for word in cell.split())


def test_columns_that_do_not_fit_stand_in_a_table_below_with_the_names() -> None:
    lines = lines_of(HEADS, ROWS, left=2, width=40)
    blank = lines.index("")
    assert "multiply-adds" not in " ".join(lines[:blank]) and "multiply-adds" in " ".join(lines[blank:])
    for name in ("conv6", "no-norm"):
        assert any(name in line for line in lines[:blank]) and any(name in line for line in lines[blank:])


def test_control_characters_in_a_table_are_shown_not_sent() -> None:
    assert "\x1b" not in "".join(lines_of(("a\x1b[2J",), [("\x1b]0;x\x07",)], left=1, width=80))


class _Screen:
    """Stands for stderr on a terminal."""

    def __init__(self) -> None:
        self.text = ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass


def test_progress_on_a_dumb_terminal_is_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = _Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "dumb")
    with Talk().progress("cropping", 10) as advance:
        for _ in range(10):
            advance()
    assert len(screen.text.splitlines()) == 10 and "\x1b" not in screen.text
    assert screen.text.startswith("cropping: 1/10, ") and "pictures/s" in screen.text


def test_a_pipe_gets_what_a_terminal_of_80_columns_shows(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "alexnet_cli", "recipe", "list"]
    shown = [
        subprocess.run(
            words, capture_output=True, text=True, check=True, env={"PATH": "/bin", "HOME": "/", **more}
        ).stdout
        for more in ({}, {"TERM": "dumb"}, {"TERM": "xterm-256color", "COLUMNS": "80"})
    ]
    assert shown[0] == shown[1] == shown[2]
    assert max(map(len, shown[0].splitlines())) <= 80


def test_columns_that_belong_together_stand_together_or_in_a_table_of_their_own() -> None:
    heads = ("lenet", "maps", "paper", "maps")
    rows = [("conv1", "6", "conv1", "96"), ("", "", "conv3", "384")]
    beside = ["  lenet  maps  paper  maps", " ──────────────────────────", "  conv1     6  conv1    96"]
    assert lines_of(heads, rows, left=1, width=80, together=2)[:3] == [
        line.replace("  paper  maps", "  paper  maps") for line in beside
    ]
    below = lines_of(heads, rows, left=1, width=20, together=2)
    assert below == [
        *("  lenet  maps", " ─────────────", "  conv1     6", ""),
        *("  paper  maps", " ─────────────", "  conv1    96", "  conv3   384"),
    ]
