"""The work of `alexnet summary`: the layers of a net in numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from alexnet_cli.recipes.net import Layer, Net, layers
from alexnet_cli.recipes.read import load_recipe
from alexnet_commands.summary.config import SummaryConfig

_FLOAT = 4


def run(config: SummaryConfig) -> dict[str, Any]:
    """The net of a recipe in numbers.

    `parameters`, `neurons`, `multiply_adds` and `flop` of one picture's forward pass, and the `layers` with weights.
    """
    recipe = load_recipe(config.recipe, config.set).with_options(net={"classes": config.classes})
    net = recipe.net
    described = [_describe(layer, net) for layer in layers(net)]
    shared = _share(net, config, described) if config.device_count > 1 else {}
    return {
        "recipe": recipe.name,
        "about": recipe.about,
        "columns": net.columns,
        "input": [3, net.patch, net.patch],
        **{
            total: sum(layer[total] for layer in described)
            for total in ("parameters", "neurons", "multiply_adds", "flop")
        },
        "layers": described,
        **shared,
    }


def compare(config: SummaryConfig) -> dict[str, Any]:
    """The nets of several recipes: `compared`, a `run` of each, and `rows`, which of their layers are in one row.

    A row holds for each net the index of a layer with weights, or None: convolutions from the first on, then
    fully-connected layers up to the last.
    """
    found = [run(replace(config, recipe=name, compare=None)) for name in config.compared]
    kinds = [[layer["kind"] for layer in net["layers"]] for net in found]
    maps = [[at for at, kind in enumerate(those) if kind == "convolution"] for those in kinds]
    numbers = [[at for at, kind in enumerate(those) if kind != "convolution"] for those in kinds]
    return {"compared": found, "rows": [*_side_by_side(maps), *_side_by_side(numbers, at_the_end=True)]}


def _side_by_side(columns: list[list[int]], *, at_the_end: bool = False) -> list[list[int | None]]:
    longest = max(map(len, columns))
    fill: list[list[int | None]] = [[None] * (longest - len(column)) for column in columns]
    whole = [[*gap, *column] if at_the_end else [*column, *gap] for gap, column in zip(fill, columns, strict=True)]
    return [list(row) for row in zip(*whole, strict=True)]


def _share(net: Net, config: SummaryConfig, described: list[dict[str, Any]]) -> dict[str, Any]:
    """What several devices hold and send; each layer's numbers are added to its description."""
    from alexnet_cli.parallel.account import account, crop_bytes, map_bytes, state_bytes
    from alexnet_cli.parallel.layout import choose_layout

    layout, what = choose_layout(config.parallel, config.device_count, net)
    for layer, found in zip(described, account(net, layout, config.batch_size), strict=True):
        layer["held_parameters"] = found.parameters
        layer["sent_bytes_per_picture"] = found.sent_per_picture
    return {
        "devices": config.device_count,
        "parallel": layout.mode,
        "layout": what,
        "batch_size": config.batch_size,
        "held_parameters": sum(layer["held_parameters"] for layer in described),
        "crop_bytes_per_picture": crop_bytes(net, layout),
        "sent_bytes_per_picture": sum(layer["sent_bytes_per_picture"] for layer in described) + crop_bytes(net, layout),
        "state_bytes": state_bytes(net, layout),
        "map_bytes": map_bytes(net, layout, config.batch_size),
    }


def _describe(layer: Layer, net: Net) -> dict[str, Any]:
    convolution = layer.kind == "convolution"
    side = layer.output_side
    kernels = f"{layer.outputs}"
    if convolution:
        kernels = f"{layer.outputs} of {layer.size}×{layer.size}×{layer.inputs}"
        kernels += f", every {layer.stride}" if layer.stride > 1 else ""
    if net.columns == 1:
        sees = "one column"
    elif layer.sees == "picture":
        sees = "the picture"
    else:
        sees = "all columns" if layer.sees == "all" else "its own column"
    return {
        "name": layer.name,
        "kind": layer.kind,
        "output": [layer.outputs, side, side] if convolution else [layer.outputs],
        "weight": list(layer.weight_shape),
        "kernels": kernels,
        "then": list(layer.after),
        "sees": sees,
        "parameters": layer.parameters,
        "neurons": layer.neurons,
        "multiply_adds": layer.multiply_adds,
        "flop": 2 * layer.multiply_adds,
        "parameter_bytes": _FLOAT * layer.parameters,
        "neuron_bytes": _FLOAT * layer.neurons,
    }
