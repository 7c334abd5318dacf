"""`alexnet summary`."""

from __future__ import annotations

from typing import Any

from alexnet_cli.commandline import command_from
from alexnet_cli.console import print_facts, print_json, print_table, size
from alexnet_commands.summary.config import SummaryConfig


@command_from(SummaryConfig)
def command(config: SummaryConfig) -> None:
    """Show a net layer by layer: shapes, parameters, neurons, multiply-adds, FLOP and bytes.

    Example: alexnet summary --recipe source-2012
    """
    from alexnet_cli.recipes.read import load_recipe, recipe_files
    from alexnet_commands.summary.run import run

    if config.list:
        recipes = {name: load_recipe(name).about for name in recipe_files()}
        if config.json:
            print_json({"recipes": recipes})
        else:
            print_table("Recipes", ("name", "what it is"), list(recipes.items()), left=2)
        return
    summary = run(config)
    if config.json:
        print_json(summary)
        return
    columns = (
        "layer",
        "output",
        "kernels",
        "then",
        "sees",
        "parameters",
        "neurons",
        "multiply-adds",
        "FLOP",
        "weights",
        "maps",
    )
    rows: list[tuple[str, ...]] = [
        (
            layer["name"],
            "×".join(str(number) for number in layer["output"]),
            layer["kernels"],
            " → ".join(layer["then"]) or ("softmax" if layer is summary["layers"][-1] else "–"),
            layer["sees"],
            f"{layer['parameters']:,}",
            f"{layer['neurons']:,}",
            f"{layer['multiply_adds']:,}",
            f"{layer['flop'] / 1e9:.3f} G",
            size(layer["parameter_bytes"]),
            size(layer["neuron_bytes"]),
        )
        for layer in summary["layers"]
    ]
    totals = [summary["parameters"], summary["neurons"], summary["multiply_adds"]]
    bytes_ = [size(4 * summary["parameters"]), size(4 * summary["neurons"])]
    flop = f"{summary['flop'] / 1e9:.3f} G"
    rows.append(("total", "", "", "", "", *(f"{total:,}" for total in totals), flop, *bytes_))
    print_table(f"{summary['recipe']}: {summary['about']}", columns, rows, left=5)
    if config.device_count > 1:
        _print_shares(summary)


def _print_shares(summary: dict[str, Any]) -> None:
    """Who holds and sends what, layer by layer."""
    rows = [
        (layer["name"], f"{layer['held_parameters']:,}", size(layer["sent_bytes_per_picture"]))
        for layer in summary["layers"]
    ]
    rows.append(("crops", "", size(summary["crop_bytes_per_picture"])))
    rows.append(("total", f"{summary['held_parameters']:,}", size(summary["sent_bytes_per_picture"])))
    print_table(summary["layout"], ("layer", "parameters here", "sent, a picture"), rows)
    pictures = summary["batch_size"]
    facts = {
        "weights, gradients, momentum": size(summary["state_bytes"]),
        f"maps of a mini-batch of {pictures}": size(summary["map_bytes"]),
    }
    print_facts("Memory of the first device, float32", facts)
