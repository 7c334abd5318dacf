"""`alexnet check`."""

from __future__ import annotations

from alexnet_cli.commandline import command_from
from alexnet_commands.check.config import CheckConfig


@command_from(CheckConfig)
def command(config: CheckConfig) -> None:
    """Check a pipeline's options before any work: no picture is read, and nothing is written.

    If a value is wrong, or a recipe, a device or a folder does not exist, the command says so in one line and ends with
    that error's code.

    Example: alexnet check --data pictures --recipe small --devices cuda --precision bf16
    """
    from alexnet_commands.check.run import run

    run(config)
