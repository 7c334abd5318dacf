"""Options of `alexnet features`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from alexnet_cli.options import NetOptions, Out, Views


@dataclass(frozen=True, kw_only=True)
class FeaturesConfig(NetOptions):
    """Which layer of which net, on which pictures."""

    net: Annotated[Path, Argument(help="A run or a checkpoint.", metavar="NET", show_default=False)]
    """Run folder (its best checkpoint) or checkpoint folder."""
    crops: Annotated[Path, Argument(help="The pictures: a crop store.", metavar="CROPS", show_default=False)]
    """Crop store, with or without labels."""
    out: Out
    """The features file."""
    layer: Annotated[
        str,
        Option("--layer", help="The layer whose outputs are wanted, by its name in the recipe.", metavar="NAME"),
    ] = "fc7"
    """Any layer of the recipe's net: convolutions, pools, norms and relus too."""
    views: Views = 1
    """1: of the centre view; 10: the mean over the views."""
