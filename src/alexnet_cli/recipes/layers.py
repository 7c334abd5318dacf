"""The kinds of layer that a net is made of, each with its own few numbers, as `[net.NAME]` in a recipe gives them.

Numbers of kernels and neurons are those of one column (paper, 3.2). `shape` says what a layer makes of the maps below
it: (channels, side) in, (channels, side) out, of all columns together; a fully-connected layer's numbers have side 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from alexnet_cli.recipes.fields import FieldError, require

Shape = tuple[int, int]
"""(channels, side): of all columns; maps are square."""
Sees = Literal["picture", "column", "all"]
"""What a layer with weights sees: the picture, the maps of its own column, or those of all columns."""


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One layer as a recipe writes it. A kind that keeps shapes needs no method of its own."""

    kind: ClassVar[str]
    name: str

    def shape(self, below: Shape, columns: int, classes: int) -> Shape:
        """What comes out where `below` comes in; FieldError if it can't."""
        return below


@dataclass(frozen=True, kw_only=True)
class Convolution(Spec):
    """Kernels of size×size over the maps below (3.5)."""

    kind = "convolution"
    kernels: int
    """In one column."""
    size: int
    stride: int = 1
    padding: int = 0
    """Zeros around the maps."""
    overhang: int = 0
    """More zeros at the right and bottom edge only: conv1's last kernels hang over by 3, 1 + ceil((224 − 11)/4) = 55
    of them in a row."""
    sees: Sees = "column"
    groups: int = 1
    """Groups of kernels and of the maps below; a kernel sees the maps of its own group. This is Caffe's `group`: in its
    nets of one column the groups do what the paper's two columns do."""

    def __post_init__(self) -> None:
        for field in ("kernels", "size", "stride", "groups"):
            require(field, getattr(self, field) > 0, f"is {getattr(self, field)}: it must be positive")
        for field in ("padding", "overhang"):
            require(field, getattr(self, field) >= 0, f"is {getattr(self, field)}: it must not be negative")

    def shape(self, below: Shape, columns: int, classes: int) -> Shape:
        if self.groups > 1:
            require("groups", columns == 1, f"is {self.groups}, and the net has {columns} columns: give it one")
            for what, count in (("kernels", self.kernels), ("maps below", below[0])):
                require("groups", count % self.groups == 0, f"is {self.groups}: it does not divide the {count} {what}")
        side = below[1] + 2 * self.padding + self.overhang
        if side < self.size:
            raise FieldError("size", f"size {self.size} is larger than its maps of {side}×{side}")
        return self.kernels * columns, (side - self.size) // self.stride + 1


@dataclass(frozen=True, kw_only=True)
class Linear(Spec):
    """Fully connected: each neuron sees all numbers below, of its own column or of all."""

    kind = "linear"
    neurons: int | Literal["classes"]
    """In one column; "classes": as many as the net has classes, over all columns (fc8)."""
    sees: Literal["column", "all"] = "all"

    def __post_init__(self) -> None:
        require("neurons", self.neurons == "classes" or int(self.neurons) > 0, f"is {self.neurons}: must be positive")

    def shape(self, below: Shape, columns: int, classes: int) -> Shape:
        return (classes if self.neurons == "classes" else int(self.neurons) * columns), 1


@dataclass(frozen=True, kw_only=True)
class Relu(Spec):
    """max(0, x) (3.1)."""

    kind = "relu"


@dataclass(frozen=True, kw_only=True)
class Tanh(Spec):
    """tanh x (3.1, figure 1)."""

    kind = "tanh"


@dataclass(frozen=True, kw_only=True)
class Norm(Spec):
    """Local response normalisation over neighbouring maps of a column (3.3): a / (k + α/n·Σ a²)^β."""

    kind = "norm"
    k: float = 2.0
    alpha: float = 1e-4
    """Divided by the window, as the source does."""
    beta: float = 0.75
    window: int = 5
    """n: neighbouring maps, the map itself included."""

    def __post_init__(self) -> None:
        require("window", self.window > 0 and self.window % 2 == 1, f"is odd, not {self.window}")
        for field in ("k", "alpha", "beta"):
            require(field, getattr(self, field) > 0, f"is {getattr(self, field)}: it must be positive")


@dataclass(frozen=True, kw_only=True)
class MapNorm(Norm):
    """The source's normalisation within each map: the sum goes over window×window pixels, α is divided by them."""

    kind = "map_norm"
    k: float = 1.0
    alpha: float = 1e-3


@dataclass(frozen=True, kw_only=True)
class Pool(Spec):
    """The largest number, or the mean, of size×size pixels, every `stride` (3.4)."""

    kind = "pool"
    size: int
    stride: int
    mode: Literal["max", "average"] = "max"
    overhang: bool = False
    """Whether a last window may hang over the right and bottom edge; only pixels that are there count."""

    def __post_init__(self) -> None:
        for field in ("size", "stride"):
            require(field, getattr(self, field) > 0, f"is {getattr(self, field)}: it must be positive")

    def shape(self, below: Shape, columns: int, classes: int) -> Shape:
        channels, side = below
        if side < self.size:
            raise FieldError("size", f"size {self.size} is larger than its maps of {side}×{side}")
        steps = side - self.size
        last = -(-steps // self.stride) if self.overhang else steps // self.stride
        if last * self.stride >= side:  # of windows with gaps between them, the last would be wholly outside
            last -= 1
        return channels, last + 1


@dataclass(frozen=True, kw_only=True)
class Dropout(Spec):
    """Each number is 0 with a probability in training (4.2)."""

    kind = "dropout"
    probability: float = 0.5
    convention: Literal["2012", "inverted"] = "2012"
    """2012: times 0 or 1 in training, times (1 − probability) at test time, as in the paper and its source.
    inverted: times 0 or 1/(1 − probability) in training, unchanged at test time (nets of older versions)."""

    def __post_init__(self) -> None:
        require("probability", 0 <= self.probability < 1, f"is a probability below 1, not {self.probability}")


KINDS: dict[str, type[Spec]] = {
    spec.kind: spec for spec in (Convolution, Linear, Relu, Tanh, Norm, MapNorm, Pool, Dropout)
}
