"""Options of `alexnet contest`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from alexnet_cli.errors import UsageError
from alexnet_cli.options import Devices, Precision

_RATE = "measured"


@dataclass(frozen=True, kw_only=True)
class ContestConfig:
    """Which contest folder; for the plan, what `make contest` was told, and rates where they are known."""

    out: Annotated[Path, Argument(help="The folder of `make contest`.", metavar="OUT", show_default=False)]
    """The folder that `make contest` writes, or would write."""
    dry_run: Annotated[bool, Option("--dry-run", help="Print the plan: each stage with hours and bytes.")] = False
    """The plan in place of the results. Nothing is written in OUT."""
    data: Annotated[
        Path | None,
        Option("--data", help="Plan: ILSVRC-2012; the decoding rate is measured on its pictures.", show_default=False),
    ] = None
    """Where pictures for measuring come from; None: generated ones."""
    fall2011: Annotated[
        Path | None, Option("--fall2011", help="Plan: Fall 2011, for the conv6 nets.", show_default=False)
    ] = None
    """None: no conv6 nets, only the ensemble of five."""
    test: Annotated[bool, Option("--test/--no-test", help="Plan: whether there are test pictures.")] = True
    """Whether the test pictures are scored too."""
    members: Annotated[int, Option("--members", help="Nets of five convolutions.", min=1)] = 5
    """How many nets of five convolutions."""
    pretrained: Annotated[int, Option("--pretrained", help="Plan: pre-trainings.", min=1, max=2)] = 1
    """How many pre-trainings the two fine-tuned nets start from."""
    recipe: Annotated[str, Option("--recipe", help="Plan: of the nets of five convolutions.")] = "paper"
    """Their recipe."""
    pretrain_recipe: Annotated[str, Option("--pretrain-recipe", help="Plan: of the pre-training.")] = "conv6-pretrain"
    """Its recipe."""
    finetune_recipe: Annotated[str, Option("--finetune-recipe", help="Plan: of fine-tuning.")] = "conv6-finetune"
    """Its recipe."""
    epochs: Annotated[int | None, Option("--epochs", help="Plan.", min=1, show_default="the recipe's")] = None
    """Replaces the recipe's."""
    pretrain_epochs: Annotated[
        int | None, Option("--pretrain-epochs", help="Plan.", min=1, show_default="the recipe's")
    ] = None
    """Replaces the recipe's."""
    finetune_epochs: Annotated[
        int | None, Option("--finetune-epochs", help="Plan.", min=1, show_default="the recipe's")
    ] = None
    """Replaces the recipe's."""
    codec: Annotated[str, Option("--codec", help="Plan: of ILSVRC-2012's crops.", metavar="raw|jpeg")] = "raw"
    """How crops are stored."""
    fall2011_codec: Annotated[
        str, Option("--fall2011-codec", help="Plan: of Fall 2011's crops.", metavar="raw|jpeg")
    ] = "jpeg"
    """How crops are stored."""
    devices: Devices = "auto"
    """Where the rates are measured."""
    precision: Precision = "fp32"
    decoded_per_second: Annotated[
        float | None,
        Option("--decoded-per-second", help="Plan: pictures/s of `alexnet preprocess`.", show_default=_RATE),
    ] = None
    """Given in place of measured."""
    read_per_second: Annotated[
        float | None, Option("--read-per-second", help="Plan: crops/s of `alexnet pca`.", show_default=_RATE)
    ] = None
    """Given in place of measured."""
    images_per_second: Annotated[
        float | None,
        Option("--images-per-second", help="Plan: of `alexnet train`, a net of five convolutions.", show_default=_RATE),
    ] = None
    """Given in place of measured; the conv6 nets' follows from their multiply-adds."""
    evaluated_per_second: Annotated[
        float | None,
        Option("--evaluated-per-second", help="Plan: pictures/s of `alexnet eval`, ten views.", show_default=_RATE),
    ] = None
    """Given in place of measured."""
    trial_pictures: Annotated[
        int,
        Option("--trial-pictures", help="Plan: pictures that rates are measured on; 8,000 for a GPU.", min=1),
    ] = 256
    """More take longer and measure better: the first mini-batch is slower than the others."""
    json: Annotated[bool, Option("--json", help="Print the result as one JSON object on stdout.")] = False
    """One JSON object on stdout."""
    quiet: Annotated[bool, Option("--quiet", "-q", help="No messages; warnings and errors stay.")] = False
    """No messages on stderr."""

    def __post_init__(self) -> None:
        for option, codec in (("--codec", self.codec), ("--fall2011-codec", self.fall2011_codec)):
            if codec not in ("raw", "jpeg"):
                raise UsageError(f"{option} {codec}: is none of raw, jpeg")
        for name in ("decoded", "read", "images", "evaluated"):
            rate = getattr(self, f"{name}_per_second")
            if rate is not None and not 0 < rate < float("inf"):
                raise UsageError(f"--{name}-per-second {rate}: must be positive")
