"""Caffe's files (src/caffe/proto/caffe.proto): nets (.caffemodel), as text (prototxt), and means (.binaryproto).

Channels are B, G, R in Caffe's world. Formats: LayerParameter (`layer`), V1LayerParameter (`layers`, until 2014).
Caffe's conventions, as far as they concern AlexNet:
- pooling rounds the number of windows up; a window that hangs over counts only pixels that are there;
- LRN: a / (k + α/local_size · Σ a²)^β over neighbouring channels, all of them, whatever `group` the convolutions have;
- LRN WITHIN_CHANNEL: the same over local_size² pixels of one channel, with k = 1 whatever `k` says;
- dropout divides by 1 − ratio in training, and does nothing at test time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.errors import ArtifactError
from alexnet_cli.exchange.protobuf import (
    Message,
    WireError,
    floats,
    message,
    packed,
    parse,
    submessage,
    text,
    varint,
    whole,
)
from alexnet_cli.reading import read_regular

MOST_BYTES = 1 << 32
"""Of a file that is read: AlexNet's have 240 MB."""
MOST_LAYERS = 1000
_MOST_AXES = 8
Array = NDArray[np.float32]


@dataclass(frozen=True)
class Kind:
    """How a type of layer writes its own numbers."""

    table: str
    """The name of its table, `convolution_param`; "" where it has none."""
    number: int = 0
    """The table's field in LayerParameter."""
    old_number: int = 0
    """In V1LayerParameter; 0: the type is younger."""
    old_type: int = 0
    """The type's number in V1LayerParameter."""
    fields: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    """Name → field number, and whole, many (whole numbers), float, flag, word or shape."""


_WINDOW = {"pad_h": (9, "whole"), "pad_w": (10, "whole")}
KINDS: Mapping[str, Kind] = {
    "Convolution": Kind(
        "convolution_param",
        106,
        10,
        4,
        {
            "num_output": (1, "whole"),
            "bias_term": (2, "flag"),
            "pad": (3, "many"),
            "kernel_size": (4, "many"),
            "group": (5, "whole"),
            "stride": (6, "many"),
            **_WINDOW,
            "kernel_h": (11, "whole"),
            "kernel_w": (12, "whole"),
            "stride_h": (13, "whole"),
            "stride_w": (14, "whole"),
            "dilation": (18, "many"),
        },
    ),
    "InnerProduct": Kind(
        "inner_product_param",
        117,
        17,
        14,
        {"num_output": (1, "whole"), "bias_term": (2, "flag"), "transpose": (6, "flag")},
    ),
    "LRN": Kind(
        "lrn_param",
        118,
        18,
        15,
        {
            "local_size": (1, "whole"),
            "alpha": (2, "float"),
            "beta": (3, "float"),
            "norm_region": (4, "word ACROSS_CHANNELS WITHIN_CHANNEL"),
            "k": (5, "float"),
        },
    ),
    "Pooling": Kind(
        "pooling_param",
        121,
        19,
        17,
        {
            "pool": (1, "word MAX AVE STOCHASTIC"),
            "kernel_size": (2, "many"),
            "stride": (3, "many"),
            "pad": (4, "many"),
            "kernel_h": (5, "whole"),
            "kernel_w": (6, "whole"),
            "stride_h": (7, "whole"),
            "stride_w": (8, "whole"),
            **_WINDOW,
            "global_pooling": (12, "flag"),
            "round_mode": (13, "word CEIL FLOOR"),
        },
    ),
    "Dropout": Kind("dropout_param", 108, 12, 6, {"dropout_ratio": (1, "float")}),
    "ReLU": Kind("relu_param", 123, 30, 18, {"negative_slope": (1, "float")}),
    "TanH": Kind("tanh_param", 127, 37, 23),
    "Softmax": Kind("softmax_param", 125, 39, 20),
    "SoftmaxWithLoss": Kind("", 0, 0, 21),
    "Accuracy": Kind("", 0, 0, 1),
    "Data": Kind("", 0, 0, 5),
    "ImageData": Kind("", 0, 0, 12),
    "MemoryData": Kind("", 0, 0, 29),
    "WindowData": Kind("", 0, 0, 24),
    "Split": Kind("", 0, 0, 22),
    "Flatten": Kind("", 0, 0, 8),
    "Slice": Kind("slice_param", 126, 31, 33, {"slice_point": (2, "many"), "axis": (3, "whole")}),
    "Concat": Kind("concat_param", 104, 9, 3, {"axis": (2, "whole")}),
    "Power": Kind("power_param", 122, 21, 26, {"power": (1, "float"), "scale": (2, "float"), "shift": (3, "float")}),
    "Input": Kind("input_param", 143, 0, 0, {"shape": (1, "shape")}),
    "Bias": Kind("bias_param", 141, 0, 0, {"axis": (1, "whole"), "num_axes": (2, "whole")}),
    "Scale": Kind("scale_param", 142, 0, 0, {"axis": (1, "whole"), "num_axes": (2, "whole")}),
}
_BY_OLD_TYPE = {kind.old_type: name for name, kind in KINDS.items() if kind.old_type}


@dataclass(frozen=True, kw_only=True, eq=False)
class CaffeLayer:
    """One layer of a Caffe net."""

    name: str
    type: str
    bottoms: tuple[str, ...] = ()
    tops: tuple[str, ...] = ()
    numbers: Mapping[str, Any] = field(default_factory=dict)
    """Its own fields by name; what the file leaves out is not there."""
    blobs: tuple[Array, ...] = ()
    """Weights and biases, in the shapes that the file gives."""


def write_caffemodel(name: str, layers: Sequence[CaffeLayer]) -> bytes:
    """A net with its weights, as Caffe's `Net::ToProto` writes it."""
    parts = [message((1, name))]
    for layer in layers:
        content = [message((1, layer.name), (2, layer.type))]
        content += [message((3, bottom)) for bottom in layer.bottoms] + [message((4, top)) for top in layer.tops]
        for blob in layer.blobs:
            shape = message((1, b"".join(varint(size) for size in blob.shape)))
            content.append(message((7, message((5, packed(blob)), (7, shape)))))
        kind = KINDS[layer.type]
        if layer.numbers:
            content.append(message((kind.number, _numbers(kind, layer.numbers))))
        parts.append(message((100, b"".join(content))))
    return b"".join(parts)


def _numbers(kind: Kind, numbers: Mapping[str, Any]) -> bytes:
    parts = []
    for name, value in numbers.items():
        number, how = kind.fields[name]
        if how == "shape":
            content = b"".join(varint(size) for size in value)
            parts.append(message((number, message((1, content)))))
        elif how == "many":
            parts += [message((number, int(item))) for item in value]
        elif how.startswith("word"):
            parts.append(message((number, how.split()[1:].index(value))))
        else:
            parts.append(message((number, float(value) if how == "float" else value)))
    return b"".join(parts)


def write_prototxt(name: str, layers: Sequence[CaffeLayer], notes: Sequence[str] = ()) -> str:
    """The net as text, for `deploy.prototxt`; notes are comments in front."""
    lines = [f"# {note}" for note in notes] + [f'name: "{name}"']
    for layer in layers:
        lines += ["layer {", f'  name: "{layer.name}"', f'  type: "{layer.type}"']
        lines += [f'  bottom: "{bottom}"' for bottom in layer.bottoms] + [f'  top: "{top}"' for top in layer.tops]
        kind = KINDS[layer.type]
        if layer.numbers:
            lines.append(f"  {kind.table} {{")
            for field_, value in layer.numbers.items():
                lines += [f"    {line}" for line in _text_of(field_, value, kind.fields[field_][1])]
            lines.append("  }")
        lines.append("}")
    return "\n".join(lines) + "\n"


def _text_of(name: str, value: Any, how: str) -> list[str]:
    if how == "shape":
        return [f"{name} {{ {' '.join(f'dim: {size}' for size in value)} }}"]
    if how == "many":
        return [f"{name}: {item}" for item in value]
    if how == "flag":
        return [f"{name}: {str(bool(value)).lower()}"]
    return [f"{name}: {value!r}" if how == "float" else f"{name}: {value}"]


def write_mean(mean: Array) -> bytes:
    """A mean image (3, H, W) as .binaryproto."""
    sizes = ((1, 1), *((number, size) for number, size in zip((2, 3, 4), mean.shape, strict=True)))
    return message(*sizes, (5, packed(mean)))


def read_caffemodel(path: Path) -> list[CaffeLayer]:
    """The layers of a .caffemodel, in order; ArtifactError in one line for anything else."""
    return layers_of(_content(path), path)


def layers_of(content: bytes, path: Path) -> list[CaffeLayer]:
    """As `read_caffemodel`, of a file's bytes; path: what it is called in errors."""
    try:
        net = parse(content)
        layers = [_layer(submessage(value)) for value in net.get(100, ())]
        layers += [_old_layer(submessage(value)) for value in net.get(2, ())]
        if len(layers) > MOST_LAYERS:
            raise WireError(f"has {len(layers):,} layers")
    except WireError as error:
        raise ArtifactError(f"{path}: is not a .caffemodel, or is damaged ({error}): get it again") from None
    if not layers:
        raise ArtifactError(f"{path}: is not a .caffemodel (it has no layers): check the path, and --from")
    return layers


def read_mean(path: Path) -> Array:
    """A mean image (3, H, W) of a .binaryproto, B, G, R; ArtifactError in one line for anything else."""
    try:
        mean = _blob(parse(_content(path)))
    except WireError as error:
        raise ArtifactError(f"{path}: is not a .binaryproto, or is damaged ({error}): get it again") from None
    if mean.ndim == 4 and len(mean) == 1:
        mean = mean[0]
    if mean.ndim != 3 or len(mean) != 3 or not np.isfinite(mean).all():
        raise ArtifactError(f"{path}: holds {'×'.join(map(str, mean.shape))} numbers, not a mean image of 3 channels")
    return mean


def _content(path: Path) -> bytes:
    try:
        return read_regular(path, most=MOST_BYTES)
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file: check the path") from None


def _layer(fields: Message) -> CaffeLayer:
    """Of a LayerParameter."""
    name, type_ = (text(fields[number][-1]) if number in fields else "" for number in (1, 2))
    kind = KINDS.get(type_)
    return CaffeLayer(
        name=name,
        type=type_,
        bottoms=tuple(map(text, fields.get(3, ()))),
        tops=tuple(map(text, fields.get(4, ()))),
        numbers=_read_numbers(kind, fields.get(kind.number, ())) if kind and kind.number else {},
        blobs=tuple(_blob(submessage(value)) for value in fields.get(7, ())),
    )


def _old_layer(fields: Message) -> CaffeLayer:
    """Of a V1LayerParameter. Those of V0, from before 2014, hold a table of another kind."""
    if 1 in fields:
        raise WireError("is of the oldest format: bring it up to date with Caffe's upgrade_net_proto_binary")
    number = fields.get(5, [0])[-1]
    type_ = _BY_OLD_TYPE.get(number, f"number {number}") if isinstance(number, int) else ""
    kind = KINDS.get(type_)
    return CaffeLayer(
        name=text(fields[4][-1]) if 4 in fields else "",
        type=type_,
        bottoms=tuple(map(text, fields.get(2, ()))),
        tops=tuple(map(text, fields.get(3, ()))),
        numbers=_read_numbers(kind, fields.get(kind.old_number, ())) if kind and kind.old_number else {},
        blobs=tuple(_blob(submessage(value)) for value in fields.get(6, ())),
    )


def _read_numbers(kind: Kind, tables: Sequence[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for table in tables:
        fields = submessage(table)
        for name, (number, how) in kind.fields.items():
            if number in fields and how != "shape":
                found[name] = _value(how, fields[number])
    return found


def _value(how: str, values: Sequence[Any]) -> Any:
    if how == "many":
        return whole(values)
    if how == "float":
        return float(floats(values[-1:])[0])
    number = values[-1]
    if not isinstance(number, int):
        raise WireError("has text where a number is expected")
    if how == "flag":
        return bool(number)
    if how.startswith("word"):
        words = how.split()[1:]
        return words[number] if number < len(words) else f"number {number}"
    return number


def _blob(fields: Message) -> Array:
    """An array in its shape; WireError where the shape and the numbers don't agree."""
    data = floats(fields[5]) if 5 in fields else floats(fields.get(8, ()), "<f8")
    if 7 in fields:
        shape = whole(submessage(fields[7][-1]).get(1, ()))
    else:
        shape = [number for old in (1, 2, 3, 4) for number in whole(fields.get(old, [1])[-1:])]
    count = 1
    for size in shape:
        count *= size
    if len(shape) > _MOST_AXES or count != len(data):
        given = "×".join(map(str, shape[:_MOST_AXES]))
        raise WireError(f"has an array of {len(data):,} numbers whose shape is {given}")
    return data.reshape(shape)


def chain(layers: Sequence[CaffeLayer]) -> Iterator[CaffeLayer]:
    """The layers that compute, from the picture on: without data, loss and measurement."""
    aside = {"Data", "ImageData", "MemoryData", "WindowData", "Input", "Accuracy", "Split"}
    yield from (layer for layer in layers if layer.type not in aside)
