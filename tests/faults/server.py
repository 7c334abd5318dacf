"""A process that has imported everything, and forks a child for each command: a thousand commands in minutes.

    python -m faults.server SHIM.so        one JSON request a line on stdin, one JSON answer a line on stdout

`Server` is the test's side of it. In the child everything is as in a process of its own, only the imports are done.
The shim (shim.c) is preloaded, and a request may arm it: the child's n-th call of some classes is spoilt.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
ROOT = HERE.parents[2]

WRITE, SYNC, RENAME, REMOVE, CREATE, READ = 1, 2, 4, 8, 16, 32
CHANGES = WRITE | SYNC | RENAME | REMOVE | CREATE
COUNT, BEFORE, MIDDLE, IO_ERROR, FULL, SIGNAL = 0, 1, 2, 3, 4, 256


Found = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What happens at the n-th call of some classes on files below `root`."""

    root: Path
    action: int = COUNT
    at: int = 0
    classes: int = CHANGES


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a child ended."""

    code: int
    """The exit code; the signal's negative number where one ended it."""
    out: str
    err: str
    count: int
    """How many calls there were; -1 where the child was killed."""
    struck: str
    """The call that was spoilt and its path; empty where there were fewer."""

    @property
    def lines(self) -> list[str]:
        """What stderr says of the error; each line that is the program's word."""
        return [line for line in self.err.splitlines() if line.startswith("alexnet: ")]


class Server:
    """The forking process, from the test's side."""

    def __init__(self, shim: Path | None, folder: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=folder))
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(HERE.parents[1])])}
        environment |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "COLUMNS": "200"}
        environment |= {"OMP_WAIT_POLICY": "passive", "OPENBLAS_NUM_THREADS": "1"}  # no thread spins on a busy machine
        # Large pages, where there are any: to copy the small ones' table is most of a fork's time.
        environment |= {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1", "PYTHONMALLOC": "malloc"}
        if shim is not None:
            environment |= {"LD_PRELOAD": str(shim), "FAULTS_SHIM": str(shim)}
        self.process = subprocess.Popen(
            [sys.executable, str(HERE), str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        self.children = 0
        """How many were forked so far."""

    def command(
        self,
        words: Sequence[object],
        *,
        fault: Fault | None = None,
        cwd: Path | None = None,
        times: int = 1,
        seconds: float = 120,
    ) -> Outcome:
        """Run `alexnet WORDS`, once or many times over in one child."""
        return self.ask("command", [list(map(str, words)), times], fault=fault, cwd=cwd, seconds=seconds)

    def ask(
        self,
        what: str,
        arguments: list[Any],
        *,
        fault: Fault | None = None,
        cwd: Path | None = None,
        seconds: float = 120,
    ) -> Outcome:
        """Have a child do one of `WORK`; how it ended."""
        self.start(what, arguments, fault=fault, cwd=cwd, seconds=seconds)
        return self.outcome()

    def start(
        self,
        what: str,
        arguments: list[Any],
        *,
        fault: Fault | None = None,
        cwd: Path | None = None,
        seconds: float = 120,
    ) -> None:
        """Have a child do one of `WORK`, and don't wait."""
        assert self.process.stdin is not None
        request = {"what": what, "arguments": arguments, "seconds": seconds, "cwd": str(cwd) if cwd else None}
        if fault is not None:
            request["fault"] = {**asdict(fault), "root": str(fault.root)}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()

    def outcome(self) -> Outcome:
        """Wait for the child that was started."""
        assert self.process.stdout is not None
        answer = self.process.stdout.readline()
        assert answer, "the server died"
        self.children += 1
        return Outcome(**json.loads(answer))

    def strike(self, number: signal.Signals) -> None:
        """Send a signal to the child that was started; KILL to all that it started too."""
        child = int((self.folder / "child").read_text())
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if number == signal.SIGKILL else os.kill)(child, number)

    def look(self, kind: str, path: Path) -> Found:
        """What a reader finds; a reader that dies of a signal gives that as its code."""
        seen = self.ask("look", [kind, str(path)])
        if seen.code:
            return {"code": seen.code, "error": f"the reader died: {seen.err[-300:]}"}
        found: Found = json.loads(seen.out)
        return found

    def close(self) -> None:
        """End it."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()


def build_shim(folder: Path) -> Path | str:
    """Compile shim.c; or why that can't be."""
    if sys.platform != "linux":
        return "the faults' shim wraps Linux's calls"
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return "there is no C compiler for the faults' shim"
    shim = folder / "shim.so"
    source = HERE.with_name("shim.c")
    done = subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", shim, source, "-ldl"], capture_output=True, text=True
    )
    return shim if done.returncode == 0 else f"the faults' shim can't be built: {done.stderr[:200]}"


# ------------------------------------------------------------------------------------------ the server's side


def _command(words: list[str], times: int) -> int:
    from alexnet_cli.cli import main

    code = 0
    for _ in range(times):
        code = code or main(words)
    return code


def _look(kind: str, path: str) -> int:
    from faults.readers import look

    print(json.dumps(look(kind, Path(path))))
    return 0


def _spoil(kind: str, path: str, file: str, damages: list[list[int]]) -> int:
    from faults.readers import spoil

    spoil(kind, Path(path), Path(file), damages)
    return 0


def _watch(kind: str, path: str, seconds: float, stop: str) -> int:
    from faults.readers import watch

    print(json.dumps(watch(kind, Path(path), seconds, Path(stop))))
    return 0


WORK: dict[str, Callable[..., int]] = {"command": _command, "look": _look, "spoil": _spoil, "watch": _watch}


def _import_everything() -> None:
    vars(metadata)["entry_points"] = cache(metadata.entry_points)  # nothing is installed while the tests run
    for name in ("torch", "h5py", "lmdb", "PIL.Image", "safetensors.torch", "scipy.io", "torch.utils.tensorboard"):
        importlib.import_module(name)
    for name in ("PIL.JpegImagePlugin", "PIL.PngImagePlugin", "rich.progress", "torch._dynamo", "faults.readers"):
        importlib.import_module(name)
    from alexnet_cli.cli import build, main

    build()
    with contextlib.redirect_stderr(io.StringIO()):  # what parsing a command line loads, half of a small command's time
        main(["pca", "/nowhere/train.lmdb", "--out", "/nowhere/stats.h5"])
    for stage in ("preprocess", "pca", "train", "eval", "ensemble"):
        importlib.import_module(f"alexnet_stages.{stage}.run")
    importlib.import_module("alexnet_commands.sample.run")
    _fewer_digits()
    _warm_numba()


def _warm_numba() -> None:
    """Its start is most of the time of a small training or evaluation. No kernel runs here, so no thread starts."""
    try:
        numba = importlib.import_module("numba")
    except ImportError:
        return
    numba.njit(lambda number: number + 1)(1)
    for name in ("input.kernels.loops", "net.kernels.loops", "net.kernels.lines"):
        importlib.import_module(f"alexnet_cli.{name}")


def _fewer_digits() -> None:
    """The sample draws scikit-learn's 1,797 digits: here the first 20 are all there are."""
    try:
        datasets = importlib.import_module("sklearn.datasets")
    except ImportError:
        return
    digits = datasets.load_digits()
    few = type(digits)(**{**digits, "images": digits.images[:20], "target": digits.target[:20]})
    datasets.__dict__["load_digits"] = lambda: few


def _child(request: dict[str, Any], folder: Path) -> int:
    """In the fork: arm, work; the exit code."""
    import torch

    torch.set_num_threads(1)
    for number, name in ((1, "out"), (2, "err")):
        handle = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(handle, number)
        os.close(handle)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w", 1)
    if request["cwd"]:
        os.chdir(request["cwd"])
    fault, shim = request.get("fault"), None
    if fault is not None:
        shim = ctypes.CDLL(os.environ["FAULTS_SHIM"])
        root, report = os.fsencode(fault["root"]), os.fsencode(folder / "struck")
        shim.fault_arm(fault["action"], ctypes.c_long(fault["at"]), fault["classes"], root, report)
    code = 1
    try:
        code = WORK[request["what"]](*request["arguments"])
    finally:
        if shim is not None:
            shim.fault_count.restype = ctypes.c_long
            count = shim.fault_count()
            (folder / "count").write_text(str(count))
        sys.stdout.flush()
    return code


def _leave(code: int, *, orderly: bool) -> None:
    """End the child, as Python and C would; but without taking Python's own objects to pieces, which takes seconds."""
    sys.stderr.flush()
    if orderly:
        atexit._run_exitfuncs()
        ctypes.CDLL(None).exit(code)  # HDF5 closes what is still open
    os._exit(code)


def _wait(child: int, seconds: float) -> int:
    """The exit code; the negative signal's number. A child that takes too long is killed."""
    end = time.monotonic() + seconds
    pause = 0.001
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return -1000
        time.sleep(pause)
        pause = min(pause * 1.5, 0.02)


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return ""


def serve(folder: Path) -> None:
    """Answer until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    _import_everything()
    gc.freeze()  # a collection in a child would copy every page
    for line in sys.stdin:
        request = json.loads(line)
        for name in ("out", "err", "count", "struck", "child"):
            (folder / name).unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            os.setpgid(0, 0)
            _leave(
                _child(request, folder),
                orderly=bool(request.get("fault")) and request["fault"]["action"] in (IO_ERROR, FULL),
            )
        with contextlib.suppress(OSError):
            os.setpgid(child, child)
        (folder / "child").write_text(str(child))
        code = _wait(child, request["seconds"])
        with contextlib.suppress(ProcessLookupError):  # workers that outlive a killed child
            os.killpg(child, signal.SIGKILL)
        outcome = Outcome(code=code, out=_read(folder / "out"), err=_read(folder / "err"), count=-1, struck="")
        count = _read(folder / "count")
        outcome = replace(outcome, count=int(count) if count else -1, struck=_read(folder / "struck").strip())
        print(json.dumps(asdict(outcome)), file=answers, flush=True)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
