"""`alexnet export NET`: command line → ExportConfig → run."""

from __future__ import annotations

from alexnet_cli.commandline import command_from
from alexnet_commands.export.config import ExportConfig


@command_from(ExportConfig)
def command(config: ExportConfig) -> None:
    """Write a trained net in another program's format, run it there, and compare the outputs.

    The input transform, the softmax and the class names are part of the file: it takes uint8 pictures of shape
    N×224×224×3 (RGB; 224 is the recipe's patch side) and gives the probabilities of the centre view. With --raw it
    takes transformed patches, float32 of shape N×3×224×224, and gives logits. docs/exchange.md describes each format.

    Example: alexnet export out/runs/1 --format onnx -o net.onnx
    """
    from alexnet_cli.console import print_facts, print_json, size
    from alexnet_commands.export.run import run

    result = run(config)
    if config.json:
        print_json(result.as_json())
        return
    facts = {
        "from": result.checkpoint,
        "format": result.details,
        "size": size(result.bytes),
        "input": result.input,
        "output": result.output,
        "largest difference": f"{result.max_difference:.1e}, by {result.engine}",
    }
    print_facts(str(result.path), facts)
