"""What a training ran on, in words that a report can print. Nothing here names the machine or its user."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any


def describe_machine(devices: Sequence[str]) -> dict[str, Any]:
    """Processor, cores and memory of this machine, the devices that are used, and the versions that matter."""
    return {
        "processor": processor(),
        "cores": cores(),
        "memory": memory(),
        "devices": list(devices),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": version("torch"),
    }


def device_name(device: str) -> str:
    """What a device is called: of `cuda:0` the GPU's model, else `CPU`."""
    if not device.startswith("cuda"):
        return device.upper()
    import torch

    return str(torch.cuda.get_device_name(torch.device(device)))


def processor() -> str:
    """The processor's model; the kind of machine where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    found = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return found or platform.processor() or platform.machine()


def cores() -> int:
    """Cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory() -> int | None:
    """Bytes of main memory; a container's limit where that is smaller."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and (text := limit.read_text().strip()).isdigit():
        total = min(total, int(text))
    return total
