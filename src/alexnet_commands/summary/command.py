"""`alexnet summary`."""

from __future__ import annotations

from typing import Any

from alexnet_cli.commandline import command_from
from alexnet_cli.console import print_facts, print_json, print_lines, size
from alexnet_cli.tables import print_table
from alexnet_commands.summary.config import SummaryConfig

_COLUMNS = 5
"""Of each net that is compared: name, output, kernels, what comes then, parameters."""


@command_from(SummaryConfig)
def command(config: SummaryConfig) -> None:
    """Show a net layer by layer: shapes, parameters, neurons, multiply-adds, FLOP and bytes.

    --devices adds what each of several devices holds and sends.

    Example: alexnet summary --recipe source-2012 --set net.pool1.size=2
             alexnet summary --compare lenet,paper
    """
    from alexnet_commands.summary.run import compare, run

    if config.compare is not None:
        compared = compare(config)
        if config.json:
            print_json(compared)
        else:
            _print_compared(compared)
        return
    summary = run(config)
    if config.json:
        print_json(summary)
        return
    texts = ("layer", "output", "kernels", "then", "sees")
    numbers = ("parameters", "neurons", "multiply-adds", "FLOP", "weights", "maps")
    rows: list[tuple[str, ...]] = [
        (
            layer["name"],
            _times(layer["output"]),
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
    print_table(f"{summary['recipe']}: {summary['about']}", (*texts, *numbers), rows, left=len(texts))
    if config.device_count > 1:
        _print_shares(summary, summary["layout"])


def _print_compared(compared: dict[str, Any]) -> None:
    """The nets side by side, layer by layer."""
    nets = compared["compared"]
    heads = [head for net in nets for head in (net["recipe"], "output", "kernels", "then", "parameters")]
    rows = [[cell for net in nets for cell in ("input", _times(net["input"]), "", "", "")]]
    for places in compared["rows"]:
        pairs = zip(nets, places, strict=True)
        rows.append([cell for net, at in pairs for cell in _cells(None if at is None else net["layers"][at])])
    totals = (("parameters", "parameters"), ("neurons", "neurons"), ("multiply-adds", "multiply_adds"))
    for title, key in totals:
        rows.append([cell for net in nets for cell in (title, "", "", "", f"{net[key]:,}")])
    for column in range(_COLUMNS - 1, len(heads), _COLUMNS):  # numbers, in columns of text
        wide = max(len(row[column]) for row in [heads, *rows])
        for row in [heads, *rows]:
            row[column] = row[column].rjust(wide)
    title = " and ".join(net["recipe"] for net in nets)
    print_table(title, heads, rows, left=len(heads), together=_COLUMNS)
    for number, net in enumerate(nets):
        if "layout" in net:
            print_lines("\n" if number else "")
            _print_shares(net, f"{net['recipe']}: {net['layout']}")


def _cells(layer: dict[str, Any] | None) -> tuple[str, ...]:
    if layer is None:
        return ("",) * _COLUMNS
    then = " → ".join(layer["then"])
    return layer["name"], _times(layer["output"]), layer["kernels"], then, f"{layer['parameters']:,}"


def _times(numbers: list[int]) -> str:
    return "×".join(str(number) for number in numbers)


def _print_shares(summary: dict[str, Any], title: str) -> None:
    """Who holds and sends what, layer by layer."""
    rows = [
        (layer["name"], f"{layer['held_parameters']:,}", size(layer["sent_bytes_per_picture"]))
        for layer in summary["layers"]
    ]
    rows.append(("crops", "", size(summary["crop_bytes_per_picture"])))
    rows.append(("total", f"{summary['held_parameters']:,}", size(summary["sent_bytes_per_picture"])))
    print_table(title, ("layer", "parameters here", "sent, a picture"), rows)
    pictures = summary["batch_size"]
    facts = {
        "weights, gradients, momentum": size(summary["state_bytes"]),
        f"maps of a mini-batch of {pictures}": size(summary["map_bytes"]),
    }
    print_facts("Memory of the first device, float32", facts)
