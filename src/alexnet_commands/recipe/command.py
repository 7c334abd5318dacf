"""`alexnet recipe list | show | diff`: command line → config → run."""

from __future__ import annotations

from dataclasses import asdict

import typer

from alexnet_cli.commandline import command_from
from alexnet_cli.console import print_json, print_lines
from alexnet_cli.help import CommandWithHelp
from alexnet_cli.tables import print_table
from alexnet_commands.recipe.config import DiffConfig, ListConfig, ShowConfig

command = typer.Typer(
    help="List the recipes, show one with the file and line of each value, or compare two.\n\n"
    "Example: alexnet recipe diff paper source-2012"
)


@command_from(ListConfig)
def list_recipes(config: ListConfig) -> None:
    """List the recipes that are installed.

    Example: alexnet recipe list
    """
    from alexnet_commands.recipe.run import list_all

    recipes = list_all()
    if config.json:
        print_json({"recipes": recipes})
    else:
        print_table("Recipes", ("name", "what it is"), list(recipes.items()), left=2)


@command_from(ShowConfig)
def show(config: ShowConfig) -> None:
    """Show a recipe with all that it extends; behind each value the file and line that it comes from.

    The output is a recipe itself: write it to a file, change it, and give the file to --recipe.

    Example: alexnet recipe show source-2012 > own.toml
    """
    from alexnet_cli.recipes.read import load
    from alexnet_commands.recipe.run import as_toml

    loaded = load(config.recipe, config.set)
    if config.json:
        print_json(loaded.recipe.to_dict())
    else:
        print_lines(f"{as_toml(loaded)}\n")


@command_from(DiffConfig)
def diff(config: DiffConfig) -> None:
    """Show the values in which two recipes differ, and where each comes from.

    Example: alexnet recipe diff paper source-2012
    """
    from alexnet_commands.recipe.run import compare, written

    differences = compare(config.a, config.b)
    if config.json:
        print_json({"a": config.a, "b": config.b, "differences": [asdict(found) for found in differences]})
        return
    if not differences:
        print_lines(f"{config.a} and {config.b} say the same\n")
    width = max(len(config.a), len(config.b))
    for found in differences:
        sides = ((config.a, found.a, found.a_place), (config.b, found.b, found.b_place))
        told = [f"  {name:<{width}}  {written(value)}  ({place})" for name, value, place in sides]
        print_lines("\n".join([found.field, *told, ""]))


for name, work in (("list", list_recipes), ("show", show), ("diff", diff)):
    command.command(name, cls=CommandWithHelp)(work)
