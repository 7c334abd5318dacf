"""A recipe: architecture, input and training under one name, from TOML files that extend one another.

Recipes are found through the entry points of the group "alexnet.recipes": packages whose *.toml files they are.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from importlib.resources import files
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from alexnet_cli.architecture import Architecture, layers
from alexnet_cli.errors import UsageError

RECIPE_GROUP = "alexnet.recipes"
CACHED_VIEWS = (1, 2, 5, 10)
"""Numbers of views that can be cached."""
Section = TypeVar("Section")


@dataclass(frozen=True, kw_only=True)
class Input:
    """How a crop becomes the net's input, in training and at test time."""

    normalisation: str = "mean-image"
    """mean-image: subtract the mean image, keep 0–255 (paper, 2); channel: subtract (.485 .456 .406)·255 and divide
    by (.229 .224 .225)·255, which needs initial values `he`."""
    divisor: float = 1.0
    """The input is divided by it, after the normalisation."""
    flip: bool = True
    """Mirror patches with probability ½ (4.1)."""
    patch_run: int = 1
    """One patch and flip for so many pictures in a row: 1 (paper), 32 (source)."""
    colour_noise: float = 0.1
    """Standard deviation of α (4.1); 0: none."""
    noise_scale: str = "standard-deviation"
    """What α multiplies: standard-deviation (source) or eigenvalue (the paper's word)."""
    noise_divides: bool = False
    """Divide picture plus noise by 1 + colour_noise while there is noise, as the source does."""

    def __post_init__(self) -> None:
        _one_of("normalisation", self.normalisation, ("mean-image", "channel"))
        _one_of("noise_scale", self.noise_scale, ("standard-deviation", "eigenvalue"))
        if self.divisor <= 0 or self.patch_run < 1 or self.colour_noise < 0:
            raise UsageError(
                f"divisor {self.divisor} and patch_run {self.patch_run} must be positive, "
                f"colour_noise {self.colour_noise} not negative"
            )


@dataclass(frozen=True, kw_only=True)
class Change:
    """What changes at the start of an epoch in a step schedule."""

    epoch: int
    """Counted from 1: the first epoch under the new values."""
    rate: float | None = None
    """New rate of all layers' weights that `layers` does not name (now or earlier)."""
    layers: Mapping[str, float] = field(default_factory=dict)
    """New rates by layer; 0 freezes the layer, biases too."""
    colour_noise: float | None = None
    """New strength of the colour noise."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """Mini-batches, update rule and schedule (paper, 5)."""

    initial_values: str = "paper"
    """paper, source-2012 or he."""
    batch_size: int = 128
    epochs: int = 90
    """Training ends here at the latest."""
    rate: float = 0.01
    """ε of the weights."""
    layer_rates: Mapping[str, float] = field(default_factory=dict)
    """ε by layer from the first step on, in place of `rate`; 0 freezes the layer, biases too."""
    bias_rate: float | None = None
    """ε of the biases; None: the weights' rate, drops included."""
    momentum: float = 0.9
    weight_decay: float = 0.0005
    """Of the weights; biases have none."""
    schedule: str = "plateau"
    """plateau: divide the rate when the validation error stops improving; steps: as `changes` say."""
    patience: int = 5
    """plateau: epochs without a new lowest validation error before a drop."""
    drop_factor: float = 10.0
    drops: int = 3
    """plateau: after so many drops, the next plateau ends the training."""
    changes: tuple[Change, ...] = ()
    trained: tuple[str, ...] = ()
    """The layers that are trained; all others stay frozen to the end, whatever the rates say. Empty: all."""
    take: tuple[str, ...] = ()
    """The layers that are taken from the origin (`--init-from`), and no others. Empty: all that fit."""
    fresh: tuple[str, ...] = ()
    """Layers that are not taken from the origin even where they fit."""
    keep_net: bool = False
    """Architecture and input are the origin's in place of the recipe's; the classes are the training pictures'."""
    cached_features: bool = False
    """Compute what the frozen layers below the first trained one give once per view, and train from that."""
    cached_views: int = 10
    """Views per picture: 1 the centre, 2 with its mirror image, 5 with the corners, 10 all test views. One is drawn in
    each epoch. Where the input's `flip` is off, those without mirror images."""
    stuck_after: int = 1000
    """After so many steps the mean loss is compared with ln(classes), and one that has not begun to learn told."""

    def __post_init__(self) -> None:
        _one_of("initial_values", self.initial_values, ("paper", "source-2012", "he"))
        _one_of("schedule", self.schedule, ("plateau", "steps"))
        if self.batch_size < 1 or self.epochs < 1 or self.patience < 1 or self.stuck_after < 1:
            raise UsageError(
                f"batch_size {self.batch_size}, epochs {self.epochs}, patience {self.patience} and stuck_after "
                f"{self.stuck_after} must be positive"
            )
        if self.cached_views not in CACHED_VIEWS:
            raise UsageError(f"cached_views {self.cached_views}: use one of {', '.join(map(str, CACHED_VIEWS))}")
        negative = [layer for layer, rate in self.layer_rates.items() if rate < 0]
        if negative:
            raise UsageError(f"the rate of {negative[0]} is {self.layer_rates[negative[0]]}: it must not be negative")
        if self.rate <= 0 or self.weight_decay < 0 or not 0 <= self.momentum < 1 or self.drop_factor <= 1:
            raise UsageError(
                f"rate {self.rate} must be positive, weight_decay {self.weight_decay} not negative, momentum "
                f"{self.momentum} in 0 … 1, drop_factor {self.drop_factor} above 1"
            )


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A named set of options."""

    name: str = "paper"
    about: str = ""
    architecture: Architecture = field(default_factory=Architecture)
    input: Input = field(default_factory=Input)
    training: Training = field(default_factory=Training)

    def __post_init__(self) -> None:
        known = [layer.name for layer in layers(self.architecture)]
        training = self.training
        named = {"layer_rates": training.layer_rates, "trained": training.trained, "take": training.take}
        named |= {"fresh": training.fresh}
        named |= {f"changes (epoch {change.epoch})": change.layers for change in training.changes}
        for field_name, names in named.items():
            odd = [name for name in names if name not in known]
            if odd:
                raise UsageError(
                    f"training.{field_name} names '{odd[0]}', and this net's layers are {', '.join(known)}"
                )

    def with_options(
        self,
        *,
        architecture: Mapping[str, Any] | None = None,
        input: Mapping[str, Any] | None = None,
        training: Mapping[str, Any] | None = None,
    ) -> Recipe:
        """The recipe with some fields replaced; a value of None keeps the recipe's."""

        def replaced(section: Section, values: Mapping[str, Any] | None) -> Section:
            given = {name: value for name, value in (values or {}).items() if value is not None}
            return dataclasses.replace(section, **given)  # type: ignore[type-var]

        return dataclasses.replace(
            self,
            architecture=replaced(self.architecture, architecture),
            input=replaced(self.input, input),
            training=replaced(self.training, training),
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """From `to_dict`'s values, or a TOML file's; UsageError names a field that does not exist."""
        training = values.get("training", {})
        if isinstance(training, Mapping) and isinstance(training.get("changes"), (list, tuple)):
            changes = [_section(Change, "training.changes", entry) for entry in training["changes"]]
            training = {**training, "changes": changes}
        odd = set(values) - {item.name for item in dataclasses.fields(cls)}
        if odd:
            raise UsageError(f"a recipe has no field '{sorted(odd)[0]}'")
        return cls(
            name=values.get("name", "unnamed"),
            about=values.get("about", ""),
            architecture=_section(Architecture, "architecture", values.get("architecture", {})),
            input=_section(Input, "input", values.get("input", {})),
            training=_section(Training, "training", training),
        )


def _section(kind: type[Section], where: str, values: Mapping[str, Any]) -> Section:
    if not isinstance(values, Mapping):
        raise UsageError(f"a recipe's [{where}] is a table of fields, not {values!r}")
    hints = get_type_hints(kind)
    odd = set(values) - set(hints)
    if odd:
        raise UsageError(f"a recipe's [{where}] has no field '{sorted(odd)[0]}'")
    return kind(**{name: _typed(hints[name], value, f"[{where}] {name}") for name, value in values.items()})


_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def _typed(hint: Any, value: Any, where: str) -> Any:
    """A value from TOML or JSON as its field has it: lists as tuples, whole numbers as floats where those are meant.

    UsageError where it is of another type: "False" as text, for one, would count as true.
    """
    inner = get_args(hint)
    if get_origin(hint) is tuple:
        if not isinstance(value, (list, tuple)):
            raise UsageError(f"a recipe's {where} is a list in brackets, not {value!r}")
        return tuple(_typed(inner[0], item, where) for item in value)
    if get_origin(hint) is Mapping and isinstance(value, Mapping):
        return {name: _typed(inner[1], item, f"{where}.{name}") for name, item in value.items()}
    if type(None) in inner:
        return None if value is None else _typed(inner[0], value, where)
    if hint is float and type(value) is int:
        return float(value)
    if hint in _KINDS and type(value) is not hint:
        raise UsageError(f"a recipe's {where} is {_KINDS[hint]}, not {value!r}")
    return value


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"{name} '{value}' is unknown: use one of {', '.join(choices)}")


def recipe_files() -> dict[str, Any]:
    """Name → file of every recipe that an installed package declares; no stranger's replaces a built-in one."""
    found: dict[str, Any] = {}
    for point in sorted(entry_points(group=RECIPE_GROUP), key=lambda point: (point.name != "builtin", point.name)):
        for file in files(point.value).iterdir():
            if file.name.endswith(".toml"):
                found.setdefault(file.name.removesuffix(".toml"), file)
    return dict(sorted(found.items()))


def load_recipe(name: str) -> Recipe:
    """A recipe by name, with what it extends; UsageError where there is none, or its file is wrong."""
    return Recipe.from_dict({**_read(name, ()), "name": name})


def _read(name: str, seen: tuple[str, ...]) -> dict[str, Any]:
    known = recipe_files()
    if name not in known:
        raise UsageError(f"there is no recipe '{name}': use one of {', '.join(known)}")
    if name in seen:
        raise UsageError(f"recipe '{name}' extends itself through {' → '.join((*seen, name))}")
    try:
        values = tomllib.loads(known[name].read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"recipe '{name}' is no TOML: {error}") from None
    base = values.pop("extends", None)
    if base is None:
        return values
    merged = _read(base, (*seen, name))
    for key, value in values.items():
        before = merged.get(key)
        merged[key] = {**before, **value} if isinstance(before, dict) and isinstance(value, dict) else value
    return merged
