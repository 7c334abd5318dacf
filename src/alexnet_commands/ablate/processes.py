"""`alexnet` commands in processes of their own, one on each device at a time."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from alexnet_cli.console import Talk
from alexnet_cli.machine import threads_of_process
from alexnet_cli.reading import parse_json
from alexnet_cli.signals import Children, signals_to_children

_LOOK_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class Job:
    """Commands that follow one another on one device."""

    name: str
    commands: tuple[tuple[str, ...], ...]
    """The words behind `alexnet`; `--devices` and `--json` are added."""


@dataclass
class _Running:
    job: Job
    device: str
    results: list[Any] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None
    stdout: IO[bytes] | None = None


def run_jobs(jobs: Sequence[Job], devices: Sequence[str], *, logs: Path, talk: Talk) -> list[list[Any]]:
    """Run all jobs, each on the next free device; what each command printed with --json, job by job.

    With one device their messages appear here, with more in files in the folder `logs`; then each computes with its
    share of the cores, unless OMP_NUM_THREADS is set. If a command fails, no other begins; those that run finish, and
    SystemExit has its code. SIGTERM and SIGHUP are passed on; Ctrl-C reaches the commands directly. Either way they
    save and say how to continue.
    """
    waiting, free, running = deque(jobs), deque(devices), list[_Running]()
    apart, environment = None, None
    if len(devices) > 1:
        apart, environment = logs, {**os.environ, "OMP_NUM_THREADS": str(threads_of_process(len(devices)))}
    results: dict[str, list[Any]] = {}
    code = 0
    with signals_to_children() as children:
        while running or (waiting and not code and not children.signal):
            while waiting and free and not code and not children.signal:
                started = _Running(waiting.popleft(), free.popleft())
                running.append(started)
                _next_command(started, children, apart, environment, talk)
            time.sleep(_LOOK_SECONDS)
            for one in [one for one in running if one.process is None or one.process.poll() is not None]:
                ended = _finished_command(one, apart)
                code = code or ended
                if not code and not children.signal and len(one.results) < len(one.job.commands):
                    _next_command(one, children, apart, environment, talk)
                    continue
                running.remove(one)
                free.append(one.device)
                results[one.job.name] = one.results
    if code or children.signal:
        first = "to continue it" if children.signal else "once that is mended"
        Talk().say(f"the comparison is not finished: {first}, give the same command and --update")
        raise SystemExit(code or 128 + (children.signal or 0))
    return [results[job.name] for job in jobs]


def _next_command(
    one: _Running, children: Children, logs: Path | None, environment: Mapping[str, str] | None, talk: Talk
) -> None:
    words = (*one.job.commands[len(one.results)], "--devices", one.device, "--json")
    talk.say(f"{one.job.name} on {one.device}: alexnet {shlex.join(words)}")
    one.stdout = TemporaryFile()  # noqa: SIM115 (closed when the command has ended)
    if logs is None:
        one.process = children.start(words, stdout=one.stdout, env=environment)
        return
    with _log(logs, one).open("ab") as log:
        one.process = children.start(words, stdout=one.stdout, stderr=log, env=environment)


def _log(logs: Path, one: _Running) -> Path:
    return logs / f"{one.job.name}.log"


def _finished_command(one: _Running, logs: Path | None) -> int:
    """The exit code of a command that ended; its result goes to the others."""
    assert one.process is not None
    assert one.stdout is not None
    code = one.process.returncode
    with one.stdout as file:
        if code == 0:
            file.seek(0)
            one.results.append(parse_json(file.read(), path=Path(one.job.name), what="its result"))
    if code:
        where = "" if logs is None else f": {_log(logs, one)} says why"
        Talk().say(f"{one.job.name} ended with code {code}{where}")
    return code if code >= 0 else 128 - code
