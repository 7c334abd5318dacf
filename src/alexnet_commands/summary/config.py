"""Options of `alexnet summary`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from typer import Option

from alexnet_cli.device_names import NUMBER, parse_devices
from alexnet_cli.errors import UsageError
from alexnet_cli.options import Json, Parallel, Set


@dataclass(frozen=True, kw_only=True)
class SummaryConfig:
    """Which net to show."""

    recipe: Annotated[str, Option("--recipe", help="The recipe whose net is shown, or a file: FILE.toml.")] = "paper"
    compare: Annotated[
        str | None,
        Option("--compare", help="Show the nets of these recipes side by side: lenet,paper.", metavar="RECIPE,RECIPE…"),
    ] = None
    classes: Annotated[
        int | None, Option("--classes", help="Number of classes.", min=2, show_default="the recipe's")
    ] = None
    set: Set = ()  # type: ignore[assignment]
    devices: Annotated[
        str,
        Option(
            "--devices",
            help="Show what each of several devices holds and sends: cuda:4, cpu:2, or a number.",
            metavar="DEVICES",
        ),
    ] = "cpu"
    parallel: Parallel = "auto"
    batch_size: Annotated[
        int, Option("--batch-size", help="Pictures in a mini-batch, for the memory of --devices.", min=1)
    ] = 128
    json: Json = False

    def __post_init__(self) -> None:
        if self.device_count < 1:
            raise UsageError(f"--devices {self.devices}: one device at least")
        if self.compare is not None and len(self.compared) < 2:
            raise UsageError(f"--compare {self.compare}: name two recipes or more, such as lenet,paper")

    @property
    def device_count(self) -> int:
        """How many devices share the net."""
        if NUMBER.fullmatch(self.devices):
            return int(self.devices)
        return len(parse_devices(self.devices).numbers)

    @property
    def compared(self) -> tuple[str, ...]:
        """The recipes of --compare."""
        return tuple(name.strip() for name in (self.compare or "").split(",") if name.strip())
