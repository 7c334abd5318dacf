"""The architecture as data: what the net is, for the paper, the 2012 source and every variant. Knows no device.

Shapes: a picture is 3×224×224; maps are channels × side × side. Columns a and b are halves of every layer (paper, 3.2).
"""

from __future__ import annotations

from dataclasses import dataclass

from alexnet_cli.errors import UsageError

PATCH = 224
OVERHANG = 3
"""conv1's last filters hang 3 pixels over the right and bottom edge, read as zero: 1 + ceil((224 − 11)/4) = 55."""

CONVOLUTIONS = ("conv1", "conv2", "conv3", "conv4", "conv5", "conv6")
FULLY_CONNECTED = ("fc6", "fc7", "bottleneck", "fc8")
DROPPED = ("fc6", "fc7")
"""Layers whose outputs are dropped in training (paper, 4.2)."""
EXCHANGES = ("conv3", "conv6", "fc6", "fc7", "bottleneck", "fc8")
"""Layers that see both columns (paper, figure 2)."""

# What follows each convolution. "map norm" is the source's second, same-map normalisation.
_ORDERS = {
    "paper": {  # paper, 3.3-3.5
        "conv1": ("activation", "norm", "pool"),
        "conv2": ("activation", "norm", "pool"),
        "conv3": ("activation",),
        "conv4": ("activation",),
        "conv5": ("activation", "pool"),
        "conv6": ("activation",),
    },
    "source-2012": {  # layers/layers-145*.cfg of the released source
        "conv1": ("norm", "pool", "activation"),
        "conv2": ("activation", "norm", "map norm", "pool"),
        "conv3": ("activation",),
        "conv4": ("activation",),
        "conv5": ("pool", "activation"),
        "conv6": ("activation",),
    },
}


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Every field that makes a net another net. The defaults are the paper's."""

    classes: int = 1000
    """Outputs of the softmax."""
    columns: int = 2
    """2: the paper's net, half the kernels in each column; 1: the one-GPU net."""
    kernels: tuple[int, int, int, int, int] = (48, 128, 192, 192, 128)
    """Kernels of conv1 … conv5 in one column."""
    hidden: int = 2048
    """Neurons of fc7 in one column, and of fc6 unless `hidden_fc6` says otherwise."""
    hidden_fc6: int = 0
    """Neurons of fc6 in one column where they are others than fc7's; 0: as many."""
    conv6: bool = False
    """A sixth convolution over pool5 (the nets marked * in the paper's table 2)."""
    conv6_kernels: int = 128
    """Kernels of conv6 in one column."""
    bottleneck: int = 0
    """Neurons in one column of a linear layer between fc7 and fc8, which keeps fc8 small where there are tens of
    thousands of classes; 0: none. The 21,841-class net has 1024 (layers-146-2011: fc1a, fc1b, without ReLU)."""
    normalisation: bool = True
    """Local response normalisation after conv1 and conv2 (3.3)."""
    overlapping_pooling: bool = True
    """Pooling 3×3 every 2 pixels (3.4); else 2×2 every 2, to maps of the same size."""
    exchange: bool = True
    """conv3, conv6, fc6, fc7, bottleneck and fc8 see both columns; else only fc8 does, and they never speak before."""
    activation: str = "relu"
    """relu (3.1) or tanh."""
    order: str = "paper"
    """paper, or source-2012: where ReLU, norms and pooling stand."""
    dropout: float = 0.5
    """Probability that an output of fc6 or fc7 is dropped in training (4.2)."""
    norm_k: float = 2.0
    """k of the local response normalisation."""
    norm_alpha: float = 1e-4
    """α; it is divided by the window size (2e-5 a square), as the source does."""
    norm_beta: float = 0.75
    """β."""
    norm_window: int = 5
    """n: neighbouring maps, the map itself included."""
    map_norm_alpha: float = 1e-3
    """α of the source's same-map normalisation, divided by its 25 pixels; k is 1, β 0.75."""

    def __post_init__(self) -> None:
        if self.order not in _ORDERS:
            raise UsageError(f"architecture order '{self.order}' is unknown: use one of {', '.join(_ORDERS)}")
        if self.activation not in ("relu", "tanh"):
            raise UsageError(f"activation '{self.activation}' is unknown: use relu or tanh")
        if self.columns < 1 or self.classes < 2 or self.hidden < 1 or min(self.kernels) < 1:
            raise UsageError(
                f"a net needs columns, kernels and at least 2 classes: columns {self.columns}, kernels "
                f"{self.kernels}, hidden {self.hidden}, classes {self.classes}"
            )
        for name in ("bottleneck", "hidden_fc6"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} is a number of neurons, or 0 for none, not {getattr(self, name)}")
        if len(self.kernels) != 5:
            raise UsageError(f"kernels names conv1 … conv5: five numbers, not {len(self.kernels)}")
        if not 0 <= self.dropout < 1:
            raise UsageError(f"dropout is a probability below 1, not {self.dropout}")
        if self.norm_window % 2 == 0:
            raise UsageError(f"norm_window is odd, not {self.norm_window}")

    @property
    def convolutions(self) -> tuple[str, ...]:
        """The names of this net's convolutions, in order."""
        return CONVOLUTIONS if self.conv6 else CONVOLUTIONS[:5]

    @property
    def fully_connected(self) -> tuple[str, ...]:
        """The names of this net's fully-connected layers, in order."""
        return tuple(name for name in FULLY_CONNECTED if name != "bottleneck" or self.bottleneck)

    def neurons(self, layer: str) -> int:
        """Outputs of a fully-connected layer, all columns."""
        if layer == "fc8":
            return self.classes
        own = {"fc6": self.hidden_fc6 or self.hidden, "fc7": self.hidden, "bottleneck": self.bottleneck}
        return self.columns * own[layer]

    def after(self, layer: str) -> tuple[str, ...]:
        """What follows a convolution: "activation", "norm", "map norm", "pool", in order."""
        steps = _ORDERS[self.order][layer]
        return steps if self.normalisation else tuple(step for step in steps if "norm" not in step)

    def sees_all(self, layer: str) -> bool:
        """Whether a layer sees the maps of all columns."""
        return layer == "conv1" or layer == "fc8" or (self.exchange and layer in EXCHANGES)


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer with weights, sizes for both columns together."""

    name: str
    kind: str
    """convolution or fully-connected."""
    inputs: int
    """Channels (or numbers) that one kernel sees."""
    outputs: int
    """Kernels, all columns."""
    groups: int
    """Into how many parts inputs and kernels fall: 1 where every kernel sees all."""
    size: int = 1
    stride: int = 1
    padding: int = 0
    input_side: int = 1
    output_side: int = 1
    after: tuple[str, ...] = ()

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Of the whole tensor: (kernels, inputs, size, size) or (outputs, inputs)."""
        if self.kind == "convolution":
            return (self.outputs, self.inputs, self.size, self.size)
        return (self.outputs, self.inputs)

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return self.outputs * (self.inputs * self.size**2 + 1)

    @property
    def neurons(self) -> int:
        """Outputs per picture."""
        return self.outputs * self.output_side**2

    @property
    def multiply_adds(self) -> int:
        """Of one picture's forward pass, biases not counted."""
        return self.neurons * self.inputs * self.size**2


# name: (kernel size, stride, padding)
_WINDOWS = {
    "conv1": (11, 4, 0),
    "conv2": (5, 1, 2),
    "conv3": (3, 1, 1),
    "conv4": (3, 1, 1),
    "conv5": (3, 1, 1),
    "conv6": (3, 1, 1),
}


def pooled(side: int, architecture: Architecture) -> int:
    """Side of a pooled map: 55 → 27 → 13 → 6, overlapping or not."""
    window = 3 if architecture.overlapping_pooling else 2
    return (side - window) // 2 + 1


def layers(architecture: Architecture) -> tuple[Layer, ...]:
    """The layers with weights, in order."""
    found: list[Layer] = []
    columns = architecture.columns
    channels, side = 3, PATCH + OVERHANG
    for name in architecture.convolutions:
        kernels = architecture.conv6_kernels if name == "conv6" else architecture.kernels[int(name[-1]) - 1]
        groups = 1 if architecture.sees_all(name) else columns
        size, stride, padding = _WINDOWS[name]
        output_side = (side + 2 * padding - size) // stride + 1
        found.append(
            Layer(
                name=name,
                kind="convolution",
                inputs=channels // groups,
                outputs=kernels * columns,
                groups=groups,
                size=size,
                stride=stride,
                padding=padding,
                input_side=PATCH if name == "conv1" else side,
                output_side=output_side,
                after=architecture.after(name),
            )
        )
        channels, side = kernels * columns, output_side
        if "pool" in architecture.after(name):
            side = pooled(side, architecture)
    numbers = channels * side * side
    for name in architecture.fully_connected:
        outputs = architecture.neurons(name)
        groups = 1 if architecture.sees_all(name) else columns
        after = ("activation", "dropout") if name in DROPPED else ()
        found.append(
            Layer(
                name=name,
                kind="fully-connected",
                inputs=numbers // groups,
                outputs=outputs,
                groups=groups,
                after=after,
            )
        )
        numbers = outputs
    return tuple(found)
