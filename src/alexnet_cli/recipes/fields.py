"""Tables of TOML or JSON to dataclasses, and the message about a wrong field."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from alexnet_cli.errors import UsageError

Section = TypeVar("Section")
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}

_LARGEST = {int: 2**53, float: 3.4e38}
"""What a float64 counts exactly, and what a float32 holds: beyond it nothing can be computed, NaN included."""


class FieldError(UsageError):
    """A field of a recipe with a wrong name or value.

    path: the field, such as "net.conv1.kernels". table: the table that holds it, "net.conv1". problem: what is wrong.
    """

    def __init__(self, path: str, problem: str, table: str = "") -> None:
        self.path, self.problem, self.table = path, problem, table
        self.words = f"[{table}] {problem}" if table else problem
        super().__init__(f"a recipe's {self.words}")

    def under(self, outer: str) -> FieldError:
        """The same error, seen from outside the table."""
        path, table = (f"{outer}.{inner}" if inner else outer for inner in (self.path, self.table))
        return FieldError(path, self.problem, table)


def nearest(name: str, known: Iterable[str]) -> str:
    """What to write in place of a wrong name, in words."""
    choices = list(known)
    close = get_close_matches(name, choices, n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else f"use one of {', '.join(choices)}"


def one_of(field: str, value: str, choices: Iterable[str]) -> None:
    """FieldError if a word is not one of the choices."""
    if value not in (known := list(choices)):
        raise FieldError(field, f"{field} '{value}' is unknown: use one of {', '.join(known)}")


def require(field: str, fits: bool, problem: str) -> None:
    """FieldError with the problem if a value does not fit."""
    if not fits:
        raise FieldError(field, f"{field} {problem}")


def section(kind: type[Section], table: str, values: Any, **known: Any) -> Section:
    """A table as a dataclass; FieldError with the table's path for an unknown field, a wrong type or value.

    known: values of fields that the table may not give.
    """
    if not isinstance(values, Mapping):
        raise FieldError("", f"is a table of fields, not {values!r}").under(table)
    hints = {name: hint for name, hint in _hints(kind).items() if name not in known}  # type: ignore[arg-type]
    try:
        for name in values:
            if name not in hints:
                raise FieldError(name, f"has no field '{name}': {nearest(name, hints)}")
        return kind(**{name: _typed(hints[name], value, name) for name, value in values.items()}, **known)
    except FieldError as error:
        raise error.under(table) from None


@cache
def _hints(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {item.name: hints[item.name] for item in dataclasses.fields(kind)}


def _typed(hint: Any, value: Any, name: str) -> Any:
    """A value in its field's type: lists become tuples, whole numbers become floats if the field is one.

    FieldError if it is of another type: "False" as text, for one, would count as true.
    """
    inner, origin = get_args(hint), get_origin(hint)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise FieldError(name, f"{name} is a list in brackets, not {value!r}")
        return tuple(_item(inner[0], item, name, number) for number, item in enumerate(value))
    if origin is Mapping:
        if not isinstance(value, Mapping):
            raise FieldError(name, f"{name} is a table in braces, not {value!r}")
        return {key: _typed(inner[1], item, f"{name}.{key}") for key, item in value.items()}
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        if isinstance(value, hint):
            return value
        return section(hint, name, value)
    if origin is Literal:
        one_of(name, value, inner)
        return value
    if type(None) in inner:
        return None if value is None else _typed(inner[0], value, name)
    if inner:  # a number, or one word that stands for it
        words = [word for part in inner if get_origin(part) is Literal for word in get_args(part)]
        if isinstance(value, str) and value not in words:
            raise FieldError(name, f"{name} is {_KINDS[inner[0]]} or '{words[0]}', not '{value}'")
        return value if value in words else _typed(inner[0], value, name)
    if type(value) in (int, float) and not abs(value) <= _LARGEST[type(value)]:
        raise FieldError(name, f"{name} must be a number between ±{_LARGEST[type(value)]:g}")
    if hint is float and type(value) is int:
        return float(value)
    if hint in _KINDS and type(value) is not hint:
        raise FieldError(name, f"{name} is {_KINDS[hint]}, not {value!r}")
    return value


def _item(hint: Any, value: Any, name: str, number: int) -> Any:
    """A value of the list `name`; an error's path says which, its words need not."""
    try:
        return _typed(hint, value, name)
    except FieldError as error:
        path = f"{name}.{number}{error.path.removeprefix(name)}"
        raise FieldError(path, error.problem, error.table) from None
