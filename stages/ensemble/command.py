"""`alexnet ensemble`."""

from __future__ import annotations

from alexnet_cli.commandline import command_from
from alexnet_cli.console import print_json, print_lines
from alexnet_stages.ensemble.config import EnsembleConfig


@command_from(EnsembleConfig)
def command(config: EnsembleConfig) -> None:
    """Average the probabilities of several nets (paper, section 6, table 2).

    A member is a run, a checkpoint or a scores file. A run or checkpoint is evaluated first, on --crops.

    --fit-weights HOLDOUT searches a weight for each member on held-out pictures, and reports the errors on --crops,
    with these weights and with equal ones.
    --submission FILE writes the five most probable classes of each picture, in the contest's format.

    Example: alexnet ensemble out/runs/1 out/runs/2 --crops out/val.lmdb --out out/ensemble
    """
    from alexnet_stages.ensemble.run import run

    result = run(config)
    if config.json:
        print_json(result.as_json())
    else:
        print_lines(result.table)
