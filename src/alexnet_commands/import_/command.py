"""`alexnet import FILE`: command line → ImportConfig → run."""

from __future__ import annotations

from alexnet_cli.commandline import command_from
from alexnet_commands.import_.config import ImportConfig


@command_from(ImportConfig)
def command(config: ImportConfig) -> None:
    """Turn another program's AlexNet into a checkpoint, for eval, predict, plot, export and train --init-from.

    torchvision's alexnet gets the recipe torchvision, Caffe's bvlc_alexnet the recipe caffe-alexnet, and CaffeNet the
    recipe caffenet. Any other net that is a plain chain of such layers gets a recipe of its own, which the checkpoint
    holds. docs/exchange.md describes what is converted.

    Example: alexnet import alexnet-owt-7be5be79.pth --from torchvision -o net
    """
    from alexnet_cli.console import print_facts, print_json
    from alexnet_commands.import_.run import run

    result = run(config)
    if config.json:
        print_json(result.as_json())
        return
    facts = {
        "recipe": result.recipe,
        "layers": ", ".join(result.layers),
        "parameters": f"{result.parameters:,}",
        "classes": f"{result.classes:,}, {result.named}",
    }
    print_facts(str(result.path), facts)
