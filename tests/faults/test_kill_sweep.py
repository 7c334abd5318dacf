"""A command killed at any of its calls leaves the old artifact or the new one, whole; run again, it succeeds."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from faults.server import BEFORE, CHANGES, MIDDLE, WRITE, Fault, Found
from faults.small_pipeline import MODES, STAGES, Case, Pipeline, judge

QUICK_POINTS = 4
"""So many of a stage's kill points, evenly spread, are tried in the quick part."""
QUICK = [("preprocess", "overwrite"), ("pca", "overwrite"), ("train", "overwrite"), ("eval", "overwrite")]
QUICK += [("ensemble", "overwrite"), ("sample", "overwrite"), ("preprocess", "new"), ("ensemble", "new")]


def wrong_after_kill(pipeline: Pipeline, case: Case, mode: str, found: Found) -> str:
    """What is wrong with what a reader finds right after the kill; nothing is fine where nothing was before."""
    expected = pipeline.undisturbed(case, mode)
    if "digest" in found:
        if found["digest"] in (expected.older.get("digest"), expected.newer["digest"]):
            return ""
        if case.kind == "run" and not found["finished"]:  # a whole checkpoint of the training that was killed
            return ""
        return f"an artifact that is neither the old nor the new one: {found}"
    if mode == "new" and found["code"] in (0, 4):
        return ""
    return f"the old artifact is gone, there is: {found}"


def sweep(pipeline: Pipeline, case: Case, mode: str, points: Iterable[tuple[int, int]]) -> tuple[int, list[str]]:
    """Kill at each point (action, n); how many, and what was wrong."""
    tried, wrong = 0, []
    for action, at in points:
        pipeline.prepare(case, mode)
        fault = Fault(root=pipeline.sandbox, action=action, at=at, classes=WRITE if action == MIDDLE else CHANGES)
        outcome = pipeline.run(case, mode, fault)
        if outcome.code == 0 and not outcome.struck:  # threads made fewer calls this time
            continue
        tried += 1
        problem = "" if outcome.code == -9 else f"it ends with {outcome.code}: {outcome.err[-200:]}"
        problem = problem or wrong_after_kill(pipeline, case, mode, pipeline.look(case))
        problem = problem or pipeline.wrong_after_rerun(case, mode)
        if (pipeline.sandbox / "note.txt").read_text() != "mine":
            problem = "somebody's note was touched"
        if problem:
            struck = outcome.struck.replace(str(pipeline.sandbox), "")
            wrong.append(f"killed {'before' if action == BEFORE else 'in'} call {at}, {struck}: {problem}")
    return tried, wrong


def points_of(pipeline: Pipeline, case: Case, mode: str, most: int | None) -> list[tuple[int, int]]:
    """(action, n): before each changing call, and in the middle of each write; or `most` of these."""
    calls = pipeline.count(case, mode, CHANGES)
    writes = pipeline.count(case, mode, WRITE)
    points = [(BEFORE, at) for at in range(1, calls + 1)] + [(MIDDLE, at) for at in range(1, writes + 1)]
    every = 1 if most is None else max(1, len(points) // most)
    return points[every // 2 :: every]


def check(pipeline: Pipeline, stage: str, mode: str, most: int | None = None) -> None:
    case = pipeline.cases[stage]
    if mode == "update" and not pipeline.has_update:
        pytest.skip("the stages don't know --update")
    points = points_of(pipeline, case, mode, most)
    tried, wrong = sweep(pipeline, case, mode, points)
    assert tried >= len(points) // 2
    judge("kill sweep", tried, wrong, stage=stage, mode=mode)


@pytest.mark.parametrize(("stage", "mode"), QUICK)
def test_a_killed_stage_leaves_a_whole_artifact_and_succeeds_when_run_again(
    pipeline: Pipeline, stage: str, mode: str
) -> None:
    check(pipeline, stage, mode, QUICK_POINTS)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("stage", STAGES)
def test_every_kill_of_a_stage_leaves_a_whole_artifact_and_it_succeeds_when_run_again(
    pipeline: Pipeline, stage: str, mode: str
) -> None:
    check(pipeline, stage, mode)
