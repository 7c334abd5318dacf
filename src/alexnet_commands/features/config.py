"""Options of `alexnet features`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from typer import Option

from alexnet_cli.options import Crops, Net, NetOptions, Out, Views


@dataclass(frozen=True, kw_only=True)
class FeaturesConfig(NetOptions):
    """Which layer of which net, on which pictures."""

    net: Net
    crops: Crops
    out: Out
    """The features file."""
    layer: Annotated[
        str | None,
        Option(
            "--layer",
            help="The layer whose activations are written, by its name in the recipe.",
            metavar="NAME",
            show_default="the last hidden layer, fc7",
        ),
    ] = None
    views: Views = 1
