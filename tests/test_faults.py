"""Ranks that die, freeze or fail: one line, code 6, nobody left behind, and a checkpoint from which it goes on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from alexnet_cli.artifacts.checkpoint import read_checkpoint
from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.artifacts.run import RunFolder

PROGRAM = Path(__file__).with_name("faulty.py")
ROOT = PROGRAM.parents[1]
STEP = re.compile(r"step-0*(\d+)$")


class Bench:
    """A training of two epochs of 3 steps over two ranks, as a command of its own."""

    def __init__(self, folder: Path, options: list[str]) -> None:
        self.folder, self.options = folder, options
        self.run_folder = folder / "run"

    def start(self, how: str, phase: str, rank: int = 1, timeout: float = 60) -> subprocess.Popen[str]:
        """`rank` goes wrong when it is in `phase`."""
        words = [str(self.run_folder), str(self.folder), how, phase, str(rank), "cpu:2", str(timeout), *self.options]
        return self._popen([sys.executable, str(PROGRAM), *words])

    def torchrun(self, *options: str) -> subprocess.Popen[str]:
        """The same training, its ranks started by torchrun."""
        folder = self.folder
        train = ["train", str(folder / "train.lmdb"), "--val", str(folder / "val.lmdb"), "--stats"]
        train += [str(folder / "train.h5"), "--out", str(self.run_folder), "--batch-size", "8", "--epochs", "2"]
        train += [word for option in self.options for word in ("--set", option)]
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        return self._popen([*launcher, *options, "-m", "alexnet_cli", *train, "--devices", "cpu"])

    def _popen(self, words: list[str]) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
        return subprocess.Popen(
            words,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env=environment,
            start_new_session=True,
        )

    def steps(self) -> list[int]:
        """Steps of the whole checkpoints."""
        return [saved.step for saved in RunFolder(self.run_folder).saved()]

    def require_nobody(self, process: subprocess.Popen[str]) -> None:
        """Nobody of the command's session is left."""
        end = time.monotonic() + 5
        while time.monotonic() < end:
            try:
                os.killpg(process.pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.1)
        raise AssertionError("a process stayed behind")


@pytest.fixture
def bench(
    tmp_path: Path,
    make_store: Callable[..., CropStore],
    make_statistics: Callable[[CropStore], Path],
    narrow: list[str],
) -> Bench:
    store = make_store("train", [index % 3 for index in range(24)])
    make_store("val", [0, 1, 2], seed=1)
    make_statistics(store)
    return Bench(tmp_path, [*narrow, "training.schedule=steps"])


def _children(parent: int, *, spawned: bool = False) -> list[int]:
    """Processes whose parent is `parent`; of those of Python's multiprocessing the ones that work."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            command = (stat.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == parent and (b"spawn_main" in command or not spawned):
            found.append(int(stat.parent.name))
    return found


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc")


FAST = [
    ("kill", "step 5", 1, r"rank 1 \(cpu\) died at step 5 \(SIGKILL\)", [3]),
    ("raise", "step 5", 0, r"rank 0 \(cpu\) failed at step 5: ValueError: a test's fault", [3]),
]
SLOW = [
    ("kill", "spawned", 1, r"rank 1 \(cpu\) died at the start \(SIGKILL\)", []),
    ("kill", "saving after step 6", 0, r"rank 0 \(cpu\) died at saving after step 6 \(SIGKILL\)", [3]),
    ("kill", "validation after step 6", 1, r"rank 1 \(cpu\) died at validation after step 6 \(SIGKILL\)", [3]),
    ("raise", "validation after step 6", 1, r"rank 1 \(cpu\) failed at validation after step 6: ValueError", [3]),
    ("raise", "initial values", 1, r"rank 1 \(cpu\) failed at initial values: ValueError", []),
    ("raise", "saving after step 6", 0, r"rank 0 \(cpu\) failed at saving after step 6: ValueError", [3]),
    ("raise", "the end", 1, r"rank 1 \(cpu\) failed at the end: ValueError", [3, 6]),
    ("kill", "the end", 1, r"rank 1 \(cpu\) died at the end \(SIGKILL\)", [3, 6]),
]


@pytest.mark.parametrize(
    ("how", "phase", "rank", "line", "steps"), [*FAST, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)]
)
def test_a_rank_that_is_lost_ends_the_command_in_one_line(
    bench: Bench, how: str, phase: str, rank: int, line: str, steps: list[int]
) -> None:
    process = bench.start(how, phase, rank)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 6, errors
    last = [text for text in errors.splitlines() if text.startswith("alexnet: ")]
    assert len(last) == 1, errors
    assert re.match(f"alexnet: {line}.*--resume$", last[0]), last
    assert "Traceback" not in errors
    bench.require_nobody(process)
    assert bench.steps() == steps
    for saved in RunFolder(bench.run_folder).saved():
        read_checkpoint(saved.path, to_train=True)


@needs_proc
def test_the_others_end_within_ten_seconds_of_a_death_and_the_run_goes_on(bench: Bench) -> None:
    process = bench.start("wait", "step 5")
    # The rank waits forever in step 5: kill it from outside, and look at the clock.
    end = time.monotonic() + 90
    while not (bench.run_folder / "checkpoints" / "step-00000003" / "manifest.json").is_file():
        assert time.monotonic() < end
        time.sleep(0.1)
    time.sleep(1)
    os.kill(max(_children(process.pid, spawned=True)), signal.SIGKILL)
    start = time.monotonic()
    _, errors = process.communicate(timeout=60)
    assert time.monotonic() - start < 10
    assert process.returncode == 6, errors
    bench.require_nobody(process)
    again = bench.start("kill", "never")
    _, errors = again.communicate(timeout=120)
    assert again.returncode == 0, errors
    assert "resuming from step-00000003" in errors
    assert bench.steps() == [3, 6]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("phase", "rank"),
    [("spawned", 0), ("step 5", 1), ("validation after step 6", 1), ("saving after step 6", 0), ("the end", 1)],
)
def test_a_rank_that_freezes_is_given_up_after_the_timeout(bench: Bench, phase: str, rank: int) -> None:
    process = bench.start("freeze", phase, rank, timeout=20)
    _, errors = process.communicate(timeout=150)
    assert process.returncode == 6, errors
    assert re.search(rf"alexnet: rank {rank} \(cpu\) (hangs|is stuck) at .* 20 s", errors), errors
    bench.require_nobody(process)


def _state(process: int) -> str:
    """`T` for a process that is stopped."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]


@needs_proc
@pytest.mark.slow
def test_a_training_that_was_suspended_for_longer_than_the_timeout_goes_on(bench: Bench) -> None:
    process = bench.start("suspend", "step 5", 1, timeout=20)
    end = time.monotonic() + 90
    while _state(process.pid) != "T":
        assert time.monotonic() < end
        time.sleep(0.1)
    time.sleep(25)
    os.killpg(process.pid, signal.SIGCONT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert bench.steps() == [3, 6]


def test_sigterm_to_the_parent_saves_once_and_ends_with_75(bench: Bench) -> None:
    process = bench.start("never", "never")
    assert process.stderr is not None
    for line in process.stderr:
        if "epoch 1/2" in line:
            break
    os.kill(process.pid, signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75, errors
    assert "saved: continue with the same command and --resume" in errors
    assert len(bench.steps()) == 1
    bench.require_nobody(process)


@needs_proc
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_the_ranks_are_starting_ends_the_command_as_one_process(bench: Bench, number: int) -> None:
    process = bench.start("never", "never")
    end = time.monotonic() + 60
    while len(_children(process.pid, spawned=True)) < 2:
        assert time.monotonic() < end
        time.sleep(0.01)
    os.kill(process.pid, number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + number, errors
    assert "rank" not in errors, errors
    bench.require_nobody(process)


@pytest.mark.slow
def test_ctrl_c_saves_once_and_twice_quits(bench: Bench) -> None:
    process = bench.start("wait", "step 2")
    assert process.stderr is not None
    for line in process.stderr:
        if "epoch 1/2" in line:
            break
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    time.sleep(1)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
    bench.require_nobody(process)


@needs_proc
@pytest.mark.slow
def test_torchrun_starts_lost_ranks_again_from_the_newest_checkpoint(bench: Bench) -> None:
    process = bench.torchrun("--max-restarts", "1")
    checkpoint = bench.run_folder / "checkpoints" / "step-00000003" / "manifest.json"
    end = time.monotonic() + 120
    while not checkpoint.is_file():
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.05)
    os.kill(max(_children(process.pid)), signal.SIGKILL)
    _, errors = process.communicate(timeout=180)
    assert process.returncode == 0, errors
    assert "resuming from step-00000003" in errors
    assert bench.steps() == [3, 6]
    bench.require_nobody(process)
