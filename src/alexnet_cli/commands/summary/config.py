"""Options of `alexnet summary`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from typer import Option


@dataclass(frozen=True, kw_only=True)
class SummaryConfig:
    """Which net to show."""

    recipe: Annotated[str, Option("--recipe", help="The recipe whose net is shown.")] = "paper"
    """Name of the recipe."""
    classes: Annotated[
        int | None, Option("--classes", help="Number of classes.", min=2, show_default="the recipe's")
    ] = None
    """Replaces the recipe's."""
    list: Annotated[bool, Option("--list", help="List the recipes instead.")] = False
    """List the recipes."""
    json: Annotated[bool, Option("--json", help="Print the result as one JSON object on stdout.")] = False
    """One JSON object on stdout."""
