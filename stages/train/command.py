"""`alexnet train`."""

from __future__ import annotations

from alexnet_cli.commandline import command_from
from alexnet_cli.console import duration, percent, print_facts, print_json
from alexnet_stages.train.config import TrainConfig


@command_from(TrainConfig)
def command(config: TrainConfig) -> None:
    """Train a net on a crop store; write checkpoints and measurements to a run folder.

    The recipe says what the net is, what it sees and how it learns. Options such as --epochs replace the recipe's
    values, and the run folder records all of them.

    Ctrl-C saves a checkpoint and ends; a second Ctrl-C ends at once. SIGTERM saves too and ends with code 75. The same
    command with --resume continues from it, and the net becomes what it would have been. For this you may change
    --workers, --devices, --parallel, --compile and --cuda-graph, and raise --epochs. The rest must stay the same.

    With --update the command does nothing if the run is finished, and otherwise resumes it. It refuses a run of
    another recipe. Only --overwrite deletes a trained net.

    Example: alexnet train out/train.lmdb --val out/val.lmdb --stats out/stats.h5 --recipe paper --out out/runs/1
    """
    result = None
    if config.update:  # a finished run is found without torch
        from alexnet_stages.train.update import up_to_date

        result = up_to_date(config)
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
