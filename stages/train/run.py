"""The work of `alexnet train`: check that the inputs fit together, then train, from the start or a checkpoint."""

from __future__ import annotations

import dataclasses
import json
from contextlib import nullcontext
from functools import partial

import torch

from alexnet_cli.artifacts.checkpoint import Checkpoint, read_checkpoint
from alexnet_cli.artifacts.common.manifest import Manifest
from alexnet_cli.artifacts.common.ownership import RUN, is_free, require_output
from alexnet_cli.artifacts.common.publish import write_text
from alexnet_cli.artifacts.common.working import end_work, marked_kind, only_writer, recover, work_of
from alexnet_cli.artifacts.run import CONFIG, KIND, RANK_LOGS, SCHEMA, RunFolder
from alexnet_cli.console import Talk, counted
from alexnet_cli.devices import prepare
from alexnet_cli.errors import ArtifactError, UsageError
from alexnet_cli.input.normalisation import input_transform
from alexnet_cli.loggers.find import asked_for, make
from alexnet_cli.machine import describe_machine, device_name, loader_threads
from alexnet_cli.parallel.launch import run_ranks
from alexnet_cli.parallel.layout import choose_layout
from alexnet_cli.parallel.meeting import log_to, rank_of_environment, restarted
from alexnet_cli.parallel.ranks import Ranks
from alexnet_cli.parallel.team import find_team
from alexnet_cli.signals import stop_requests
from alexnet_stages.train.cached_features import CachedTraining, split
from alexnet_stages.train.config import TrainConfig
from alexnet_stages.train.init_from import find_origin, plan
from alexnet_stages.train.inputs import ORIGIN, difference, doubts, has_more_to_do, open_inputs
from alexnet_stages.train.loop import Training
from alexnet_stages.train.result import Result
from alexnet_stages.train.room import require_room
from alexnet_stages.train.session import Session
from alexnet_stages.train.setting import Checked, Setting
from alexnet_stages.train.update import up_to_date


def run(config: TrainConfig) -> Result:
    """Train as the config says; the result.

    Raises UsageError, ArtifactError, ResourceError, TrainingError; StoppedBySignalError or InterruptedBySaveError
    after a signal, when all is saved.
    """
    if config.update:
        if earlier := up_to_date(config):
            return earlier
        # An unfinished run is resumed, and so is a finished one if more epochs are requested.
        config = dataclasses.replace(config, update=False, resume=True)
    _refuse_output(config)
    inputs = check(config)
    team = find_team(config.devices, config.parallel, net=inputs.recipe.net, timeout=config.timeout)
    pictures, shares = min(inputs.recipe.training.batch_size, len(inputs.store)), team.layout.data_size
    if team.world > 1 and inputs.recipe.training.cached_features:
        raise UsageError(
            f"recipe {inputs.recipe.name} keeps the frozen layers' features, which works in one process: give one "
            "device in --devices, or --set training.cached_features=false"
        )
    if shares > pictures:
        raise UsageError(
            f"--devices {config.devices}: a mini-batch of {pictures} pictures is too small for {shares} shares: use "
            "fewer devices"
        )
    if team.world == 1:
        return train(config, Ranks.alone(torch.device(team.devices[0])), inputs)
    # A launcher's rank continues with what it has opened; processes of our own have to open it for themselves.
    work = partial(train, inputs=inputs) if rank_of_environment() else train
    result: Result = run_ranks(work, config, team)
    return result


def _refuse_output(config: TrainConfig) -> None:
    """UsageError if the run may not be written. Ranks that a launcher restarts continue with the existing run."""
    reads = {"CROPS": config.crops, "--val": config.val, "--stats": config.stats}
    if not config.resume:  # a resumed run has taken its first values already
        reads["--init-from"] = config.init_from
    resumes = config.resume or restarted()
    require_output(config.out, RUN, overwrite=config.overwrite, inputs=reads, resumes=resumes)


def check(config: TrainConfig) -> Checked:
    """Open what the config names; UsageError or ArtifactError if something does not belong to the rest."""
    for name in asked_for(config.log):
        make(name)  # a package that is missing is told before any work
    origin = find_origin(config, RunFolder(config.out))
    inputs = open_inputs(config, None if origin is None else origin.recipe)
    origin = plan(origin, inputs.recipe, inputs.store.classes)
    if inputs.recipe.training.cached_features:
        split(inputs.recipe)
    checked = Checked(**vars(inputs), origin=origin)
    if origin is not None:
        checked.parents[ORIGIN] = origin.digest
    return checked


def train(config: TrainConfig, ranks: Ranks, inputs: Checked | None = None) -> Result:
    """What each rank does. The first alone talks, writes and holds the lock on the run folder."""
    inputs = inputs or check(config)
    if restarted():  # by a launcher such as torchrun, after a rank was lost
        unpublished = config.overwrite and marked_kind(work_of(config.out)) == KIND  # the old run is still there
        config = dataclasses.replace(config, resume=not unpublished, overwrite=unpublished)
    talk = Talk(quiet=config.quiet or not ranks.first)
    prepare(ranks.device, config.precision, processes=ranks.local_world)
    folder = RunFolder(config.out)
    with only_writer(config.out) if ranks.first else nullcontext():
        checkpoint = _place_together(config, folder, inputs, ranks, talk)
        if folder.finished:
            talk.say(f"{config.out} is finished: nothing to do")
            return Result(**{**folder.manifest().details, "run": config.out})
        setting = Setting(
            **vars(inputs),
            transform=input_transform(inputs.statistics, inputs.recipe.input),
            ranks=ranks,
            precision=config.precision,
            compile=config.compile,
            cuda_graph=config.cuda_graph,
            seed=config.seed,
            threads=config.workers or loader_threads(ranks.local_world),
            checkpoint_seconds=60 * config.checkpoint_minutes,
            log=asked_for(config.log),
        )
        _announce(talk, config, setting)
        ranks.tick("initial values")
        try:
            with stop_requests(talk) as stop:
                kind = CachedTraining if inputs.recipe.training.cached_features else Training
                session = kind(setting, folder, talk, stop)
                session.begin(checkpoint)
                for doubt in doubts(inputs.recipe) if checkpoint is None and inputs.origin is None else ():
                    session.journal.warn(doubt)
                try:
                    session.train()
                finally:
                    session.journal.close()
            return _finish(config, folder, session, inputs.parents)
        finally:
            # A launcher's next start has to see that the new run had not replaced the old one.
            if ranks.first and not folder.published and rank_of_environment() is None:
                end_work(config.out)


def _place_together(
    config: TrainConfig, folder: RunFolder, inputs: Checked, ranks: Ranks, talk: Talk
) -> Checkpoint | None:
    """The first rank makes the run folder or finds the checkpoint to resume from; all read that one."""
    ranks.tick("opening the run folder")
    checkpoint = _place(config, folder, inputs, talk) if ranks.first else None
    own = int(checkpoint.manifest.details["step"]) if checkpoint else -1
    step, unpublished = ranks.sum([own, not folder.published] if ranks.first else [0, 0])
    if not ranks.first:
        if unpublished:
            folder.path = work_of(config.out)
        log_to(folder.path / RANK_LOGS / f"rank-{ranks.rank}.log")
        if step >= 0 and not folder.finished:
            checkpoint = read_checkpoint(folder.checkpoint_path(int(step)), to_train=True)
    return checkpoint


def _place(config: TrainConfig, folder: RunFolder, inputs: Checked, talk: Talk) -> Checkpoint | None:
    """Make the run folder, or find the checkpoint to resume from."""
    recipe, parents, origin = inputs.recipe, inputs.parents, inputs.origin
    about = {
        "recipe": recipe.to_dict(),
        "parents": parents,
        "seed": config.seed,
        "precision": config.precision,
        "crops": str(config.crops),
        "val": None if config.val is None else str(config.val),
        "stats": str(config.stats),
        "machine": describe_machine([device_name(device) for device in find_team(config.devices).devices]),
    }
    if origin is not None and origin.checkpoint is not None:
        about["init_from"] = origin.record()
    recover(config.out)
    _refuse_output(config)
    text = json.dumps(about, indent=2, ensure_ascii=False) + "\n"
    if not is_free(config.out) and config.resume:
        end_work(config.out)
        folder.sweep()
        checkpoint = _newest_whole(folder, talk)
        if checkpoint is not None:
            if what := difference(config, recipe, parents, checkpoint):
                raise ArtifactError(
                    f"{config.out}: {what}: give the same to continue, or --overwrite without --resume to start again"
                )
            if folder.finished and has_more_to_do(recipe, checkpoint):
                folder.reopen()
                write_text(folder.path / CONFIG, text)
                checkpoint = _newest_whole(folder, talk)
                assert checkpoint is not None
            if not folder.finished:
                require_room(config.out, recipe, checkpoints=1)
                talk.say(f"resuming from {checkpoint.path.name}")
            return checkpoint
        talk.say(f"{config.out} has no checkpoint: starting at the beginning")
    require_room(config.out, recipe, checkpoints=2)
    folder.begin(text, replaces=config.overwrite and not is_free(config.out))
    return None


def _newest_whole(folder: RunFolder, talk: Talk) -> Checkpoint | None:
    """The checkpoint to resume from: the newest that is not damaged; None without any.

    Damaged ones are renamed: nothing of a run is deleted. ArtifactError if all are damaged.
    """
    saved, damaged = folder.listed()
    first = damaged[0][1] if damaged else None
    for entry in reversed(saved):
        try:
            checkpoint = read_checkpoint(entry.path, to_train=not folder.finished)
        except ArtifactError as error:
            first = first or error
            damaged.append((entry.path, error))
            continue
        for path, what in damaged:
            aside = folder.set_aside(path).name
            talk.warn(f"{what}; going back to {entry.path.name} (the damaged one is now {aside})")
        return checkpoint
    if first is not None:
        raise first
    return None


def _announce(talk: Talk, config: TrainConfig, setting: Setting) -> None:
    training = setting.recipe.training
    pictures = len(setting.store)
    left_over = 0 if training.partial_batch else pictures % min(training.batch_size, pictures)
    talk.say(
        f"recipe {setting.recipe.name}: {counted(pictures, 'picture')} of {len(setting.store.classes)} classes, "
        f"up to {counted(training.epochs, 'epoch')} in mini-batches of {training.batch_size}, on {setting.device} in "
        f"{config.precision}, seed {config.seed}"
    )
    if left_over:
        what = "the one that makes" if left_over == 1 else f"the {left_over:,} that make"
        talk.say(
            f"an epoch is {pictures - left_over:,} of {pictures:,} pictures: {what} no whole mini-batch "
            f"{'is left out, another' if left_over == 1 else 'are left out, others'} in each epoch"
        )
    if setting.ranks.world > 1:
        _, what = choose_layout(config.parallel, setting.ranks.world, setting.recipe.net)
        talk.say(what)


def _finish(config: TrainConfig, folder: RunFolder, session: Session, parents: dict[str, str]) -> Result:
    best, newest = folder.best(), folder.newest()
    assert newest is not None, "a training saves at the end of each epoch"
    chosen = best or newest
    images = session.progress.step * session.epoch_pictures / session.batches
    result = Result(
        run=config.out,
        steps=session.progress.step,
        best_epoch=int(best.manifest.details["epoch"]) if best else None,
        top1_error=best.error if best else None,
        top5_error=best.manifest.details["validation_top5_error"] if best else None,
        images_per_second=images / max(session.progress.seconds, 1e-9),
        seconds=session.progress.seconds,
    )
    if session.ranks.first:
        folder.finish(
            Manifest(
                kind=KIND,
                schema=SCHEMA,
                digest=chosen.manifest.digest,
                options=session.recipe.to_dict(),
                parents=parents,
                details=result.as_json(),
            )
        )
    return result
