"""Pictures -> crop store. See `alexnet preprocess --help`.

from stages.preprocess.config import PreprocessConfig
from stages.preprocess.run import run
result = run(PreprocessConfig(source=Path("pictures/train"), out=Path("train.lmdb")))
"""

from __future__ import annotations

import mmap
import os
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet_cli.artifacts.crops import RECORD_BYTES
from alexnet_cli.artifacts.crops_writer import CropWriter, Record
from alexnet_cli.artifacts.manifest import Manifest
from alexnet_cli.artifacts.publish import only_writer, refuse_existing
from alexnet_cli.console import Talk, duration, size
from alexnet_cli.errors import PictureError, ResourceError, StoppedBySignalError, UsageError, describe_os_error
from alexnet_cli.pictures import Facts, active_pillow
from stages.preprocess.config import PreprocessConfig
from stages.preprocess.pool import Job, crops_in_order
from stages.preprocess.sources import Sources, find_sources

STEP = 256
"""Pictures in one transaction. Fixed, so that neither workers nor interruptions shape the store."""
REJECTS_FILE = "rejects.tsv"
_RAW_RECORD_ON_DISK = 49 * 4096  # LMDB keeps a crop and 16 bytes in whole pages


@dataclass(frozen=True, kw_only=True)
class Result:
    """What `alexnet preprocess` did."""

    store: Path
    pictures: int
    """Crops in the store."""
    classes: int
    facts: Mapping[str, int]
    """How many pictures are greyscale, cmyk, converted, rotated, small, wrong_extension."""
    ignored: Mapping[str, int]
    """Other files, by extension."""
    rejected: int
    bytes: int
    """Size of the store on disk."""
    continued: int
    """Pictures that were done before, by a command that was stopped."""
    seconds: float
    pictures_per_second: float
    """Of this command: without those that were done before."""
    pillow: str
    digest: str

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "store": str(self.store),
            "pictures": self.pictures,
            "classes": self.classes,
            "rejected": self.rejected,
            "seconds": round(self.seconds, 3),
            **self.facts,
            "ignored": sum(self.ignored.values()),
            "bytes": self.bytes,
            "continued": self.continued,
            "pictures_per_second": round(self.pictures_per_second, 1),
            "pillow": self.pillow,
            "digest": self.digest,
        }

    def as_facts(self) -> dict[str, str]:
        """For people."""
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in Counter(self.ignored).most_common(4))
        names = {"cmyk": "CMYK", "small": "enlarged", "wrong_extension": "wrong extension", "rotated": "turned upright"}
        return {
            "pictures": f"{self.pictures:,}",
            "classes": f"{self.classes:,}",
            **{names.get(name, name): f"{count:,}" for name, count in self.facts.items()},
            "rejected": f"{self.rejected:,}" + (f" (see {self.store / REJECTS_FILE})" if self.rejected else ""),
            "other files": f"{sum(self.ignored.values()):,}" + (f" ({kinds})" if kinds else ""),
            "size": size(self.bytes),
            "time": f"{duration(self.seconds)}, {self.pictures_per_second:,.0f} pictures/s with {self.pillow}"
            + (f"; {self.continued:,} were done before" if self.continued else ""),
        }


def run(config: PreprocessConfig) -> Result:
    """Write a crop store.

    Raises UsageError, PictureError (code 3), ArtifactError (of --classes) and ResourceError (disk, lock, worker).
    """
    talk = Talk(quiet=config.quiet)
    started = time.perf_counter()
    with _errors_in_one_line(config.out), _stopping_on_sigterm():
        _refuse_output(config)
        with only_writer(config.out):
            sources = find_sources(config, talk)
            _refuse_output(config)
            writer = CropWriter(config.out, _plan(config, sources))
            with closing(writer):
                continued = _announce(writer, sources, config, talk)
                _require_space(writer, sources, config)
                _write_crops(writer, sources, config, talk)
                rejects = _require_good(writer, sources, config)
                manifest = _finish(writer, sources, config)
    seconds = time.perf_counter() - started
    if rejects:
        talk.warn(f"{config.out / REJECTS_FILE} lists {len(rejects):,} pictures that were left out")
    return Result(
        store=config.out,
        pictures=manifest.details["pictures"],
        classes=manifest.details["classes"],
        facts=_count(writer),
        ignored=sources.ignored,
        rejected=len(rejects),
        bytes=sum(file.stat().st_size for file in config.out.iterdir()),
        continued=continued,
        seconds=seconds,
        pictures_per_second=(len(sources.names) - continued) / seconds,
        pillow=active_pillow(),
        digest=manifest.digest,
    )


def _plan(config: PreprocessConfig, sources: Sources) -> dict[str, Any]:
    """All that shapes the stored bytes. Not --allow-bad: giving it later must not begin everything again."""
    return {
        **_options(config),
        "pictures": sources.fingerprint,
        "classes": sources.classes.digest,
        "step": STEP,
        "pillow": active_pillow(),
    }


def _options(config: PreprocessConfig) -> dict[str, Any]:
    quality = {"quality": config.quality} if config.codec == "jpeg" else {}
    return {"filter": config.filter, "codec": config.codec, **quality, "exif_rotation": config.exif_rotation}


def _refuse_output(config: PreprocessConfig) -> None:
    """UsageError where the output exists, or is something that --overwrite was not meant to destroy."""
    refuse_existing(config.out, overwrite=config.overwrite)
    if config.out.exists():
        ours = config.out.is_dir() and ((config.out / "data.mdb").is_file() or not any(config.out.iterdir()))
        if not ours:
            raise UsageError(f"{config.out}: is no crop store, so --overwrite spares it: choose another --out")


def _announce(writer: CropWriter, sources: Sources, config: PreprocessConfig, talk: Talk) -> int:
    """Say what the source is and how far an earlier command came; how many pictures it did."""
    for note in sources.notes:
        talk.say(note)
    if writer.started_again:
        talk.say(f"{config.out}: the unfinished store there had other pictures or options: starting again")
    if writer.sources_done:
        talk.say(f"{config.out}: going on after {writer.sources_done:,} of {len(sources.names):,} pictures")
    return writer.sources_done


def _require_space(writer: CropWriter, sources: Sources, config: PreprocessConfig) -> None:
    if config.codec != "raw":
        return
    needed = (len(sources.names) - writer.sources_done) * _RAW_RECORD_ON_DISK
    free = shutil.disk_usage(writer.partial).free
    if needed > free:
        raise ResourceError(
            f"{config.out}: the disk is too full: {size(needed)} needed, {size(free)} free: "
            "free some space, choose another --out, or use --codec jpeg"
        )


def _write_crops(writer: CropWriter, sources: Sources, config: PreprocessConfig, talk: Talk) -> None:
    """Crop what is not done yet, and commit it in steps of STEP pictures."""
    done, total = writer.sources_done, len(sources.names)
    job = Job(
        filter=config.filter,
        exif_rotation=config.exif_rotation,
        codec=config.codec,
        quality=config.quality,
    )
    workers = config.workers or len(os.sched_getaffinity(0))
    step, other = _Step(), _Step()
    writing: Future[None] | None = None
    with (
        talk.progress("cropping", total, done=done) as advance,
        ThreadPoolExecutor(1, "alexnet-commit") as disk,
        closing(crops_in_order(sources.pictures[done:], job, workers)) as crops,
    ):
        for chunk in crops:
            for outcome, value in chunk:
                name, label = sources.names[done], sources.labels[done]
                step.add(name, label, outcome.rejected, Facts(outcome.facts), outcome.crc, value)
                done += 1
                if step.sources == STEP or done == total:
                    if writing:
                        writing.result()
                    # Beside the cropping: syncing 50 MB takes longer than the workers have room for.
                    writing = disk.submit(step.commit, writer)
                    step, other = other, step
            advance(len(chunk))
        if writing:
            writing.result()


class _Step:
    """Crops that wait for their transaction, in memory that is used again for each step."""

    def __init__(self) -> None:
        self._memory = memoryview(mmap.mmap(-1, STEP * RECORD_BYTES))  # unlike a bytearray, not all touched at once
        self._clear()

    def _clear(self) -> None:
        self._used = 0
        self.sources = 0
        self._records: list[Record] = []
        self._facts: Counter[str] = Counter()
        self._rejects: list[tuple[str, str]] = []

    def add(self, name: str, label: int, rejected: str, facts: Facts, crc: int, value: memoryview) -> None:
        self.sources += 1
        if rejected:
            self._rejects.append((name, rejected))
            return
        self._facts.update(str(fact.name).lower() for fact in facts)
        end = self._used + len(value)
        kept: bytes | memoryview
        if end <= len(self._memory):
            kept = self._memory[self._used : end]
            kept[:] = value
            self._used = end
        else:
            kept = bytes(value)
        self._records.append(Record(name, label, kept, crc))

    def commit(self, writer: CropWriter) -> None:
        writer.commit(self.sources, self._records, [{"facts": self._facts, "rejects": self._rejects}])
        self._clear()


def _count(writer: CropWriter) -> dict[str, int]:
    total = Counter({str(fact.name).lower(): 0 for fact in Facts})
    for step in writer.steps:
        total.update(step.notes[0]["facts"])
    return dict(total)


def _require_good(writer: CropWriter, sources: Sources, config: PreprocessConfig) -> list[tuple[str, str]]:
    """The rejected pictures and why, also written to a file; PictureError where they are more than allowed."""
    rejects = [(name, reason) for step in writer.steps for name, reason in step.notes[0]["rejects"]]
    file = writer.partial / REJECTS_FILE
    if rejects:
        file.write_text("".join(f"{_escaped(name)}\t{reason}\n" for name, reason in rejects), encoding="utf-8")
    else:
        file.unlink(missing_ok=True)
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


def _escaped(name: str) -> str:
    return name.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")


def _finish(writer: CropWriter, sources: Sources, config: PreprocessConfig) -> Manifest:
    details = {
        "rejected": sum(len(step.notes[0]["rejects"]) for step in writer.steps),
        **_count(writer),
        "source": str(sources.root),
        "pillow": active_pillow(),
    }
    return writer.finish(sources.classes, codec=config.codec, options=_options(config), details=details)


@contextmanager
def _errors_in_one_line(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ResourceError(describe_os_error(error, error.filename or out)) from error


@contextmanager
def _stopping_on_sigterm() -> Iterator[None]:
    """SIGTERM ends the work in order. What is committed stays; signals can be caught in the main thread only."""

    def stop(*_: object) -> None:
        raise StoppedBySignalError("stopped by SIGTERM: the same command goes on where it stopped")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
