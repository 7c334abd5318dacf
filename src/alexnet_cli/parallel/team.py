"""Who works together: from `--devices` and `--parallel` to the ranks' devices and layout, in this one place."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from alexnet_cli.devices import choose_devices
from alexnet_cli.errors import UsageError
from alexnet_cli.parallel.layout import Layout, choose_layout
from alexnet_cli.parallel.meeting import rank_of_environment
from alexnet_cli.recipes.net import Net


@dataclass(frozen=True)
class Team:
    """The processes that work together."""

    devices: tuple[str, ...]
    """Those of the ranks on this machine."""
    layout: Layout
    timeout: float
    """Seconds without a sign of life after which a rank counts as lost."""

    @property
    def world(self) -> int:
        """How many ranks there are, on all machines."""
        return self.layout.world


def find_team(devices: str, parallel: str = "data", *, net: Net | None = None, timeout: float = 300.0) -> Team:
    """The team that the options ask for, or the one in which a launcher such as torchrun made this process a rank.

    net: what the layout divides, for modes other than data. UsageError if the options or the net don't allow it;
    ResourceError if a device isn't there.
    """
    here, world = _of_ranks(choose_devices(devices))
    layout, _ = choose_layout(parallel, world, net)
    return Team(tuple(map(str, here)), layout, timeout)


def _of_ranks(devices: list[torch.device]) -> tuple[list[torch.device], int]:
    """Of the requested devices, those of the ranks on this machine; and the number of ranks everywhere."""
    environment = rank_of_environment()
    if environment is None:
        return devices, len(devices)
    _, world, _ = environment
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if len(devices) == 1 and devices[0].type == "cpu":
        return devices * here, world
    if len(devices) < here and devices[0].type == "cuda" and torch.cuda.device_count() >= here:
        return [torch.device("cuda", index) for index in range(here)], world
    if len(devices) < here:
        raise UsageError(f"{here} ranks on this machine for {len(devices)} devices: name one for each with --devices")
    return devices, world
