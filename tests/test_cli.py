"""The command host: one line and one exit code for every kind of error, and a stranger's stage that can't break it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from alexnet_cli import __version__, errors
from alexnet_cli import cli as cli_module
from alexnet_cli.cli import main

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
        ("errors.PictureError('cat.jpg: is no picture')", 3, "cat.jpg: is no picture"),
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
        (["train", "x", "--out", "y", "--epoch", "3"], "No such option: --epoch"),
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
    assert main(["train", "x", "--out", "y", "--epoch", "3"]) == 2
    assert "--epochs" in capsys.readouterr().err


# ------------------------------------------------------------------------------------- the command itself


def test_version_is_printed(capsys: Capture) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"alexnet {__version__}\n"


def test_without_a_command_the_help_is_shown(capsys: Capture) -> None:
    code = main([])
    printed = capsys.readouterr()
    assert "preprocess" in printed.out + printed.err
    assert code in (0, 2)


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
        ("command = 3\n", "no function"),
        ("def command(:\n", "invalid syntax"),
    ],
    ids=["missing package", "raises", "nothing", "no function", "syntax"],
)
def test_a_broken_stage_is_told_and_hides_no_other(install: Install, capsys: Capture, code: str, reason: str) -> None:
    install(code)
    assert main(["--help"]) == 0
    printed = capsys.readouterr()
    assert "warning: the stage 'stranger' can't be loaded: " in printed.err and reason in printed.err
    for name in ("preprocess", "pca", "train", "eval", "ensemble"):
        assert name in printed.out
    assert "stranger" not in printed.out


def test_our_own_stages_come_in_the_order_of_the_pipeline(capsys: Capture) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    places = [text.index(f"│ {name} ") for name in ("preprocess", "pca", "train", "eval", "ensemble", "sample")]
    assert places == sorted(places)


def test_codes_are_those_of_the_table() -> None:
    assert errno.ENOSPC in errors._DISK_FULL
    assert cli_module._explain(SystemExit(7)) == 7
    assert torch.cuda.OutOfMemoryError.__name__ == "OutOfMemoryError", "told by its name, since torch comes late"
