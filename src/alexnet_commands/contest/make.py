"""`alexnet contest --update`: run the graph's commands one after the other, each in a process of its own."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Sequence

from alexnet_cli.artifacts.common.ownership import require_apart, require_output
from alexnet_cli.console import Talk
from alexnet_cli.errors import UsageError
from alexnet_cli.recipes.read import load_recipe
from alexnet_cli.signals import EndedBySignalError, signals_to_children
from alexnet_commands.check.run import require_devices
from alexnet_commands.contest.config import ContestConfig
from alexnet_commands.contest.graph import Step, needed_for, steps
from alexnet_commands.contest.results import TABLE, TABLE_FILE


def chosen_steps(config: ContestConfig) -> list[Step]:
    """All steps, or the one of --only with what it needs."""
    everything = steps(config)
    return everything if config.only is None else needed_for(everything, config.only)


def require_makeable(config: ContestConfig) -> None:
    """UsageError or ResourceError for what is invalid or missing, before any work."""
    if config.data is None:
        raise UsageError(
            "--data is missing: it names the folder of ILSVRC-2012: make contest DATA=/path FALL2011=/path"
        )
    require_sources(config)
    require_apart(config.out / "crops", {"--data": config.data, "--fall2011": config.fall2011})
    require_output(config.out / TABLE_FILE, TABLE, overwrite=True)
    load_recipe(config.recipe)
    if config.fall2011 is not None:
        load_recipe(config.pretrain_recipe)
        load_recipe(config.finetune_recipe)
    require_devices(config.devices, config.precision)


def require_sources(config: ContestConfig) -> None:
    """UsageError if a source that is named is not there."""
    for option, source in (("--data", config.data), ("--fall2011", config.fall2011), ("--devkit", config.devkit)):
        if source is not None and not source.exists():
            raise UsageError(f"{option} {source}: no such file or folder: check the path")


def make(config: ContestConfig) -> None:
    """Run every step with --update. One that fails has said why: end with its code."""
    require_makeable(config)
    talk = Talk(quiet=config.quiet)
    for step in chosen_steps(config):
        words = (*step.words, "--update", *(("--quiet",) if config.quiet else ()))
        talk.say(f"alexnet {shlex.join(words)}")
        code = run_command(words)
        if code:
            raise SystemExit(code)


def run_command(words: Sequence[str]) -> int:
    """Run `alexnet WORDS`; its exit code. What it prints goes to stderr: stdout is for the table.

    A signal is passed on, and we wait until the command has saved. EndedBySignalError or KeyboardInterrupt unless the
    command itself has said that a signal ended it.
    """
    with signals_to_children() as children:
        code = children.start(words, stdout=sys.stderr).wait()
    number = -code if code < 0 else children.signal
    if number is not None and code <= 0:  # the command itself has not said why it ended, or finished
        raise KeyboardInterrupt if number == signal.SIGINT else EndedBySignalError(number)
    return code
