"""Checkpoints: whole tensors in safetensors, the input transform, the recipe and the state of the training.

A checkpoint is enough to evaluate a net and to continue its training, on any number of devices.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from alexnet_cli.artifacts.common.manifest import (
    MANIFEST_FILE,
    Manifest,
    digest_of,
    digest_of_file,
    read_folder_manifest,
)
from alexnet_cli.artifacts.common.ownership import CHECKPOINT, Kind
from alexnet_cli.artifacts.common.publish import publish_folder, publishing_folder, write_verified
from alexnet_cli.artifacts.common.steady import steadily
from alexnet_cli.artifacts.common.working import begin_work
from alexnet_cli.class_list import ClassList
from alexnet_cli.errors import ArtifactError, ResourceError, UsageError, describe_os_error
from alexnet_cli.reading import read_json_object, read_regular
from alexnet_cli.recipes.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor

    from alexnet_cli.input.patches import InputTransform

KIND = "checkpoint"
SCHEMA = 2
MODEL = "model.safetensors"
MOMENTUM = "momentum.safetensors"
INPUT = "input.safetensors"
CONFIG = "config.json"
STATE = "state.json"
STRIPPED = "stripped"
"""Of a manifest's details: true if the net lies here without the state of its training."""
_OF_NET = (MODEL, INPUT, CONFIG)
_OF_TRAINING = (MOMENTUM, STATE)


@dataclass(frozen=True, eq=False)
class CheckpointRecord:
    """What a checkpoint says of itself, read without its tensors and without torch."""

    path: Path
    manifest: Manifest
    recipe: Recipe
    state: dict[str, Any]
    """Of the training; empty if the net was stripped of it."""


@dataclass(frozen=True, eq=False)
class Checkpoint(CheckpointRecord):
    """What a checkpoint folder holds. Tensors on the CPU."""

    classes: ClassList
    model: dict[str, Tensor]
    """`conv1.weight` (96, 3, 11, 11) …: whole tensors, column a first."""
    transform: InputTransform
    momentum: dict[str, Tensor]
    """m by parameter name, the velocity is −rate·m; empty if the checkpoint was read to evaluate."""


def write_checkpoint(
    path: Path,
    *,
    recipe: Recipe,
    classes: ClassList,
    model: Mapping[str, Tensor],
    momentum: Mapping[str, Tensor],
    transform: InputTransform,
    state: Mapping[str, Any],
    parents: Mapping[str, str],
    details: Mapping[str, Any],
) -> Manifest:
    """Publish a checkpoint folder; ResourceError if the disk is full or fails."""

    def contents() -> Iterator[tuple[str, bytes]]:
        yield from net_files(recipe=recipe, classes=classes, model=model, transform=transform)
        yield MOMENTUM, _tensors(momentum)
        yield STATE, json.dumps(state, indent=2, ensure_ascii=False).encode()

    try:
        work = begin_work(path, KIND)
        manifest = _write(work, contents(), parents=parents, details=details)
        publish_folder(work, path, CHECKPOINT)
        return manifest
    except OSError as error:
        raise ResourceError(describe_os_error(error, path)) from error


def files_of(path: Path) -> Iterator[tuple[str, bytes]]:
    """`net_files` of a checkpoint on disk, byte for byte."""
    for name in _OF_NET:
        yield name, read_regular(path / name)


def net_files(
    *, recipe: Recipe, classes: ClassList, model: Mapping[str, Tensor], transform: InputTransform
) -> Iterator[tuple[str, bytes]]:
    """The files that say what a net computes, one after the other: model, input, config."""
    explained = {name: values for name, values in (("words", classes.words), ("ids", classes.ids)) if values}
    config = {"recipe": recipe.to_dict(), "classes": classes.names, **explained}
    yield MODEL, _tensors(model)
    yield INPUT, _tensors(transform.tensors())
    yield CONFIG, json.dumps(config, indent=2, ensure_ascii=False).encode()


def write_net(
    path: Path,
    contents: Iterable[tuple[str, bytes]],
    kind: Kind = CHECKPOINT,
    *,
    parents: Mapping[str, str],
    details: Mapping[str, Any],
    overwrite: bool,
    inputs: Mapping[str, Path | None] | None = None,
) -> Manifest:
    """Publish a net without the state of its training: a checkpoint that can be used, and not trained on.

    contents: `net_files`, and what else belongs to the kind. UsageError if what lies there may not be replaced;
    ResourceError if the disk is full or fails.
    """
    with publishing_folder(path, kind, overwrite=overwrite, inputs=inputs) as work:
        return _write(work, contents, parents=parents, details={**details, STRIPPED: True})


def _tensors(named: Mapping[str, Tensor]) -> bytes:
    """As a safetensors file; transformers, for one, reads none without this metadata."""
    from safetensors.torch import save

    plain = {key: tensor.detach().cpu().contiguous() for key, tensor in named.items()}
    return save(plain, metadata={"format": "pt"})


def _write(
    work: Path, contents: Iterable[tuple[str, bytes]], *, parents: Mapping[str, str], details: Mapping[str, Any]
) -> Manifest:
    """Write a checkpoint's files into its work folder, the manifest last."""
    files = {name: write_verified(work / name, content) for name, content in contents}
    manifest = Manifest(
        kind=KIND,
        schema=SCHEMA,
        # What the net computes, whatever the training's state: model, input and config.
        digest=digest_of([files[MODEL], files[INPUT], files[CONFIG]]),
        parents=parents,
        details={**details, "files": files},
    )
    write_verified(work / MANIFEST_FILE, manifest.to_json().encode())
    return manifest


def read_checkpoint_manifest(path: Path) -> Manifest:
    """The manifest alone; ArtifactError if the checkpoint is unfinished or foreign."""
    return read_folder_manifest(
        path, kind=KIND, schema=SCHEMA, unfinished="it was interrupted while it was written; use another checkpoint"
    )


def read_checkpoint(path: Path, *, to_train: bool = False) -> Checkpoint:
    """Read a checkpoint, verified by its files' digests; ArtifactError if it is unfinished, foreign or damaged."""
    return steadily(path, lambda: _read_checkpoint(path, to_train=to_train))


def _read_checkpoint(path: Path, *, to_train: bool) -> Checkpoint:
    from safetensors.torch import load_file

    manifest = read_checkpoint_manifest(path)
    if manifest.details.get(STRIPPED) and to_train:
        raise ArtifactError(f"{path}: holds a net without the state of its training: give it to --init-from")
    try:
        _require_files(path, manifest, _OF_TRAINING if to_train else (STATE,))
        recipe, classes, transform = parse_net(read_json_object(path / CONFIG), load_file(path / INPUT))
        checkpoint = Checkpoint(
            path=path,
            manifest=manifest,
            recipe=recipe,
            classes=classes,
            model=load_file(path / MODEL),
            transform=transform,
            momentum=load_file(path / MOMENTUM) if to_train else {},
            state=_state(path, manifest),
        )
    except FileNotFoundError as error:
        raise ArtifactError(f"{error.filename}: is missing: use another checkpoint of the run") from None
    except OSError as error:
        raise ResourceError(describe_os_error(error, path)) from error
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, SafetensorError, UsageError) as error:
        raise ArtifactError(f"{path}: is not a checkpoint of this program ({error}): use another") from None
    require_transform(path, recipe, transform)
    _require_floats(path, checkpoint.model)
    _require_floats(path, checkpoint.momentum, "the momentum of ")
    return checkpoint


def _state(path: Path, manifest: Manifest) -> dict[str, Any]:
    return {} if manifest.details.get(STRIPPED) else read_json_object(path / STATE)


def parse_net(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> tuple[Recipe, ClassList, InputTransform]:
    """What CONFIG's object and INPUT's tensors say, neither of them verified.

    KeyError, TypeError, ValueError, AttributeError, RecursionError or UsageError if they are not ours.
    """
    from alexnet_cli.input.patches import InputTransform

    recipe = Recipe.from_dict(config["recipe"])
    words, ids = (tuple(config.get(name, ())) for name in ("words", "ids"))
    transform = InputTransform(**tensors, mean_at=recipe.input.mean_at, patch=recipe.input.patch)
    return recipe, ClassList(tuple(config["classes"]), words, ids), transform


def verify_checkpoint(path: Path) -> Manifest:
    """The manifest of a checkpoint whose files have their digests; ArtifactError if it is unfinished or damaged."""
    manifest = read_checkpoint_manifest(path)
    try:
        _require_files(path, manifest)
    except (KeyError, TypeError):
        raise ArtifactError(f"{path}: its manifest is damaged: use another checkpoint of the run") from None
    except OSError as error:
        raise ResourceError(describe_os_error(error, path)) from error
    return manifest


def _require_files(
    path: Path, manifest: Manifest, training: tuple[str, ...] = (STATE,), net: tuple[str, ...] = _OF_NET
) -> None:
    """ArtifactError if a file of the net, or of the training unless it was stripped, is missing or damaged."""
    for name in net if manifest.details.get(STRIPPED) else net + training:
        file = path / name
        try:
            sound = file.is_file() and digest_of_file(file) == manifest.details["files"][name]
        except FileNotFoundError:  # it was removed a moment ago
            sound = False
        if not sound:
            raise ArtifactError(f"{file}: is missing or damaged: use another checkpoint of the run")


def require_transform(path: Path, recipe: Recipe, transform: InputTransform) -> None:
    """ArtifactError if a recipe's input transform has wrong shapes, or a number is not finite."""
    tensors = transform.tensors()
    mean, scale, noise = (tuple(tensors[name].shape) for name in ("mean", "scale", "noise"))
    if mean[2:] != (3,) or len(mean) != 3 or scale not in ((), (3,)) or noise != (3, 3):
        raise ArtifactError(f"{path}: its input transform has different shapes than ours, it is damaged: use another")
    patch = recipe.input.patch
    if mean[0] != mean[1] or mean[0] < patch:
        raise ArtifactError(
            f"{path}: its mean image is {mean[0]}×{mean[1]}, and its patches are {patch}×{patch}, it is damaged: use "
            "another"
        )
    _require_floats(path, tensors)


def _require_floats(path: Path, tensors: Mapping[str, Tensor], what: str = "its ") -> None:
    """ArtifactError if a tensor is not of a floating type, or a number is not finite."""
    from alexnet_cli.finite import not_finite

    odd = next((name for name, tensor in tensors.items() if not tensor.is_floating_point()), None)
    if odd is not None:
        raise ArtifactError(f"{path}: its {odd} is {tensors[odd].dtype}, it is damaged: use another")
    if (name := not_finite(tensors)) is not None:
        raise ArtifactError(f"{path}: {what}{name} is not finite: the training failed; use an earlier checkpoint")


def read_checkpoint_record(path: Path) -> CheckpointRecord:
    """Recipe and state without the tensors; ArtifactError if the checkpoint is unfinished, foreign or damaged."""
    manifest = read_checkpoint_manifest(path)
    try:
        _require_files(path, manifest, net=(CONFIG,))
        recipe = Recipe.from_dict(read_json_object(path / CONFIG)["recipe"])
        return CheckpointRecord(path, manifest, recipe, _state(path, manifest))
    except OSError as error:
        raise ArtifactError(f"{path}: is damaged ({error.strerror}): use another checkpoint of the run") from None
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, UsageError) as error:
        raise ArtifactError(f"{path}: is not a checkpoint of this program ({error}): use another") from None
