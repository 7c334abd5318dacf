"""`alexnet predict`."""

from __future__ import annotations

from alexnet_cli.commandline import command_from
from alexnet_commands.predict.config import PredictConfig


@command_from(PredictConfig)
def command(config: PredictConfig) -> None:
    """Ask a trained net what is in pictures: the most probable classes of each, with their probabilities.

    The pictures are cut as the net's training pictures were, and the probabilities of ten views are averaged, as
    `alexnet eval` does; of an ensemble, those of its nets. No crop store is made. In a folder or tar, files whose names
    have no picture's extension are passed over.

    A picture that can't be read is a row that says why. The command does the others, and ends with 3.

    Example: alexnet predict out/runs/1 cat.jpg holiday/ --top 3
             alexnet predict out/ensemble test.tar -o predictions.csv
             curl -s URL | alexnet predict out/runs/1 -
    """
    from alexnet_commands.predict.run import run
    from alexnet_commands.predict.show import require_all, show

    result = run(config)
    show(result, config)
    require_all(result)
