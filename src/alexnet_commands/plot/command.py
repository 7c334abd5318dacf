"""`alexnet plot …`: command line → config → run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from alexnet_cli.commandline import command_from
from alexnet_cli.console import print_json, print_lines
from alexnet_cli.help import CommandWithHelp
from alexnet_commands.plot.config import (
    ActivationsConfig,
    ConfusionConfig,
    CurvesConfig,
    FiltersConfig,
    MeanConfig,
    NeighboursConfig,
    PlotConfig,
    PredictionsConfig,
)

if TYPE_CHECKING:
    from alexnet_commands.plot.figure import Drawn

command = typer.Typer(
    help="Draw what a net has learnt, how it learnt it, and what it gets wrong: PNG, SVG or PDF.\n\n"
    "Without -o the figure lies in the working folder under its own name. No display is needed.\n\n"
    "Example: alexnet plot filters out/runs/1 -o filters.png"
)


def _draw(config: PlotConfig) -> None:
    from alexnet_commands.plot import run

    drawn: Drawn = getattr(run, config.figure)(config)
    if config.json:
        print_json(drawn.as_json())
    else:
        print_lines(f"{drawn.path}\n")


@command_from(FiltersConfig)
def filters(config: FiltersConfig) -> None:
    """The first convolution's kernels in colour, column a above column b (the paper's figure 3).

    A weight of zero is grey; red, green and blue are the weights of the picture's red, green and blue.

    Example: alexnet plot filters out/runs/1 -o filters.png
    """
    _draw(config)


@command_from(CurvesConfig)
def curves(config: CurvesConfig) -> None:
    """Loss and error by epoch, of one or several runs.

    Runs of one recipe with different seeds are one line, their mean, in a band from the lowest to the highest.
    Dotted lines are drops of the learning rate.

    Example: alexnet plot curves out/runs/1 out/runs/2 -o curves.svg
    """
    _draw(config)


@command_from(PredictionsConfig)
def predictions(config: PredictionsConfig) -> None:
    """Pictures with the five most probable labels as bars, the right one in another colour (figure 4, left).

    Example: alexnet plot predictions out/runs/1 out/val.lmdb --picture 3 --picture 17
    """
    _draw(config)


@command_from(NeighboursConfig)
def neighbours(config: NeighboursConfig) -> None:
    """For each query, the pictures whose activations are nearest (figure 4, right).

    The distance is Euclidean, between the activations of the centre views in the last hidden layer, or in --layer.

    Example: alexnet plot neighbours out/runs/1 out/train.lmdb --query-crops out/val.lmdb --query 12
    """
    _draw(config)


@command_from(ConfusionConfig)
def confusion(config: ConfusionConfig) -> None:
    """Which class is taken for which: the confusion matrix of a scores file, and the commonest confusions.

    Example: alexnet plot confusion out/scores/1.h5 -o confusion.pdf
    """
    _draw(config)


@command_from(ActivationsConfig)
def activations(config: ActivationsConfig) -> None:
    """Every convolution's maps of one picture, after their ReLU or tanh, column a above column b.

    Example: alexnet plot activations out/runs/1 cat.jpg
    """
    _draw(config)


@command_from(MeanConfig)
def mean(config: MeanConfig) -> None:
    """The mean image, and the three principal directions of the colours (4.1).

    Example: alexnet plot mean out/stats.h5
    """
    _draw(config)


for _work in (filters, curves, predictions, neighbours, confusion, activations, mean):
    command.command(_work.__name__, cls=CommandWithHelp)(_work)
