"""`alexnet pca CROPS --out stats.h5`: command line → PcaConfig → run."""

from __future__ import annotations

from alexnet_cli.commandline import command_from
from alexnet_stages.pca.config import PcaConfig


@command_from(PcaConfig)
def command(config: PcaConfig) -> None:
    """Compute a crop store's mean image and the principal components of its RGB values.

    One pass over the store. The sums are exact integers, so the result does
    not depend on order or threads. `alexnet train` subtracts the mean image
    and draws its colour noise along the components.

    Example: [bold]alexnet pca train.lmdb --out stats.h5[/bold]
    """
    from alexnet_cli.console import print_json
    from alexnet_stages.pca.run import print_result, run

    result = run(config)
    if config.json:
        print_json(result.as_json())
    else:
        print_result(result)
