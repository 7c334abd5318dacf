"""The recipe as a whole: the net, how a crop becomes its input, and how it is trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from alexnet_cli.recipes import old
from alexnet_cli.recipes.fields import FieldError, nearest, one_of, require, section
from alexnet_cli.recipes.net import PATCH, Net, layers

CACHED_VIEWS = (1, 2, 5, 10)
"""Numbers of views that can be cached."""
SCHEMES = ("paper", "source-2012", "he", "lecun", "gaussian")
"""Of initial values: net/initial.py."""


@dataclass(frozen=True, kw_only=True)
class Input:
    """How a crop becomes the net's input, in training and at test time."""

    patch: int = PATCH
    """Side of the patches that are cut from the crops; a crop's own side: the whole crop, and nothing is cut."""
    normalisation: str = "mean-image"
    """mean-image: subtract the mean image, keep 0–255 (paper, 2); channel: subtract (.485 .456 .406)·255 and divide
    by (.229 .224 .225)·255, which needs initial values `he`."""
    mean_at: str = "patch"
    """Which part of the mean image, as large as a patch, is subtracted. patch: that at the patch's place, before the
    patch is mirrored; centre: always the central one, from the patch as it is, mirrored or not (2012 source,
    convdata_jpeg.py:95,210)."""
    divisor: float = 1.0
    """The input is divided by it, after the normalisation."""
    flip: bool = True
    """Mirror patches with probability ½ (4.1)."""
    patch_run: int = 1
    """One patch and flip for that many pictures in a row: 1 (paper), 32 (source)."""
    colour_noise: float = 0.1
    """Standard deviation of α (4.1); 0: none."""
    noise_scale: str = "standard-deviation"
    """What α multiplies: standard-deviation (source) or eigenvalue (the paper's word)."""
    noise_divides: bool = False
    """Divide picture plus noise by 1 + colour_noise while there is noise, as the source does."""

    def __post_init__(self) -> None:
        require("patch", self.patch > 0, f"is {self.patch}: it must be positive")
        one_of("normalisation", self.normalisation, ("mean-image", "channel"))
        one_of("mean_at", self.mean_at, ("patch", "centre"))
        one_of("noise_scale", self.noise_scale, ("standard-deviation", "eigenvalue"))
        require("divisor", self.divisor > 0, f"is {self.divisor}: it must be positive")
        require("patch_run", self.patch_run > 0, f"is {self.patch_run}: it must be positive")
        require("colour_noise", self.colour_noise >= 0, f"is {self.colour_noise}: it must not be negative")


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

    def __post_init__(self) -> None:
        require("epoch", self.epoch > 0, f"is {self.epoch}: it must be positive")
        require("rate", self.rate is None or self.rate > 0, f"is {self.rate}: it must be positive")
        for name, rate in {**self.layers, "colour_noise": self.colour_noise}.items():
            require(name, rate is None or rate >= 0, f"is {rate}: it must not be negative")


@dataclass(frozen=True, kw_only=True)
class Training:
    """Mini-batches, update rule and schedule (paper, 5)."""

    initial_values: str = "paper"
    """paper, source-2012, he, lecun or gaussian: the table in net/initial.py says what each is."""
    initial_deviations: Mapping[str, float] = field(default_factory=dict)
    """Standard deviation of the initial weights by layer, in place of the scheme's."""
    batch_size: int = 128
    partial_batch: bool = False
    """Whether the pictures that no whole mini-batch takes make one of their own at the end of an epoch, its gradient
    divided by its own size (the 2012 source); else they wait for the next epoch."""
    epochs: int = 90
    """Training ends here at the latest."""
    rate: float = 0.01
    """ε of the weights."""
    layer_rates: Mapping[str, float] = field(default_factory=dict)
    """ε by layer from the first step on, in place of `rate`; 0 freezes the layer, biases too."""
    bias_rate: float | None = None
    """ε of the biases; None: the weights' rate, drops included."""
    bias_rate_factor: float = 1.0
    """ε of the biases over that of the weights, if `bias_rate` and `layer_bias_rates` give none; the CIFAR-10 nets
    of the source have 2."""
    layer_bias_rates: Mapping[str, float] = field(default_factory=dict)
    """ε of the biases by layer, in place of `bias_rate`; a layer that is frozen has none."""
    momentum: float = 0.9
    weight_decay: float = 0.0005
    """Of the weights; biases have none."""
    layer_decays: Mapping[str, float] = field(default_factory=dict)
    """Weight decay by layer, in place of `weight_decay`."""
    class_weights: str = "none"
    """balanced: a picture counts in the loss by pictures / (classes · pictures of its class), and a mini-batch's loss
    is divided by the sum of these weights; none: all count the same."""
    schedule: str = "plateau"
    """plateau: divide the rate when the validation error stops improving; steps: as `changes` say."""
    patience: int = 5
    """plateau: epochs without a new lowest validation error before a drop."""
    drop_factor: float = 10.0
    drops: int = 3
    """plateau: after this many drops, the next plateau ends the training."""
    changes: tuple[Change, ...] = ()
    trained: tuple[str, ...] = ()
    """The layers that are trained; all others stay frozen to the end, whatever the rates say. Empty: all."""
    take: tuple[str, ...] = ()
    """The layers that are taken from the origin (`--init-from`), and no others. Empty: all that fit."""
    fresh: tuple[str, ...] = ()
    """Layers that are not taken from the origin even if they fit."""
    keep_net: bool = False
    """Net and input are the origin's in place of the recipe's; the classes are the training pictures'."""
    cached_features: bool = False
    """Compute the outputs of the frozen layers below the first trained one once per view, and train from those."""
    cached_views: int = 10
    """Views per picture: 1 the centre, 2 with its mirror image, 5 with the corners, 10 all test views. One is drawn in
    each epoch. If the input's `flip` is off, mirror images are left out."""
    stuck_after: int = 1000
    """After this many steps, a mean loss that is still about ln(classes) leads to a warning: the net does not learn."""

    def __post_init__(self) -> None:
        one_of("initial_values", self.initial_values, SCHEMES)
        one_of("class_weights", self.class_weights, ("none", "balanced"))
        one_of("schedule", self.schedule, ("plateau", "steps"))
        for field_name in ("batch_size", "epochs", "patience", "stuck_after", "rate"):
            value = getattr(self, field_name)
            require(field_name, value > 0, f"is {value}: it must be positive")
        for field_name in ("weight_decay", "drops", "bias_rate"):
            value = getattr(self, field_name)
            require(field_name, value is None or value >= 0, f"is {value}: it must not be negative")
        require("momentum", 0 <= self.momentum < 1, f"is {self.momentum}: it must be in 0 … 1")
        require("drop_factor", self.drop_factor > 1, f"is {self.drop_factor}: it must be above 1")
        views = ", ".join(map(str, CACHED_VIEWS))
        require("cached_views", self.cached_views in CACHED_VIEWS, f"is {self.cached_views}: use one of {views}")
        require("bias_rate_factor", self.bias_rate_factor > 0, f"is {self.bias_rate_factor}: it must be positive")
        for field_name in ("layer_rates", "layer_bias_rates", "layer_decays", "initial_deviations"):
            for layer, rate in getattr(self, field_name).items():
                require(f"{field_name}.{layer}", rate >= 0, f"is {rate}: it must not be negative")

    @property
    def needs_origin(self) -> str | None:
        """The first field that needs a trained net to start from, by name; None if initial values will do."""
        return next((name for name in ("take", "fresh", "keep_net") if getattr(self, name)), None)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A named set of options."""

    name: str = "unnamed"
    about: str = ""
    net: Net
    input: Input = field(default_factory=Input)
    training: Training = field(default_factory=Training)

    def __post_init__(self) -> None:
        assert self.net.patch == self.input.patch, "a recipe's net sees the patches that its input cuts"
        known = [layer.name for layer in layers(self.net)]
        training = self.training
        fields = ("layer_rates", "layer_bias_rates", "layer_decays", "initial_deviations", "trained", "take", "fresh")
        named: list[tuple[str, Any]] = [(name, getattr(training, name)) for name in fields]
        named += [(f"changes.{number}.layers", change.layers) for number, change in enumerate(training.changes)]
        for name, mentioned in named:
            for layer in mentioned:
                if layer not in known:
                    field_name = name.partition(".")[0]
                    text = f"{field_name} names '{layer}', and this net's layers with weights are {', '.join(known)}"
                    raise FieldError(f"{name}.{layer}", text).under("training")

    def with_options(
        self,
        *,
        net: Mapping[str, Any] | None = None,
        input: Mapping[str, Any] | None = None,
        training: Mapping[str, Any] | None = None,
    ) -> Recipe:
        """The recipe with some fields replaced, a layer's by its name: `net={"conv1": {"kernels": 4}, "classes": 10}`.

        A value of None keeps the recipe's.
        """
        values = self.to_dict()
        for table, changes in (("net", net), ("input", input), ("training", training)):
            for name, value in (changes or {}).items():
                if value is not None:
                    before = values[table].get(name) if table == "net" else None
                    values[table][name] = {**before, **value} if isinstance(before, dict) else value
        return Recipe.from_dict(values)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        plain = {"input": dataclasses.asdict(self.input), "training": dataclasses.asdict(self.training)}
        return {"name": self.name, "about": self.about, "net": self.net.to_dict(), **plain}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """From `to_dict`'s values, today's or those of older checkpoints; FieldError for a wrong name or value."""
        if "architecture" in values:
            values = old.translated(values)
        known = [item.name for item in dataclasses.fields(cls)]
        for name in values:
            if name not in known:
                raise FieldError(name, f"recipe has no field '{name}': {nearest(name, known)}")
        for name in ("name", "about"):
            require(name, isinstance(values.get(name, ""), str), f"is text, not {values.get(name)!r}")
        net = values.get("net", {})
        if not isinstance(net, Mapping):
            raise FieldError("", f"is a table of fields, not {net!r}").under("net")
        input_ = section(Input, "input", values.get("input", {}))
        training = section(Training, "training", values.get("training", {}))
        return cls(
            name=values.get("name", "unnamed"),
            about=values.get("about", ""),
            net=Net.from_dict(net, input_.patch),
            input=input_,
            training=training,
        )


def differing(was: Mapping[str, Any], now: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(path, before, now) of every value in which two recipes' dictionaries differ; None if one has none."""
    for name in dict.fromkeys((*was, *now)):
        before, after = was.get(name), now.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from differing(before, after, f"{above}{name}.")
        elif _plain(before) != _plain(after):
            yield f"{above}{name}", before, after


def _plain(value: Any) -> Any:
    """A JSON round trip makes lists of tuples."""
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
