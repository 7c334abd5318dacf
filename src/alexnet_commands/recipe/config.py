"""Options of `alexnet recipe list | show | diff`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from typer import Argument, Option

Json = Annotated[bool, Option("--json", help="Print the result as one JSON object on stdout.")]


@dataclass(frozen=True, kw_only=True)
class ListConfig:
    """Nothing to choose."""

    json: Json = False
    """One JSON object on stdout."""


@dataclass(frozen=True, kw_only=True)
class ShowConfig:
    """Which recipe."""

    recipe: Annotated[str, Argument(help="A recipe's name, or a TOML file.", metavar="RECIPE", show_default=False)]
    """Name, or a path that ends in .toml."""
    set: Annotated[
        list[str],
        Option(
            "--set",
            help="Replace a field, such as net.pool1.size=2. Repeatable.",
            metavar="FIELD=VALUE",
            show_default=False,
        ),
    ] = ()  # type: ignore[assignment]
    """FIELD=VALUE, in TOML's notation."""
    json: Json = False
    """The resolved recipe as one JSON object on stdout."""


@dataclass(frozen=True, kw_only=True)
class DiffConfig:
    """Which two recipes."""

    a: Annotated[str, Argument(help="A recipe's name, or a TOML file.", metavar="A", show_default=False)]
    """The first."""
    b: Annotated[str, Argument(help="The recipe that it is compared with.", metavar="B", show_default=False)]
    """The second."""
    json: Json = False
    """One JSON object on stdout."""
