"""`alexnet ensemble`."""

from __future__ import annotations

from alexnet_cli.commandline import command_from
from alexnet_cli.console import print_json, print_lines
from alexnet_stages.ensemble.config import EnsembleConfig


@command_from(EnsembleConfig)
def command(config: EnsembleConfig) -> None:
    """Average the probabilities of several nets (paper, section 6, table 2).

    Members are runs, checkpoints or scores files; what has no scores yet is evaluated.

    --fit-weights HOLDOUT searches the members' weights on held-out pictures
    and reports on those of --crops, beside equal weights.
    --submission FILE writes the five best classes of each picture as the
    contest wants them.

    Example: alexnet ensemble out/runs/1 out/runs/2 --crops out/val.lmdb --out out/ensemble
    """
    from alexnet_stages.ensemble.run import run

    result = run(config)
    if config.json:
        print_json(result.as_json())
    else:
        print_lines(result.table)
