"""The net as data: its layers in order, and the shapes, parameters and work that follow. Knows no device.

Shapes: a picture is 3×patch×patch, 3×224×224 in the paper; maps are channels × side × side. Column a's channels come
first, then b's (paper, 3.2).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from alexnet_cli.recipes.fields import FieldError, nearest, require, section
from alexnet_cli.recipes.layers import KINDS, Convolution, Dropout, Linear, Norm, Pool, Spec

PATCH = 224
"""Side of the patches that a net sees, unless a recipe says otherwise (`input.patch`)."""


@dataclass(frozen=True, kw_only=True)
class Net:
    """The layers in order, and the number of columns."""

    columns: int = 2
    """2: half the kernels in each column, the columns on one GPU each; 1: the one-GPU net."""
    classes: int = 1000
    """Outputs of the softmax."""
    layers: tuple[Spec, ...] = ()
    patch: int = PATCH
    """Side of the picture that the net sees: a recipe's `input.patch`, and no field of [net]."""

    def __post_init__(self) -> None:
        require("columns", self.columns > 0, f"is {self.columns}: it must be positive")
        require("classes", self.classes > 1, f"is {self.classes}: a net tells at least 2 apart")
        shapes(self)

    def to_dict(self) -> dict[str, Any]:
        """As a recipe writes it: columns, classes, the order of the layers, and a table for each."""
        tables = {spec.name: {"kind": spec.kind, **_fields(spec)} for spec in self.layers}
        return {"columns": self.columns, "classes": self.classes, "order": list(tables), **tables}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], patch: int = PATCH) -> Net:
        """From `to_dict`'s values, for patches of a side; FieldError for a wrong name or value."""
        names = [name for name, value in values.items() if isinstance(value, Mapping)]
        order = values.get("order", names)
        plain = {name: value for name, value in values.items() if name != "order" and name not in {*names, *order}}
        if set(names) - set(order):
            raise FieldError("order", f"order leaves out '{min(set(names) - set(order))}'").under("net")
        layers = tuple(_spec(name, values.get(name)) for name in order)
        net = section(Net, "net", plain, layers=layers, patch=patch)
        if not layers:
            raise FieldError("", 'has no layers: add extends = "paper", or a table for each layer').under("net")
        return net


_TAKEN = frozenset(
    """T_destination add_module advance apply bfloat16 buffers call_super_init children compile cpu cuda double
    dump_patches eval exchanges extra_repr flatten float forward get_buffer get_extra_state get_parameter get_submodule
    half held here ipu layers load_state_dict logits modules mtia named_buffers named_children named_modules
    named_parameters net parameters register_backward_hook register_buffer register_forward_hook
    register_forward_pre_hook register_full_backward_hook register_full_backward_pre_hook
    register_load_state_dict_post_hook register_load_state_dict_pre_hook register_module register_parameter
    register_state_dict_post_hook register_state_dict_pre_hook requires_grad_ run set_extra_state set_submodule
    share_memory state_dict steps to to_empty train training type weights xpu zero_grad""".split()  # noqa: SIM905 (one name on each line takes a screen)
)
"""Attributes that a `Network` has already; a test compares the list with torch's."""


def _fields(spec: Spec) -> dict[str, Any]:
    return {item.name: getattr(spec, item.name) for item in dataclasses.fields(spec) if item.name != "name"}


def _spec(name: str, table: Any) -> Spec:
    """A layer from its table."""
    where = f"net.{name}"
    if not isinstance(table, Mapping):
        raise FieldError("", f"is a table of fields, not {table!r}").under(where)
    if not (name and name.isascii() and name.isprintable()) or "." in name or name[0] == "_" or name in _TAKEN:
        text = f"'{name}' can't be a layer's name, which becomes an attribute of a torch module: name it as conv1"
        raise FieldError("", text).under(where)
    kind = table.get("kind")
    if kind is None:
        raise FieldError("", f"has no kind: use one of {', '.join(KINDS)}").under(where)
    if not isinstance(kind, str) or kind not in KINDS:
        raise FieldError("kind", f"kind '{kind}' is unknown: {nearest(str(kind), KINDS)}").under(where)
    fields = {field: value for field, value in table.items() if field != "kind"}
    for item in dataclasses.fields(KINDS[kind]):
        if item.default is dataclasses.MISSING and item.name not in (*fields, "name"):
            raise FieldError(item.name, f"needs {item.name}: a {kind} layer has no default for it").under(where)
    return section(KINDS[kind], where, fields, name=name)


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A layer in its place: what it is, and the shapes of what comes in and out, all columns together."""

    spec: Spec
    columns: int
    input_channels: int
    input_side: int
    outputs: int
    """Channels, or numbers."""
    output_side: int
    below: str = ""
    """Kind of the layer below; of the first layer "", since the picture is below it."""
    after: tuple[str, ...] = ()
    """Kinds of the layers without weights that follow, in order."""

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def kind(self) -> str:
        return self.spec.kind

    @property
    def weighted(self) -> bool:
        return isinstance(self.spec, (Convolution, Linear))

    @property
    def sees(self) -> str:
        """picture, column or all; "" for a layer without weights."""
        return self.spec.sees if isinstance(self.spec, (Convolution, Linear)) else ""

    @property
    def size(self) -> int:
        """Side of a kernel."""
        return self.spec.size if isinstance(self.spec, Convolution) else 1

    @property
    def stride(self) -> int:
        """Pixels from kernel to kernel."""
        return self.spec.stride if isinstance(self.spec, Convolution) else 1

    @property
    def seen(self) -> int:
        """Channels, or numbers, that come in from all columns."""
        return self.input_channels * (1 if isinstance(self.spec, Convolution) else self.input_side**2)

    @property
    def groups(self) -> int:
        """Into how many parts inputs and kernels fall: 1 if every kernel sees all."""
        own = self.spec.groups if isinstance(self.spec, Convolution) else 1
        return own * (self.columns if self.sees == "column" else 1)

    @property
    def inputs(self) -> int:
        """Channels (or numbers) that one kernel sees."""
        return self.seen // self.groups

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Of the whole tensor: (kernels, inputs, size, size) or (outputs, inputs)."""
        shape = (self.outputs, self.inputs)
        return (*shape, self.size, self.size) if isinstance(self.spec, Convolution) else shape

    @property
    def parameters(self) -> int:
        return self.outputs * (self.inputs * self.size**2 + 1) if self.weighted else 0

    @property
    def neurons(self) -> int:
        """Outputs per picture."""
        return self.outputs * self.output_side**2

    @property
    def multiply_adds(self) -> int:
        """Of one picture's forward pass, biases not counted."""
        return self.neurons * self.inputs * self.size**2 if self.weighted else 0


@lru_cache
def shapes(net: Net) -> tuple[Layer, ...]:
    """Every layer in order with its shapes; FieldError names a layer that does not fit the one below."""
    found: list[Layer] = []
    shape = (3, net.patch)
    for number, spec in enumerate(net.layers):
        try:
            out = spec.shape(shape, net.columns, net.classes)
            _check_sight(spec, first=not any(layer.weighted for layer in found))
            above = net.layers[number + 1 :]
            if isinstance(spec, Dropout) and any(isinstance(one, (Convolution, Pool, Norm)) for one in above):  # (4.2)
                raise FieldError("", "is dropout below a convolution, pool or norm: it must come after them all")
            linear = next((layer.name for layer in found if layer.kind == "linear"), "")
            if linear and isinstance(spec, (Convolution, Pool, Norm)):
                raise FieldError("", f"is a {spec.kind} layer after {linear}: linear layers leave no maps for it")
        except FieldError as error:
            raise error.under(spec.name) from None
        after: list[str] = []
        for follower in net.layers[number + 1 :]:
            if isinstance(follower, (Convolution, Linear)):
                break
            after.append(follower.kind)
        found.append(
            Layer(
                spec=spec,
                columns=net.columns,
                input_channels=shape[0],
                input_side=shape[1],
                outputs=out[0],
                output_side=out[1],
                below=found[-1].kind if found else "",
                after=tuple(after),
            )
        )
        shape = out
    if net.layers and (shape != (net.classes, 1) or all(layer.kind != "linear" for layer in found)):
        text = f'gives {shape[0]}×{shape[1]}×{shape[1]} outputs: end the net with linear layers, neurons = "classes"'
        raise FieldError("", text).under(net.layers[-1].name)
    return tuple(found)


def _check_sight(spec: Spec, *, first: bool) -> None:
    """The first layer with weights sees the picture, and no other does."""
    if isinstance(spec, (Convolution, Linear)):
        if first and spec.sees == "column":
            raise FieldError("sees", 'sees "column", and no layer is below it: a first layer sees "picture"')
        if not first and spec.sees == "picture":
            raise FieldError("sees", 'sees "picture", and other layers are below it: use "column" or "all"')


def layers(net: Net) -> tuple[Layer, ...]:
    """The layers with weights, in order."""
    return tuple(layer for layer in shapes(net) if layer.weighted)
