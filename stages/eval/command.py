"""`alexnet eval`."""

from __future__ import annotations

from alexnet_cli.commandline import command_from
from alexnet_cli.console import percent, print_json, print_lines
from alexnet_cli.tables import print_table
from alexnet_stages.eval.config import EvalConfig

_SHOWN = 20


@command_from(EvalConfig)
def command(config: EvalConfig) -> None:
    """Evaluate a net: its errors with the probabilities of ten views averaged, and with the centre view alone.

    A net that was trained without mirror images (input.flip = false) is shown five views, without their mirror images.
    The scores file holds each picture's probabilities. If a store has no labels, there are no errors to print.

    --report DIR writes a self-contained page of HTML and the tables behind it: confidence intervals, each class's
    error, precision and recall, confusions, calibration, and the pictures that the net is wrongly sure of.

    Example: alexnet eval out/runs/1 out/val.lmdb --out out/scores/1.h5
    """
    from alexnet_stages.eval.run import run

    result = run(config)
    if config.json:
        print_json(result.as_json())
        return
    errors = result.errors
    rows = [("centre view", percent(errors["centre_top1_error"]), percent(errors["centre_top5_error"]))]
    if result.views > 1:
        views = f"{result.views} views" + ("" if result.views == 10 else ", no mirror images")
        rows.append((views, percent(errors["top1_error"]), percent(errors["top5_error"])))
    print_table(f"{result.pictures:,} pictures, {result.checkpoint}", ("", "top-1 error", "top-5 error"), rows)
    if result.loss is not None:
        ends = {k: result.intervals[f"top{k}_interval"] or (0.0, 1.0) for k in (1, 5)}
        shown = ", ".join(f"top-{k} error {percent(low)} to {percent(high)}" for k, (low, high) in ends.items())
        print_lines(f"95% intervals: {shown}; loss {result.loss:.4f}\n")
    if result.class_errors:
        print_lines("\n")
        worst = sorted(result.class_errors.items(), key=lambda entry: -entry[1])[:_SHOWN]
        title = "By class" if len(result.class_errors) <= _SHOWN else f"The {_SHOWN} classes with the largest error"
        print_table(title, ("class", "top-1 error"), [(result.titles[name], percent(error)) for name, error in worst])
