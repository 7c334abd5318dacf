"""A training stopped anywhere by TERM, HUP or KILL goes on with --resume to the same weights, bit for bit."""

from __future__ import annotations

import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from faults.server import BEFORE, CHANGES, READ, SIGNAL, Fault
from faults.small_pipeline import NAMES, Pipeline, judge, weights_of

STOPPED = {signal.SIGTERM: (75,), signal.SIGHUP: (75,), signal.SIGKILL: (-9,)}
"""How a stopped training ends; where the signal comes outside the steps, by the signal itself, or finished."""


def training(pipeline: Pipeline, out: Path, devices: str) -> list[object]:
    """Three epochs of two steps, saved after each step."""
    words = [out if word == "{out}" else word for word in pipeline.cases["train"].words]
    words[words.index("--devices") + 1] = devices
    return [*words, "--epochs", "3", "--checkpoint-minutes", "0", "--resume"]


@pytest.fixture(scope="module")
def whole(pipeline: Pipeline, place: Path) -> dict[str, str]:
    """The weights of a training that nothing stopped."""
    out = place / "undisturbed"
    shutil.rmtree(out, ignore_errors=True)
    pipeline.succeed(training(pipeline, out, "cpu"))
    return weights_of(out)


def stop_once(pipeline: Pipeline, out: Path, number: signal.Signals, at: int) -> str:
    """One process: the signal comes at the n-th call on the run's files; what is wrong."""
    root = out.parent
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    action = BEFORE if number == signal.SIGKILL else SIGNAL + number
    words = training(pipeline, out, "cpu")
    outcome = pipeline.server.command(words, fault=Fault(root=root, action=action, at=at, classes=CHANGES | READ))
    if not outcome.struck:
        return ""
    if outcome.code not in (*STOPPED[number], -int(number), 128 + number, 0):
        return f"{NAMES[number]} at call {at}: ends with {outcome.code}: {outcome.err[-300:]}"
    return _go_on(pipeline, words, f"{NAMES[number]} at call {at} ({outcome.struck}, code {outcome.code})")


def _go_on(pipeline: Pipeline, words: list[object], what: str) -> str:
    again = pipeline.server.command(words)
    return "" if again.code == 0 else f"{what}: --resume ends with {again.code}: {again.err[-300:]}"


def check_one_process(pipeline: Pipeline, whole: dict[str, str], place: Path, stops: int) -> None:
    out = place / "stopped" / "run"
    root = out.parent
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    words = training(pipeline, out, "cpu")
    calls = pipeline.server.command(words, fault=Fault(root=root, classes=CHANGES | READ)).count
    draws, wrong = random.Random(stops), []
    for index in range(stops):
        number = list(STOPPED)[index % 3]
        problem = stop_once(pipeline, out, number, draws.randint(1, calls))
        if not problem and weights_of(out) != whole:
            problem = f"stop {index}, {NAMES[number]}: other weights"
        wrong += [problem] if problem else []
    judge("resume", stops, wrong, devices="cpu")


def check_two_processes(pipeline: Pipeline, whole: dict[str, str], place: Path, stops: int) -> None:
    """The signal goes to the command's process after a while; KILL to all of them, as when a machine goes down."""
    out = place / "stopped" / "run-2"
    draws, wrong = random.Random(stops), []
    words = [str(word) for word in training(pipeline, out, "cpu:2")]
    for index in range(stops):
        number = list(STOPPED)[index % 3]
        shutil.rmtree(out.parent, ignore_errors=True)
        out.parent.mkdir()
        pipeline.server.start("command", [words, 1])
        end = time.monotonic() + 90
        first = out / "checkpoints" / f"step-{draws.randint(1, 4):08d}" / "manifest.json"
        while not first.is_file() and time.monotonic() < end:
            time.sleep(0.02)
        time.sleep(draws.random() / 2)
        pipeline.server.strike(number)
        outcome = pipeline.server.outcome()
        if outcome.code not in (*STOPPED[number], 0):
            wrong.append(f"{NAMES[number]}: ends with {outcome.code}: {outcome.err[-300:]}")
            continue
        problem = _go_on(pipeline, list(words), NAMES[number])
        if not problem and weights_of(out) != whole:
            problem = f"stop {index}, {NAMES[number]}: other weights"
        wrong += [problem] if problem else []
    judge("resume", stops, wrong, devices="cpu:2")


def test_a_stopped_training_resumes_to_the_same_weights(pipeline: Pipeline, whole: dict[str, str], place: Path) -> None:
    check_one_process(pipeline, whole, place, 3)


@pytest.mark.slow
def test_forty_random_stops_resume_to_the_same_weights(pipeline: Pipeline, whole: dict[str, str], place: Path) -> None:
    check_one_process(pipeline, whole, place, 42)


@pytest.mark.slow
def test_eighteen_random_stops_of_two_processes_resume_to_the_same_weights(pipeline: Pipeline, place: Path) -> None:
    out = place / "undisturbed-2"
    shutil.rmtree(out, ignore_errors=True)
    pipeline.succeed(training(pipeline, out, "cpu:2"))
    check_two_processes(pipeline, weights_of(out), place, 18)
