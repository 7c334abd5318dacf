"""What a training ran on, as a report prints it. Nothing here names the machine or its user."""

from __future__ import annotations

import math
import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Of a container: microseconds of processor time in a period, and the period's."""


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
    """The processor's model; the kind of machine if the system does not tell the model."""
    return told_by_linux("model name") or platform.processor() or platform.machine()


def told_by_linux(name: str) -> str:
    """What the system says of its processor, such as `vendor_id`; empty if it does not."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def cores() -> int:
    """Cores that this process may use: those of its affinity, and no more than a container's quota of time allows."""
    found = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    try:
        limit, period = _QUOTA.read_text(encoding="utf-8").split()
        return max(1, min(found, math.ceil(int(limit) / int(period))))
    except (OSError, ValueError):  # there is none, or it says "max"
        return found


def threads_of_process(processes: int = 1) -> int:
    """Threads that one of some processes computes with: OMP_NUM_THREADS if that is set, else its share of the cores.

    torchrun sets it to 1 if it is not set; of several processes under a launcher 1 therefore counts as not set.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    by_launcher = processes > 1 and asked == "1" and "TORCHELASTIC_RUN_ID" in os.environ
    if asked.isdigit() and int(asked) > 0 and not by_launcher:
        return int(asked)
    return max(1, cores() // processes)


def loader_threads(processes: int = 1) -> int:
    """Threads that read crops for one of some processes, unless --workers says how many."""
    return max(1, min(8, cores() // processes))


def memory() -> int | None:
    """Bytes of main memory; a container's limit if that is smaller."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and (text := limit.read_text().strip()).isdigit():
        total = min(total, int(text))
    return total
