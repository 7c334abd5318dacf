"""A disk that fails or is full at any call: code 5 and one line, the old artifact as it was, and no crash."""

from __future__ import annotations

import pytest

from faults.server import FULL, IO_ERROR, READ, SYNC, WRITE, Fault, Outcome
from faults.small_pipeline import STAGES, Case, Pipeline, judge

KINDS = {"EIO at a write": (IO_ERROR, WRITE), "EIO at a sync": (IO_ERROR, SYNC), "ENOSPC": (FULL, WRITE)}
KINDS["EIO at a read"] = (IO_ERROR, READ)


def wrong_after_error(pipeline: Pipeline, case: Case, kind: str, outcome: Outcome) -> str:
    """What is wrong after a call has failed. What does no harm (a note in a log) may be passed over, and read again."""
    expected = pipeline.undisturbed(case, "overwrite")
    codes = [5, 4] if kind == "EIO at a read" else [5]
    found = pipeline.look(case)
    if outcome.code == 0:
        good = found.get("digest") == expected.newer["digest"]
        return "" if good else f"it ends with 0, and there is {found}"
    if outcome.code not in codes:
        return f"it ends with {outcome.code}: {outcome.err.strip()[-200:]}"
    if len(outcome.lines) != 1 or "Traceback" in outcome.err:
        return f"it says: {outcome.err.strip()[-300:]}"
    if found.get("digest") not in (expected.older["digest"], expected.newer["digest"]):
        if case.kind == "run" and "digest" in found and not found["finished"]:
            return ""
        return f"the old artifact is gone, there is {found}"
    return ""


def check(pipeline: Pipeline, stage: str, kind: str, most: int | None = None) -> None:
    """Each call in turn, or `most` of them."""
    case, (action, classes) = pipeline.cases[stage], KINDS[kind]
    root = pipeline.base.parent if classes == READ else pipeline.sandbox
    calls = pipeline.count(case, "overwrite", classes, root=root)
    tried, wrong = 0, []
    assert calls
    every = 1 if most is None else max(1, calls // most)
    for at in range(1 + every // 2, calls + 1, every):
        pipeline.prepare(case, "overwrite")
        outcome = pipeline.run(case, "overwrite", Fault(root=root, action=action, at=at, classes=classes))
        if not outcome.struck:
            continue
        tried += 1
        problem = wrong_after_error(pipeline, case, kind, outcome) or pipeline.wrong_after_rerun(case, "overwrite")
        if problem:
            wrong.append(f"call {at}, {outcome.struck.replace(str(root), '')}: {problem}")
    judge("I/O errors", tried, wrong, stage=stage, kind=kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stage", ["preprocess", "pca", "eval"])
def test_a_failing_disk_ends_a_stage_in_one_line_with_the_old_artifact_whole(
    pipeline: Pipeline, stage: str, kind: str
) -> None:
    check(pipeline, stage, kind, most=2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stage", STAGES)
def test_every_failing_call_of_a_stage_ends_it_in_one_line_with_the_old_artifact_whole(
    pipeline: Pipeline, stage: str, kind: str
) -> None:
    check(pipeline, stage, kind)
