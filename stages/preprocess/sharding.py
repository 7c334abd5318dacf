"""Which shard of a store this command makes: `--shard 2/8`, or the one that Slurm or torchrun assign.

    parse_shard("2/8")          # Shard(number=2, of=8)
    parse_shard("slurm")        # by the place in a job array, or among one job's tasks

The environment counts only if the user asks for it: a command inside a job is not always one of many.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from alexnet_cli.errors import UsageError

MOST = 99_999
"""Shards that a store may have: five digits in their names."""


@dataclass(frozen=True)
class Shard:
    """Shard `number`, from 1, of `of`."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


def parse_shard(text: str, environment: Mapping[str, str] = os.environ) -> Shard:
    """The shard that `--shard TEXT` means; UsageError if it is invalid."""
    match = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", text)
    if match:
        shard = Shard(int(match[1]), int(match[2]))
    elif text == "slurm":
        shard = _from_slurm(environment)
    elif text == "torchrun":
        shard = Shard(_number("RANK", text, environment) + 1, _number("WORLD_SIZE", text, environment))
    else:
        raise UsageError(f"--shard {text}: must be I/N (such as 2/8), slurm or torchrun")
    if not 1 <= shard.number <= shard.of <= MOST:
        where = f" ({shard})" if match is None else ""
        raise UsageError(f"--shard {text}{where}: I must lie from 1 to N, and N must be {MOST:,} at most")
    return shard


def _from_slurm(environment: Mapping[str, str]) -> Shard:
    """The shard of a job array's element, or without an array, of a task that srun started."""
    if "SLURM_ARRAY_TASK_ID" in environment:
        first, step, count, number = (
            _number(f"SLURM_ARRAY_TASK_{name}", "slurm", environment) for name in ("MIN", "STEP", "COUNT", "ID")
        )
        # A part of an array (`--array=3,5`) would look like a smaller array, and make different shards.
        if _number("SLURM_ARRAY_TASK_MAX", "slurm", environment) != first + step * (count - 1):
            raise UsageError("--shard slurm: the array has gaps: give --shard I/N with all of N for these tasks")
        return Shard((number - first) // step + 1, count)
    return Shard(_number("SLURM_PROCID", "slurm", environment) + 1, _number("SLURM_NTASKS", "slurm", environment))


def _number(name: str, text: str, environment: Mapping[str, str]) -> int:
    value = environment.get(name, "")
    if not value.isdecimal():
        raise UsageError(f"--shard {text}: {name} is not set to a number: start it with {text}, or give --shard I/N")
    return int(value)
