"""The plan as a Caffe net: deploy.prototxt, net.caffemodel, synset_words.txt, and with `--raw` mean.binaryproto.

What Caffe lacks is written with what it has:
- conv1's kernels that hang over the edge by 3 become kernels of 14×14 whose first 3 rows and columns are 0, with 3
  pixels of padding on all sides: the same sums;
- a norm that stays inside a column becomes a slice, a norm for each column, and a concatenation;
- k becomes 1, which is all that OpenCV, old Caffes and any Caffe's norm within a channel know (`with_k_of_one`);
- the mean image becomes a bias of the picture, the scale a scale layer;
- dropout × 0.5 at test time is in the weights that read it, as Caffe expects them.
What would compute something else is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from alexnet_cli.errors import UsageError
from alexnet_cli.exchange.caffe import CaffeLayer, write_caffemodel, write_mean, write_prototxt
from alexnet_cli.recipes import layers as specs
from alexnet_commands.export.plan import Plan, Step

MODEL, TEXT, CLASSES, MEAN = "net.caffemodel", "deploy.prototxt", "synset_words.txt", "mean.binaryproto"
NAME = "alexnet"


def caffe_files(plan: Plan) -> dict[str, bytes]:
    """The folder's files by name. UsageError if Caffe would compute something else."""
    layers = caffe_layers(plan)
    scale = ", ".join(f"{value:.9g}" for value in plan.scale.flip(0).tolist())
    notes = [
        f"Made by alexnet export, recipe {plan.recipe.name}.",
        f"data: {input_of(plan)}",
        f"mean: {MEAN}; scale of B, G, R: {scale}" if plan.raw else "mean and scale are inside",
        f"output: {plan.about['output']} of the classes in {CLASSES}, in its order",
    ]
    words = plan.classes.words or ("",) * len(plan.classes)
    lines = [f"{name} {text}".strip() for name, text in zip(plan.classes.names, words, strict=True)]
    # Caffe's own snapshots hold the same text as its prototxt; weights are found by the layers' names.
    files = {
        TEXT: write_prototxt(NAME, layers, notes).encode(),
        MODEL: write_caffemodel(NAME, layers),
        CLASSES: ("\n".join(line.replace("\n", " ") for line in lines) + "\n").encode(),
    }
    if plan.raw:
        files[MEAN] = write_mean(_bgr(plan.mean))
    return files


def input_of(plan: Plan) -> str:
    """What `data` takes, in words."""
    what = "B, G, R, (value - mean) * scale" if plan.raw else "B, G, R, 0-255"
    return f"float32 (N, 3, {plan.patch}, {plan.patch}): {what}, the central patch of a crop"


def _bgr(mean: Tensor) -> NDArray[np.float32]:
    """(P, P, 3) R, G, B → (3, P, P) B, G, R."""
    return np.ascontiguousarray(mean.numpy()[:, :, ::-1].transpose(2, 0, 1))


def caffe_layers(plan: Plan) -> list[CaffeLayer]:
    """The layers in order, each over the blob that the last one gave."""
    side = plan.patch
    found = [CaffeLayer(name="data", type="Input", tops=("data",), numbers={"shape": [1, 3, side, side]})]
    if not plan.raw:
        mean = -_bgr(plan.mean)
        _stack(found, CaffeLayer(name="centred", type="Bias", numbers={"axis": 1, "num_axes": 3}, blobs=(mean,)))
        if not bool((plan.scale == 1).all()):
            scale = plan.scale.flip(0).numpy().copy()
            _stack(found, CaffeLayer(name="scaled", type="Scale", numbers={"axis": 1, "num_axes": 1}, blobs=(scale,)))
    seen = False
    for step in with_k_of_one(plan.steps):
        if isinstance(step.spec, specs.Norm) and not isinstance(step.spec, specs.MapNorm) and step.layer.columns > 1:
            found += _norm_by_column(step, step.spec, found[-1].tops[0])
        else:
            _stack(found, _layer(step, first=not seen and step.weight is not None))
        seen |= step.weight is not None
    if not plan.raw:
        _stack(found, CaffeLayer(name="prob", type="Softmax"))
    return found


def with_k_of_one(steps: Sequence[Step]) -> list[Step]:
    """The same net with k = 1 in every norm.

    a / (k + α·Σ)^β is k^−β · a / (1 + α/k·Σ)^β. The factor passes through ReLU, pooling and dropout, and, squared, goes
    into the α of a norm above; the next weights take it, or, below a tanh, a layer of its own.
    """
    found: list[Step] = []
    factor = 1.0
    for step in steps:
        spec = step.spec
        if isinstance(spec, specs.Norm):
            one = replace(spec, k=1.0, alpha=spec.alpha * factor**2 / spec.k)
            factor *= spec.k**-spec.beta
            step = replace(step, layer=replace(step.layer, spec=one))
        elif isinstance(spec, specs.Tanh) and factor != 1:
            scale = replace(step.layer, spec=specs.Dropout(name=f"{step.name}_below"))
            found.append(replace(step, layer=scale, factor=factor))
            factor = 1.0
        elif step.weight is not None and factor != 1:
            step, factor = replace(step, weight=step.weight * factor), 1.0
        found.append(step)
    return found


def _stack(found: list[CaffeLayer], layer: CaffeLayer) -> None:
    """Put a layer over the last one."""
    found.append(replace(layer, bottoms=found[-1].tops, tops=(layer.name,)))


def _layer(step: Step, *, first: bool) -> CaffeLayer:
    """One of our layers as one of Caffe's, without what is below and above."""
    name = step.name
    match step.spec:
        case specs.Convolution() as spec:
            numbers = {
                "num_output": step.layer.outputs,
                "pad": [spec.padding + spec.overhang],
                "kernel_size": [spec.size + spec.overhang],
                "group": step.layer.groups,
                "stride": [spec.stride],
            }
            return CaffeLayer(
                name=name, type="Convolution", numbers=numbers, blobs=_weights(step, spec.overhang, first)
            )
        case specs.Linear():
            blobs = _weights(step, 0, first)
            return CaffeLayer(name=name, type="InnerProduct", numbers={"num_output": step.layer.outputs}, blobs=blobs)
        case specs.Relu():
            return CaffeLayer(name=name, type="ReLU")
        case specs.Tanh():
            return CaffeLayer(name=name, type="TanH")
        case specs.MapNorm() as spec:
            return CaffeLayer(name=name, type="LRN", numbers=_lrn(spec, "WITHIN_CHANNEL"))
        case specs.Norm() as spec:
            return CaffeLayer(name=name, type="LRN", numbers=_lrn(spec, "ACROSS_CHANNELS"))
        case specs.Pool() as spec:
            return _pool(step, spec)
        case specs.Dropout() as spec:
            if step.factor != 1:
                return CaffeLayer(name=name, type="Power", numbers={"scale": step.factor})
            return CaffeLayer(name=name, type="Dropout", numbers={"dropout_ratio": spec.probability})
    raise AssertionError(f"no layer for one of kind {step.spec.kind}")


def _pool(step: Step, spec: specs.Pool) -> CaffeLayer:
    side = step.layer.input_side
    if step.layer.output_side != -(-(side - spec.size) // spec.stride) + 1:
        raise UsageError(
            f"--format caffe: {step.name} leaves out the last rows of its {side}×{side} maps, and Caffe's pooling "
            "has one window more: choose another --format"
        )
    mode = "MAX" if spec.mode == "max" else "AVE"
    numbers = {"pool": mode, "kernel_size": [spec.size], "stride": [spec.stride]}
    return CaffeLayer(name=step.name, type="Pooling", numbers=numbers)


def _lrn(spec: specs.Norm, region: str) -> dict[str, object]:
    return {"local_size": spec.window, "alpha": spec.alpha, "beta": spec.beta, "norm_region": region}


def _norm_by_column(step: Step, spec: specs.Norm, below: str) -> list[CaffeLayer]:
    """Slice, a norm for each column, and all together again under the layer's name."""
    columns, maps = step.layer.columns, step.layer.outputs // step.layer.columns
    parts = [f"{step.name}_column{number}" for number in range(columns)]
    apart = [f"{part}_in" for part in parts]
    points = [maps * number for number in range(1, columns)]
    slice_ = CaffeLayer(
        name=f"{step.name}_slice",
        type="Slice",
        bottoms=(below,),
        tops=tuple(apart),
        numbers={"slice_point": points, "axis": 1},
    )
    norms = [
        CaffeLayer(name=part, type="LRN", bottoms=(own,), tops=(part,), numbers=_lrn(spec, "ACROSS_CHANNELS"))
        for part, own in zip(parts, apart, strict=True)
    ]
    concat = CaffeLayer(name=step.name, type="Concat", bottoms=tuple(parts), tops=(step.name,), numbers={"axis": 1})
    return [slice_, *norms, concat]


def _weights(step: Step, overhang: int, first: bool) -> tuple[NDArray[np.float32], ...]:
    """Weights and biases. Of the first layer the channels are turned round: B, G, R."""
    assert step.weight is not None and step.bias is not None
    weight = functional.pad(step.weight, (overhang, 0, overhang, 0)) if overhang else step.weight
    if first:  # (kernels, 3, size, size), or of a linear layer (neurons, 3·side²)
        weight = weight.view(len(weight), 3, -1).flip(1).view(weight.shape)
    return weight.contiguous().numpy(), step.bias.numpy()


def pictures_for_caffe(plan: Plan, pictures: Tensor) -> Tensor:
    """uint8 (N, P, P, 3), R, G, B → what `data` takes: float32 (N, 3, P, P), B, G, R."""
    patches = plan.transformed(pictures) if plan.raw else pictures.permute(0, 3, 1, 2).float()
    return torch.flip(patches, (1,)).contiguous()
