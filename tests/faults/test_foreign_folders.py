"""Somebody else's folder given as a command's output: refused with 2, and not a byte of it touched."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from faults.small_pipeline import STAGES, Pipeline, judge, snapshot

Make = Callable[[Path, Pipeline], None]
"""Makes what lies at the output's name."""


def _files(*names: str) -> Make:
    def make(out: Path, pipeline: Pipeline) -> None:
        for name in names:
            path = out / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"my own {name}")

    return make


def _home(out: Path, pipeline: Pipeline) -> None:
    _files("thesis.tex", "photos/a.jpg", ".ssh/config", "code/main.py")(out, pipeline)
    (out / "code" / "link").symlink_to("../thesis.tex")


def _of_another_kind(out: Path, pipeline: Pipeline) -> None:
    shutil.copytree(pipeline.older / "ensemble", out)


def _with_more(stage: str) -> Make:
    """One of our artifacts, renamed to be the output's folder, inside somebody's folder with a file of theirs."""

    def make(out: Path, pipeline: Pipeline) -> None:
        shutil.copytree(pipeline.older / stage, out)
        (out / "notes.md").write_text("mine")

    return make


def _foreign_manifest(text: str) -> Make:
    def make(out: Path, pipeline: Pipeline) -> None:
        out.mkdir(parents=True)
        (out / "manifest.json").write_text(text)
        (out / "data.bin").write_bytes(b"\0\1\2")

    return make


def _link_to_folder(out: Path, pipeline: Pipeline) -> None:
    _home(out.with_name("real"), pipeline)
    out.symlink_to("real")


def _inputs(out: Path, pipeline: Pipeline) -> None:
    """Every input of every stage lies in it."""
    shutil.copytree(pipeline.base, out)


FORMS: dict[str, Make] = {
    "a home": _home,
    "one file": _files("readme.txt"),
    "a folder with checkpoints/": _files("checkpoints/epoch-3.pt", "train.py"),
    "a folder with an empty-named checkpoint": _files("checkpoints/step-00000002/model.safetensors"),
    "a folder with data.mdb": _files("data.mdb", "lock.mdb"),
    "a store with a file of one's own": _files("data.mdb", "report.txt", "rejects.tsv"),
    "a folder with scores.h5": _files("scores.h5", "paper.pdf"),
    "a folder with members/": _files("members/alice.txt", "members/bob.txt"),
    "a folder with sample.json": _files("sample.json", "train/x.jpg"),
    "a browser's extension": _foreign_manifest('{"manifest_version": 3, "name": "x", "version": "1"}'),
    "an empty manifest": _foreign_manifest(""),
    "a manifest of another program": _foreign_manifest('{"kind": "run", "files": []}'),
    "a list for a manifest": _foreign_manifest("[1, 2, 3]"),
    "a git repository": _files(".git/HEAD", ".git/objects/ab/cdef", "src/a.c"),
    "a Python project": _files("pyproject.toml", "poetry.lock", "x.partial", "x/__init__.py"),
    "a run's files without a manifest": _files("config.json", "metrics.csv", "log.txt", "tensorboard/events"),
    "a folder around an ensemble": _of_another_kind,
    "a folder around a run, with notes": _with_more("train"),
    "a link to a home": _link_to_folder,
    "the inputs' own folder": _inputs,
}


def refuse(pipeline: Pipeline, stage: str, form: str) -> list[str]:
    """Each way to say it; what is wrong."""
    case, wrong = pipeline.cases[stage], []
    flags = [["--overwrite"], *([["--resume"]] if stage == "train" else []), [], ["--update"]]
    for added in flags if pipeline.has_update else flags[:-1]:
        shutil.rmtree(pipeline.sandbox, ignore_errors=True)
        out = pipeline.sandbox / "somebody"
        pipeline.sandbox.mkdir(parents=True)
        FORMS[form](out, pipeline)
        before = snapshot(pipeline.sandbox)
        words = [out if word == "{out}" else word for word in case.words]
        outcome = pipeline.server.command([*words, *added])
        what = f"{stage} {' '.join(added)} on {form}"
        if snapshot(pipeline.sandbox) != before:
            changed = {name for name, _ in set(before.items()) ^ set(snapshot(pipeline.sandbox).items())}
            wrong.append(f"{what}: touched {sorted(changed)[:5]} (code {outcome.code})")
        elif outcome.code != 2 or len(outcome.lines) != 1:
            wrong.append(f"{what}: ends with {outcome.code}: {outcome.err.strip()[-200:]}")
    return wrong


def check(pipeline: Pipeline, stage: str, forms: list[str]) -> None:
    wrong = [problem for form in forms for problem in refuse(pipeline, stage, form)]
    judge("foreign folders", len(forms), wrong, stage=stage)


@pytest.mark.parametrize("stage", STAGES)
def test_somebody_elses_folder_is_refused_and_untouched(pipeline: Pipeline, stage: str) -> None:
    offset = STAGES.index(stage)  # together the six commands try every form
    check(pipeline, stage, list(FORMS)[offset % 5 :: 5])


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_twenty_foreign_folders_are_refused_and_untouched(pipeline: Pipeline, stage: str) -> None:
    check(pipeline, stage, list(FORMS))


@pytest.mark.parametrize("stage", STAGES)
def test_an_output_that_is_one_of_the_inputs_is_refused_and_untouched(pipeline: Pipeline, stage: str) -> None:
    inputs = {"preprocess": ["pictures/train"], "pca": ["train.lmdb"], "ensemble": ["run-1", "scores-2.h5", "val.lmdb"]}
    inputs |= {"train": ["train.lmdb", "val.lmdb", "stats.h5"], "eval": ["run-1", "val.lmdb"]}
    case = pipeline.cases[stage]
    before = snapshot(pipeline.base)
    for name in inputs.get(stage, []):
        for place in (pipeline.base / name, pipeline.base / name / "inside", pipeline.base):
            if place.parent.is_file():
                continue
            words = [place if word == "{out}" else word for word in case.words]
            outcome = pipeline.server.command([*words, "--overwrite"])
            assert snapshot(pipeline.base) == before, (stage, name, place)
            assert outcome.code == 2, (stage, name, place, outcome)


@pytest.mark.parametrize("stage", STAGES)
def test_neighbours_with_names_like_ours_stay(pipeline: Pipeline, stage: str) -> None:
    case = pipeline.cases[stage]
    out = pipeline.prepare(case, "overwrite")
    for ending in (".partial", ".lock", ".old", ".tmp"):
        folder = out.with_name(out.name + ending)
        if ending == ".lock":
            folder.write_text("mine")
        else:
            folder.mkdir()
            (folder / "mine.txt").write_text("mine")
    before = snapshot(pipeline.sandbox)
    outcome = pipeline.run(case, "overwrite")
    after = snapshot(pipeline.sandbox)
    assert outcome.code in (0, 2, 5), outcome
    mine = {name for name in before if name != "." and not name.startswith(case.name + os.sep) and name != case.name}
    assert {name: after.get(name) for name in mine} == {name: before[name] for name in mine}
    if outcome.code == 0:
        found = pipeline.look(case)
        assert found["digest"] == pipeline.undisturbed(case, "overwrite").newer["digest"]
