"""The work of `alexnet contest`: gather the results, or make the plan."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from alexnet_cli.artifacts.common.working import free_bytes
from alexnet_cli.console import Talk, size
from alexnet_cli.errors import ArtifactError
from alexnet_commands.contest.config import ContestConfig
from alexnet_commands.contest.results import Row, nets, table

if TYPE_CHECKING:
    from alexnet_commands.contest.plan import Stage
    from alexnet_commands.contest.rates import Rates


def results(config: ContestConfig) -> tuple[list[Row], dict[str, Any]]:
    """The rows with the paper's, and all of it for `--json`; ArtifactError if there is nothing to show."""
    if not config.out.is_dir():
        raise ArtifactError(f"{config.out}: no such folder: run `make contest` first, or give --dry-run")
    rows, single = table(config.out, config.members), nets(config.out, config.members)
    named = {name: {"top1_error": errors[0], "top5_error": errors[1]} for name, errors in single.items()}
    submissions = sorted(str(path) for path in config.out.glob("submission-*.txt"))
    return rows, {"rows": [asdict(row) for row in rows], "nets": named, "submissions": submissions}


def plan(config: ContestConfig) -> tuple[list[Stage], Rates, dict[str, Any]]:
    """The stages, the rates that they were computed with, and all of it for `--json`."""
    # torch is for measuring; the results above do without it.
    from alexnet_commands.contest.make import chosen_steps, require_sources
    from alexnet_commands.contest.plan import stages
    from alexnet_commands.contest.rates import find_rates

    require_sources(config)
    commands = [[*step.words, "--update"] for step in chosen_steps(config)]
    talk = Talk(quiet=config.quiet)
    rates = find_rates(config, talk)
    steps = stages(config, rates)
    needed, free = sum(step.bytes for step in steps), free_bytes(config.out)
    if needed > free:
        talk.warn(f"{config.out}: {size(needed)} needed, {size(free)} free: choose another OUT, or codec jpeg")
    total = {"seconds": sum(step.seconds for step in steps), "bytes": needed, "free_bytes": free}
    return (
        steps,
        rates,
        {"stages": [asdict(step) for step in steps], "commands": commands, "rates": rates.as_json(), **total},
    )
