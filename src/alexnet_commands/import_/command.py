"""`alexnet import FILE`: command line → ImportConfig → run."""

from __future__ import annotations

from alexnet_cli.commandline import command_from
from alexnet_commands.import_.config import ImportConfig


@command_from(ImportConfig)
def command(config: ImportConfig) -> None:
    """Make a checkpoint of another program's AlexNet: eval, predict, plot, export and train --init-from take it.

    torchvision's alexnet becomes one of recipe torchvision, Caffe's bvlc_alexnet and CaffeNet of caffe-alexnet and
    caffenet; other nets in a row of these layers keep a recipe of their own in the checkpoint.
    docs/exchange.md has the conventions.

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
