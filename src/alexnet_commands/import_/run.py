"""The work of `alexnet import`: read the file into a row of layers, find the recipe, add the input, publish."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from alexnet_cli.artifacts.checkpoint import net_files, write_net
from alexnet_cli.artifacts.common.manifest import digest_of_file
from alexnet_cli.artifacts.common.ownership import CHECKPOINT, require_output
from alexnet_cli.artifacts.common.working import prepare_parent
from alexnet_cli.class_files import read_class_list
from alexnet_cli.class_list import ClassList
from alexnet_cli.console import Talk
from alexnet_cli.errors import ArtifactError, UsageError
from alexnet_cli.exchange.caffe import read_mean
from alexnet_cli.exchange.torchvision import load_torchvision
from alexnet_cli.exchange.transforms import CROP, transform_of
from alexnet_cli.finite import not_finite
from alexnet_cli.input.patches import InputTransform
from alexnet_cli.recipes.layers import Dropout
from alexnet_cli.recipes.net import layers
from alexnet_cli.recipes.read import load_recipe
from alexnet_cli.recipes.recipe import Input, Recipe
from alexnet_commands.import_.caffe_file import read_caffe
from alexnet_commands.import_.config import ImportConfig
from alexnet_commands.import_.found import Row, recipe_of, weights_as_noted
from alexnet_commands.import_.onnx_file import read_onnx
from alexnet_commands.import_.torchvision_file import read_torchvision

_READERS: Mapping[str, Callable[[Row], None]] = {
    "torchvision": read_torchvision,
    "timm": read_torchvision,
    "caffe": read_caffe,
    "onnx": read_onnx,
}


@dataclass(frozen=True)
class Result:
    """What was made."""

    path: Path
    recipe: str
    layers: list[str]
    """Those with weights, in order."""
    parameters: int
    classes: int
    named: str
    """Where the classes' names come from, in words."""

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {**self.__dict__, "path": str(self.path)}


def run(config: ImportConfig) -> Result:
    """Import a file as a checkpoint without a training's state.

    Raises ArtifactError for a file that is of another program, damaged, or not an AlexNet; UsageError if an option
    is missing; PictureError for a bad list of classes; ResourceError of the disk.
    """
    inputs = {"FILE": config.file, "--classes": config.classes}
    require_output(config.out, CHECKPOINT, overwrite=config.overwrite, inputs=inputs)
    row = Row(config.file)
    _READERS[config.source](row)
    if config.bgr:
        row.turn_channels()
    row.tensors = {name: tensor.float().contiguous() for name, tensor in row.tensors.items()}
    if (name := not_finite(row.tensors)) is not None:
        raise ArtifactError(f"{config.file}: its {name} is not finite: get it again")
    recipe, transform, model, lost = _as_exported(config, row) or _as_found(config, row)
    classes, named = _classes(config, row, recipe.net.classes)
    prepare_parent(config.out)
    talk = Talk(quiet=config.quiet)
    talk.say(f"{config.file}: recipe {recipe.name}, {len(classes):,} classes")
    if lost:
        talk.say(f"not in the file: {'; '.join(lost)}")
    digest = digest_of_file(config.file)
    write_net(
        config.out,
        net_files(recipe=recipe, classes=classes, model=model, transform=transform),
        parents={"file": digest},
        details={"imported": {"from": config.source, "file": config.file.name, "sha256": digest}},
        overwrite=config.overwrite,
        inputs=inputs,
    )
    weighted = layers(recipe.net)
    return Result(
        path=config.out,
        recipe=recipe.name,
        layers=[layer.name for layer in weighted],
        parameters=sum(layer.parameters for layer in weighted),
        classes=len(classes),
        named=named,
    )


_Net = tuple[Recipe, InputTransform, dict[str, Tensor], list[str]]
"""Recipe, input transform, weights, and in words what of it the file does not hold."""


def _as_exported(config: ImportConfig, row: Row) -> _Net | None:
    """The whole net that `alexnet export` wrote; None if the file has no notes, or does not fit them any more."""
    if row.noted is None or (config.mean, config.channels, config.patch) != (None, None, None):
        return None
    recipe, _, transform = row.noted
    tensors = weights_as_noted(row, recipe)
    if tensors is None or (row.mean is not None and not _says(row.mean, row.scale, transform)):
        Talk(quiet=config.quiet).warn(
            f"{config.file}: was changed since alexnet export wrote it: only its graph is read"
        )
        return None
    return recipe, transform, tensors, []


def _says(mean: NDArray[np.float32], scale: NDArray[np.float32] | None, transform: InputTransform) -> bool:
    """Whether a graph's transform is this one, for the centre view."""
    given = np.ones(3, np.float32) if scale is None else scale
    return np.array_equal(mean, transform.centre.numpy()) and np.array_equal(given, transform.scale.expand(3).numpy())


def _as_found(config: ImportConfig, row: Row) -> _Net:
    """The net as the file's layers say it."""
    input_, transform = _input(config, row)
    recipe = recipe_of(row, input_)
    lost = []
    if config.source == "onnx" and not any(isinstance(spec, Dropout) for spec in recipe.net.layers):
        lost.append("dropout, should the net have been trained with it")
    if input_.mean_at == "centre":
        lost.append("the mean image around the centre: for the other views, its edge is repeated")
    return recipe, transform, row.tensors, lost


def _input(config: ImportConfig, row: Row) -> tuple[Input, InputTransform]:
    """How a crop becomes the net's input: as torchvision does it, as the file says, or by --mean."""
    if config.source in ("torchvision", "timm"):
        known = load_recipe("torchvision").input
        return known, transform_of(known)
    patch = config.patch or row.patch or (227 if config.source == "caffe" else 224)
    flip = row.noted is None or row.noted[0].input.flip
    plain = Input(patch=patch, colour_noise=0.0, flip=flip)
    theirs = replace(load_recipe("torchvision").input, patch=patch, flip=flip)
    if config.mean == "torchvision":
        return theirs, transform_of(theirs)
    if config.mean is not None:
        mean = _mean(config, config.mean)
        if len(mean) < patch:
            raise UsageError(f"--mean {config.mean}: is {len(mean)}×{len(mean)}, smaller than the patches of {patch}")
        return plain, transform_of(plain, mean)
    if row.mean is not None:
        return _own_transform(row, plain, theirs)
    if config.source == "onnx" and not config.bgr and recipe_of(row, plain).name == "torchvision":
        return theirs, transform_of(theirs)
    example = "imagenet_mean.binaryproto, or 104,117,123 (B, G, R)" if config.bgr else "torchvision, or 123,117,104"
    raise UsageError(
        f"{config.file}: does not say what is subtracted from its pictures: give --mean, such as {example}"
    )


def _own_transform(row: Row, plain: Input, theirs: Input) -> tuple[Input, InputTransform]:
    """What a file of `alexnet export` does to its input: torchvision's transform, or a mean and one divisor.

    The mean is that of the centre patch; the crop around it repeats its edge, and is never used.
    """
    assert row.mean is not None
    patch, side = plain.patch, max(CROP, plain.patch)
    edge = (side - patch) // 2
    scale = np.ones(3, np.float32) if row.scale is None else row.scale
    try:
        inner = np.broadcast_to(row.mean, (patch, patch, 3))
    except ValueError:
        raise row.wrong(f"its mean is {'×'.join(map(str, row.mean.shape))}") from None
    known = transform_of(theirs)
    if np.allclose(scale, known.scale.numpy()) and np.allclose(inner, known.mean[:patch, :patch].numpy()):
        return theirs, known
    if not (np.isfinite(inner).all() and scale[0] > 0 and (scale == scale[0]).all()):
        raise row.wrong("its input is scaled differently in each channel, which no recipe can express")
    input_ = replace(plain, mean_at="centre", divisor=float(1 / scale[0].astype(np.float64)))
    whole = np.pad(inner, ((edge, side - patch - edge),) * 2 + ((0, 0),), mode="edge").astype(np.float64)
    return input_, transform_of(input_, whole)


def _mean(config: ImportConfig, text: str) -> NDArray[np.float64]:
    """(S, S, 3), R, G, B, of a file or of three numbers in the net's order."""
    parts = text.split(",")
    if len(parts) == 3:
        try:
            values = np.array([float(part) for part in parts])
        except ValueError:
            values = np.full(3, np.nan)
        if not np.isfinite(values).all():
            raise UsageError(
                f"--mean {text}: must be three numbers with commas, such as 104,117,123, or a .binaryproto"
            )
        return np.broadcast_to(values[::-1] if config.bgr else values, (CROP, CROP, 3)).copy()
    image = read_mean(Path(text)).transpose(1, 2, 0).astype(np.float64)
    if image.shape[0] != image.shape[1]:
        raise ArtifactError(f"{text}: is {image.shape[0]}×{image.shape[1]}, and crops are square: give three numbers")
    return np.ascontiguousarray(image[:, :, ::-1])  # a .binaryproto is B, G, R


def _classes(config: ImportConfig, row: Row, count: int) -> tuple[ClassList, str]:
    """The class list, and where it comes from."""
    if config.classes is not None:
        classes = read_class_list(config.classes)
        if len(classes) != count:
            raise ArtifactError(
                f"{config.classes}: has {len(classes):,} classes, and the net {count:,}: give the net's own list"
            )
        return classes, f"named by {config.classes}"
    if row.noted is not None and len(row.noted[1]) == count:
        return row.noted[1], "named by the file"
    words: tuple[str, ...] = ()
    if count == 1000:  # ImageNet's
        words = tuple(load_torchvision().models._meta._IMAGENET_CATEGORIES)
    named = "with torchvision's words" if words else "without names (--classes gives them)"
    return ClassList(tuple(str(number) for number in range(count)), words=words), f"numbered, {named}"
