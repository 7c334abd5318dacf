"""Devices and precision: from `--devices` and `--precision` to torch's settings."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet_cli.device_names import parse_devices
from alexnet_cli.errors import ResourceError
from alexnet_cli.machine import threads_of_process
from alexnet_cli.memory import keep_freed_memory
from alexnet_cli.options import require_precision


def choose_devices(text: str) -> list[torch.device]:
    """The devices that `--devices` names, one for each process.

    auto: the first two CUDA devices, or the only one, or the CPU if there is none; the rest as `parse_devices` says.
    UsageError if it is invalid; ResourceError if it isn't there.
    """
    asked = parse_devices(text)
    if asked.kind == "auto":
        there = min(torch.cuda.device_count(), 2)
        return [torch.device("cuda", index) for index in range(there)] or [torch.device("cpu")]
    if asked.kind == "cpu":
        return [torch.device("cpu")] * len(asked.numbers)
    there = torch.cuda.device_count()
    if max(asked.numbers) >= there:
        raise ResourceError(f"--devices {text}: this machine has {there} CUDA devices: use --devices cpu or another")
    return [torch.device("cuda", index) for index in asked.numbers]


def choose_device(text: str) -> torch.device:
    """The one device that `--devices` names: of several, the first."""
    return choose_devices(text)[0]


def prepare(device: torch.device, precision: str, *, processes: int = 1) -> None:
    """Set torch up for a device and a precision: memory, matrix products, convolutions.

    processes: how many on this machine share its cores. The same device, precision and number of threads give the same
    bits from run to run on a CPU. OMP_NUM_THREADS, if it is set, is the number of threads of each process.
    """
    require_precision(precision, device.type)
    allowed = precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed
    torch.backends.cudnn.benchmark = True
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    if device.type == "cpu":
        keep_freed_memory()
        torch.set_num_threads(threads_of_process(processes))


def on_device(values: NDArray[Any], device: torch.device | str) -> Tensor:
    """A tensor of an array of a few numbers for each picture. A GPU takes them in the order of its work: a plain
    `.to(device)` waits until all that it was given is done. The array may change afterwards: CUDA has copied it."""
    return torch.from_numpy(values).to(device, non_blocking=True)


def float_type(precision: str) -> torch.dtype:
    """Of weights, and of the patches that go in for evaluation."""
    return torch.float64 if precision == "fp64" else torch.float32


def patch_type(precision: str) -> torch.dtype:
    """Of training's patches: with bf16 the first convolution rounds them to bfloat16 anyway."""
    return torch.bfloat16 if precision == "bf16" else float_type(precision)


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """With bf16: maps and products in bfloat16, weights and sums in float32."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()
