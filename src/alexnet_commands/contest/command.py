"""`alexnet contest`."""

from __future__ import annotations

import shlex

from alexnet_cli.commandline import command_from
from alexnet_cli.console import percent, print_facts, print_json, print_lines, size
from alexnet_cli.tables import print_table
from alexnet_commands.contest.config import ContestConfig


@command_from(ContestConfig)
def command(config: ContestConfig) -> None:
    """Make the contest entry of 2012, or show its results next to the paper's table 2.

    Without options the command shows the results in OUT. With --update it first makes what is absent or out of date:
    crop stores, nets, scores, ensembles. Stop it at any time; the same command resumes. `make contest` runs it.

    With --dry-run it shows each command, and how many hours and bytes it will take. The hours follow from rates: those
    you give, else those of nets that are finished, else rates measured now on a few pictures.

    Example: alexnet contest out/contest --dry-run --data /data/ilsvrc2012
    """
    if config.dry_run:
        _show_plan(config)
        return
    if config.update:
        from alexnet_commands.contest.make import make

        make(config)
        if config.only is not None:
            return
        _write_table(config)
    _show_results(config)


def _write_table(config: ContestConfig) -> None:
    """The results as text in OUT/table.txt."""
    from contextlib import redirect_stdout
    from dataclasses import replace
    from io import StringIO

    from alexnet_cli.artifacts.common.publish import publish_file
    from alexnet_commands.contest.results import TABLE, TABLE_FILE

    shown = StringIO()
    with redirect_stdout(shown):
        _show_results(replace(config, json=False))
    publish_file(config.out / TABLE_FILE, shown.getvalue().encode(), TABLE, overwrite=True)


def _show_results(config: ContestConfig) -> None:
    from alexnet_commands.contest.results import HEADS, TITLE, as_cells
    from alexnet_commands.contest.run import results

    rows, everything = results(config)
    if config.json:
        print_json(everything)
        return
    print_table(TITLE, HEADS, as_cells(rows))
    nets = everything["nets"].items()
    print_table(
        "",
        ("Net", "Top-1 val", "Top-5 val"),
        [(name, *(percent(error) for error in net.values())) for name, net in nets],
    )
    if everything["submissions"]:
        print_lines(f"The test labels are not public; to be judged, hand in: {', '.join(everything['submissions'])}\n")


def _show_plan(config: ContestConfig) -> None:
    from alexnet_commands.contest.plan import describe
    from alexnet_commands.contest.run import plan

    steps, rates, everything = plan(config)
    if config.json:
        print_json(everything)
        return
    for words in everything["commands"]:
        print_lines(shlex.join(["alexnet", *words]) + "\n")
    rows = [
        (
            step.name,
            f"{step.pictures:,}",
            f"{step.passes:g}",
            f"{step.per_second:,.0f}/s" if step.per_second else "–",
            "done" if step.done else _hours(step.seconds),
            "" if step.done else size(step.bytes),
        )
        for step in steps
    ]
    rows.append(("total", "", "", "", _hours(everything["seconds"]), size(everything["bytes"])))
    print_table(f"The plan of {config.out}", ("Stage", "Pictures", "Passes", "Rate", "Hours", "Bytes"), rows)
    facts = {name: describe(getattr(rates, name)) for name in ("decoded", "read", "trained", "evaluated")}
    facts["conv6 nets"] = "the trained rate divided by how many more multiply-adds they have"
    facts["trainings"] = "at most: a plateau ends some earlier; with the validation after each epoch"
    facts["jpeg crop"] = f"{size(rates.jpeg_bytes)} ({rates.jpeg_source})"
    facts["disk"] = f"{size(everything['bytes'])} needed, {size(everything['free_bytes'])} free"
    print_facts("where the numbers come from", facts)


def _hours(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.2f}"
