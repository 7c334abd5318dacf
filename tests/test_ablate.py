"""`alexnet ablate`: its table against numpy, the commands that it runs, and that it goes on where it stopped."""

from __future__ import annotations

import csv
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.artifacts.run import RunFolder
from alexnet_cli.cli import main
from alexnet_cli.console import Talk
from alexnet_cli.errors import UsageError
from alexnet_cli.recipes.read import load_recipe
from alexnet_cli.signals import Children
from alexnet_commands.ablate.config import AblateConfig
from alexnet_commands.ablate.plot import draw, draw_curves, remove_curves
from alexnet_commands.ablate.processes import Job, run_jobs
from alexnet_commands.ablate.run import RECORD, Result, jobs_of, require_budget, require_folder
from alexnet_commands.ablate.table import Score, as_cells, epoch_cells, epochs_until, rows_of, scores_csv, table_csv
from alexnet_commands.plot.figure import Page

Capture = pytest.CaptureFixture[str]
MakeStore = Callable[..., CropStore]


def score(recipe: str, seed: int, top1: float, top5: float = 0.1) -> Score:
    return Score(recipe=recipe, seed=seed, top1_error=top1, top5_error=top5, centre_top1_error=top1 + 0.01, seconds=60)


def test_means_deviations_and_paired_differences_are_numpys() -> None:
    rng = np.random.default_rng(0)
    errors = {name: rng.uniform(0.2, 0.6, 4) for name in ("source-2012", "no-norm", "tanh")}
    scores = [score(name, seed, float(values[seed])) for name, values in errors.items() for seed in range(4)]
    first, norm, tanh = rows_of(scores)
    for row, values in ((first, errors["source-2012"]), (norm, errors["no-norm"]), (tanh, errors["tanh"])):
        assert row.top1_error.mean == pytest.approx(values.mean())
        assert row.top1_error.deviation == pytest.approx(values.std(ddof=1))
        assert row.minutes == 1
    difference = errors["no-norm"] - errors["source-2012"]
    assert norm.top1_difference is not None
    assert norm.top1_difference.mean == pytest.approx(difference.mean())
    assert norm.top1_difference.deviation == pytest.approx(difference.std(ddof=1))
    assert first.top1_difference is None
    assert (norm.published_top1_difference, norm.published_top5_difference) == (0.014, 0.012), "paper, 3.3 (net 148)"
    assert tanh.published_top1_difference is None


def test_published_differences_stand_only_beside_differences_to_the_papers_net() -> None:
    rows = rows_of([score("cifar-18", 1, 0.2), score("no-norm", 1, 0.3)])
    assert rows[1].published_top1_difference is None
    assert rows[1].top1_difference is not None
    assert rows[1].top1_difference.deviation is None, "of a single seed there is none"
    assert as_cells(rows)[1][5:7] == ("+10.00", "–")
    assert len({len(line) for line in table_csv(rows)}) == 1


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        # 40% in the middle of the first epoch, 20% in that of the second: 25% three quarters of the way.
        ([0.40, 0.20, 0.10], 1.25),
        ([0.40, 0.30, 0.25], 2.5),
        ([0.20], 0.5),
        ([0.40, 0.30], None),
        ([], None),
    ],
)
def test_epochs_to_a_training_error_are_read_off_a_straight_line(errors: list[float], expected: float | None) -> None:
    found = epochs_until(errors, 0.25)
    assert found == (None if expected is None else pytest.approx(expected))


def test_the_ratio_of_epochs_is_taken_seed_by_seed_and_stands_beside_the_papers() -> None:
    reached = {"figure-1-relu": (5.0, 6.0), "figure-1-tanh": (30.0, 24.0)}
    scores = [replace(score(n, seed, 0.3), reached=e) for n, of in reached.items() for seed, e in enumerate(of)]
    relu, tanh = rows_of(scores, 0.25)
    assert relu.reached_ratio is None
    assert tanh.reached_ratio is not None
    assert tanh.reached_ratio.mean == pytest.approx((30 / 5 + 24 / 6) / 2)
    assert epoch_cells([relu, tanh])[1] == ("figure-1-tanh", "27.0 ± 4.2", "36", "5.0 ± 1.4", "6")
    _, late = rows_of([*scores[:2], replace(scores[2], reached=None), scores[3]])
    assert late.reached is None
    assert late.reached_ratio is None
    other = epoch_cells(rows_of(scores, 0.5))
    assert [(line[2], line[4]) for line in other] == [("–", "–")] * 2, "figure 1 gives the epochs to 25% alone"


def test_the_papers_epochs_are_drawn_at_its_25_percent_alone(tmp_path: Path) -> None:
    curves = [(score(name, 1, 0.3), [0.6, 0.4, 0.2]) for name in ("figure-1-relu", "figure-1-tanh")]
    for target, drawn in ((0.25, True), (0.5, False)):
        draw_curves(tmp_path, target, curves)
        assert ("figure-1-tanh, paper" in (tmp_path / "curves.svg").read_text()) == drawn


def config(tmp_path: Path, **options: object) -> AblateConfig:
    given = {"recipes": "source-2012,no-norm", "out": tmp_path / "out", **options}
    return AblateConfig(crops=Path("t.lmdb"), val=Path("v.lmdb"), stats=Path("s.h5"), **given)  # type: ignore[arg-type]


def test_every_net_has_the_same_budget_and_its_own_seed(tmp_path: Path) -> None:
    asked = config(tmp_path, seeds="3,5", epochs=7, set=["net.fc6.neurons=16"], recipes="paper,small")
    jobs = jobs_of(asked, load_recipe("paper"))
    assert [job.name for job in jobs] == ["paper-3", "paper-5", "small-3", "small-5"]
    for job in jobs:
        train, evaluate = (" ".join(words) for words in job.commands)
        assert "--epochs 7 --batch-size 128 --set net.fc6.neurons=16" in train
        assert f"--seed {job.name[-1]} " in train
        assert train.startswith("train t.lmdb --val v.lmdb --stats s.h5")
        assert "--update" in train
        assert "--update" in evaluate


@pytest.mark.parametrize(
    "options",
    [
        {"recipes": "paper"},
        {"recipes": "paper,paper"},
        {"seeds": "1,x"},
        {"seeds": ""},
        {"seeds": "2,2"},
        {"seeds": "1," + "9" * 5000},
    ],
)
def test_what_can_not_be_compared_is_refused(tmp_path: Path, options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        config(tmp_path, **options)


def test_a_failing_command_ends_all_with_its_code(tmp_path: Path, capfd: Capture) -> None:
    # The second has so much to do that it is still at work when the first fails.
    counts = {"no-such": 1, "paper": 50, "small": 1}
    jobs = [Job(name=name, commands=(("summary", "--recipe", name),) * count) for name, count in counts.items()]
    with pytest.raises(SystemExit) as caught:
        run_jobs(jobs, ["1", "1"], logs=tmp_path, talk=Talk(quiet=True))
    assert caught.value.code == 2
    said = capfd.readouterr().err
    assert f"no-such ended with code 2: {tmp_path / 'no-such.log'} says why" in said
    assert "once that is mended, give the same command and --update" in said
    assert "there is no recipe 'no-such'" in (tmp_path / "no-such.log").read_text()
    assert not (tmp_path / "small.log").exists(), "no other began"


def test_jobs_side_by_side_give_their_results_in_order(tmp_path: Path) -> None:
    jobs = [Job(name=name, commands=(("summary", "--recipe", name),) * 2) for name in ("paper", "lenet", "cifar-26")]
    results = run_jobs(jobs, ["1", "1"], logs=tmp_path, talk=Talk(quiet=True))
    assert [[result["recipe"] for result in of] for of in results] == [[job.name] * 2 for job in jobs]


def test_commands_side_by_side_share_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each alone would compute with all of them, and two with twice as many threads as there are cores."""
    given: list[str | None] = []
    start = Children.start

    def noted(children: Children, words: Sequence[str], **how: Any) -> Any:
        given.append((how["env"] or {}).get("OMP_NUM_THREADS"))
        return start(children, words, **how)

    monkeypatch.setattr(Children, "start", noted)
    monkeypatch.setattr("alexnet_cli.machine.cores", lambda: 8)
    jobs = [Job(name=name, commands=(("summary", "--recipe", name),)) for name in ("lenet", "cifar-26")]
    for set_, devices, expected in ((None, 2, "4"), ("3", 2, "3"), (None, 1, None)):
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        if set_ is not None:
            monkeypatch.setenv("OMP_NUM_THREADS", set_)
        given.clear()
        run_jobs(jobs, ["1"] * devices, logs=tmp_path, talk=Talk(quiet=True))
        assert given == [expected] * 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_is_passed_on_and_nothing_more_begins(tmp_path: Path, number: signal.Signals, capfd: Capture) -> None:
    jobs = [Job(name=name, commands=(("summary", "--recipe", name),) * 50) for name in ("paper", "small", "tanh")]
    before = signal.getsignal(number)
    timer = threading.Timer(1.0, os.kill, (os.getpid(), number))
    timer.start()
    with pytest.raises(SystemExit) as caught:
        run_jobs(jobs, ["1", "1"], logs=tmp_path, talk=Talk(quiet=True))
    assert caught.value.code == 128 + number
    assert "to continue it, give the same command and --update" in capfd.readouterr().err
    assert not (tmp_path / "tanh.log").exists()
    assert signal.getsignal(number) is before


def test_an_ablation_that_was_killed_at_its_beginning_goes_on_and_a_folder_of_ones_own_is_refused(
    tmp_path: Path,
) -> None:
    asked = config(tmp_path, update=True)
    asked.out.mkdir()
    for ending in ("work", "lock"):
        (asked.out / f".{RECORD}.alexnet-{ending}").touch()
    require_folder(asked)
    (asked.out / "table.csv").write_text("mine")
    with pytest.raises(UsageError, match="is not a folder of `alexnet ablate`"):
        require_folder(asked)


def test_a_net_that_was_trained_for_more_epochs_is_not_compared_with_others_that_have_fewer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = tmp_path / "out" / "runs" / "figure-1-relu-1"
    trained.mkdir(parents=True)
    manifest = SimpleNamespace(details={"epoch": 2})
    monkeypatch.setattr(RunFolder, "newest", lambda _: SimpleNamespace(manifest=manifest))
    recipes = [load_recipe(name) for name in ("figure-1-relu", "figure-1-tanh")]

    def asked(**options: object) -> AblateConfig:
        return config(tmp_path, recipes="figure-1-relu,figure-1-tanh", **options)

    with pytest.raises(UsageError, match="trained for 2 epochs, and 1 were requested"):
        require_budget(asked(update=True, epochs=1), recipes)
    shorter = [recipe.with_options(training={"epochs": 1}) for recipe in recipes]
    for options in ({}, {"each_own": True}):
        with pytest.raises(UsageError, match="trained for 2 epochs, and 1 were requested"):
            require_budget(asked(update=True, **options), shorter)
    require_budget(asked(update=True, epochs=2), recipes)
    require_budget(asked(update=True, epochs=1, seeds="2,3"), recipes)
    require_budget(asked(overwrite=True, epochs=1), recipes)


def test_a_run_that_has_not_reached_the_training_error_has_an_empty_field_in_runs_csv() -> None:
    head, reached, not_reached = scores_csv([replace(score("a", 1, 0.25), reached=3.5), score("b", 1, 0.5)])
    assert dict(zip(head, reached, strict=True))["reached"] == "3.5"
    assert not_reached == ["b", "1", "0.5", "0.1", "0.51", "60", ""]


def test_the_table_does_not_call_the_one_view_of_a_whole_picture_ten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    scores = [score(name, 1, 0.3) for name in ("figure-1-relu", "figure-1-tanh")]
    monkeypatch.setattr(
        "alexnet_commands.ablate.run.run", lambda config: Result(config.out, rows_of(scores), scores, {})
    )
    words = ["t.lmdb", "--val", "v.lmdb", "--stats", "s.h5", "--recipes", "figure-1-relu,figure-1-tanh", "--seeds", "1"]
    assert main(["ablate", *words, "--out", str(tmp_path)]) == 0
    title = capsys.readouterr().out.splitlines()[0]
    assert "1 seed, all views" in title and "ten" not in title, "input.flip is false, and the patch is the crop"


def test_names_with_dollars_and_escapes_are_drawn_as_they_are(tmp_path: Path) -> None:
    scores = [score("a$x^", 1, 0.4), score("\x1b[1m$\\frac{", 1, 0.5)]
    draw(tmp_path, rows_of(scores), scores)
    assert "$" in (tmp_path / "plot.svg").read_text()
    assert (tmp_path / "plot.png").stat().st_size > 1000


def figures_of(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that are written from now on, each laid out and drawn."""
    pages: list[Any] = []
    content = Page.content

    def kept(page: Page, *how: Any) -> bytes:
        pages.append(page.figure)
        return content(page, *how)

    monkeypatch.setattr(Page, "content", kept)
    return pages


def test_plots_show_all_of_long_names_legend_and_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = figures_of(monkeypatch)
    names = ("source-2012", "no-norm", "one-column", "no-overlap", f"/home/student/{'experiment/' * 9}mine.toml")
    scores = [score(name, 1, 0.9) for name in names]
    draw(tmp_path, rows_of(scores), scores)
    draw_curves(tmp_path, 0.25, [(one, [0.999, 0.9]) for one in scores])
    for figure in pages:
        across, down = figure.bbox.width, figure.bbox.height
        (axes,) = figure.axes
        assert axes.bbox.width > across / 2, "the names leave room for the graph"
        texts = [*figure.texts, *axes.get_yticklabels(), axes.xaxis.label, axes.yaxis.label, figure.legends[0]]
        for text in [*texts, *([figure._supxlabel] if figure._supxlabel else [])]:
            box = text.get_window_extent()
            assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= across + 1 and box.y1 <= down + 1, text
        low, high = axes.get_ylim()
        for line in axes.get_lines():
            assert all(min(low, high) <= y <= max(low, high) for y in line.get_ydata()), "nothing lies outside"


def test_nets_with_their_own_schedules_are_drawn_by_their_errors_next_to_the_published_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = figures_of(monkeypatch)
    errors = {"cifar-26": (0.265, 0.267), "cifar-18": (0.195, 0.199), "lenet": (0.4, 0.42)}
    scores = [score(name, seed, error) for name, pair in errors.items() for seed, error in enumerate(pair, 1)]
    draw(tmp_path, rows_of(scores), scores, each_own=True)
    (axes,) = pages[0].axes
    shown = [
        (line.get_label(), line.get_ydata()[0], [round(number, 6) for number in line.get_xdata()])
        for line in axes.get_lines()
        if line.get_label() in ("a seed", "mean", "published, on CIFAR-10")
    ]
    assert shown == [
        ("a seed", 0, [26.5, 26.7]),
        ("mean", 0, [26.6]),
        ("published, on CIFAR-10", 0, [26]),
        ("a seed", 1, [19.5, 19.9]),
        ("mean", 1, [19.7]),
        ("published, on CIFAR-10", 1, [18]),
        ("a seed", 2, [40, 42]),
        ("mean", 2, [41]),
    ]


def test_curves_of_an_earlier_comparison_do_not_stay_next_to_a_newer_table(tmp_path: Path) -> None:
    draw_curves(tmp_path, 0.25, [(score("a", 1, 0.3), [0.6, 0.2])])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves.png", "curves.svg"]
    for _ in range(2):
        remove_curves(tmp_path)
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("other", "said"),
    [("paper", "paper cuts patches of 224×224"), ("finetune-last", "finetune-last starts from a trained net")],
)
def test_a_recipe_that_can_not_be_trained_is_refused_before_the_first_is(
    make_store: MakeStore, tmp_path: Path, capsys: Capture, other: str, said: str
) -> None:
    store = make_store("t", [0, 1, 2], crops=np.zeros((3, 32, 32, 3), np.uint8))
    words = ["ablate", store.path, "--val", store.path, "--stats", "s.h5", "--recipes", f"cifar-26,{other}"]
    assert main([str(word) for word in (*words, "--out", tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_without_matplotlib_nothing_is_trained(
    make_store: MakeStore, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    store = make_store("t", [0, 1, 2], crops=np.zeros((3, 32, 32, 3), np.uint8))
    words = ["ablate", store.path, "--val", store.path, "--stats", "s.h5", "--recipes", "cifar-26,cifar-18"]
    assert main([str(word) for word in (*words, "--out", tmp_path / "out")]) == 5
    assert "pip install matplotlib" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_nets_are_compared_from_the_command_line_and_again_without_training(
    make_store: MakeStore, make_statistics: Callable[[CropStore], Path], tmp_path: Path, capfd: Capture
) -> None:
    pytest.importorskip("matplotlib")
    labels = [index % 3 for index in range(12)]
    pictures = [np.random.default_rng(seed).integers(0, 256, (12, 32, 32, 3), np.uint8) for seed in (0, 1)]
    store, val = (make_store(name, labels, crops=crops) for name, crops in zip(("t", "v"), pictures, strict=True))
    words = ["ablate", store.path, "--val", val.path, "--stats", make_statistics(store), "--devices", "cpu", "--quiet"]
    words += ["--recipes", "figure-1-relu,figure-1-tanh", "--seeds", "1,2", "--epochs", "2", "--json"]
    words += ["--train-error", "99"]
    command = [str(word) for word in (*words, "--out", tmp_path / "out")]
    assert main(command) == 0
    result = json.loads(capfd.readouterr().out)
    assert [row["recipe"] for row in result["recipes"]] == ["figure-1-relu", "figure-1-tanh"]
    assert len(result["runs"]) == 4
    with (tmp_path / "out" / "runs.csv").open(newline="") as file:
        assert [(row["recipe"], row["seed"]) for row in csv.DictReader(file)] == [
            (name, seed) for name in ("figure-1-relu", "figure-1-tanh") for seed in "12"
        ]
    assert (tmp_path / "out" / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "out" / "curves.svg").exists()
    assert all(run["reached"] is not None for run in result["runs"])
    svg = (tmp_path / "out" / "plot.svg").read_bytes()
    assert main(command) == 2, "exists already"
    checkpoints = sorted((tmp_path / "out" / "runs").rglob("*.safetensors"))
    before = [path.stat().st_mtime_ns for path in checkpoints]
    capfd.readouterr()
    assert main([*command, "--update"]) == 0
    assert json.loads(capfd.readouterr().out) == result
    assert [path.stat().st_mtime_ns for path in checkpoints] == before
    assert (tmp_path / "out" / "plot.svg").read_bytes() == svg
    (tmp_path / "notes.txt").write_text("mine")
    assert main([*map(str, words), "--out", str(tmp_path), "--update"]) == 2, "no folder of ours"
