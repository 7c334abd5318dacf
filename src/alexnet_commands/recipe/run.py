"""The work of `alexnet recipe`: recipes with what they extend, and where each value comes from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from alexnet_cli.recipes.read import Loaded, load, load_recipe, recipe_files

_COMMENT_COLUMN = 44


@dataclass(frozen=True)
class Difference:
    """A field that two recipes give different values; None if a recipe does not have the layer or value."""

    field: str
    """Its path, such as "net.pool1.size"; a whole layer that only one recipe has is "net.norm1"."""
    a: Any
    b: Any
    a_place: str
    """File and line."""
    b_place: str


def list_all() -> dict[str, str]:
    """Name → what it is, of every installed recipe."""
    return {name: load_recipe(name).about for name in recipe_files()}


def as_toml(loaded: Loaded) -> str:
    """A resolved recipe as TOML that `--recipe` takes; each value's file and line follow it as a comment."""
    values = loaded.recipe.to_dict()
    net = values["net"]
    plain = {name: net[name] for name in ("columns", "classes")}
    tables = {"net": plain, **{f"net.{name}": net[name] for name in net["order"]}}
    tables |= {section: values[section] for section in ("input", "training")}
    lines = [_line("about", values["about"], loaded, "about")]
    for table, fields in tables.items():
        lines += ["", f"[{table}]"]
        lines += [_line(name, value, loaded, f"{table}.{name}") for name, value in fields.items() if value is not None]
    return "\n".join(lines)


def compare(a: str, b: str) -> list[Difference]:
    """The fields in which two recipes differ, net first. UsageError if there is no such recipe."""
    first, second = load(a), load(b)
    mine, others = dict(_fields(first)), dict(_fields(second))
    found = []
    for path in dict.fromkeys([*mine, *others]):
        if mine.get(path) != others.get(path) and not _hidden(path, mine, others):
            places = (_place(first, path, path in mine), _place(second, path, path in others))
            found.append(Difference(path, mine.get(path), others.get(path), *places))
    return found


def written(value: Any) -> str:
    """A value in TOML's notation; "–" for none."""
    if value is None:
        return "–"
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(name)} = {written(item)}" for name, item in value.items() if item not in (None, {}))
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(written(item) for item in value)}]"
    if isinstance(value, (bool, str)):
        return json.dumps(value, ensure_ascii=False)
    return repr(value)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)


def _line(name: str, value: Any, loaded: Loaded, path: str) -> str:
    comment = f"# {_place(loaded, path)}"
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], Mapping):
        return "\n".join([f"{name} = [  {comment}", *(f"    {written(item)}," for item in value), "]"])
    return f"{f'{name} = {written(value)}':<{_COMMENT_COLUMN}}  {comment}"


def _fields(loaded: Loaded) -> Iterator[tuple[str, Any]]:
    """Path and value of each field; of a layer first its whole table, then its fields."""
    values = loaded.recipe.to_dict()
    for section in ("net", "input", "training"):
        for name, value in values[section].items():
            yield f"{section}.{name}", list(value) if isinstance(value, tuple) else value
            if section == "net" and isinstance(value, Mapping):
                yield from ((f"net.{name}.{field}", item) for field, item in value.items())


def _hidden(path: str, mine: Mapping[str, Any], others: Mapping[str, Any]) -> bool:
    """Whether another difference tells it: a layer in both differs by its fields, a layer in only one as a whole."""
    layer = ".".join(path.split(".")[:2])
    in_both = layer in mine and layer in others
    if path == "net.order":
        common = [
            [name for name in one[path] if f"net.{name}" in other] for one, other in ((mine, others), (others, mine))
        ]
        return common[0] == common[1]
    if path == layer:
        return in_both and isinstance(mine[path], Mapping) and path.startswith("net.")
    return not in_both


def _place(loaded: Loaded, path: str, there: bool = True) -> str:
    """File and line of a value; what is said of none."""
    if not there:
        return "not there"
    if path == "net.order" and path not in loaded.places:
        return "as the file lists them"
    return str(loaded.places.get(path, "default"))
