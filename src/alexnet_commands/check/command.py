"""`alexnet check`."""

from __future__ import annotations

from alexnet_cli.commandline import command_from
from alexnet_commands.check.config import CheckConfig


@command_from(CheckConfig)
def command(config: CheckConfig) -> None:
    """Check a pipeline's options before any work; nothing is read but names, and nothing is written.

    Where a value is wrong, or a recipe, a device or a folder is not
    there, the command ends with one line and that error's code.

    Example: alexnet check --data pictures --recipe small --devices cuda --precision bf16
    """
    from alexnet_commands.check.run import run

    run(config)
