"""`alexnet strip RUN`: command line → StripConfig → run."""

from __future__ import annotations

from alexnet_cli.commandline import command_from
from alexnet_commands.strip.config import StripConfig


@command_from(StripConfig)
def command(config: StripConfig) -> None:
    """Keep what a trained net needs to be used: weights, input transform, recipe, class list. Half the bytes.

    The momentum and the state of the training stay behind. eval, predict, export and --init-from take the result;
    --resume does not.

    Example: alexnet strip out/runs/1 -o net
    """
    from alexnet_cli.console import print_facts, print_json, size
    from alexnet_commands.strip.run import run

    result = run(config)
    if config.json:
        print_json(result.as_json())
    else:
        facts = {"from": result.checkpoint, "size": f"{size(result.bytes)}, of {size(result.bytes_before)}"}
        print_facts(str(result.path), facts)
