"""Caffe's files (src/caffe/proto/caffe.proto): nets (.caffemodel), as text (prototxt), and means (.binaryproto).

Channels are B, G, R in Caffe's world. Formats: LayerParameter (`layer`), V1LayerParameter (`layers`, until 2014).
Caffe's conventions, as far as they concern AlexNet:
- pooling rounds the number of windows up; a window that hangs over counts only pixels that are there;
- LRN: a / (k + α/local_size · Σ a²)^β over neighbouring channels, all of them, whatever `group` the convolutions have;
- LRN WITHIN_CHANNEL: the same over local_size² pixels of one channel, with k = 1 whatever `k` says;
- dropout divides by 1 − ratio in training, and does nothing at test time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from alexnet_cli.errors import ArtifactError
from alexnet_cli.reading import read_regular

_MOST_BYTES = 1 << 31
"""Protobuf reads no larger file; AlexNet's have 240 MB."""
_MOST_LAYERS = 1000
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
    """Name → field number, and its type: whole, float, flag, text, bytes, `word A B …` for one of some words by its
    number, else the name of a message in _MESSAGES. With a star: a list of them."""


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
            "pad": (3, "whole*"),
            "kernel_size": (4, "whole*"),
            "group": (5, "whole"),
            "stride": (6, "whole*"),
            **_WINDOW,
            "kernel_h": (11, "whole"),
            "kernel_w": (12, "whole"),
            "stride_h": (13, "whole"),
            "stride_w": (14, "whole"),
            "dilation": (18, "whole*"),
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
            "kernel_size": (2, "whole*"),
            "stride": (3, "whole*"),
            "pad": (4, "whole*"),
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
    "Slice": Kind("slice_param", 126, 31, 33, {"slice_point": (2, "whole*"), "axis": (3, "whole")}),
    "Concat": Kind("concat_param", 104, 9, 3, {"axis": (2, "whole")}),
    "Power": Kind("power_param", 122, 21, 26, {"power": (1, "float"), "scale": (2, "float"), "shift": (3, "float")}),
    "Input": Kind("input_param", 143, 0, 0, {"shape": (1, "Shape*")}),
    "Bias": Kind("bias_param", 141, 0, 0, {"axis": (1, "whole"), "num_axes": (2, "whole")}),
    "Scale": Kind("scale_param", 142, 0, 0, {"axis": (1, "whole"), "num_axes": (2, "whole")}),
}
_BY_OLD_TYPE = {kind.old_type: name for name, kind in KINDS.items() if kind.old_type}

_MESSAGES: Mapping[str, Mapping[str, tuple[int, str]]] = {
    "Net": {"name": (1, "text"), "layers": (2, "OldLayer*"), "layer": (100, "Layer*")},
    "Layer": {
        "name": (1, "text"),
        "type": (2, "text"),
        "bottom": (3, "text*"),
        "top": (4, "text*"),
        "blobs": (7, "Blob*"),
        **{kind.table: (kind.number, kind.table) for kind in KINDS.values() if kind.number},
    },
    "OldLayer": {
        "layer": (1, "bytes"),
        "bottom": (2, "text*"),
        "top": (3, "text*"),
        "name": (4, "text"),
        "type": (5, "whole"),
        "blobs": (6, "Blob*"),
        **{kind.table: (kind.old_number, kind.table) for kind in KINDS.values() if kind.old_number},
    },
    "Blob": {
        "num": (1, "whole"),
        "channels": (2, "whole"),
        "height": (3, "whole"),
        "width": (4, "whole"),
        "data": (5, "bytes*"),
        "shape": (7, "Shape"),
        "double_data": (8, "bytes*"),
    },
    "Shape": {"dim": (1, "whole*")},
    **{kind.table: kind.fields for kind in KINDS.values() if kind.table},
}
"""What we need of caffe.proto, with types as in `Kind.fields`. Packed floats are bytes here: numpy takes those."""


@cache
def _classes() -> Mapping[str, Any]:
    """Protobuf's class for each message."""
    proto = descriptor_pb2.FieldDescriptorProto
    types = {"text": proto.TYPE_STRING, "bytes": proto.TYPE_BYTES, "float": proto.TYPE_FLOAT, "flag": proto.TYPE_BOOL}
    types |= {"whole": proto.TYPE_UINT64, "word": proto.TYPE_UINT64}
    file = descriptor_pb2.FileDescriptorProto(name="alexnet/caffe.proto", package="caffe")
    for message, fields in _MESSAGES.items():
        declared = file.message_type.add(name=message)
        for name, (number, how) in fields.items():
            kind = how.split()[0].removesuffix("*")
            label = proto.LABEL_REPEATED if how.endswith("*") else proto.LABEL_OPTIONAL
            one = declared.field.add(name=name, number=number, label=label, type=types.get(kind, proto.TYPE_MESSAGE))
            if kind not in types:
                one.type_name = f".caffe.{kind}"
            one.options.packed = message == "Shape"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"caffe.{name}")) for name in _MESSAGES}


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
    net = _classes()["Net"](name=name)
    for layer in layers:
        written = net.layer.add(name=layer.name, type=layer.type, bottom=layer.bottoms, top=layer.tops)
        for blob in layer.blobs:
            written.blobs.add(data=[blob.astype("<f4").tobytes()]).shape.dim.extend(blob.shape)
        kind = KINDS[layer.type]
        for number, value in layer.numbers.items():
            _put(getattr(written, kind.table), number, value, kind.fields[number][1])
    return bytes(net.SerializeToString())


def _put(table: Any, name: str, value: Any, how: str) -> None:
    """Give a field of a layer's table its value."""
    if how == "Shape*":
        getattr(table, name).add().dim.extend(value)
    elif how == "whole*":
        getattr(table, name).extend(value)
    else:
        setattr(table, name, how.split()[1:].index(value) if how.startswith("word") else value)


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
    if how == "Shape*":
        return [f"{name} {{ {' '.join(f'dim: {size}' for size in value)} }}"]
    if how == "whole*":
        return [f"{name}: {item}" for item in value]
    if how == "flag":
        return [f"{name}: {str(bool(value)).lower()}"]
    return [f"{name}: {value!r}" if how == "float" else f"{name}: {value}"]


def write_mean(mean: Array) -> bytes:
    """A mean image (3, H, W) as .binaryproto."""
    channels, height, width = mean.shape
    data = [mean.astype("<f4").tobytes()]
    blob = _classes()["Blob"](num=1, channels=channels, height=height, width=width, data=data)
    return bytes(blob.SerializeToString())


def read_caffemodel(path: Path) -> list[CaffeLayer]:
    """The layers of a .caffemodel, in order; ArtifactError in one line for anything else."""
    return layers_of(_content(path), path)


def layers_of(content: bytes, path: Path) -> list[CaffeLayer]:
    """As `read_caffemodel`, of a file's bytes; path: what it is called in errors."""
    try:
        net = _classes()["Net"].FromString(content)
        if len(net.layer) + len(net.layers) > _MOST_LAYERS:
            raise ValueError(f"has {len(net.layer) + len(net.layers):,} layers")
        layers = [_layer(layer, layer.type) for layer in net.layer]
        layers += [_layer(layer, _old_type(layer)) for layer in net.layers]
    except (DecodeError, ValueError) as error:
        raise ArtifactError(f"{path}: is not a .caffemodel, or is damaged ({error}): get it again") from None
    if not layers:
        raise ArtifactError(f"{path}: is not a .caffemodel (it has no layers): check the path, and --from")
    return layers


def read_mean(path: Path) -> Array:
    """A mean image (3, H, W) of a .binaryproto, B, G, R; ArtifactError in one line for anything else."""
    try:
        mean = _array(_classes()["Blob"].FromString(_content(path)))
    except (DecodeError, ValueError) as error:
        raise ArtifactError(f"{path}: is not a .binaryproto, or is damaged ({error}): get it again") from None
    if mean.ndim == 4 and len(mean) == 1:
        mean = mean[0]
    if mean.ndim != 3 or len(mean) != 3 or not np.isfinite(mean).all():
        raise ArtifactError(f"{path}: holds {'×'.join(map(str, mean.shape))} numbers, not a mean image of 3 channels")
    return mean


def _content(path: Path) -> bytes:
    try:
        return read_regular(path, most=_MOST_BYTES)
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file: check the path") from None


def _old_type(layer: Any) -> str:
    """The type of a V1LayerParameter. Those of V0, from before 2014, hold a table of another kind."""
    if layer.HasField("layer"):
        raise ValueError("is of the oldest format: bring it up to date with Caffe's upgrade_net_proto_binary")
    return _BY_OLD_TYPE.get(layer.type, f"number {layer.type}")


def _layer(layer: Any, kind: str) -> CaffeLayer:
    known = KINDS.get(kind, Kind(""))
    return CaffeLayer(
        name=layer.name,
        type=kind,
        bottoms=tuple(layer.bottom),
        tops=tuple(layer.top),
        numbers=_numbers(getattr(layer, known.table), known) if hasattr(layer, known.table) else {},
        blobs=tuple(map(_array, layer.blobs)),
    )


def _numbers(table: Any, kind: Kind) -> dict[str, Any]:
    """What a layer's table gives, but for shapes."""
    found: dict[str, Any] = {}
    for given, value in table.ListFields():
        how = kind.fields[given.name][1]
        if how.startswith("word"):
            words = how.split()[1:]
            found[given.name] = words[value] if value < len(words) else f"number {value}"
        elif how != "Shape*":
            found[given.name] = list(value) if how == "whole*" else value
    return found


def _array(blob: Any) -> Array:
    """An array in its shape; ValueError where the shape and the numbers don't agree."""
    parts, kind = (blob.data, "<f4") if blob.data else (blob.double_data, "<f8")
    data = np.frombuffer(b"".join(parts), kind).astype(np.float32)
    old = (blob.num, blob.channels, blob.height, blob.width)
    shape = list(blob.shape.dim) if blob.HasField("shape") else [size or 1 for size in old]
    if len(shape) > _MOST_AXES or math.prod(shape) != len(data):
        given = "×".join(map(str, shape[:_MOST_AXES]))
        raise ValueError(f"has an array of {len(data):,} numbers whose shape is {given}")
    return data.reshape(shape)
