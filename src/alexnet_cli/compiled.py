"""Compiled loops for the CPU: numba if it is installed, run on as many threads as torch uses.

    @kernel
    def double(values, out, first, last):      # works on items first … last − 1
        ...
    over(double, len(values), values, out)

A kernel gives each item the same numbers whichever thread works on it, so the number of threads changes no bit. Nothing
here is imported or compiled before the first call: the first use of a kernel takes about a second, later processes take
the machine code from a cache. numba's own threads are not used: they must not be entered from two of Python's at once.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from alexnet_cli.signals import signals_held
from alexnet_cli.streams import quiet_libraries

_FLAGS = {"contract", "reassoc", "arcp", "nsz", "afn"}
"""LLVM's fast-math flags, without those that could lose a NaN or an infinity: a training must see them."""


@cache
def available() -> bool:
    """Whether numba is installed and works. ALEXNET_KERNELS=0 turns the compiled loops off."""
    if os.environ.get("ALEXNET_KERNELS") == "0" or importlib.util.find_spec("numba") is None:
        return False
    try:
        import numba  # noqa: F401
    except (ImportError, OSError, AttributeError):  # built for another numpy or Python
        return False
    return True


def serves(*tensors: torch.Tensor) -> bool:
    """Whether compiled loops can work on these tensors: float32 or bfloat16 on the CPU, outside torch.compile."""
    types = (torch.float32, torch.bfloat16)
    fit = all(tensor.device.type == "cpu" and tensor.dtype in types and tensor.numel() for tensor in tensors)
    return fit and not torch.compiler.is_compiling() and available()


@cache
def _has_triton() -> bool:
    """Whether Triton is installed and works. What starts its kernels is compiled here: without a C compiler, Python's
    headers, or a cache that can be written, there is none."""
    if os.environ.get("ALEXNET_KERNELS") == "0":
        return False
    try:
        with quiet_libraries():  # the compiler says what it misses
            from triton.runtime import driver

            driver.active.get_current_device()
    except Exception:  # whatever it is, torch's own operations serve
        return False
    return True


def triton_serves(*tensors: torch.Tensor) -> bool:
    """Whether Triton's kernels can work on these tensors: on a CUDA device, outside torch.compile."""
    types = (torch.float32, torch.bfloat16, torch.float16)
    fit = all(tensor.device.type == "cuda" and tensor.dtype in types and tensor.numel() for tensor in tensors)
    return fit and not torch.compiler.is_compiling() and _has_triton()


class Kernel:
    """A function that numba compiles when it is first called; from then on it runs without Python's lock."""

    def __init__(self, function: Callable[..., None]) -> None:
        self.function = function
        self._compiled: Any = None
        self._known: set[tuple[Any, ...]] = set()
        """Kinds of arguments for which there is machine code in this process."""
        self._lock = threading.Lock()

    def __call__(self, *arguments: Any) -> None:
        self.ready(*arguments)(*arguments)

    def ready(self, *arguments: Any) -> Callable[..., None]:
        """The machine code for these types of arguments, from the cache or compiled now.

        A cache that can't be written or read is not an error: then this process compiles for itself.
        """
        kinds = tuple(map(_kind, arguments))
        if kinds not in self._known:
            with self._lock, signals_held():  # LLVM's callbacks would lose what a signal raises
                self._prepare(arguments)
                self._known.add(kinds)
        compiled: Callable[..., None] = self._compiled
        return compiled

    def _prepare(self, arguments: tuple[Any, ...]) -> None:
        from numba import typeof

        types, folder = tuple(map(typeof, arguments)), _cache_folder()
        self._compiled = self._compiled or self._compiler(folder)
        try:
            with _only_process(folder):
                self._compiled.compile(types)
        except Exception:  # whatever numba's cache raises; the kernels themselves are sound
            self._compiled = self._compiler(None)
            self._known.clear()
            self._compiled.compile(types)

    def _compiler(self, folder: Path | None) -> Any:
        from numba import config, njit

        options: Any = config
        before = options.CACHE_DIR
        options.CACHE_DIR = str(folder or before)
        try:
            return njit(cache=folder is not None, nogil=True, fastmath=_FLAGS, error_model="numpy")(self.function)
        finally:
            options.CACHE_DIR = before


def _kind(argument: Any) -> Any:
    """What machine code depends on; in less time than numba's own `typeof` takes."""
    if isinstance(argument, np.ndarray):
        return argument.dtype, argument.ndim, argument.flags.num
    return type(argument)


@contextmanager
def _only_process(folder: Path | None) -> Iterator[None]:
    """Hold the cache for this process: numba numbers a kernel's files without a lock, and a process could get
    another one's machine code, for other arguments."""
    if folder is None:
        yield
        return
    with (folder / "lock").open("w") as file:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def kernel(function: Callable[..., None]) -> Kernel:
    """Compile a function of (…, first, last) at its first call. It must not raise, and must write its
    whole output."""
    return Kernel(function)


def inner(function: Callable[..., Any]) -> Any:
    """A function that kernels call: compiled into them. Only modules that are imported at a kernel's first use may
    have one, since it imports numba."""
    import numba

    return numba.njit(fastmath=_FLAGS, error_model="numpy", inline="never")(function)


def over(run: Kernel, items: int, *arguments: Any) -> None:
    """Run a kernel over 0 … items − 1, in as many parts at once as torch has threads."""
    compiled = run.ready(*arguments, 0, 0)
    parts = max(1, min(torch.get_num_threads(), items))
    bounds = [items * part // parts for part in range(parts + 1)]
    pool = _pool(os.getpid(), parts - 1) if parts > 1 else None
    waiting: list[Future[None]] = []
    for first, last in pairwise(bounds[1:]):
        assert pool is not None
        waiting.append(pool.submit(compiled, *arguments, first, last))
    compiled(*arguments, bounds[0], bounds[1])
    for future in waiting:
        future.result()


def array(tensor: torch.Tensor) -> Any:
    """The tensor's memory as numpy sees it: bfloat16 as uint16, channels_last maps as (N, H, W, C)."""
    tensor = tensor.detach()
    if tensor.dim() == 4:
        tensor = tensor.permute(0, 2, 3, 1)
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Threads of this process: a forked one has none of its parent's and starts its own."""
    return ThreadPoolExecutor(threads, thread_name_prefix="kernels")


@cache
def _cache_folder() -> Path | None:
    """Where the machine code of exactly these sources is kept: in NUMBA_CACHE_DIR or the user's own cache. None if
    nothing can be written there. An installed package's folder may be read-only, or others may write to it."""
    parts = Path(__file__).parent.glob("**/kernels/*.py")
    sources = b"".join(path.read_bytes() for path in (Path(__file__), *sorted(parts)))
    name = f"kernels-{hashlib.sha256(sources).hexdigest()[:16]}"
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
        folder = Path(os.environ.get("NUMBA_CACHE_DIR") or Path(home) / "alexnet") / name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError):  # no permission, no space, no home
        return None
