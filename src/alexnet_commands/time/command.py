"""`alexnet time`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alexnet_cli.commandline import command_from
from alexnet_cli.console import print_facts, print_json, print_lines, size
from alexnet_commands.time.config import TimeConfig

if TYPE_CHECKING:
    from alexnet_cli.timing.measure import Timing

_BAR = 12
"""Characters of the longest bar."""


@command_from(TimeConfig)
def command(config: TimeConfig) -> None:
    """Measure how fast a recipe trains here: each layer forward and backward, the input, the update, the whole step.

    With it comes the limit: the step's convolutions and matrix products alone, each by the fastest call that torch
    offers. Other work on the machine disturbs all figures.

    Example: alexnet time --recipe paper --devices cpu --batch-size 128
    """
    from alexnet_commands.time.run import run

    timing = run(config)
    if config.json:
        print_json(timing.as_json())
        return
    ways = [word for word, chosen in (("compiled", config.compile), ("CUDA graph", config.cuda_graph)) if chosen]
    precision = ", ".join([config.precision, *ways])
    print_facts(
        f"{config.recipe} on {timing.device} in {precision}, mini-batches of {timing.pictures}",
        {
            "training": f"{timing.images_per_second:,.1f} pictures/s",
            "limit": f"{timing.limit_images_per_second:,.1f} pictures/s: its products alone, by the fastest calls",
            "of the limit": f"{timing.fraction_of_limit:.2f}",
            "peak memory": size(timing.peak_bytes),
        },
    )
    print_lines("\n" + "".join(f"{line}\n" for line in _table(timing)))


def _table(timing: Timing) -> list[str]:
    """A line for each part of the step, in milliseconds, next to the products alone; 80 columns wide."""
    names = ["masks, loss", *(layer.name for layer in timing.layers)]
    width = max(map(len, names))
    spent = [layer.forward_ms + layer.backward_ms for layer in timing.layers]
    longest = max([timing.input_ms, timing.update_ms, *spent])

    def line(name: str, forward: float, backward: float, alone: float = 0.0, gflops: float = 0.0) -> str:
        numbers = f"{_shown(forward)}{_shown(backward)}{_shown(alone)}{f'{gflops:,.0f}' if gflops else '':>9}"
        part = forward + backward
        bar = "█" * round(_BAR * part / longest) if longest else ""
        return f"  {name:<{width}}{numbers}{part / timing.step_ms:>7.1%}  {bar}".rstrip()

    return [
        f"  {'ms':<{width}}{'forward':>11}{'backward':>11}{'alone':>11}{'GFLOP/s':>9}{'share':>7}",
        line("input", timing.input_ms, 0),
        *(
            f"  {layer.name:<{width}}{f'in one pass with {layer.made_with}':>33}"
            if layer.made_with
            else line(layer.name, layer.forward_ms, layer.backward_ms, layer.limit_ms, layer.gflops)
            for layer in timing.layers
        ),
        line("masks, loss", timing.loss_ms, 0),
        line("update", 0, timing.update_ms),
        f"  {'whole step':<{width}}{_shown(timing.step_ms):>22}{_shown(timing.limit_ms)}",
    ]


def _shown(milliseconds: float) -> str:
    return f"{milliseconds:,.2f}".rjust(11) if milliseconds else " " * 11
