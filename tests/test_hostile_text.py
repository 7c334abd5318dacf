"""Names that could act on a terminal are shown escaped: on stdout, on stderr, in report.txt and in logs."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from preprocessing import save_noise

from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.artifacts.scores import Scores, write_scores
from alexnet_cli.class_list import ClassList
from alexnet_cli.cli import main
from alexnet_cli.console import Talk, print_facts, print_json, print_lines, printable
from alexnet_cli.tables import csv_of, print_table
from alexnet_stages.preprocess.rejects import read_rejects, write_rejects

MakeStore = Callable[..., CropStore]
Capture = pytest.CaptureFixture[str]
EVIL = "a\x1b[31mred\x07\u202egnp\x9b2J"
SHOWN = r"a\x1b[31mred\x07\u202egnp\x9b2J"
ACTS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.mark.parametrize("number", [*range(0x20), *range(0x7F, 0xA0), 0x202E, 0x2066, 0x2028, 0xDC80, 0xD800])
def test_what_acts_on_a_terminal_is_escaped(number: int) -> None:
    expected = f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"
    assert printable(f"<{chr(number)}>") == f"<{expected}>"
    assert printable(f"<{chr(number)}>").encode().decode("ascii").isprintable()


@pytest.mark.parametrize("text", ["ähnlich/猫 1.JPEG", "नमस्\u200dते", "👩\u200d🔬", "a b", "→ × – …", r"C:\new\x1b"])
def test_what_people_write_is_left_alone(text: str) -> None:
    assert printable(text) == text


def test_every_way_to_speak_passes_it(capsys: Capture) -> None:
    talk = Talk()
    talk.say(EVIL)
    talk.warn(EVIL)
    with talk.progress(EVIL, 1) as advance:
        advance(1, note=EVIL)
    print_table(EVIL, (EVIL, "b"), [(EVIL, "1")])
    print_facts(EVIL, {"x": EVIL})
    print_lines(f"{EVIL}\nsecond\n")
    print_json({EVIL: f"{EVIL}\x7f"})
    printed = capsys.readouterr()
    assert not ACTS.search(printed.out + printed.err)
    assert printed.err.count(SHOWN) == 4 and printed.out.count(SHOWN) == 6
    assert f"{SHOWN}\nsecond\n" in printed.out


def evil_pictures(root: Path) -> Path:
    for number, name in enumerate((EVIL, EVIL + "2", "b")):
        for each in range(2):
            save_noise(root / name / f"{EVIL}{each}.jpg", 10 * number)
    return root


def test_preprocess_shows_names_of_pictures_and_classes_escaped(tmp_path: Path, capsys: Capture) -> None:
    source = evil_pictures(tmp_path / "in")
    assert main(["preprocess", str(source), "--out", str(tmp_path / "x.lmdb"), "--workers", "1"]) == 0
    printed = capsys.readouterr()
    report = (tmp_path / "x.lmdb/report.txt").read_text(encoding="utf-8")
    assert not ACTS.search(printed.out + printed.err + report)
    assert SHOWN in report and SHOWN in printed.out


def test_errors_show_names_escaped(tmp_path: Path, capsys: Capture) -> None:
    source = evil_pictures(tmp_path / "in")
    (source / EVIL / f"{EVIL}0.jpg").write_bytes(b"no picture")
    for words in (
        ["preprocess", source, "--out", tmp_path / "x.lmdb", "--workers", "1", "--quiet"],
        ["preprocess", tmp_path / EVIL, "--out", tmp_path / "x.lmdb"],
        ["pca", tmp_path / EVIL, "--out", tmp_path / "s.h5"],
        ["summary", "--recipe", EVIL],
        ["eval", tmp_path / EVIL, tmp_path / EVIL, "--out", tmp_path / "s.h5"],
        [f"--{EVIL}"],
        [EVIL],
    ):
        assert main([str(word) for word in words]) in (2, 3, 4)
        printed = capsys.readouterr()
        assert not ACTS.search(printed.out + printed.err), words
        assert printed.err.count("\n") == 1
        assert SHOWN in printed.err, words


def test_ensemble_shows_names_of_members_escaped_in_its_table_too(tmp_path: Path, capsys: Capture) -> None:
    values = np.eye(3, dtype=np.float32)
    scores = Scores(values, values, np.arange(3), [EVIL, "y", "z"], ClassList(("a", "b", "c")))
    write_scores(tmp_path / f"{EVIL}.h5", scores, parents={}, options={}, overwrite=False)
    assert main(["ensemble", str(tmp_path / f"{EVIL}.h5"), "--out", str(tmp_path / "e")]) == 0
    printed = capsys.readouterr()
    table = (tmp_path / "e/table.txt").read_text(encoding="utf-8")
    assert not ACTS.search(printed.out + printed.err + table)
    assert SHOWN in table and SHOWN in printed.out


def test_tables_of_csv_have_a_line_for_each_row_and_nothing_that_acts_on_a_terminal() -> None:
    rows: list[tuple[object, ...]] = [("name", "share"), (EVIL, 0.25), ("a\nb\udcff", math.nan), ('x,"y"', None)]
    text = csv_of(rows)
    assert text == f'name,share\n{SHOWN},0.25\na\\x0ab\\udcff,\n"x,""y""",\n'


def test_a_recipes_file_and_values_are_shown_escaped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    name = f"{EVIL}.toml"
    Path(name).write_text('extends = "paper"\nabout = "\\u001b[2J"\n', encoding="utf-8")
    for words in (["recipe", "show", name], ["recipe", "diff", name, "small"], ["summary", "--recipe", name]):
        assert main(words) == 0
        printed = capsys.readouterr()
        assert not ACTS.search(printed.out + printed.err), words
        assert SHOWN in printed.out


@pytest.mark.parametrize("name", [EVIL, "back\\slash", "tab\there", "two\nlines\r", "no UTF-8 \udcff", "\\x41"])
def test_the_names_of_rejects_come_back_and_act_on_no_terminal(tmp_path: Path, name: str) -> None:
    file = write_rejects(tmp_path, [(name, f"is {EVIL}"), ("b", "is damaged")])
    assert not ACTS.search(file.read_text(encoding="utf-8").replace("\t", ""))
    assert read_rejects(tmp_path) == [(name, f"is {SHOWN}"), ("b", "is damaged")]


def test_rejects_of_earlier_versions_are_read(tmp_path: Path) -> None:
    (tmp_path / "rejects.tsv").write_text("a\\tb\\nc\\\\n\tis damaged\n", encoding="utf-8")
    assert read_rejects(tmp_path) == [("a\tb\nc\\n", "is damaged")]


@pytest.mark.parametrize(
    "words", [["pca", "x.lmdb", "--out", "\udcff.h5"], ["plot", "curves", "a", "\udcff"], ["recipe", "show", "\udcff"]]
)
def test_a_name_that_is_no_utf_8_is_refused_in_one_line(words: list[str], capsys: Capture) -> None:
    assert main(words) == 2
    assert re.fullmatch(r"alexnet: \\udcff(\.h5)?: is not UTF-8: .*\n", capsys.readouterr().err)
