"""`alexnet train --update`: whether the requested run exists. No torch here."""

from __future__ import annotations

import contextlib
from pathlib import Path

from alexnet_cli.artifacts.checkpoint import CheckpointRecord, read_checkpoint_manifest, read_checkpoint_record
from alexnet_cli.artifacts.common.working import only_writer, sweep
from alexnet_cli.artifacts.run import RunFolder, read_found
from alexnet_cli.console import Talk
from alexnet_cli.errors import ResourceError, UsageError
from alexnet_stages.train.config import TrainConfig
from alexnet_stages.train.inputs import ORIGIN, difference, has_more_to_do, open_inputs
from alexnet_stages.train.result import Result


def up_to_date(config: TrainConfig) -> Result | None:
    """The result of the finished run that is requested; None if there is something to train.

    A run with more epochs than requested is up to date. UsageError if the run was begun differently: only --overwrite
    deletes a trained net. ArtifactError if the inputs do not fit together.
    """
    folder = RunFolder(config.out)
    newest = folder.newest() if folder.path.exists() else None
    if newest is None:
        return None
    before = read_checkpoint_record(newest.path)
    inputs = open_inputs(config, before.recipe)  # of a recipe with `keep_net`, the run's own net is the origin's
    parents = inputs.parents | _origin(config, before)
    what = difference(config, inputs.recipe, parents, before)
    if what is None and set(before.manifest.parents) != set(parents):
        what = "was trained with other inputs (--val, --init-from)"
    if what is not None:
        raise UsageError(
            f"{config.out}: {what}: choose another --out to keep it, or give --overwrite in place of --update"
        )
    if not folder.finished or has_more_to_do(inputs.recipe, before):
        return None
    sweep(config.out)
    if folder.left():
        with contextlib.suppress(OSError, ResourceError, UsageError), only_writer(config.out):
            folder.sweep()
    Talk(quiet=config.quiet).say(f"{config.out}: up to date")
    return Result(**{**folder.manifest().details, "run": config.out, "up_to_date": True})


def _origin(config: TrainConfig, before: CheckpointRecord) -> dict[str, str]:
    """The origin among the parents. It need not exist any more: the run holds all of it."""
    if config.init_from is None:
        return {}
    if not Path(config.init_from).exists():
        return {name: digest for name, digest in before.manifest.parents.items() if name == ORIGIN}
    return {ORIGIN: read_found(config.init_from, read_checkpoint_manifest)[0].digest}
