"""`alexnet report`."""

from __future__ import annotations

from typing import Any

from alexnet_cli.commandline import command_from
from alexnet_cli.console import percent, print_facts, print_json
from alexnet_commands.report.config import ReportConfig


@command_from(ReportConfig)
def command(config: ReportConfig) -> None:
    """Write a report on a run or on scores: one self-contained page of HTML.

    For a run, finished or not, it shows the loss in training and validation, the errors, the learning rate and its
    drops, pictures/s, the first layer's filters after the first and the best epoch, the recipe and the machine.

    For scores and their crop store it writes the same folder as `alexnet eval --report`: errors with confidence
    intervals, classes, confusions, calibration, and the pictures that the net is wrongly sure of.

    Example: alexnet report out/runs/1 --out run-1.html
             alexnet report out/scores/1.h5 out/val.lmdb --out report
    """
    from alexnet_commands.report.run import run

    result = run(config)
    if config.json:
        print_json(result)
    else:
        facts = {name.replace("_", " "): _told(name, value) for name, value in result.items() if name != "report"}
        print_facts(result["report"], facts)


def _told(name: str, value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return percent(value) if name.endswith("_error") else str(value)
