"""`alexnet check`."""

from __future__ import annotations

from alexnet_cli.commandline import command_from
from alexnet_commands.check.config import CheckConfig


@command_from(CheckConfig)
def command(config: CheckConfig) -> None:
    """Check a pipeline's options before any work; nothing is read but names, and nothing is written.

    What can't be meant, or isn't there (a recipe, a device, a folder of
    pictures), ends with one line and the code of its kind.

    Example: alexnet check --data pictures --recipe small --devices cuda --precision bf16
    """
    from alexnet_commands.check.run import run

    run(config)
