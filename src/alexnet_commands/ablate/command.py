"""`alexnet ablate`: command line → config → run."""

from __future__ import annotations

from alexnet_cli.commandline import command_from
from alexnet_cli.console import counted, print_json, print_lines
from alexnet_cli.tables import print_table
from alexnet_commands.ablate.config import AblateConfig


@command_from(AblateConfig)
def command(config: AblateConfig) -> None:
    """Compare recipes over seeds: train each with every seed, and show the errors and their differences.

    Nets of one seed see the same pictures in the same order, for the same number of epochs, in mini-batches of the
    same size; so differences are taken seed by seed. Each net is trained by `alexnet train` and evaluated by `alexnet
    eval` (ten views; fewer if a recipe has no flips, or its patch is the whole crop), one on each device at a time. If
    the command was stopped, --update resumes it.

    OUT holds runs/, scores/, table.csv, runs.csv, ablation.json, plot.png and plot.svg. If the paper reports a
    difference, the table shows it next to the measured one; for `cifar-26` and `cifar-18` it shows the test error that
    was published for CIFAR-10. --train-error also shows how soon each net learns, as figure 1 of the paper does.

    Example: alexnet ablate train.lmdb --val val.lmdb --stats stats.h5 --recipes source-2012,no-norm --out ablation
    """
    from alexnet_commands.ablate.run import run
    from alexnet_commands.ablate.table import EPOCH_HEADS, HEADS, as_cells, epoch_cells

    result = run(config)
    if config.json:
        print_json(result.as_json())
        return
    title = f"{config.out}: {counted(len(config.seed_numbers), 'seed')}, all views averaged, differences in points"
    print_table(title, HEADS, as_cells(result.rows))
    if config.train_error is not None:
        title = f"Epochs to {config.train_error:g}% training error"
        print_table(title, EPOCH_HEADS, epoch_cells(result.rows))
        print_lines(f"plot  {config.out / 'curves.png'}\n")
    print_lines(f"plot  {config.out / 'plot.png'}\n")
