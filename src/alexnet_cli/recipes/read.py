"""TOML files that extend one another, and `--set`: a recipe, and the file and line that each of its values comes from.

A file may `extends` another recipe and names only what it changes; draft.py says how, and what else [net] may hold.
`--set` values count as a last such file.

Recipes by name are found through the entry points of the group "alexnet.recipes": packages whose *.toml files they are.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path
from typing import Any

from alexnet_cli.errors import ResourceError, UsageError
from alexnet_cli.reading import read_regular
from alexnet_cli.recipes.draft import SECTIONS, Draft, Place, find_place, lay, lay_value
from alexnet_cli.recipes.fields import FieldError, nearest
from alexnet_cli.recipes.recipe import Recipe

RECIPE_GROUP = "alexnet.recipes"
_MOST_BYTES = 1 << 20
_MOST_EXTENDS = 100
_MOST_DOTS = 200
"""In a line: `a.a.a… = 1` nests, and tomllib needs a time that grows with the square of its parts."""
_MOST_LEVELS = 16
"""Of tables and lists in one another: 4 are enough."""


@dataclass(frozen=True)
class Loaded:
    """A recipe with the place of each value that a file or option gives."""

    recipe: Recipe
    places: Mapping[str, Place]
    """By the value's path, such as "net.conv1.kernels"; a value without a place is a default."""


def load(name: str, sets: Sequence[str] = (), *, kept: Recipe | None = None) -> Loaded:
    """A recipe by name, or from a path that ends in .toml, with what it extends and with `--set`'s values.

    kept: a recipe whose net and input replace this one's, below `sets`. UsageError in one line, with file
    and line, if there is no such recipe, or a name or value in it is wrong.
    """
    draft = _read(name, (), "")
    if kept is not None:
        values = kept.to_dict()
        draft.values |= {"net": values["net"], "input": values["input"]}
    draft.values["name"] = name.removesuffix(".toml").rpartition("/")[2]
    for text in sets:
        path, value = _set_value(text)
        lay_value(draft, path, value, Place(f"--set {text}"))
    return Loaded(_told(draft.places, lambda: Recipe.from_dict(draft.values)), draft.places)


def load_recipe(name: str, sets: Sequence[str] = (), *, kept: Recipe | None = None) -> Recipe:
    """`load`'s recipe alone."""
    return load(name, sets, kept=kept).recipe


def recipe_files() -> dict[str, Any]:
    """Name → file of every recipe that an installed package declares; none replaces a built-in one."""
    found: dict[str, Any] = {}
    for point in sorted(entry_points(group=RECIPE_GROUP), key=lambda point: (point.name != "builtin", point.name)):
        for file in files(point.value).iterdir():
            if file.name.endswith(".toml"):
                found.setdefault(file.name.removesuffix(".toml"), file)
    return dict(sorted(found.items()))


def _read(name: str, seen: tuple[str, ...], named: str, beside: Path | None = None) -> Draft:
    """A recipe's values over those of what it extends; a path counts from the folder of the file that names it.

    named: where it is named, "file:line: ", or "" for a command's option.
    """
    if len(seen) > _MOST_EXTENDS:
        raise UsageError(f"recipe '{seen[0]}' extends more than {_MOST_EXTENDS} others, one after the other")
    if name in seen:
        raise UsageError(f"recipe '{seen[0]}' extends itself through {' → '.join((*seen, name))}")
    file, label = _open(name, beside, named)
    try:
        text = _text_of(file, label, named or "recipe ")
        values = _toml(text)
    except ValueError as error:  # no TOML, no UTF-8, or no name that a file can have
        raise UsageError(f"{label} is not TOML: {error}") from None
    lines = _lines(text)
    base = values.pop("extends", None)
    folder = file.parent if isinstance(file, Path) and name.endswith(".toml") else None
    place = Place(label, lines.get("extends", 0))
    if not isinstance(base, str | None):
        raise UsageError(f"{place}: extends is text, not {base!r}")
    draft = Draft() if base is None else _read(base, (*seen, name), f"{place}: ", folder)
    lay(draft, values, lambda path: Place(label, find_place(lines, path) or 0))
    draft.places["net"] = Place(label)
    return draft


def _text_of(file: Any, label: str, named: str) -> str:
    """A recipe's text; UsageError, which begins with `named`, if it can't be read, ValueError if it is not UTF-8."""
    try:
        if isinstance(file, Path):
            return read_regular(file, UsageError, most=_MOST_BYTES).decode("utf-8-sig")
        return str(file.read_text(encoding="utf-8"))
    except (OSError, ResourceError) as error:
        what = getattr(error, "strerror", None) or error
        raise UsageError(f"{named}{label}: {what}: give a recipe's name or a TOML file") from None


def _toml(text: str) -> dict[str, Any]:
    """What TOML says; ValueError if it is not TOML, nested too deep, or has a number too long."""
    if any(line.count(".") > _MOST_DOTS for line in text.splitlines()):
        raise ValueError("nested too deep")
    try:
        values = tomllib.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None
    level: list[Any] = [values]
    for _ in range(_MOST_LEVELS):
        inner = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, (dict, list))]
        level = [value for part in inner for value in part]
    if level:
        raise ValueError("nested too deep")
    return values


def _open(name: str, beside: Path | None, named: str) -> tuple[Any, str]:
    """The file of a recipe, and what to call it."""
    if name.endswith(".toml"):
        path = (beside or Path()) / name
        return path, str(path)
    known = recipe_files()
    if name not in known:
        hint = nearest(name, known)
        known_names = "" if hint.startswith("use") else f" (use one of {', '.join(known)})"
        raise UsageError(f"{named}there is no recipe '{name}': {hint}{known_names}")
    return known[name], f"{name}.toml"


def _set_value(text: str) -> tuple[list[str], Any]:
    """Path and value of `net.pool1.size=2`; a value that is not TOML is text."""
    name, equals, value = text.partition("=")
    path = name.strip().split(".")
    if not equals or len(path) < 2 or not all(path):
        raise UsageError(f"--set {text}: write it as SECTION.FIELD=VALUE, such as net.pool1.size=2")
    if path[0] not in SECTIONS:
        hint = "net, input or training"
        raise UsageError(f"--set {text}: there is no section '{path[0]}': use {hint}, such as net.pool1.size=2")
    try:
        parsed = _toml(f"value = {value}")["value"]
    except ValueError as error:
        if value.strip().startswith(("[", "{")):
            raise UsageError(f"--set {text}: the value is not TOML: {error}") from None
        parsed = value.strip()
    return path, parsed


_TABLE = re.compile(r"^\s*(\[+)\s*([^\[\]]+?)\s*\]+\s*(?:#.*)?$")
_KEY = re.compile(r"^\s*([A-Za-z0-9_\-.\" ]+?)\s*=")


def _lines(text: str) -> dict[str, int]:
    """The line of each table and value, by its path: tomllib does not tell it. In lists: `changes.0`, …"""
    found: dict[str, int] = {}
    counts: Counter[str] = Counter()
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        path = ""
        if match := _TABLE.match(line):
            path = table = _path(match[2])
            if match[1] == "[[":
                counts[table] += 1
                path = table = f"{table}.{counts[table] - 1}"
        elif match := _KEY.match(line):
            path = f"{table}.{_path(match[1])}".removeprefix(".")
        while path:  # `net.conv1.size = 3` is the first line of net.conv1 too
            found.setdefault(path, number)
            path = path.rpartition(".")[0]
    return found


def _path(name: str) -> str:
    return name.replace('"', "").replace(" ", "")


def _told(places: Mapping[str, Place], make: Callable[[], Recipe]) -> Recipe:
    """The result of `make`. A wrong field becomes a UsageError with the file and line that it comes from."""
    try:
        return make()
    except FieldError as error:
        place = find_place(places, error.path)
        raise UsageError(f"{place}: {error.words}" if place else str(error)) from None
