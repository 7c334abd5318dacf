"""The command host: one line and one exit code for every kind of error, and a stranger's stage that can't break it."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import typer
from typer.core import TyperGroup

from alexnet_cli import __version__, errors
from alexnet_cli import cli as cli_module
from alexnet_cli.cli import build, main
from alexnet_cli.help import _COMMANDS, _MEANT, flowing
from alexnet_cli.signals import Children

Capture = pytest.CaptureFixture[str]
Install = Callable[[str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """install(code): a third party's package with the stage `stranger`, whose module holds this code."""

    def make(code: str) -> None:
        (tmp_path / "strangers_stage.py").write_text(code)
        information = tmp_path / "strangers-1.0.dist-info"
        information.mkdir()
        (information / "METADATA").write_text("Metadata-Version: 2.1\nName: strangers\nVersion: 1.0\n")
        (information / "entry_points.txt").write_text("[alexnet.stages]\nstranger = strangers_stage:command\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, "strangers_stage", raising=False)

    return make


def raising(expression: str) -> str:
    """The code of a stage that raises."""
    return f"import errno, torch\nfrom alexnet_cli import errors\ndef command() -> None:\n    raise {expression}\n"


# ------------------------------------------------------------------------------------- errors and exit codes


@pytest.mark.parametrize(
    ("expression", "code", "line"),
    [
        ("errors.UsageError('use it so')", 2, "use it so"),
        ("errors.PictureError('cat.jpg: is not a picture')", 3, "cat.jpg: is not a picture"),
        ("errors.ArtifactError('x.lmdb: is damaged')", 4, "x.lmdb: is damaged"),
        ("errors.ResourceError('x: the disk is full')", 5, "x: the disk is full"),
        ("errors.TrainingError('not finite')", 6, "not finite"),
        ("errors.StoppedBySignalError('stopped; saved')", 75, "stopped; saved"),
        ("errors.InterruptedBySaveError('stopped; saved')", 130, "stopped; saved"),
        ("KeyboardInterrupt", 130, "interrupted"),
        ("OSError(errno.ENOSPC, 'No space', '/a/b')", 5, "/a/b: the disk is full: free some space"),
        ("PermissionError(errno.EACCES, 'denied', '/a/b')", 5, "/a/b: permission denied"),
        ("OSError(errno.EROFS, 'ro', '/a/b')", 5, "/a/b: the file system is read-only"),
        ("FileNotFoundError(errno.ENOENT, 'No such file or directory', '/a/b')", 5, "/a/b: No such file or directory"),
        ("MemoryError()", 5, "out of memory: use a smaller --batch-size"),
        ("torch.cuda.OutOfMemoryError('CUDA out of memory')", 5, "the device is out of memory"),
        ("torch.AcceleratorError('CUDA error: busy\\nCompile')", 5, "the device failed: CUDA error: busy: see what"),
        ("ZeroDivisionError('oh')", 1, "internal error: ZeroDivisionError: oh (run again with --debug and report it)"),
        ("errors.ArtifactError('two\\nlines')", 4, "two lines"),
    ],
)
def test_every_kind_of_error_is_one_line_and_its_exit_code(
    install: Install, capsys: Capture, expression: str, code: int, line: str
) -> None:
    install(raising(expression))
    assert main(["stranger"]) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    (said,) = printed.err.splitlines()
    assert said.startswith(f"alexnet: {line}")


def test_every_kind_of_error_for_people_is_in_the_list_above() -> None:
    kinds = {kind.__name__ for kind in vars(errors).values() if isinstance(kind, type)}
    assert kinds == {
        "AlexNetError",
        "UsageError",
        "PictureError",
        "ArtifactError",
        "ResourceError",
        "TrainingError",
        "StoppedBySignalError",
        "InterruptedBySaveError",
        "Path",
    }


@pytest.mark.parametrize("words", [["--debug", "stranger"], ["stranger", "--debug"]], ids=" ".join)
def test_debug_shows_the_traceback_too_wherever_it_stands(install: Install, capsys: Capture, words: list[str]) -> None:
    install(raising("errors.ArtifactError('x.lmdb: is damaged')"))
    assert main(words) == 4
    text = capsys.readouterr().err
    assert "Traceback (most recent call last)" in text and "strangers_stage.py" in text
    assert text.splitlines()[-1] == "alexnet: x.lmdb: is damaged"


def test_debug_can_be_asked_for_by_the_environment(
    install: Install, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(raising("ZeroDivisionError('oh')"))
    monkeypatch.setenv("ALEXNET_DEBUG", "1")
    assert main(["stranger"]) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["train", "x", "--out", "y", "--epochss", "3"], "No such option: --epochss"),
        (["pca"], "Missing argument 'CROPS'"),
        (["pca", "x"], "Missing option '--out'"),
        (["train", "x", "--out", "y", "--epochs", "many"], "Invalid value for '--epochs'"),
        (["train", "x", "--out", "y", "--epochs", "0"], "Invalid value for '--epochs'"),
        (["trian"], "No such command 'trian'"),
        (["--verbose"], "No such option: --verbose"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_the_parser_does_not_know_is_one_line_with_where_to_look(
    capsys: Capture, words: list[str], part: str
) -> None:
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (said,) = printed.err.splitlines()
    assert said.startswith("alexnet: ") and part in said
    assert said.endswith("--help`)")


def test_a_mistyped_option_is_answered_with_the_right_one(capsys: Capture) -> None:
    assert main(["train", "x", "--out", "y", "--epochss", "3"]) == 2
    assert "--epochs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("tried", "meant"),
    [
        ("--lr", "--rate"),
        ("--epoch", "--epochs"),
        ("--bs", "--batch-size"),
        ("--gpu", "--devices cuda"),
        ("--output", "--out"),
        ("--learning-rate", "--rate"),
        ("--gpus", "--devices cuda"),
        ("--num-workers", "--workers"),
        ("--resume-from", "--resume"),
        ("--momentum", "--set training.momentum="),
        ("--weight-decay", "--set training.weight_decay="),
    ],
)
def test_a_name_from_other_tools_is_answered_with_ours(capsys: Capture, tried: str, meant: str) -> None:
    assert main(["train", "x", "--out", "y", tried, "1"]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said == f"alexnet: there is no option {tried}: use {meant} (`alexnet train --help`)"


def test_a_path_that_other_tools_name_is_given_without_a_name(capsys: Capture) -> None:
    assert main(["train", "--data", "x", "--out", "y"]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("alexnet: there is no option --data: give the path without a name, as CROPS (")
    assert main(["ensemble", "x", "--data", "x", "--out", "y"]) == 2
    assert "--data: use --crops (" in capsys.readouterr().err


@pytest.mark.parametrize(("tried", "meant"), [("evaluate", "eval"), ("infer", "predict"), ("fit", "train")])
def test_a_command_of_other_tools_is_answered_with_ours(capsys: Capture, tried: str, meant: str) -> None:
    assert main([tried, "x"]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said == f"alexnet: there is no command {tried}: use {meant} (try `alexnet --help`)"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("summary paper", "paper: give it a name, as --recipe paper"),
        ("summary own.toml", "own.toml: give it a name, as --recipe own.toml"),
        ("summary lenet paper", "lenet paper: give it a name, as --compare lenet,paper"),
        ("time paper", "paper: give it a name, as --recipe paper"),
        ("train x cuda:0,1 --out y", "cuda:0,1: give it a name, as --devices cuda:0,1"),
        ("export x onnx y", "onnx y: give it a name, as --format onnx --out y"),
        ("import x caffe", "caffe: give it a name, as --from caffe"),
        ("features x y fc7", "fc7: give it a name, as --layer fc7"),
        ("pca x y", "y: give it a name, as --out y"),
        ("plot filters x y.png", "y.png: give it a name, as --out y.png"),
        ("check .", ".: give it a name, as --data ."),
        ("recipe paper", "there is no command paper: use show paper"),
        ("recipe x", "there is no command x: use one of list, show, diff"),
        ("plot filtrs", "No such command 'filtrs'. Did you mean 'filters'?"),
        (
            "train x y z --out o",
            "Got unexpected extra argument(s) (y z). The command is: alexnet train CROPS --out PATH",
        ),
        ("ensemble x", "Missing option '--out' / '-o'. The command is: alexnet ensemble MEMBER… --out PATH"),
        ("eval", "Missing argument 'RUN'. The command is: alexnet eval RUN CROPS --out PATH"),
    ],
)
def test_a_word_for_an_option_is_answered_with_the_option_or_the_whole_command(
    capsys: Capture, words: str, said: str
) -> None:
    assert main(words.split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"alexnet: {said} (try `alexnet ")


def test_no_hint_hides_a_command_or_an_option_of_ours() -> None:
    group = typer.main.get_command(build())
    assert isinstance(group, TyperGroup)
    assert not set(group.commands) & {name for names in _COMMANDS.values() for name in names}
    for names in _MEANT.values():
        assert len(set(names)) == len(names)


def test_no_command_is_told_of_an_option_that_it_does_not_have(capsys: Capture) -> None:
    assert main(["pca", "x", "--out", "y", "--lr", "1"]) == 2
    assert "--rate" not in capsys.readouterr().err


def test_every_hint_leads_to_an_option_that_exists() -> None:
    group = typer.main.get_command(build())
    assert isinstance(group, TyperGroup)
    options = {name for command in group.commands.values() for param in command.params for name in param.opts}
    assert {meant.split()[0] for meant in _MEANT} <= options


# ------------------------------------------------------------------------------------- the command itself


def test_version_is_printed(capsys: Capture) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"alexnet {__version__}\n"


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"]], ids=str)
def test_without_a_command_or_asked_for_it_the_help_is_shown(capsys: Capture, words: list[str]) -> None:
    assert main(words) == 0
    printed = capsys.readouterr()
    assert "preprocess" in printed.out and printed.err == ""


@pytest.mark.parametrize("name", ["preprocess", "pca", "train", "eval", "ensemble", "sample", "summary", "doctor"])
def test_every_help_names_no_type_for_flags_and_what_must_be_given_first(capsys: Capture, name: str) -> None:
    assert main([name, "-h"]) == 0
    text = capsys.readouterr().out
    assert "bool" not in text and "env var" not in text and "<path>" not in text and "list[" not in text
    options = text[text.index("─ Options ─") :]
    required = [line[2] == "*" for line in options.splitlines() if re.match(r"│ [* ] *--", line)]
    assert required == sorted(required, reverse=True), "the rows with an asterisk come first"


def test_an_option_can_come_from_the_environment(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALEXNET_TRAIN_RATE", "-3")
    assert main(["train", "x", "--out", "y"]) == 2
    assert "--rate -3.0" in capsys.readouterr().err


def test_completion_knows_the_commands_and_can_be_printed() -> None:
    completing = {"_ALEXNET_COMPLETE": "complete_bash", "COMP_WORDS": "alexnet tr", "COMP_CWORD": "1"}
    assert run_alexnet([], completing).stdout.split() == ["train"]
    asked = f"{sys.executable} -m alexnet_cli --show-completion; true"  # of the shell that it is called from
    shown = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=False)
    assert "_ALEXNET_COMPLETE=complete_bash" in shown.stdout


def run_alexnet(words: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """`python -m alexnet_cli` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "alexnet_cli", *words],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )


@pytest.mark.parametrize("words", [["--version"], ["pca", "--help"]], ids=" ".join)
def test_one_command_line_imports_no_other_command_nor_anything_heavy(words: list[str]) -> None:
    code = f"import sys; from alexnet_cli.cli import main; assert main({words!r}) == 0; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert not loaded & {"torch", "numpy", "PIL", "h5py", "lmdb", "scipy"}
    if words[0] == "--version":
        assert not [name for name in loaded if name.startswith(("alexnet_stages.", "alexnet_commands."))]
    if words[0] == "pca":
        assert "alexnet_stages.pca.command" in loaded
        assert not loaded & {"alexnet_stages.train", "alexnet_stages.preprocess", "alexnet_commands.summary"}


def test_a_group_of_commands_can_be_a_stage_too(install: Install, capsys: Capture) -> None:
    install(
        "import typer\ncommand = typer.Typer()\n"
        "@command.command()\ndef one() -> None:\n    print('one')\n"
        "@command.command()\ndef two(times: int = 2) -> None:\n    print('two' * times)\n"
    )
    assert main(["stranger", "two", "--times", "1"]) == 0
    assert capsys.readouterr().out == "two\n"


def test_a_command_that_went_well_ends_with_zero(install: Install, capsys: Capture) -> None:
    install("def command() -> None:\n    print('done')\n")
    assert main(["stranger"]) == 0
    assert capsys.readouterr() == ("done\n", "")


def test_a_reader_that_stops_reading_is_told_nothing(install: Install, tmp_path: Path) -> None:
    install("def command() -> None:\n    for number in range(100_000):\n        print('line', number)\n")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m alexnet_cli stranger | head -n 1"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    assert (done.stdout, done.stderr) == ("line 0\n", "")


# ------------------------------------------------------------------------------------- a stranger's stages


def test_a_strangers_stage_is_a_command_like_ours(install: Install, capsys: Capture) -> None:
    install('def command(times: int = 2) -> None:\n    """Say hello."""\n    print("hello " * times)\n')
    assert main(["stranger", "--times", "3"]) == 0
    assert capsys.readouterr().out == "hello hello hello \n"
    assert main(["--help"]) == 0
    assert "Say hello." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import a_package_that_is_not_there\n", "No module named 'a_package_that_is_not_there'"),
        ("1 / 0\n", "division by zero"),
        ("x = 3\n", "command"),
        ("command = 3\n", "not a function"),
        ("def command(:\n", "invalid syntax"),
        ("import sys\nsys.exit('wants a GPU')\n", "wants a GPU"),
    ],
    ids=["missing package", "raises", "nothing", "not a function", "syntax", "exits"],
)
def test_a_broken_stage_is_told_and_hides_no_other(install: Install, capsys: Capture, code: str, reason: str) -> None:
    install(code)
    assert main(["--help"]) == 0
    printed = capsys.readouterr()
    assert "warning: the command 'stranger' can't be loaded: " in printed.err and reason in printed.err
    for name in ("preprocess", "pca", "train", "eval", "ensemble"):
        assert name in printed.out
    assert "stranger" not in printed.out


@pytest.mark.parametrize(("group", "name"), [("stages", "predict"), ("commands", "train"), ("commands", "summary")])
@pytest.mark.parametrize("first", [True, False])
def test_a_strangers_command_replaces_none_of_ours(
    install: Install,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
    group: str,
    name: str,
    first: bool,
) -> None:
    install('def command() -> None:\n    """A stranger."""\n')
    lines = f"[alexnet.{group}]\n{name} = strangers_stage:command\n"
    (tmp_path / "strangers-1.0.dist-info/entry_points.txt").write_text(lines)
    if not first:
        monkeypatch.setattr(sys, "path", [*sys.path[1:], sys.path[0]])
    assert main([name, "--help"]) == 0
    assert "A stranger." not in capsys.readouterr().out


def test_a_command_that_a_command_starts_imports_nothing_of_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "typer.py").write_text("raise SystemExit('somebody else imported')\n")
    monkeypatch.chdir(tmp_path)
    child = Children().start(["--version"], stdout=subprocess.PIPE)
    assert child.communicate()[0].startswith(b"alexnet ")


def test_our_own_stages_come_in_the_order_of_the_pipeline(capsys: Capture) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    places = [text.index(f"│ {name} ") for name in ("preprocess", "pca", "train", "eval", "ensemble", "sample")]
    assert places == sorted(places)


def test_codes_are_those_of_the_table() -> None:
    assert errno.ENOSPC in errors._DISK_FULL
    assert cli_module._explain(SystemExit(7)) == 7
    assert torch.cuda.OutOfMemoryError.__name__ == "OutOfMemoryError", "told by its name, since torch comes late"


def test_a_docstrings_paragraphs_fill_the_terminals_lines_and_its_tables_stay() -> None:
    """Line breaks of the source would end lines in the middle of a sentence (seen at 80 columns)."""
    text = flowing("""A title.

    One line
    and the next.

    A list:
      x   y
      z   w
    After it
    comes this.

    Example: a b
             c d
    """)
    paragraphs = ["A title.", "One line and the next.", "A list:\n  x   y\n  z   w\nAfter it comes this."]
    assert text == "\n\n".join([*paragraphs, "Example: a b\n         c d"])


@pytest.mark.parametrize(("option", "kind"), [("--epochs", "whole number"), ("--rate", "number")])
def test_a_word_for_a_number_is_answered_with_what_it_must_be(capsys: Capture, option: str, kind: str) -> None:
    assert main(["train", "crops.lmdb", option, "x", "--out", "run"]) == 2
    assert f"'{option}': 'x' is not a valid {kind}." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["train", "crops.lmdb", "--out", "run", "--parallel", "dta"],
            "--parallel dta: must be auto, columns, data or",
        ),
        (["train", "crops.lmdb", "--out", "run", "--timeout", "nan"], "--timeout nan: must be a number"),
        (["train", "crops.lmdb", "--out", "run", "--checkpoint-minutes", "nan"], "--checkpoint-minutes nan: must be"),
        (["ensemble", "1.h5", "2.h5", "--out", "both", "--devices", "gpu"], "--devices gpu: not understood: use auto"),
    ],
)
def test_a_value_that_means_nothing_is_refused_even_where_it_is_not_needed(
    capsys: Capture, words: list[str], message: str
) -> None:
    assert main(words) == 2
    assert f"alexnet: {message}" in capsys.readouterr().err


def test_devices_is_asked_for_in_the_same_words_by_every_command() -> None:
    commands = {**typer.main.get_command(build()).commands}  # type: ignore[attr-defined]
    commands |= {f"plot {name}": one for name, one in commands["plot"].commands.items()}
    asked = {
        name: option.metavar for name, one in commands.items() for option in one.params if "--devices" in option.opts
    }
    assert {"pca", "train", "eval", "ensemble", "predict", "summary"} < set(asked)
    assert set(asked.values()) == {"DEVICES"}
