"""What `--devices` says, read the same way by every command. No torch here, and no look at the machine."""

from __future__ import annotations

import re
from dataclasses import dataclass

from alexnet_cli.errors import UsageError

NUMBER = re.compile("[0-9]{1,4}")
"""Of devices, or of one of them."""
_MOST_PROCESSES = 256
"""On the CPUs of one machine."""


@dataclass(frozen=True)
class DeviceNames:
    """Devices as they were requested, one for each process."""

    kind: str
    """auto, cpu or cuda."""
    numbers: tuple[int, ...] = (0,)
    """Which CUDA devices; of the CPU a zero for each process."""


def parse_devices(text: str) -> DeviceNames:
    """auto; cpu, or cpu:2 for two processes on the CPU; cuda: the first device; cuda:4: the first four; cuda:0,1 or
    cuda:3, (a list): those. UsageError if it is invalid."""
    if text == "auto":
        return DeviceNames("auto")
    kind, colon, numbers = text.partition(":")
    words = numbers.removesuffix(",").split(",")
    if kind not in ("cpu", "cuda") or (colon and not all(NUMBER.fullmatch(word) for word in words)):
        raise UsageError(f"--devices {text}: not understood: use auto, cpu, cpu:2, cuda, cuda:4 or a list: cuda:0,1")
    given = tuple(int(word) for word in words) if colon else (0,)
    listed = "," in numbers or not colon
    if kind == "cpu":
        if colon and (listed or given[0] < 1):
            raise UsageError(f"--devices {text}: write cpu, or cpu:2 for two processes")
        if given[0] > _MOST_PROCESSES:
            raise UsageError(f"--devices {text}: are too many processes: use cpu:{_MOST_PROCESSES} at most")
        return DeviceNames("cpu", (0,) * (given[0] if colon else 1))
    if given == (1,) and not listed:
        raise UsageError("--devices cuda:1: one device, or device number 1? Write cuda, or cuda:1, with a comma")
    if len(set(given)) < len(given):
        raise UsageError(f"--devices {text}: names a device twice")
    return DeviceNames("cuda", given if listed or given == (0,) else tuple(range(given[0])))
