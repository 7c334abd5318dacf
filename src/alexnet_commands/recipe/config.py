"""Options of `alexnet recipe list | show | diff`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from typer import Argument

from alexnet_cli.options import Json, Set


@dataclass(frozen=True, kw_only=True)
class ListConfig:
    """Nothing to choose."""

    json: Json = False


@dataclass(frozen=True, kw_only=True)
class ShowConfig:
    """Which recipe."""

    recipe: Annotated[str, Argument(help="A recipe's name, or a TOML file.", metavar="RECIPE")]
    set: Set = ()  # type: ignore[assignment]
    json: Json = False


@dataclass(frozen=True, kw_only=True)
class DiffConfig:
    """Which two recipes."""

    a: Annotated[str, Argument(help="A recipe's name, or a TOML file.", metavar="A")]
    b: Annotated[str, Argument(help="The recipe that it is compared with.", metavar="B")]
    json: Json = False
