"""Streams that are closed, full, or whose reader is gone; memory limits; signals: commands in their own processes."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from preprocessing import save_noise

from alexnet_cli.artifacts.common.working import WORK, beside
from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.errors import describe_os_error

MakeStore = Callable[..., CropStore]
ALEXNET = f"{sys.executable} -m alexnet_cli"
FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")


def shell(line: str, *, limit: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run a line in bash; a pipe's exit code is its first failure's."""

    def lower() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    command = ["bash", "-c", f"set -o pipefail; {line}"]
    return subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=lower, timeout=120)


@pytest.mark.parametrize(
    "words", ["summary", "summary --recipe paper", "--help", "train --help", "summary --recipe paper --json"]
)
def test_a_reader_that_is_gone_ends_nothing_and_is_told_nothing(words: str) -> None:
    for reader in ("head -1", "true", "exec sleep 0"):
        done = shell(f"{ALEXNET} {words} | {reader}")
        assert (done.returncode, done.stderr) == (0, "")


@FULL
@pytest.mark.parametrize("words", ["summary --recipe paper", "summary --recipe paper --json", "--version"])
def test_a_result_that_stdout_has_no_room_for_is_one_line_and_code_5(words: str) -> None:
    done = shell(f"{ALEXNET} {words} > /dev/full")
    assert done.returncode == 5
    assert done.stderr.startswith("alexnet: standard output: the disk is full") and done.stderr.count("\n") == 1


@FULL
@pytest.mark.parametrize("way", ["2>/dev/full", "2>&-", "2>&1 >/dev/null | true"])
def test_messages_that_stderr_will_not_take_stop_no_work(tmp_path: Path, make_store: MakeStore, way: str) -> None:
    store, out = make_store("train", [0, 1, 2] * 4), tmp_path / "stats.h5"
    assert shell(f"{ALEXNET} pca {store.path} --out {out} {way}").returncode == 0
    assert out.is_file()
    assert shell(f"{ALEXNET} pca {store.path} --out {out} {way}").returncode == 2


@FULL
def test_with_no_room_anywhere_the_exit_code_still_tells() -> None:
    assert shell(f"{ALEXNET} summary --recipe paper > /dev/full 2> /dev/full").returncode == 5
    assert shell(f"{ALEXNET} summary --recipe nonsense > /dev/full 2> /dev/full").returncode == 2


@pytest.mark.parametrize("closed", [">&-", "<&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_stop_no_work_and_no_file_takes_their_place(
    tmp_path: Path, make_store: MakeStore, closed: str
) -> None:
    store, out = make_store("train", [0, 1, 2] * 4), tmp_path / "stats.h5"
    done = shell(f"{ALEXNET} pca {store.path} --out {out} {closed}")
    assert done.returncode == 0, done.stderr
    assert out.read_bytes().startswith(b"\x89HDF")
    assert "Traceback" not in done.stderr


def test_a_read_only_file_system_is_named_as_such() -> None:
    text = describe_os_error(OSError(30, "Read-only file system", "/mnt/x.h5"))
    assert text == "/mnt/x.h5: the file system is read-only: choose another --out"


@pytest.mark.parametrize("megabytes", [300, 600, 1200])
def test_under_a_memory_limit_there_is_one_line_and_code_5_or_all_is_well(
    tmp_path: Path, make_store: MakeStore, megabytes: int
) -> None:
    crops = np.zeros((16 * 64, 32, 32, 3), np.uint8)  # work for 16 threads
    store, out = make_store("train", [0] * len(crops), ("ape",), crops=crops), tmp_path / "stats.h5"
    done = shell(f"{ALEXNET} pca {store.path} --out {out} --workers 16 --quiet", limit=megabytes << 20)
    assert done.returncode in (0, 5), done.stderr
    assert "Traceback" not in done.stderr
    if done.returncode == 5:
        assert re.search(r"memory|thread", done.stderr) and not out.exists()


THREADS = """
import resource, sys, threading
from alexnet_cli.memory import start_threads_where_there_is_room
limit = int(sys.argv[1]) << 20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
start_threads_where_there_is_room()
go, started = threading.Event(), []
try:
    for _ in range(100):
        started.append(threading.Thread(target=go.wait))
        started[-1].start()
except MemoryError as error:
    print(error)
finally:
    go.set()
for thread in started[:-1]:
    thread.join()
print(len(started))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how much is left")
@pytest.mark.parametrize("megabytes", range(180, 260, 8))
def test_a_thread_without_room_is_refused_and_nobody_waits_for_it(megabytes: int) -> None:
    command = [sys.executable, "-c", THREADS, str(megabytes)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    said, count = done.stdout.splitlines()
    assert re.fullmatch(r"\d+ MB are left of what `ulimit -v` allows: too few for another thread", said)
    assert 0 < int(count) < 100


# ------------------------------------------------------------------------------------------------------------ signals

SLOW = """
import sys, time
from pathlib import Path
import alexnet_cli.artifacts.crops.store as crops
read = crops.CropStore.read_into
def slow(self, index, out, *ways):
    Path(sys.argv[1]).touch()
    time.sleep(0.2)
    read(self, index, out, *ways)
crops.CropStore.read_into = slow
def read_many(self, indices, out, *ways):
    for place, index in enumerate(indices.tolist()):
        self.read_into(index, out[place])
crops.CropStore.read_many = read_many
from alexnet_cli.cli import main
raise SystemExit(main(sys.argv[2:]))
"""


def stopped_in_the_middle(tmp_path: Path, number: int, *words: object) -> tuple[int, str]:
    """Exit code and stderr of a command that reads crops slowly, and gets a signal once it does."""
    reading = tmp_path / "reading"
    command = [sys.executable, "-c", SLOW, str(reading), *map(str, words)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not reading.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    process.send_signal(number)
    error = process.communicate(timeout=60)[1]
    reading.unlink(missing_ok=True)
    return process.returncode, error


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), pytest.param(signal.SIGHUP, 129, marks=pytest.mark.slow)]
)
def test_a_signal_ends_pca_eval_and_ensemble_in_one_line_and_leaves_nothing(
    tmp_path: Path,
    make_store: MakeStore,
    make_statistics: Callable[[CropStore], Path],
    make_checkpoint: Callable[..., Path],
    number: signal.Signals,
    code: int,
) -> None:
    store = make_store("val", [0, 1, 2] * 20)
    net = make_checkpoint("net", store, make_statistics(store))
    before = {path.name for path in tmp_path.iterdir()}
    for words in (
        ["pca", store.path, "--out", tmp_path / "a.h5", "--workers", 2],
        ["eval", net, store.path, "--out", tmp_path / "a.h5", "--devices", "cpu"],
        ["ensemble", net, "--crops", store.path, "--out", tmp_path / "e", "--devices", "cpu"],
    ):
        found = stopped_in_the_middle(tmp_path, number, *words, "--quiet")
        assert found == (code, f"alexnet: ended by {number.name}\n"), words
        left = {path.name for path in tmp_path.iterdir()} - before
        # An unfinished ensemble keeps the members that are scored: the same command goes on with them.
        assert left <= ({beside(tmp_path / "e", WORK).name} if words[0] == "ensemble" else set()), (words, left)


def test_a_signal_that_the_caller_ignores_stays_ignored(tmp_path: Path, make_store: MakeStore) -> None:
    store, out = make_store("val", [0, 1, 2] * 2), tmp_path / "a.h5"
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        code, error = stopped_in_the_middle(tmp_path, signal.SIGHUP, "pca", store.path, "--out", out, "--quiet")
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (code, error) == (0, "")
    assert out.is_file()


def test_a_closed_terminal_saves_a_training_like_sigterm(
    tmp_path: Path, make_store: MakeStore, make_statistics: Callable[[CropStore], Path], narrow: list[str]
) -> None:
    store, run = make_store("train", [0, 1, 2] * 20), tmp_path / "run"
    words = ["train", store.path, "--stats", make_statistics(store), "--out", run, "--devices", "cpu", "--epochs", 50]
    words += ["--recipe", "quickstart", "--batch-size", 4, "--rate", 0.001, "--quiet"]
    words += [word for text in narrow for word in ("--set", text)]
    code, error = stopped_in_the_middle(tmp_path, signal.SIGHUP, *words)
    assert code == 75, error
    assert error.startswith("alexnet: stopped after step ") and error.count("\n") == 1
    assert list((run / "checkpoints").glob("step-*/manifest.json"))


def test_a_closed_terminal_stops_preprocess_like_sigterm(tmp_path: Path) -> None:
    for number in range(2000):
        link = tmp_path / f"in/class{number % 2}/{number}.jpg"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(tmp_path / "a.jpg")
    save_noise(tmp_path / "a.jpg", 1, side=400)
    out = tmp_path / "x.lmdb"
    words = [sys.executable, "-m", "alexnet_cli", "preprocess", str(tmp_path / "in"), "--out", str(out), "--quiet"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.rglob("data.mdb")) and process.poll() is None:
        time.sleep(0.01)
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGHUP)
    error = process.communicate(timeout=60)[1]
    assert (process.returncode, error) == (
        75,
        "alexnet: stopped by SIGHUP: the same command resumes where it stopped\n",
    )
    assert not out.exists()


def test_a_working_folder_that_is_gone_is_named_as_such(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    program = f"mkdir {gone}; cd {gone}; rmdir {gone}; exec {sys.executable} -m alexnet_cli pca /x.lmdb --out /x.h5"
    done = subprocess.run(["sh", "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (5, 1)
    assert done.stderr.startswith("alexnet: the folder that you are in: No such file")
