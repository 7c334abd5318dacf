"""`alexnet train`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alexnet_cli.commandline import command_from
from alexnet_cli.console import duration, percent, print_facts, print_json
from alexnet_stages.train.config import TrainConfig

if TYPE_CHECKING:
    from alexnet_stages.train.result import Result


@command_from(TrainConfig)
def command(config: TrainConfig) -> None:
    """Train a net: crop stores and statistics to a run folder.

    The recipe names net, input and schedule; options override it, and the run folder records the result.
    SIGTERM saves and ends with code 75, Ctrl-C once saves and ends, twice ends at once; `--resume` goes on.
    Going on, workers, devices, --parallel and --compile may change, and the epochs may become more. Recipe, seed,
    precision, crops and statistics may not.

    --update does nothing where the run is finished, goes on where it is not or where more epochs are asked for, and
    refuses a run that was begun with another recipe. Only --overwrite deletes a trained net.

    Example: alexnet train out/train.lmdb --val out/val.lmdb --stats out/stats.h5 --recipe paper --out out/runs/1
    """
    result = _finished(config)
    if result is None:
        from alexnet_stages.train.run import run

        result = run(config)
    if config.json:
        print_json(result.as_json())
        return
    facts = {"steps": f"{result.steps:,}", "training": f"{result.images_per_second:,.1f} pictures/s"}
    facts["time"] = duration(result.seconds)
    if result.best_epoch is not None:
        facts["best epoch"] = f"{result.best_epoch}"
        facts["its validation error"] = (
            f"top-1 {percent(result.top1_error)}, top-5 {percent(result.top5_error)} (centre view)"
        )
    print_facts(f"Trained {result.run}", facts)


def _finished(config: TrainConfig) -> Result | None:
    """The run that --update finds finished, without loading torch."""
    if not config.update:
        return None
    from alexnet_stages.train.update import up_to_date

    return up_to_date(config)
