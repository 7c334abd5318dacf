"""The run folder: which checkpoints are kept, which one is newest and best, and which one a run stands for."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from preprocessing import save_noise

from alexnet_cli.artifacts.checkpoint import read_checkpoint, read_checkpoint_manifest, write_checkpoint
from alexnet_cli.artifacts.common.manifest import Manifest, digest_of_file
from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.artifacts.run import COLUMNS, METRICS_DETAIL, RunFolder, find_checkpoint, read_found, vouch_for
from alexnet_cli.class_list import ClassList
from alexnet_cli.cli import main
from alexnet_cli.errors import ArtifactError
from alexnet_cli.input.patches import InputTransform
from alexnet_cli.recipes.read import load_recipe


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    return RunFolder(tmp_path / "run")


def save(run: RunFolder, step: int, error: float | None = None, metrics: dict[str, Any] | None = None) -> Path:
    """A checkpoint of very few weights; tidied up after as a training does."""
    details = {"step": step, "epoch": step // 10, **({METRICS_DETAIL: metrics} if metrics else {})}
    write_checkpoint(
        run.checkpoint_path(step),
        recipe=load_recipe("paper"),
        classes=ClassList(("ape", "bat")),
        model={"conv1.bias": torch.full((3,), float(step))},
        momentum={},
        transform=InputTransform(torch.zeros(1), torch.ones(3), torch.eye(3)),
        state={},
        parents={},
        details=details if error is None else {**details, "validation_top1_error": error},
    )
    run.tidy()
    return run.checkpoint_path(step)


def kept(run: RunFolder) -> list[int]:
    return sorted(int(path.name.removeprefix("step-")) for path in (run.path / "checkpoints").iterdir())


def test_the_newest_two_and_the_best_are_kept(run: RunFolder) -> None:
    for step, error, expected in (
        (10, 0.9, [10]),
        (20, 0.5, [10, 20]),
        (30, 0.6, [20, 30]),
        (40, 0.7, [20, 30, 40]),
        (50, 0.4, [40, 50]),
        (60, 0.8, [50, 60]),
        (70, 0.8, [50, 60, 70]),
    ):
        save(run, step, error)
        assert kept(run) == expected


def test_of_equally_good_ones_the_earliest_is_the_best(run: RunFolder) -> None:
    for step in (10, 20, 30, 40):
        save(run, step, 0.5)
    assert kept(run) == [10, 30, 40]
    best = run.best()
    assert best is not None and best.step == 10


def test_saves_within_an_epoch_are_never_the_best_but_count_as_newest(run: RunFolder) -> None:
    save(run, 10, 0.5)
    for step in (13, 16, 19):
        save(run, step)
    assert kept(run) == [10, 16, 19]
    best, newest = run.best(), run.newest()
    assert best is not None and best.step == 10 and best.error == 0.5
    assert newest is not None and newest.step == 19 and newest.error is None


def test_steps_are_sorted_as_numbers(run: RunFolder) -> None:
    for step in (99_999_999, 100_000_000, 100_000_001):
        save(run, step)
    newest = run.newest()
    assert newest is not None and newest.step == 100_000_001


def test_what_an_interrupted_save_left_is_no_checkpoint_and_is_cleared_away(run: RunFolder) -> None:
    save(run, 10, 0.5)
    for name in ("step-00000020.partial", "step-00000010.123.old"):
        folder = run.path / "checkpoints" / name
        folder.mkdir()
        (folder / "manifest.json").write_text((run.checkpoint_path(10) / "manifest.json").read_text())
    (run.path / "checkpoints" / "step-00000030").mkdir()
    assert [saved.step for saved in run.saved()] == [10]
    save(run, 40)
    assert kept(run) == [10, 40]


def test_an_empty_run_has_neither_newest_nor_best(run: RunFolder) -> None:
    assert run.newest() is None and run.best() is None and run.saved() == []
    assert run.metrics() == []
    assert not run.finished


def test_a_run_stands_for_its_best_checkpoint_else_for_its_newest(run: RunFolder) -> None:
    save(run, 10)
    newest = save(run, 20)
    assert find_checkpoint(run.path) == (newest, "the newest checkpoint, step-00000020")
    best = save(run, 30, 0.5)
    save(run, 40, 0.6)
    assert find_checkpoint(run.path) == (best, "the best checkpoint, step-00000030")


def test_a_checkpoint_stands_for_itself(run: RunFolder) -> None:
    save(run, 10, 0.1)
    path = save(run, 20, 0.5)
    assert find_checkpoint(path) == (path, "checkpoint step-00000020")


def test_what_is_no_run_is_refused(run: RunFolder, tmp_path: Path) -> None:
    ensemble = tmp_path / "ensemble"
    ensemble.mkdir()
    (ensemble / "manifest.json").write_text(Manifest(kind="ensemble", schema=2, digest="0" * 64).to_json())
    for path, message in (
        (ensemble, "is an ensemble, and one net is wanted here: give a member's run"),
        (tmp_path / "nowhere", "no such run or checkpoint"),
        (tmp_path, "is neither a run folder nor a checkpoint"),
        (run.path, "the run has no finished checkpoint yet: continue with"),
    ):
        with pytest.raises(ArtifactError, match=message):
            find_checkpoint(path)


def test_a_folder_of_runs_and_one_of_checkpoints_name_one_of_them(run: RunFolder, tmp_path: Path) -> None:
    path = save(run, 10, 0.1)
    (path / "model.safetensors").touch()
    for folder, inside in ((tmp_path, run.path), (path.parent, path)):
        with pytest.raises(ArtifactError, match=f"{folder}: is neither .*: it holds some: give one, such as {inside}$"):
            find_checkpoint(folder)


def test_a_run_is_finished_when_its_manifest_is_there(run: RunFolder) -> None:
    manifest = Manifest(kind="run", schema=1, digest="d", details={"steps": 3})
    run.finish(manifest)
    assert run.finished
    assert run.manifest() == manifest


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "crops"}, "is a crop store, not a run folder"),
        ({"schema": 3}, "newer"),
        ({"odd": 1}, "its manifest is damaged"),
    ],
)
def test_a_strangers_or_newer_run_is_refused(run: RunFolder, values: dict[str, object], message: str) -> None:
    run.finish(Manifest(kind="run", schema=1, digest="d"))
    path = run.path / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    with pytest.raises(ArtifactError, match=message):
        run.manifest()


def test_metrics_that_the_newest_checkpoint_does_not_vouch_for_are_refused(run: RunFolder) -> None:
    rows = [{column: f"{10 * place + number}" for place, column in enumerate(COLUMNS)} for number in range(3)]
    said = ",".join("{" + ",".join(f'"{name}":"{row[name]}"' for name in sorted(row)) + "}" for row in rows[:2])
    run.write_metrics(rows)  # type: ignore[arg-type]
    vouched = vouch_for(rows[:2])
    assert vouched == {"rows": 2, "sha256": hashlib.sha256(f"[{said}]".encode()).hexdigest()}
    save(run, 10, metrics=vouched)
    assert run.metrics() == rows  # the third was written after the checkpoint
    whole = (run.path / "metrics.csv").read_text()
    heads, first = whole.splitlines()[:2]
    for damaged in (whole.replace("11,", "12,"), f"{heads}\n", f"{heads}\n{first}\n"):
        (run.path / "metrics.csv").write_text(damaged)
        with pytest.raises(ArtifactError, match=r"metrics\.csv: is not as the training wrote it"):
            run.metrics()
    (run.path / "metrics.csv").unlink()
    assert run.metrics() == []


def test_a_checkpoint_that_the_training_removes_meanwhile_gives_way_to_the_best_there_is(run: RunFolder) -> None:
    save(run, 10, 0.5)
    tried: list[str] = []

    def read(path: Path) -> int:
        tried.append(path.name)
        if len(tried) == 1:
            for step, error in ((20, 0.4), (30, 0.45), (40, 0.6)):
                save(run, step, error)
        if not path.exists():
            raise ArtifactError("gone")
        return read_checkpoint_manifest(path).details["step"]  # type: ignore[no-any-return]

    assert read_found(run.path, read) == (20, "the best checkpoint, step-00000020")
    assert tried == ["step-00000010", "step-00000020"]


COMMANDS = {
    "predict": ["predict", "{run}", "{picture}", "--format", "json", "--devices", "cpu"],
    "features": ["features", "{run}", "{store}", "--layer", "fc7", "--devices", "cpu"],
    "eval": ["eval", "{run}", "{store}", "--views", "1", "--devices", "cpu"],
    "strip": ["strip", "{run}"],
    "export": ["export", "{run}", "--format", "hub"],
    "report": ["report", "{run}"],
    "plot": ["plot", "filters", "{run}"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_reads_a_run_that_trains_on_at_any_moment(
    command: str,
    tmp_path: Path,
    make_store: Callable[..., CropStore],
    make_statistics: Callable[[CropStore], Path],
    make_checkpoint: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """When the n-th file of a checkpoint is about to be read, the training has a better one and removes the old one."""
    store = make_store("val", [0, 1, 2])
    stats = make_statistics(store)
    run, out = RunFolder(tmp_path / "run"), tmp_path / "out.png"
    made = tmp_path / "made"
    for step, error in ((10, 0.5), (20, 0.3), (30, 0.6), (40, 0.6)):
        make_checkpoint(f"made/{step}", store, stats, step=step, error=error)
    save_noise(tmp_path / "a.jpg", 1)
    places = {"{run}": str(run.path), "{store}": str(store.path), "{picture}": str(tmp_path / "a.jpg")}
    words = [places.get(word, word) for word in COMMANDS[command]] + ["--out", str(out), "-q"]
    used, left = set(), 0

    def resumes(path: Path) -> str:
        nonlocal left
        left -= 1
        if left == 0:
            for step in (20, 30, 40):
                shutil.copytree(made / f"{step}", run.checkpoint_path(step))
            run.tidy()
        return digest_of_file(path)

    for moment in range(1, 100, 2):
        for path in (run.path, out):
            shutil.rmtree(path, ignore_errors=True)
        out.unlink(missing_ok=True)
        shutil.copytree(made / "10", run.checkpoint_path(10))
        run.write_metrics([dict.fromkeys(COLUMNS, 1)])
        left = moment
        with monkeypatch.context() as patched:
            patched.setattr("alexnet_cli.artifacts.checkpoint.digest_of_file", resumes)
            assert main(words) == 0, (moment, capsys.readouterr().err)
        used.add(left > 0)
        if left > 0:
            break
    assert used == {False, True} and moment > 4, "every file that is read was once the moment"


def test_where_the_best_checkpoint_is_damaged_the_next_one_serves_and_that_is_said(run: RunFolder) -> None:
    first, second = save(run, 10, 0.5), save(run, 20, 0.4)
    (second / "model.safetensors").write_bytes(b"")
    said = "the best checkpoint of those that are whole (step-00000020 damaged), step-00000010"
    assert find_checkpoint(run.path) == (first, said)
    (second / "manifest.json").write_bytes(b"{")
    assert find_checkpoint(run.path) == (first, said)
    (first / "config.json").write_bytes(b"")
    with pytest.raises(ArtifactError, match="damaged"):
        read_found(run.path, read_checkpoint)


def test_metrics_come_back_as_they_were_written(run: RunFolder) -> None:
    rows = [{column: f"{10 * place + number}" for place, column in enumerate(COLUMNS)} for number in range(3)]
    run.write_metrics(rows[:2])  # type: ignore[arg-type]
    run.write_metrics(rows)  # type: ignore[arg-type]
    assert run.metrics() == rows
    assert [path.name for path in run.path.iterdir() if "metrics" in path.name] == ["metrics.csv"]
