"""A recipe while files are laid over one another: its values so far, and where each comes from.

In [net] a file may also
- `remove = ["norm1"]`: take layers out;
- give a new layer `after = "pool5"`: put it behind that one (else it comes last);
- `order = [...]`: name all layers, in their order.
A layer that gets another `kind` keeps none of its fields.

Outside [net] a field's new value replaces the old one, a table's too; `--set training.layer_rates.fc8=…` keeps the
table's other layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from alexnet_cli.errors import UsageError
from alexnet_cli.recipes.fields import FieldError, nearest

Found = TypeVar("Found")
SECTIONS = ("net", "input", "training")


@dataclass(frozen=True)
class Place:
    """Where a value comes from: line `line` of a file, or a command's option (line 0)."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass
class Draft:
    """A recipe's values while files are laid over one another."""

    values: dict[str, Any] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)


def find_place(places: Mapping[str, Found], path: str) -> Found | None:
    """Where a value, or the table around it, was given; None for a default."""
    while path and path not in places:
        path = path.rpartition(".")[0]
    return places.get(path)


def lay(draft: Draft, change: Mapping[str, Any], place_of: Callable[[str], Place]) -> None:
    """Lay a file's values over the draft's."""
    for section, value in change.items():
        if section not in (*SECTIONS, "about", "name"):
            hint = nearest(section, (*SECTIONS, "about", "extends"))
            raise UsageError(f"{place_of(section)}: a recipe has no field '{section}': {hint}")
        if section in SECTIONS and not isinstance(value, dict):
            raise UsageError(f"{place_of(section)}: [{section}] is a table of fields, not {value!r}")
        if section == "net":
            try:
                _lay_net(draft, value, place_of)
            except FieldError as error:
                raise UsageError(f"{place_of(f'net.{error.path}')}: {error.words}") from None
        elif section in SECTIONS:
            draft.values[section] = {**draft.values.get(section, {}), **value}
            for name, given in value.items():
                _forget(draft, f"{section}.{name}")
                draft.places |= {path: place_of(path) for path in _paths(f"{section}.{name}", given)}
        else:
            draft.values[section] = value
            draft.places[section] = place_of(section)


def lay_value(draft: Draft, path: Sequence[str], value: Any, place: Place) -> None:
    """Lay one value over the draft's, such as that of net.pool1.size."""
    section, name, *inner = path
    for part in reversed(inner):
        value = {part: value}
    old = draft.values.get(section, {}).get(name)
    if section == "net" or not inner or not isinstance(old, dict):
        lay(draft, {section: {name: value}}, lambda _: place)
        return
    draft.values[section] = {**draft.values[section], name: {**old, **value}}
    draft.places |= {f"{section}.{name}": place, ".".join(path): place}


def _paths(path: str, value: Any) -> Iterator[str]:
    """Of a value and of all that its tables and lists hold."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in inner:
        yield from _paths(f"{path}.{name}", item)


def _lay_net(draft: Draft, change: Mapping[str, Any], place_of: Callable[[str], Place]) -> None:
    net = draft.values.setdefault("net", {"order": []})
    order: list[str] = list(net.get("order", []))
    net["order"] = order
    for name in _names(change, "remove"):
        if name not in order:
            raise FieldError("remove", f"remove names '{name}', which is not a layer: {nearest(name, order)}", "net")
        order.remove(name)
        del net[name]
        _forget(draft, f"net.{name}")
    for name, value in change.items():
        if name in ("remove", "order"):
            continue
        if not isinstance(value, dict):
            net[name] = value
            draft.places[f"net.{name}"] = place_of(f"net.{name}")
            continue
        table = dict(value)
        after = table.pop("after", None)
        if name in order and table.get("kind", net[name]["kind"]) == net[name]["kind"]:
            table = {**net[name], **table}
        elif name not in order and "kind" not in table:
            known = [*order, "columns", "classes", "order", "remove"]
            raise FieldError(
                name, f"has no layer '{name}', and a new one needs its kind: {nearest(name, known)}", "net"
            )
        else:
            _forget(draft, f"net.{name}")
        net[name] = table
        for path in (f"net.{name}", *(f"net.{name}.{key}" for key in value)):
            draft.places[path] = place_of(path)
        _place(order, name, after)
    if "order" in change:
        named = _names(change, "order")
        for name in sorted(set(named) ^ set(order)):
            problem = "leaves out" if name in order else "names"
            raise FieldError("order", f"order {problem} '{name}': it names every layer once: {', '.join(order)}", "net")
        if len(named) != len(order):
            raise FieldError("order", "order names a layer twice", "net")
        net["order"] = named
        draft.places["net.order"] = place_of("net.order")


def _names(change: Mapping[str, Any], key: str) -> list[str]:
    names = change.get(key, [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise FieldError(key, f"{key} is a list of layers' names, not {names!r}", "net")
    return names


def _place(order: list[str], name: str, after: Any) -> None:
    """Put a layer behind another; a new one without `after` comes last."""
    if after is not None:
        others = [one for one in order if one != name]
        if after not in others:
            text = f"after '{after}': there is no other layer of this name: {nearest(str(after), others)}"
            raise FieldError(f"{name}.after", text, f"net.{name}")
        others.insert(others.index(after) + 1, name)
        order[:] = others
    elif name not in order:
        order.append(name)


def _forget(draft: Draft, prefix: str) -> None:
    draft.places = {path: place for path, place in draft.places.items() if not f"{path}.".startswith(prefix + ".")}
