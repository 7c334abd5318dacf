"""The `alexnet` command: finds the stages through their entry points, runs one, turns errors into one line.

alexnet --help
alexnet preprocess pictures/train --out train.lmdb
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Annotated

import typer

from alexnet_cli import __version__
from alexnet_cli.commands.check.command import command as check
from alexnet_cli.commands.contest.command import command as contest
from alexnet_cli.commands.doctor.command import command as doctor
from alexnet_cli.commands.sample.command import command as sample
from alexnet_cli.commands.summary.command import command as summary
from alexnet_cli.console import printable, size
from alexnet_cli.errors import AlexNetError, describe_os_error
from alexnet_cli.memory import limit_reached
from alexnet_cli.signals import EndedBySignalError, ending_on_signals
from alexnet_cli.streams import finish_streams, prepare_streams

STAGE_GROUP = "alexnet.stages"
_ORDER = ("preprocess", "pca", "train", "eval", "ensemble")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"alexnet {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """AlexNet (Krizhevsky, Sutskever, Hinton 2012), whole: from JPEGs to the averaged ensemble.

    preprocess → pca → train → eval → ensemble; each reads and writes artifacts on disk.
    """


def build() -> typer.Typer:
    """The command line: built-in commands and every stage that an installed package declares."""
    app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="rich")
    app.callback()(_options)
    stages = {point.name: point for point in entry_points(group=STAGE_GROUP)}
    known = [name for name in _ORDER if name in stages]
    for name in known + sorted(set(stages) - set(known)):
        try:
            command = stages[name].load()
            if not callable(command):
                raise TypeError(f"{stages[name].value} is no function")
        except Exception as error:  # a broken third-party stage must not take the others down, nor hide
            print(printable(f"warning: the stage '{name}' can't be loaded: {error}"), file=sys.stderr)
            continue
        app.command(name)(command)
    more = {"sample": sample, "summary": summary, "contest": contest, "check": check, "doctor": doctor}
    for name, command in more.items():
        app.command(name, rich_help_panel="More")(command)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; the exit code. See `alexnet_cli.errors` for the codes."""
    prepare_streams()
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words or bool(os.environ.get("ALEXNET_DEBUG"))
    words = [word for word in words if word != "--debug"]
    try:
        with ending_on_signals():
            code = _run(words)
            finish_streams()
        return code
    except BaseException as error:
        if debug and not isinstance(error, SystemExit):
            import traceback

            traceback.print_exc()
        return _explain(error)


def _run(words: list[str]) -> int:
    outcome = build()(words, prog_name="alexnet", standalone_mode=False)
    if outcome == 130:  # typer's word for Ctrl-C, said to nobody
        raise KeyboardInterrupt
    return outcome if isinstance(outcome, int) else 0


def _explain(error: BaseException) -> int:
    """Print the one line for an error; its exit code."""
    if isinstance(error, typer.Exit):
        return int(error.exit_code)
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if isinstance(error, (KeyboardInterrupt, typer.Abort)):
        return _fail("interrupted", 130)
    if isinstance(error, (AlexNetError, EndedBySignalError)):
        return _fail(str(error), error.exit_code)
    if hasattr(error, "format_message"):  # the parser's own errors
        context = getattr(error, "ctx", None)
        where = context.command_path if context else "alexnet"
        return _fail(f"{error.format_message()} (try `{where} --help`)", 2)
    if isinstance(error, MemoryError):
        return _fail("out of memory: use a smaller --batch-size or fewer --workers", 5)
    if type(error).__name__ == "OutOfMemoryError":
        return _fail("the device is out of memory: use a smaller --batch-size", 5)
    limit = limit_reached()
    if limit is not None:
        what = f"{type(error).__name__}: {error}"
        return _fail(f"out of memory, of which this process may have {size(limit)} (ulimit -v): raise it ({what})", 5)
    if isinstance(error, OSError):
        return _fail(describe_os_error(error), 5)
    return _fail(f"internal error: {type(error).__name__}: {error} (run again with --debug and report it)", 1)


def _fail(message: str, code: int) -> int:
    print(f"alexnet: {printable(' '.join(message.split()))}", file=sys.stderr, flush=True)
    return code
