"""Compiled loops as such: what happens without a compiler or a cache, while others compile, and on signals."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alexnet_cli import compiled
from alexnet_cli.signals import EndedBySignalError, ending_on_signals

pytestmark = pytest.mark.skipif(not compiled.available(), reason="numba is not installed, or turned off")

TRY = """
import sys
for name in sys.argv[1:]:
    sys.modules[name] = None
import torch
from alexnet_cli import compiled
from alexnet_cli.net.kernels.passes import Pass, run_together
from alexnet_cli.net.norm import Norm
from alexnet_cli.recipes.layers import Norm as Spec
assert "numba" not in sys.modules or sys.argv[1:], "numba is imported before it is needed"
norm, maps = Norm(Spec(name="n"), 1), torch.arange(1024.0).reshape(1, 64, 4, 4)
found, count = run_together([norm], maps)
if count:
    assert (found - norm(maps)).abs().max() < 1e-4
print("numba" in sys.modules and sys.modules["numba"] is not None, count, compiled._cache_folder())
"""


def tried(*without: str, **environment: str) -> list[str]:
    """In a process of its own: whether numba was imported, how many layers a pass took, and where the cache is."""
    done = subprocess.run(
        [sys.executable, "-c", TRY, *without],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout.split()


def test_without_numba_the_layers_work_as_torch_operations() -> None:
    assert tried("numba")[:2] == ["False", "0"]


def test_the_loops_can_be_turned_off() -> None:
    assert tried(ALEXNET_KERNELS="0")[:2] == ["False", "0"]


def test_a_cache_that_cannot_be_written_is_no_error() -> None:
    nowhere = {"HOME": "/dev/null", "XDG_CACHE_HOME": "/dev/null/cache", "NUMBA_CACHE_DIR": "/dev/null/numba"}
    assert tried(**nowhere) == ["True", "1", "None"]


def test_without_a_writable_home_there_is_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"HOME": "/dev/null", "XDG_CACHE_HOME": "/dev/null/cache", "NUMBA_CACHE_DIR": ""}.items():
        monkeypatch.setenv(name, value)
    assert compiled._cache_folder.__wrapped__() is None


def test_a_damaged_cache_is_no_error(tmp_path: Path) -> None:
    folder = Path(tried(NUMBA_CACHE_DIR=str(tmp_path))[2])
    assert folder.parent == tmp_path
    kept = [path for path in folder.rglob("*") if path.is_file()]
    assert kept, "the first process leaves its machine code"
    for path in kept:
        path.write_bytes(b"not what numba wrote")
    assert tried(NUMBA_CACHE_DIR=str(tmp_path))[:2] == ["True", "1"]


def double(values: Any, out: Any, first: int, last: int) -> None:
    for index in range(first, last):
        out[index] = 2 * values[index]


def test_while_another_process_writes_to_the_cache_a_kernel_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "_cache_folder", lambda: tmp_path)

    kernel, values, out = compiled.kernel(double), np.arange(5.0), np.zeros(5)
    with (tmp_path / "lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        thread = threading.Thread(target=kernel, args=(values, out, 0, 5))
        thread.start()
        thread.join(0.5)
        assert thread.is_alive() and not list(tmp_path.glob("**/*.nbi"))
    thread.join(60)
    assert list(tmp_path.glob("**/*.nbi")) and np.array_equal(out, 2 * values)
    integers, halves = np.arange(5), np.zeros(5)
    kernel(integers[::-1], halves, 1, 4)
    assert halves.tolist() == [0, 6, 4, 2, 0]


def test_a_signal_that_comes_while_a_kernel_is_compiled_takes_effect_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernel, values, out = compiled.kernel(double), np.arange(5.0), np.zeros(5)
    prepare = kernel._prepare
    done: list[int] = []

    def interrupted(arguments: tuple[Any, ...]) -> None:
        signal.raise_signal(number)
        prepare(arguments)
        done.append(number)

    monkeypatch.setattr(kernel, "_prepare", interrupted)
    for number, kind in ((signal.SIGTERM, EndedBySignalError), (signal.SIGINT, KeyboardInterrupt)):
        kernel._known.clear()
        with pytest.raises(kind), ending_on_signals():
            kernel(values, out, 0, 5)
        assert done.pop() == number and not out.any()
    kernel._known.add(tuple(map(compiled._kind, (values, out, 0, 5))))
    kernel(values, out, 0, 5)
    assert np.array_equal(out, 2 * values)
