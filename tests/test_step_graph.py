"""A training by a recorded step is the plain one to the bit: through drops of the rate, frozen layers, partial batches.

Where there is no GPU, a stand-in records: what it repeats has the learning rates of the moment when it was recorded,
as a CUDA graph has, and reads the memory that it read then.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from small_training import Bench
from torch import Tensor, nn

from alexnet_cli import step_graph
from alexnet_cli.cli import main
from alexnet_cli.net.update import UpdateRule
from alexnet_cli.step_graph import WARM_UP, Recorder, StepGraph
from alexnet_stages.train import session


class StandIn:
    """Keeps the work and what it was recorded with, and does it again at each replay."""

    def __init__(self) -> None:
        self.warmed = self.recorded = self.replayed = 0

    def warm(self, work: Callable[[], Tensor]) -> Tensor:
        self.warmed += 1
        return work()

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        self.recorded += 1
        baked = [dict(group) for rule in RULES for group in rule._optimizer.param_groups]

        def replay() -> None:
            self.replayed += 1
            groups = [group for rule in RULES for group in rule._optimizer.param_groups]
            now = [group["lr"] for group in groups]
            for group, then in zip(groups, baked, strict=True):
                group["lr"] = then["lr"]
            work()
            for group, rate in zip(groups, now, strict=True):
                group["lr"] = rate

        return replay


class Refusing(StandIn):
    """Breaks off in the middle of the work, as a capture does that finds what it can't hold."""

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        self.recorded += 1
        step = torch.optim.SGD.step
        torch.optim.SGD.step = _fails  # type: ignore[method-assign, assignment]
        try:
            work()
        finally:
            torch.optim.SGD.step = step  # type: ignore[method-assign]
        raise AssertionError("it was to fail")


def _fails(*_: object) -> None:
    raise RuntimeError("operation not permitted when stream is capturing\nmore lines of CUDA's")


RULES: list[UpdateRule] = []
"""Whose rates a recorded step holds."""


@pytest.fixture(autouse=True)
def _no_rules() -> None:
    RULES.clear()


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[StandIn], StandIn]:
    """Makes trainings record by it."""

    def use(recorder: StandIn) -> StandIn:
        def find(*_: object) -> Recorder:
            return recorder

        def rule(*parts: object, **options: object) -> UpdateRule:
            RULES.append(UpdateRule(*parts, **options))  # type: ignore[arg-type]
            return RULES[-1]

        monkeypatch.setattr(session, "recorder_for", find)
        monkeypatch.setattr(session, "UpdateRule", rule)
        return recorder

    return use


def weights(bench: Bench) -> dict[str, Tensor]:
    saved = bench.last(to_train=True)
    assert saved.momentum
    return {**saved.model, **{f"momentum of {name}": value for name, value in saved.momentum.items()}}


def require_the_same(bench: Bench, one: dict[str, Tensor]) -> None:
    for name, value in weights(bench).items():
        assert torch.equal(value, one[name]), name


CHANGES = """
extends = "quickstart"
about = "a rate that drops, a layer that freezes and thaws, and mini-batches that are not whole"

[training]
schedule = "steps"
partial_batch = true
class_weights = "balanced"
changes = [
    {epoch = 2, rate = 0.0005},
    {epoch = 3, layers = {conv1 = 0.0, fc7 = 0.0}},
    {epoch = 4, layers = {conv1 = 0.0005, fc7 = 0.002}},
]
"""


def test_a_training_by_recorded_steps_is_the_plain_one_to_the_bit(
    bench: Bench, stand_in: Callable[[StandIn], StandIn]
) -> None:
    """Seven mini-batches an epoch, the last of them smaller; a rate, or more than one, changes with each epoch."""
    (bench.folder / "changes.toml").write_text(CHANGES)
    store = bench.make_store("seven", [index % 3 for index in range(26)])
    given = {"train": store.path, "stats": bench.make_statistics(store)}
    words = ["--recipe", bench.folder / "changes.toml", "--epochs", 4]
    assert bench(*words, **given) == 0
    plain, rows = weights(bench), bench.rows()
    recorder = stand_in(StandIn())
    assert bench(*words, "--cuda-graph", "--overwrite", **given) == 0
    require_the_same(bench, plain)
    same = ("train_loss", "validation_loss", "train_top1_error", "rate")
    assert [[row[name] for name in same] for row in bench.rows()] == [[row[name] for name in same] for row in rows]
    assert (recorder.warmed, recorder.recorded, recorder.replayed) == (4 * WARM_UP, 4, 4 * (6 - WARM_UP))


def test_a_step_that_cant_be_recorded_is_made_as_it_is_and_one_line_says_so(
    bench: Bench, stand_in: Callable[[StandIn], StandIn], capsys: pytest.CaptureFixture[str]
) -> None:
    """Gradients that the broken recording left are not added to the next step's."""
    assert bench() == 0
    plain = weights(bench)
    capsys.readouterr()
    recorder = stand_in(Refusing())
    assert bench("--cuda-graph", "--overwrite") == 0
    require_the_same(bench, plain)
    assert recorder.recorded == 1, "it is tried once"
    said = [line for line in capsys.readouterr().err.splitlines() if "CUDA graph" in line]
    assert len(said) == 1
    assert "(operation not permitted when stream is capturing): training continues without one" in said[0]


def test_a_cached_training_records_too(bench: Bench, stand_in: Callable[[StandIn], StandIn]) -> None:
    """finetune-last trains the last layer on features that are kept."""
    assert bench() == 0
    origin = bench.out.rename(bench.folder / "origin")
    words = ["--recipe", "finetune-last", "--init-from", origin, "--epochs", 2]
    assert bench(*words) == 0
    plain = weights(bench)
    recorder = stand_in(StandIn())
    assert bench(*words, "--cuda-graph", "--overwrite") == 0
    require_the_same(bench, plain)
    assert recorder.replayed > 0


def test_on_a_cpu_the_training_goes_on_without_a_graph_and_says_so(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench("--cuda-graph") == 0
    assert "--cuda-graph is for one CUDA device: training continues without a graph" in capsys.readouterr().err


def test_time_refuses_a_graph_on_a_cpu(narrow: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    words = [word for text in narrow for word in ("--set", text)]
    assert main(["time", "--devices", "cpu", "--cuda-graph", *words]) == 2
    assert "--cuda-graph: is for one CUDA device" in capsys.readouterr().err


def scaled(values: Tensor, factor: float, more: dict[str, Tensor]) -> Tensor:
    return values * factor + more["one"] + more["two"]


def test_other_shapes_and_numbers_are_recorded_anew_and_results_stay_the_callers() -> None:
    recorder = StandIn()
    graph = StepGraph(recorder, tell=pytest.fail, undo=lambda: None)
    rng = np.random.default_rng(0)
    kept = []
    for number, (rows, factor) in enumerate([(3, 2.0)] * 6 + [(4, 2.0)] * 5 + [(4, 3.0)] * 5):
        values, one, two = (torch.from_numpy(rng.normal(size=(rows, 2))) for _ in range(3))
        result = graph(scaled, "state", values, factor, {"one": one, "two": two})
        kept.append((number, result, values * factor + one + two))
    for _, result, expected in kept:
        assert torch.equal(result, expected)
    assert recorder.recorded == 3


def test_inputs_are_copied_into_memory_of_the_graphs_own_in_their_order_in_memory() -> None:
    """A replay sees what is given now, although the caller's tensors lie elsewhere each time."""
    seen: list[tuple[int, tuple[int, ...]]] = []

    def step(maps: Tensor) -> Tensor:
        seen.append((maps.data_ptr(), maps.stride()))
        return nn.functional.relu(maps)

    graph = StepGraph(StandIn(), tell=pytest.fail, undo=lambda: None)
    given = [torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last) for _ in range(6)]
    for maps in given:
        assert torch.equal(graph(step, 0, maps), maps.relu())
    replays = seen[WARM_UP:]
    assert len(set(replays)) == 1 and replays[0][1] == given[0].stride()
    assert replays[0][0] not in [maps.data_ptr() for maps in given]


@pytest.mark.parametrize("over", [False, True], ids=["goes on", "is over"])
def test_a_failed_recording_is_ended_for_torchs_allocator_once(monkeypatch: pytest.MonkeyPatch, over: bool) -> None:
    """Else it would keep memory that two streams used, in the belief that the recording goes on.

    If torch has ended it, as after a lack of memory, the graph is not kept: nor is its memory, which the steps need.
    """
    called: list[str] = []

    def end(index: int, pool: object) -> None:
        called.append(f"end {index} {pool}")
        if over:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")

    monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", end, raising=False)
    monkeypatch.setattr(
        torch._C, "_cuda_releasePool", lambda *pool: called.append(f"release {pool[0]} {pool[1]}"), raising=False
    )
    monkeypatch.setattr(step_graph, "_ABANDONED", [])
    graph = object()
    step_graph._abandon(graph, "pool", torch.device("cuda", 1))  # type: ignore[arg-type]
    assert called == ["end 1 pool"] + ([] if over else ["release 1 pool"])
    assert [graph] * (not over) == step_graph._ABANDONED
