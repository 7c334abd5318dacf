"""`alexnet predict`."""

from __future__ import annotations

from alexnet_cli.commandline import command_from
from alexnet_commands.predict.config import PredictConfig


@command_from(PredictConfig)
def command(config: PredictConfig) -> None:
    """Classify pictures with a trained net: the most probable classes of each, with their probabilities.

    The pictures are cut as the net's training pictures were, and the probabilities of ten views are averaged, as
    `alexnet eval` does; an ensemble also averages over its nets. No crop store is made. In a folder, tar or zip, files
    without a picture's extension are skipped.

    If a picture can't be read, its row says why; the command continues with the others and ends with code 3.

    Example: alexnet predict out/runs/1 cat.jpg holiday/ --top 3
             alexnet predict out/ensemble test.tar -o predictions.csv
             curl -s URL | alexnet predict out/runs/1 -
    """
    from alexnet_commands.predict.run import run
    from alexnet_commands.predict.show import require_all, show

    result = run(config)
    show(result, config)
    require_all(result)
