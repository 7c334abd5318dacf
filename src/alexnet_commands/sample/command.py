"""`alexnet sample OUT`: command line → SampleConfig → run."""

from __future__ import annotations

from alexnet_cli.commandline import command_from
from alexnet_commands.sample.config import SampleConfig


@command_from(SampleConfig)
def command(config: SampleConfig) -> None:
    """Write the sample that the pipeline can be tried on: hand-written digits in class folders, as ImageNet has them.

    1,437 training and 360 validation pictures in ten classes, from
    scikit-learn's digits (no download): JPEGs of varied sizes and shapes,
    some greyscale, one CMYK, one PNG named .JPEG. Every call writes the same pictures, byte for byte.

    Example: alexnet sample pictures
    """
    from alexnet_cli.console import print_facts, print_json
    from alexnet_commands.sample.run import run

    result = run(config)
    if config.json:
        print_json(result.as_json())
    else:
        facts = {"train": f"{result.train:,} pictures", "val": f"{result.val:,} pictures"}
        print_facts(str(result.out), {**facts, "classes": f"{result.classes}"})
