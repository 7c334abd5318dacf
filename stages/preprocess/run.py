"""Pictures -> crop store. See `alexnet preprocess --help`.

from alexnet_stages.preprocess.config import PreprocessConfig
from alexnet_stages.preprocess.run import run
result = run(PreprocessConfig(source=Path("pictures/train"), out=Path("train.lmdb")))
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from alexnet_cli.artifacts.common.freshness import Request, is_current
from alexnet_cli.artifacts.common.manifest import MANIFEST_FILE, Manifest, digest_of
from alexnet_cli.artifacts.common.ownership import CROPS, require_output
from alexnet_cli.artifacts.common.working import only_writer, target_of
from alexnet_cli.artifacts.crops.shards import (
    REPORT_FILE,
    SHARDED,
    divisions,
    missing_shards,
    open_crops,
    require_plan,
    shard_folder,
    shard_range,
)
from alexnet_cli.artifacts.crops.store import KIND, SCHEMA, CropStore, open_piece
from alexnet_cli.artifacts.crops.writer import CropWriter
from alexnet_cli.console import Talk
from alexnet_cli.decoders import active_pillow, decoding, readers
from alexnet_cli.errors import (
    ArtifactError,
    PictureError,
    ResourceError,
    StoppedBySignalError,
    UsageError,
    describe_os_error,
)
from alexnet_cli.imagenet import is_devkit
from alexnet_cli.machine import cores
from alexnet_cli.signals import ending_on_signals
from alexnet_cli.streams import quiet_libraries
from alexnet_stages.preprocess.config import SIDE, PreprocessConfig
from alexnet_stages.preprocess.cropping import STEP, write_crops
from alexnet_stages.preprocess.estimate import estimate
from alexnet_stages.preprocess.holdout import Sides
from alexnet_stages.preprocess.names import NameList
from alexnet_stages.preprocess.pool import Job
from alexnet_stages.preprocess.rejects import REJECTS_FILE, Rejects, read_rejects, write_rejects
from alexnet_stages.preprocess.report import Contents, count_facts, make_report, write_report
from alexnet_stages.preprocess.result import Result
from alexnet_stages.preprocess.sharding import Shard, parse_shard
from alexnet_stages.preprocess.sources import Sources, find_sources
from alexnet_stages.preprocess.sources.archives import remove_unpacked, unpacked

_FORMAT = 2
"""Of an unfinished store: one of another version is started again."""


def run(config: PreprocessConfig) -> Result:
    """Write a crop store, or one shard of it.

    Raises UsageError, PictureError (code 3), ArtifactError (of --classes, --compare) and ResourceError (disk, lock,
    worker).
    """
    talk = Talk(quiet=config.quiet)
    with _errors_in_one_line(config.out), ending_on_signals(_stopped), quiet_libraries():
        if config.holdout is None:
            with _store(config, lambda: find_sources(config, talk), talk) as publish:
                return publish()
        sides = Sides(config, talk)
        held = replace(config, out=sides.out, holdout_out=config.out)
        _refuse_output(held, held.out, None)
        # Both are cropped before either gets its name.
        with _store(config, sides.train, talk) as publish, _store(held, sides.held_out, talk) as publish_held:
            return replace(publish(), held_out=publish_held())


@contextmanager
def _store(config: PreprocessConfig, find: Callable[[], Sources], talk: Talk) -> Iterator[Callable[[], Result]]:
    """Crop all of a store, or of a shard. What this gives finishes and publishes it, and says what was done."""
    started = time.perf_counter()
    shard = parse_shard(config.shard) if config.shard else None
    out = shard_folder(config.out, shard.number, shard.of) if shard else config.out
    _refuse_output(config, out, shard)
    found = _found(config, find) if config.update else None
    # Before the lock is taken: when there is nothing to do, many may ask at once.
    if found and (earlier := _up_to_date(config, out, found, talk)):
        about = _about_shards(config, shard, found.sources, found.elsewhere, talk) if shard else {}
        yield lambda: replace(earlier, shards=about)
        return
    with only_writer(out):
        found = found or _found(config, find)
        everything, elsewhere = found.sources, found.elsewhere
        _refuse_output(config, out, shard)
        if shard and not config.replaces:
            require_plan(config.out, _common_plan(config, everything), but=shard.number)
        sources = _part(everything, shard, config)
        writer = CropWriter(out, _plan(config, everything, shard))
        with closing(writer):
            if writer.sources_done < len(sources.names):
                sources = unpacked(sources, writer.work, talk)
            continued = _announce(writer, sources, config, talk)
            write_crops(writer, sources, _job(config), config.workers or cores(), talk)
            remove_unpacked(writer.work)
            rejects = _require_good(writer, sources, config)

            def publish() -> Result:
                manifest = _finish(writer, everything, sources, config, shard, rejects, elsewhere, found.request)
                seconds = time.perf_counter() - started
                if rejects:
                    talk.warn(f"{out / REJECTS_FILE} lists {len(rejects):,} pictures that were left out")
                return replace(
                    _result(out, manifest, sources),
                    continued=continued,
                    seconds=seconds,
                    pictures_per_second=(len(sources.names) - continued) / seconds,
                    shards=_about_shards(config, shard, everything, elsewhere, talk) if shard else {},
                )

            yield publish


@dataclass(frozen=True)
class _Found:
    """The source's pictures, the stores to compare with, and what `--update` compares."""

    sources: Sources
    elsewhere: list[CropStore]
    request: Request


def _found(config: PreprocessConfig, find: Callable[[], Sources]) -> _Found:
    """Index the source. The request: the options, the pictures' listing, the classes, the stores compared with.

    The listing holds names, sizes and times of change: no picture is read. --allow-bad is not part of it: if more
    pictures were left out than it allows, the store is made again all the same.
    """
    sources, elsewhere = find(), _stores_to_compare(config)
    request = Request(
        kind=KIND,
        schema=SCHEMA,
        options=_options(config),
        parents={
            "pictures": sources.fingerprint,
            "classes": sources.classes.digest,
            **{f"compared {number}": store.digest for number, store in enumerate(elsewhere, 1)},
        },
        details={"decoding": decoding()},
    )
    return _Found(sources, elsewhere, request)


def _up_to_date(config: PreprocessConfig, out: Path, found: _Found, talk: Talk) -> Result | None:
    """The existing output if it was made from these pictures with these options; else None."""
    manifest = is_current(out, found.request, talk, verify=open_piece)
    if manifest is None:
        return None
    rejected = int(manifest.details["rejected"])
    if rejected > config.allow_bad:
        talk.say(f"{out}: is made again ({rejected:,} pictures were left out, and --allow-bad is {config.allow_bad})")
        return None
    return replace(_result(out, manifest, found.sources), up_to_date=True)


def _result(out: Path, manifest: Manifest, sources: Sources) -> Result:
    """What a finished store's manifest says, as the result of a command that had nothing to do."""
    return Result(
        store=out,
        pictures=manifest.details["pictures"],
        classes=manifest.details["classes"],
        facts=manifest.details["report"]["facts"],
        ignored=sources.ignored,
        rejected=manifest.details["rejected"],
        bytes=sum(file.stat().st_size for file in out.iterdir()),
        continued=0,
        seconds=0.0,
        pictures_per_second=0.0,
        pillow=active_pillow(),
        digest=manifest.digest,
        report=manifest.details["report"],
    )


def _plan(config: PreprocessConfig, everything: Sources, shard: Shard | None) -> dict[str, Any]:
    """All that shapes the stored bytes. Not --allow-bad: giving it later must not begin everything again."""
    return {
        **_options(config),
        "format": _FORMAT,
        "pictures": everything.fingerprint,
        "classes": everything.classes.digest,
        "step": STEP,
        "decoding": decoding(),
        **({"shard": str(shard)} if shard else {}),
    }


def _options(config: PreprocessConfig) -> dict[str, Any]:
    quality = {"quality": config.quality} if config.codec == "jpeg" else {}
    # Newer options are listed only when they are used: a store made before they existed stays up to date.
    later: dict[str, Any] = {"side": config.side} if config.side != SIDE else {}
    later |= {"holdout": config.holdout} if config.holdout is not None else {}
    later |= {"colour_profile": config.colour_profile} if config.colour_profile != "ignore" else {}
    later |= {"truncated": config.truncated} if config.truncated != "refuse" else {}
    return {"filter": config.filter, "codec": config.codec, **quality, "exif_rotation": config.exif_rotation, **later}


def _job(config: PreprocessConfig) -> Job:
    return Job(**{field.name: getattr(config, field.name) for field in fields(Job)})


def _refuse_output(config: PreprocessConfig, out: Path, shard: Shard | None) -> None:
    """UsageError if the output exists, or is something that --overwrite was not meant to destroy."""
    divided = divisions(config.out)
    if shard is None and divided:
        raise UsageError(f"{config.out}: holds shards: remove it, give --shard I/{min(divided)}, or another --out")
    if shard and (config.out / MANIFEST_FILE).exists():
        raise UsageError(f"{config.out}: is a store in one piece: remove it, or choose another --out")
    if shard and divided - {shard.of}:
        raise UsageError(
            f"{config.out}: holds shards of {min(divided - {shard.of})}, not of {shard.of}: "
            "remove them, or choose another --out"
        )
    inputs = {"SOURCE": config.source, "--labels": config.labels, "--classes": config.classes}
    inputs |= {"--compare": config.compare}
    require_output(out, CROPS, overwrite=config.replaces, inputs=inputs)
    for entry in target_of(config.out).iterdir() if shard and config.out.exists() else ():
        if not SHARDED.fullmatch(entry.name):
            raise UsageError(f"{entry}: is not a shard, so no shard is put next to it: choose another --out")


def _stores_to_compare(config: PreprocessConfig) -> list[CropStore]:
    """The stores in which duplicates are looked for: --compare, and --classes if that is a store."""
    paths = [config.compare] if config.compare is not None else []
    if config.classes is not None and config.classes.is_dir() and not is_devkit(config.classes):
        paths.append(config.classes)
    stores = {store.digest: store for store in map(open_crops, paths)}
    return list(stores.values())


def _part(everything: Sources, shard: Shard | None, config: PreprocessConfig) -> Sources:
    """The pictures of this command's shard; all of them without one."""
    if shard is None:
        return everything
    pictures = shard_range(shard.number, shard.of, len(everything.names))
    if not pictures:
        raise UsageError(
            f"--shard {config.shard}: there are only {len(everything.names):,} pictures: make fewer shards"
        )
    return everything.part(slice(pictures.start, pictures.stop))


def _announce(writer: CropWriter, sources: Sources, config: PreprocessConfig, talk: Talk) -> int:
    """Say what the source is, how far an earlier command came and what remains; how many pictures it did.

    ResourceError if what remains does not fit on the disk.
    """
    done = writer.sources_done
    for note in sources.notes:
        talk.say(note)
    if writer.started_again:
        talk.say(f"{writer.path}: the unfinished store there had other pictures or options: starting again")
    if done:
        talk.say(f"{writer.path}: continuing after {done:,} of {len(sources.names):,} pictures")
    if done < len(sources.names):
        expected = estimate(sources, done, _job(config), workers=config.workers or cores(), folder=writer.work)
        talk.say(f"{writer.path}: {expected}")
        expected.require_room(writer.path, codec=config.codec)
    return done


def _require_good(writer: CropWriter, sources: Sources, config: PreprocessConfig) -> list[tuple[str, str]]:
    """The rejected pictures and why, also written to a file; PictureError where they are more than allowed."""
    rejects = [(name, reason) for step in writer.steps() for name, reason in step.notes]
    file = write_rejects(writer.work, rejects)
    if len(rejects) > config.allow_bad:
        name, reason = rejects[0]
        more = f", and {len(rejects) - 1:,} more (listed in {file})" if len(rejects) > 1 else ""
        raise PictureError(
            f"{sources.root / name}: {reason}{more}: repair or remove, or give --allow-bad {len(rejects)} "
            "to leave out (the good ones are not done again)"
        )
    if not writer.records:
        raise PictureError(f"{sources.root}: not one of its {len(rejects):,} pictures can be read (listed in {file})")
    return rejects


def _finish(
    writer: CropWriter,
    everything: Sources,
    sources: Sources,
    config: PreprocessConfig,
    shard: Shard | None,
    rejects: Rejects,
    elsewhere: Sequence[CropStore],
    request: Request,
) -> Manifest:
    """Write the report, then the arrays and the manifest."""
    arrays = writer.arrays()
    rejected = {name for name, _ in rejects}
    contents = Contents(
        names=NameList(name for name in sources.names if name not in rejected) if rejected else sources.names,
        labels=arrays.labels,
        classes=sources.classes,
        facts=arrays.facts,
        digests=arrays.digests,
        rejects=rejects,
        notes=everything.notes,
    )
    digest = arrays.content_digest(sources.classes, config.codec)
    report = make_report(contents, digest=digest, whole=shard is None, elsewhere=elsewhere)
    write_report(writer.work, report, writer.path.name)
    details = {
        "rejected": len(rejects),
        **count_facts(arrays.facts),
        **request.details,
        "source": str(sources.root),
        "pillow": active_pillow(),
        "readers": readers(),
        "report": report["summary"],
    }
    if shard:
        details["shard"] = {"number": shard.number, "of": shard.of, "plan": _common_plan(config, everything)}
    return writer.finish(
        sources.classes,
        codec=config.codec,
        side=config.side,
        options=_options(config),
        parents=request.parents,
        details=details,
        arrays=arrays,
    )


def _common_plan(config: PreprocessConfig, everything: Sources) -> str:
    """What all shards of a store have in common. Not when files were changed: machines may have copies of their own."""
    listed = digest_of(f"{name}\0{label}" for name, label in zip(everything.names, everything.labels, strict=True))
    return digest_of([json.dumps(_options(config)), decoding(), everything.classes.digest, listed])


def _about_shards(
    config: PreprocessConfig, shard: Shard, everything: Sources, elsewhere: Sequence[CropStore], talk: Talk
) -> dict[str, Any]:
    """Which shards are missing; if none is, the report on all of them, which is also written next to them."""
    missing = missing_shards(config.out)
    about: dict[str, Any] = {"shard": str(shard), "missing": missing}
    if missing:
        return about
    try:
        store = open_crops(config.out)
    except ArtifactError as error:  # this shard is whole; the others' turn may come
        talk.warn(str(error))
        return about
    folders = [shard_folder(config.out, number, shard.of) for number in range(1, shard.of + 1)]
    rejects = [pair for folder in folders for pair in read_rejects(folder)]
    contents = Contents(
        names=store.names,
        labels=store.labels,
        classes=store.classes,
        facts=store.facts,
        digests=store.digests,
        rejects=rejects,
        notes=everything.notes,
    )
    report = make_report(contents, digest=store.digest, elsewhere=elsewhere)
    with only_writer(config.out / REPORT_FILE, patience=10):
        write_report(config.out, report, config.out.name)
    return {**about, "whole": report["summary"], "digest": store.digest}


@contextmanager
def _errors_in_one_line(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ResourceError(describe_os_error(error, error.filename or out)) from error


def _stopped(number: signal.Signals) -> StoppedBySignalError:
    """What SIGTERM and SIGHUP end the work with: what is committed stays."""
    return StoppedBySignalError(f"stopped by {number.name}: the same command resumes where it stopped")
