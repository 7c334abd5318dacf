"""`alexnet features`."""

from __future__ import annotations

from alexnet_cli.commandline import command_from
from alexnet_cli.console import print_facts, print_json, size
from alexnet_commands.features.config import FeaturesConfig


@command_from(FeaturesConfig)
def command(config: FeaturesConfig) -> None:
    """Write a layer's activations for each picture, for scikit-learn or a search for similar pictures.

    Layers have the names of the recipe (`alexnet recipe show`): `fc7` is the output before the ReLU, `relu7` the one
    after it. The features are those of the centre view; --views 10 averages them over the ten views (five, if the
    net was trained without mirror images). Convolutions, pools and norms give (N, channels, rows, columns). The
    file is HDF5: `features` float32, `names`, `labels`, `classes`.

    Example: alexnet features out/runs/1 out/val.lmdb --layer relu7 --out fc7.h5
    """
    from alexnet_commands.features.run import run

    result = run(config)
    if config.json:
        print_json(result.as_json())
        return
    shape = " × ".join(f"{number:,}" for number in result.shape)
    facts = {"layer": result.layer, "shape": shape, "size": size(result.bytes)}
    print_facts(str(config.out), {**facts, "checkpoint": result.checkpoint})
