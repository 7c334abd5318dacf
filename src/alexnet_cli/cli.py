"""The `alexnet` command: finds stages and commands through their entry points, runs one, turns errors into one line.

alexnet --help
alexnet preprocess pictures/train --out train.lmdb
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from typing import Annotated, Any

import typer

from alexnet_cli import __version__
from alexnet_cli.console import printable, size
from alexnet_cli.errors import AlexNetError, describe_os_error
from alexnet_cli.help import CommandWithHelp, GroupWithHelp, keep_close_names, meant_option
from alexnet_cli.memory import limit_reached
from alexnet_cli.signals import EndedBySignalError, ending_on_signals
from alexnet_cli.streams import finish_streams, prepare_streams

STAGES, COMMANDS = "alexnet.stages", "alexnet.commands"  # the groups of entry points
_PANELS = {  # how `alexnet --help` lists them; one that is not named here comes last in the panel of its group
    "Commands": ("preprocess", "pca", "train", "eval", "ensemble"),
    "Use a trained net": ("predict", "plot", "report", "features", "export", "import", "strip"),
    "More": ("sample", "recipe", "summary", "time", "check", "ablate", "contest", "doctor"),
}
_LAST = {STAGES: "Commands", COMMANDS: "More"}
_SETTINGS = {"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "ALEXNET"}


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"alexnet {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True, allow_from_autoenv=False
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error.", allow_from_autoenv=False)
    ] = False,
) -> None:
    """AlexNet (Krizhevsky, Sutskever, Hinton 2012), whole: from JPEGs to the averaged ensemble.

    preprocess → pca → train → eval → ensemble; each reads and writes artifacts on disk.

    An environment variable can set any option: ALEXNET_TRAIN_EPOCHS=20 is --epochs 20 of `alexnet train`.
    """


def build(only: str | None = None) -> typer.Typer:
    """The command line: every stage and every command that an installed package declares.

    only: the name of a command; then no other one is imported. For "--version" none is.
    """
    app = typer.Typer(cls=GroupWithHelp, rich_markup_mode="rich", context_settings=dict(_SETTINGS))
    app.callback()(_options)
    declared = [(point, _LAST[group]) for group in (COMMANDS, STAGES) for point in entry_points(group=group)]
    declared.sort(key=lambda one: one[0].value.startswith("alexnet_"))  # ours last: no other package replaces one
    found = {point.name: (point, panel) for point, panel in declared}
    listed = [(name, panel) for panel, names in _PANELS.items() for name in names if name in found]
    others = [(name, found[name][1]) for name in sorted(set(found) - {name for name, _ in listed})]
    for name, panel in listed + others:
        if name != only and (only in found or only == "--version"):
            continue
        try:
            _add(app, name, found[name][0].load(), panel)
        except (Exception, SystemExit) as error:  # a broken third-party stage must not take the others down, nor hide
            print(printable(f"warning: the command '{name}' can't be loaded: {error}"), file=sys.stderr)
    return app


def _add(app: typer.Typer, name: str, command: Callable[..., Any] | typer.Typer, panel: str) -> None:
    """A function becomes a command; a typer.Typer, with commands of its own, becomes a group."""
    if isinstance(command, typer.Typer):
        app.add_typer(command, name=name, cls=GroupWithHelp, rich_help_panel=panel)
    elif callable(command):
        app.command(name, cls=CommandWithHelp, rich_help_panel=panel)(command)
    else:
        raise TypeError(f"{command!r} is not a function")


def _asked(words: Sequence[str]) -> str | None:
    """The command that these words name; None if all must be known: for help, completion, a wrong word."""
    return words[0] if words and "_ALEXNET_COMPLETE" not in os.environ else None


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
    outcome = build(_asked(words))(words, prog_name="alexnet", standalone_mode=False)
    if outcome == 130:  # what typer makes of Ctrl-C, without a message
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
        if meant := meant_option(error):
            return _fail(f"there is no option {error.option_name}: {meant} (`{where} --help`)", 2)  # type: ignore[attr-defined]
        keep_close_names(error)
        return _fail(f"{error.format_message()} (try `{where} --help`)", 2)
    if isinstance(error, MemoryError):
        return _fail("out of memory: use a smaller --batch-size or fewer --workers", 5)
    if type(error).__name__ == "OutOfMemoryError":
        return _fail("the device is out of memory: use a smaller --batch-size", 5)
    if type(error).__name__ == "AcceleratorError":  # torch adds advice for developers in further lines
        return _fail(f"the device failed: {str(error).splitlines()[0]}: see what `alexnet doctor` says", 5)
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
