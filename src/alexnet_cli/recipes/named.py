"""A layer by its name, as `--layer` gives it."""

from __future__ import annotations

from alexnet_cli.errors import UsageError
from alexnet_cli.recipes.net import Net


def layer_named(net: Net, name: str | None) -> str:
    """The layer's name, after a check that the net has it (UsageError).

    None: the last hidden fully-connected layer, fc7 in the paper's net; if there is none, the layer below the last
    fully-connected one.
    """
    names = [spec.name for spec in net.layers]
    if name is None:
        linear = [spec.name for spec in net.layers if spec.kind == "linear"]
        return linear[-2] if len(linear) > 1 else names[max(0, names.index(linear[-1]) - 1)]
    if name not in names:
        raise UsageError(f"--layer {name}: the net has no such layer: use one of {', '.join(names)}")
    return name
