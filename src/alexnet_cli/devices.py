"""Devices and precision: from `--devices` and `--precision` to torch's settings."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from alexnet_cli.errors import ResourceError, UsageError
from alexnet_cli.memory import keep_freed_memory

PRECISIONS = ("fp32", "tf32", "bf16")


def choose_device(text: str) -> torch.device:
    """The device that `auto`, `cpu`, `cuda` or `cuda:1` names.

    UsageError where it can't be meant; ResourceError where it isn't there.
    """
    if text == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if text == "cpu":
        return torch.device("cpu")
    kind, _, number = text.partition(":")
    if kind != "cuda" or (number and not number.isdigit()):
        raise UsageError(f"--devices {text}: not understood: use auto, cpu, cuda or one device such as cuda:0")
    there = torch.cuda.device_count()
    if int(number or 0) >= there:
        raise ResourceError(f"--devices {text}: this machine has {there} CUDA devices: use --devices cpu or another")
    return torch.device("cuda", int(number or 0))


def prepare(device: torch.device, precision: str) -> None:
    """Set torch up for a device and a precision: memory, matrix products, convolutions.

    The same device, precision and number of threads give the same bits from run to run on a CPU.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"--precision {precision}: unknown: use one of {', '.join(PRECISIONS)}")
    if precision == "tf32" and device.type != "cuda":
        raise UsageError("--precision tf32: is made of NVIDIA's tensor cores: use fp32 or bf16 on a CPU")
    allowed = precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed
    torch.backends.cudnn.benchmark = True
    if device.type == "cpu":
        keep_freed_memory()
        torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Where bfloat16 is asked for: maps and products in it, weights and sums in float32."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()
