"""Options of `alexnet ensemble`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from alexnet_cli.errors import UsageError
from alexnet_cli.options import NetOptions, Out


@dataclass(frozen=True, kw_only=True)
class EnsembleConfig(NetOptions):
    """Which members, on which pictures."""

    members: Annotated[list[Path], Argument(help="Run folders, checkpoints or scores files.", metavar="MEMBER...")]
    out: Out
    """The ensemble folder."""
    crops: Annotated[
        Path | None,
        Option("--crops", help="The pictures: a crop store. Not needed if all members are scores files."),
    ] = None
    weights: Annotated[
        str | None, Option("--weights", help="A weight for each member, such as 1,1,2.", show_default="equal")
    ] = None
    fit_weights: Annotated[
        Path | None,
        Option(
            "--fit-weights",
            help="Find the weights with the smallest top-5 error on this crop store of held-out pictures.",
            metavar="HOLDOUT",
        ),
    ] = None
    submission: Annotated[
        Path | None,
        Option(
            "--submission",
            help="Write the contest's file: the devkit IDs of each picture's five best classes, in file-name order.",
            metavar="FILE",
        ),
    ] = None
    devkit: Annotated[
        Path | None,
        Option(
            "--devkit",
            help="ILSVRC2012_devkit_t12.tar.gz: gives --submission its IDs, if the class list has none.",
            metavar="PATH",
        ),
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.normalised_weights()
        if self.fit_weights is not None:
            if self.weights is not None:
                raise UsageError(
                    "--weights and --fit-weights exclude each other: give the weights, or have them fitted"
                )
            if len(self.members) < 2:
                raise UsageError("--fit-weights: one member has no weights to fit: give two or more")
            if self.crops is None:
                raise UsageError("--fit-weights: needs --crops STORE, other pictures to report on")
        if self.devkit is not None and self.submission is None:
            raise UsageError(f"--devkit {self.devkit}: is read for --submission FILE only: give that too")

    def normalised_weights(self) -> list[float]:
        """One weight for each member, summing to 1; UsageError where they are invalid."""
        if self.weights is None:
            return [1 / len(self.members)] * len(self.members)
        try:
            weights = [float(word) for word in self.weights.split(",")]
        except ValueError:
            raise UsageError(f"--weights {self.weights}: write numbers with commas, such as 1,1,2") from None
        if len(weights) != len(self.members):
            raise UsageError(f"--weights {self.weights}: {len(weights)} weights for {len(self.members)} members")
        if min(weights) < 0 or not 0 < sum(weights) < float("inf"):
            raise UsageError(f"--weights {self.weights}: must not be negative, nor all zero")
        return [weight / sum(weights) for weight in weights]
