"""README.md and docs/*.md say what is there: commands, options, make's targets and variables, links, recipes."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path

import pytest
import typer

from alexnet_cli.cli import build, main

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "src/alexnet_cli/artifacts/README.md",
]
CODE = re.compile(r"^```(?:.|\n)*?^```$|(?:^(?: {4}|\t).*\n?)+", flags=re.MULTILINE)
"""Fenced and indented blocks; the latter also match continued list items, which hold no commands."""
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


def pieces(text: str) -> Iterator[str]:
    """Each line of code, continued lines joined, and each span of inline code."""
    for block in CODE.findall(text):
        yield from re.sub(r"\\\n\s*", " ", block).splitlines()
    yield from INLINE.findall(CODE.sub("", text))


def words_after(name: str, piece: str) -> list[str] | None:
    """The words of a command line `name …`, without a comment or what it is piped to; None where it is no such line."""
    piece = re.split(r"\s#|\s{3,}[(…]", piece)[0]
    # Other programs may start alexnet (torchrun … alexnet …, sbatch --wrap "alexnet …"); `make` is a word of prose too.
    before = r"(?:^|[\s\"/])" if name == "alexnet" else r"^\s*(?:\$ )?"
    found = re.search(rf"{before}{name} (.*)", piece)
    if found is None:
        return None
    line = re.split(r"[|;&]", found[1])[0].rstrip('" ')
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


@cache
def commands() -> dict[str, frozenset[str]]:
    """The options of each command."""
    group = typer.main.get_command(build())
    assert isinstance(group, typer.core.TyperGroup)
    return {
        name: frozenset(
            option
            for one in (command, *getattr(command, "commands", {}).values())
            for given in one.params
            for option in (*given.opts, *given.secondary_opts)
        )
        for name, command in group.commands.items()
    }


@cache
def made() -> tuple[frozenset[str], frozenset[str]]:
    """Targets and variables of the Makefile and what it includes."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "Makefile", *ROOT.glob("*.mk")))
    targets = " ".join(re.findall(r"^([a-z][a-z0-9 -]*):(?!=)", text, flags=re.MULTILINE)).split()
    return frozenset(targets), frozenset(re.findall(r"^([A-Z][A-Z0-9_]*) *[?:]?=", text, flags=re.MULTILINE))


def wrong_command(words: list[str]) -> str | None:
    """What is wrong with the words after `alexnet`, if anything; `…` and capitals stand for anything."""
    while words and words[0] in ("--debug", "--help", "--version"):
        words = words[1:]
    if not words or not re.fullmatch(r"[a-z][a-z-]*", words[0]):
        return None
    if words[0] not in commands():
        return f"no command {words[0]}"
    given = {word.split("=")[0] for word in words[1:] if re.match(r"--[a-z]", word)}
    unknown = sorted(given - commands()[words[0]] - {"--help"})
    return f"no option {', '.join(unknown)}" if unknown else None


def wrong_make(words: list[str]) -> str | None:
    """What is wrong with the words after `make`, if anything."""
    targets, variables = made()
    for word in words:
        variable = re.match(r"([A-Z][A-Z0-9_]*)=", word)
        if variable and variable[1] not in variables:
            return f"no variable {variable[1]}"
        if re.fullmatch(r"[a-z][a-z0-9-]*", word) and word not in targets:
            return f"no target {word}"
    return None


def identify(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=identify)
def test_every_alexnet_command_exists_with_the_options_that_it_is_given(page: Path) -> None:
    lines = [(piece, words_after("alexnet", piece)) for piece in pieces(page.read_text(encoding="utf-8"))]
    wrong = [f"{piece.strip()}: {fault}" for piece, words in lines if words and (fault := wrong_command(words))]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("page", PAGES, ids=identify)
def test_every_target_and_variable_given_to_make_exists(page: Path) -> None:
    lines = [(piece, words_after("make", piece)) for piece in pieces(page.read_text(encoding="utf-8"))]
    wrong = [f"{piece.strip()}: {fault}" for piece, words in lines if words and (fault := wrong_make(words))]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("page", PAGES, ids=identify)
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    text = CODE.sub("", page.read_text(encoding="utf-8"))
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"\w+:", link)]
    assert [link for link in links if link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=identify)
def test_every_test_that_is_named_exists(page: Path) -> None:
    for file, name in re.findall(r"\b(tests/test_\w+\.py)(?:::(\w+))?", page.read_text(encoding="utf-8")):
        assert f"\ndef {name}" in (ROOT / file).read_text(encoding="utf-8"), f"{file}::{name}"


@pytest.mark.parametrize("page", PAGES, ids=identify)
def test_every_recipe_given_to_a_command_exists(page: Path) -> None:
    named = r"(?:--recipe |\b(?:[A-Z]+_)?RECIPE=)([a-z][a-z0-9-]*)(?![a-z0-9-]|\.toml)"
    names = re.findall(named, page.read_text(encoding="utf-8"))
    assert set(names) <= recipes()


def test_the_readme_names_every_recipe_and_every_command() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in sorted(recipes()) if f"`{name}`" not in text] == []
    assert [name for name in commands() if f"`alexnet {name}" not in text] == []


def test_the_readmes_tree_names_files_that_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (tree,) = re.findall(r"^## The tree\n+```\n(.*?)```", text, flags=re.MULTILINE | re.DOTALL)
    folder = ROOT
    for line in tree.splitlines():
        name = line.split()[0]
        path = (folder if line.startswith(" ") else ROOT) / name
        assert path.exists(), name
        folder = folder if line.startswith(" ") else path


def test_a_training_step_is_read_in_at_most_800_lines_of_whole_files() -> None:
    """The architecture page's table: its numbers are those of the files, and no file has more than 250 lines."""
    page = ROOT / "docs/architecture.md"
    text = page.read_text(encoding="utf-8")
    told = {name: int(lines) for name, lines in re.findall(r"\[[^\]]+\]\(([^)]+)\) \| (\d+) \|", text)}
    there = {name: len((page.parent / name).read_text(encoding="utf-8").splitlines()) for name in told}
    assert told == there
    assert f"included: {sum(there.values())} in all" in text
    assert sum(there.values()) <= 800 and max(there.values()) <= 250
    layers = {path.stem for path in (ROOT / "src/alexnet_cli/net").glob("*.py")} - {"__init__", "initial", "whole"}
    assert layers <= {Path(name).stem for name in told}, "the path leaves out a module of the net"


def recipes() -> set[str]:
    return {
        path.name.removesuffix(".toml")
        for path in files("alexnet_cli.recipes").iterdir()
        if path.name.endswith(".toml")
    }


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("$ alexnet pca train.lmdb --out stats.h5", None),
        ("alexnet pca … --quick", "no option --quick"),
        ("alexnet polish x", "no command polish"),
        ("alexnet --debug …", None),
        ("alexnet train … --init-from RUN   # a comment --with words", None),
    ],
)
def test_a_wrong_alexnet_line_would_be_found(line: str, fault: str | None) -> None:
    words = words_after("alexnet", line)
    assert words is not None
    assert wrong_command(words) == fault


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("make full-pipeline DATA=pictures MEMBERS=1", None),
        ("make everything", "no target everything"),
        ("make contest DATUM=x", "no variable DATUM"),
    ],
)
def test_a_wrong_make_line_would_be_found(line: str, fault: str | None) -> None:
    words = words_after("make", line)
    assert words is not None
    assert wrong_make(words) == fault


def test_makes_own_list_names_the_targets_that_were_read() -> None:
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"^  make ([a-z0-9-]+)", listed, flags=re.MULTILINE)) <= made()[0]


def skeleton(line: str) -> str:
    """A line without its figures, times and points: what a layout consists of."""
    line = re.sub(r"\d[\d,.:×]*( min| s\b| kB| MB| GB)?", "#", line)
    return re.sub(r" +", " ", line.rstrip())


def head(line: str) -> str:
    """What must be the same in a quoted line: of a row its name, of another line all but its figures."""
    cells = re.split(r" {2,}", line.strip())
    return skeleton(cells[0] if line.startswith(" ") else line)


def _same(quoted: str, printed: str, *, exactly: bool) -> bool:
    if exactly:
        return quoted.rstrip() == printed.rstrip()
    return head(quoted) == head(printed) and quoted.startswith(" ") == printed.startswith(" ")


def missing_from(quoted: list[str], printed: list[str]) -> list[str]:
    """The quoted lines that are not there, in their order; headings and rules above tables must be the same exactly."""
    wrong, at = [], 0
    for number, line in enumerate(quoted):
        if line.strip() in ("", "…"):
            continue
        heading = "%" not in line and any("──" in one for one in quoted[number : number + 2])
        found = next((place for place in range(at, len(printed)) if _same(line, printed[place], exactly=heading)), None)
        if found is None:
            wrong.append(line)
        else:
            at = found + 1
    return wrong


def test_what_the_readme_quotes_is_what_the_commands_print(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], narrow: list[str]
) -> None:
    """On few pictures and with a narrow net, so that figures differ: names of rows, headings and sentences must not."""
    pytest.importorskip("sklearn")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = [
        block.splitlines()[1:-1] for block in re.findall(r"^```\n\$ alexnet (?:.|\n)*?^```$", text, flags=re.MULTILINE)
    ]
    quotes = {shlex.split(block[0])[2]: block for block in blocks}
    assert list(quotes) == ["sample", "preprocess", "pca", "train", "eval", "ensemble", "summary"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("ALEXNET_PREPROCESS_WORKERS", "2")  # on one core the line would say "1 worker"

    def printed_by(line: str, *more: str) -> list[str]:
        capsys.readouterr()
        assert main([*shlex.split(line)[2:], *more]) == 0, line
        printed = capsys.readouterr()
        return (printed.err + printed.out).splitlines()

    def require(name: str, *more: str) -> None:
        line, *quoted = quotes[name]
        assert missing_from(quoted, printed_by(line, *more)) == [], name

    cpu = ("--devices", "cpu")
    small = [word for value in narrow for word in ("--set", value)]
    require("sample")
    for folder in Path("out/sample").glob("*/*"):
        for picture in sorted(folder.iterdir())[9 if folder.parent.name == "train" else 4 :]:
            picture.unlink()
    require("preprocess")
    printed_by("$ alexnet preprocess out/sample/val --out out/val.lmdb --classes out/train.lmdb")
    require("pca")
    require("train", *small, *cpu)
    printed_by(quotes["train"][0].replace("1", "2"), *small, *cpu, "--epochs", "1")
    require("eval", *cpu)
    printed_by(quotes["eval"][0].replace("1", "2"), *cpu)
    require("ensemble")
    require("summary")


def test_a_row_a_heading_or_a_sentence_that_is_told_otherwise_would_be_found() -> None:
    printed = ["out/a: 3 pictures", "", "  net    error", " ────────────", "  a      1.00%", "  time   3 s"]
    assert missing_from(["out/a: 1,000 pictures", "…", "  time   2:20 min"], printed) == []
    assert missing_from(["  net   error", " ────────────", "  b      1.00%", "out/a: 3 crops"], printed) == [
        *("  net   error", "  b      1.00%", "out/a: 3 crops")
    ]
