"""A reader that looks while another process replaces the artifact again and again always finds a whole one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.server import Found, Server
from faults.small_pipeline import Pipeline, judge

SWAPPED = ["preprocess", "pca", "ensemble", "eval"]


@pytest.fixture
def watcher(shim: Path, place: Path) -> Iterator[Server]:
    """Looks from a process of its own."""
    watcher = Server(None, place)
    yield watcher
    watcher.close()


def check(pipeline: Pipeline, watcher: Server, stages: list[str], swaps: int, tmp_path: Path) -> None:
    alarms: list[str] = []
    looks, done = 0, 0
    for stage in stages:
        case = pipeline.cases[stage]
        out = pipeline.prepare(case, "overwrite")
        expected = pipeline.undisturbed(case, "overwrite")
        pipeline.prepare(case, "overwrite")
        stop = tmp_path / f"stop-{stage}"
        watcher.start("watch", [case.kind, str(out), 600, str(stop)], seconds=700)
        older = [*case.older_command(out), "--overwrite"]
        newer = case.command(out, "overwrite")
        codes = []
        for _ in range(swaps // len(stages) // 10):
            for words in (newer, older):
                codes.append(pipeline.server.command(words, times=5, seconds=300).code)
                done += 5
        stop.touch()
        outcome = watcher.outcome()
        assert outcome.code == 0, outcome
        seen: Found = json.loads(outcome.out)
        looks += seen["looks"]
        alarms += [f"{stage}: {refusal}" for refusal in seen["refusals"]]
        assert set(codes) == {0}
        assert set(seen["digests"]) <= {expected.older["digest"], expected.newer["digest"]}
    assert looks > done // 10
    judge("swaps", looks, alarms, replacements=done)


def test_readers_find_a_whole_artifact_during_replacements(pipeline: Pipeline, watcher: Server, tmp_path: Path) -> None:
    check(pipeline, watcher, ["preprocess", "pca"], 60, tmp_path)


@pytest.mark.slow
def test_readers_find_a_whole_artifact_during_a_thousand_replacements(
    pipeline: Pipeline, watcher: Server, tmp_path: Path
) -> None:
    check(pipeline, watcher, SWAPPED, 1000, tmp_path)
