"""`alexnet pca CROPS --out stats.h5`: command line → PcaConfig → run."""

from __future__ import annotations

from alexnet_cli.commandline import command_from
from alexnet_stages.pca.config import PcaConfig


@command_from(PcaConfig)
def command(config: PcaConfig) -> None:
    """Compute a crop store's mean image and the principal components of its RGB values.

    It reads the store once. The sums are exact integers: the result depends on
    neither the order nor the number of threads. `alexnet train` subtracts the
    mean image and draws its colour noise along the components.

    Example: alexnet pca train.lmdb --out stats.h5
    """
    from alexnet_cli.console import print_json
    from alexnet_stages.pca.run import print_result, run

    result = run(config)
    if config.json:
        print_json(result.as_json())
    else:
        print_result(result)
