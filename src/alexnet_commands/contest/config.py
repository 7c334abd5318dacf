"""Options of `alexnet contest`."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from alexnet_cli.errors import UsageError
from alexnet_cli.options import CODECS, Devices, Json, Precision, Quiet, require_one_of

_RATE = "measured"


@dataclass(frozen=True, kw_only=True)
class ContestConfig:
    """Which contest folder; for the plan, the options of `make contest`, and rates that are known."""

    out: Annotated[Path, Argument(help="The folder of `make contest`.", metavar="OUT")]
    dry_run: Annotated[
        bool, Option("--dry-run", help="Print the commands, and the hours and bytes of each stage; run nothing.")
    ] = False
    update: Annotated[bool, Option("--update", help="Make what is absent or out of date, then show the results.")] = (
        False
    )
    only: Annotated[
        str | None, Option("--only", help="Make only this step and what it needs, such as 'train cnn-3'.")
    ] = None
    data: Annotated[
        Path | None,
        Option(
            "--data",
            help="ILSVRC-2012 as it ships, or any source that `alexnet preprocess --split` takes. The plan measures on "
            "its pictures; without it, on generated ones.",
        ),
    ] = None
    fall2011: Annotated[
        Path | None,
        Option(
            "--fall2011",
            help="ImageNet Fall 2011, which the nets with conv6 are pre-trained on. Without it there are no such "
            "nets, and the ensemble is that of five nets.",
        ),
    ] = None
    test: Annotated[
        bool | None,
        Option(
            "--test/--no-test",
            help="Score the test pictures too; --no-test leaves them out.",
            show_default="whether --data has any",
        ),
    ] = None
    members: Annotated[
        int, Option("--members", help="How many nets with five convolutional layers.", min=1, max=1000)
    ] = 5
    pretrained: Annotated[int, Option("--pretrained", help="How many pre-trainings on Fall 2011.", min=1, max=2)] = 1
    recipe: Annotated[str, Option("--recipe", help="Recipe of the nets with five convolutional layers.")] = (
        "source-2012"
    )
    pretrain_recipe: Annotated[str, Option("--pretrain-recipe", help="Recipe of the pre-training.")] = "conv6-pretrain"
    finetune_recipe: Annotated[str, Option("--finetune-recipe", help="Recipe of the fine-tuning.")] = "conv6-finetune"
    epochs: Annotated[
        int | None,
        Option(
            "--epochs", help="Epochs of each net with five convolutional layers.", min=1, show_default="the recipe's"
        ),
    ] = None
    pretrain_epochs: Annotated[
        int | None, Option("--pretrain-epochs", help="Epochs of the pre-training.", min=1, show_default="the recipe's")
    ] = None
    finetune_epochs: Annotated[
        int | None, Option("--finetune-epochs", help="Epochs of the fine-tuning.", min=1, show_default="the recipe's")
    ] = None
    codec: Annotated[str, Option("--codec", help="How ILSVRC-2012's crops are stored.", metavar="|".join(CODECS))] = (
        "raw"
    )
    fall2011_codec: Annotated[
        str, Option("--fall2011-codec", help="How Fall 2011's crops are stored.", metavar="|".join(CODECS))
    ] = "jpeg"
    expect: Annotated[
        str,
        Option(
            "--expect", help="Stop unless the numbers of pictures and classes are ILSVRC-2012's; '' for other data."
        ),
    ] = "ilsvrc2012"
    devkit: Annotated[
        Path | None,
        Option("--devkit", help="ILSVRC's devkit, whose class IDs the submissions use; needed if --data has none."),
    ] = None
    train_options: Annotated[
        str | None, Option("--train-options", help="Options added to each `alexnet train`, such as '--compile'.")
    ] = None
    preprocess_options: Annotated[
        str | None, Option("--preprocess-options", help="Options added to each `alexnet preprocess`.")
    ] = None
    devices: Devices = "auto"
    precision: Precision = "fp32"
    decoded_per_second: Annotated[
        float | None,
        Option("--decoded-per-second", help="Plan: pictures/s of `alexnet preprocess`.", show_default=_RATE),
    ] = None
    read_per_second: Annotated[
        float | None, Option("--read-per-second", help="Plan: crops/s of `alexnet pca`.", show_default=_RATE)
    ] = None
    images_per_second: Annotated[
        float | None,
        Option(
            "--images-per-second",
            help="Plan: pictures/s of `alexnet train` with five convolutional layers.",
            show_default=_RATE,
        ),
    ] = None
    evaluated_per_second: Annotated[
        float | None,
        Option("--evaluated-per-second", help="Plan: pictures/s of `alexnet eval` with ten views.", show_default=_RATE),
    ] = None
    trial_pictures: Annotated[
        int,
        Option(
            "--trial-pictures", help="Plan: how many pictures the rates are measured on; use 8,000 for a GPU.", min=1
        ),
    ] = 256
    json: Json = False
    quiet: Quiet = False

    def __post_init__(self) -> None:
        if self.update and self.dry_run:
            raise UsageError("--update and --dry-run exclude each other: run the commands, or show them")
        if self.only is not None and not (self.update or self.dry_run):
            raise UsageError(f"--only {self.only}: is for --update and --dry-run")
        for option, text in (
            ("--train-options", self.train_options),
            ("--preprocess-options", self.preprocess_options),
        ):
            try:
                shlex.split(text or "")
            except ValueError as error:
                raise UsageError(f"{option} {text}: can't be split into words ({error})") from None
        for option, codec in (("--codec", self.codec), ("--fall2011-codec", self.fall2011_codec)):
            require_one_of(option, codec, CODECS)
        for name in ("decoded", "read", "images", "evaluated"):
            rate = getattr(self, f"{name}_per_second")
            if rate is not None and not 0 < rate < float("inf"):
                raise UsageError(f"--{name}-per-second {rate}: must be positive")
