"""Checkpoints: whole tensors in safetensors, the input transform, the recipe and the state of the training.

A checkpoint is enough to evaluate a net and to continue its training, on any number of devices.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from alexnet_cli.artifacts.manifest import MANIFEST_FILE, Manifest, digest_of, digest_of_file, read_folder_manifest
from alexnet_cli.artifacts.publish import partial_of, publish_folder
from alexnet_cli.class_list import ClassList
from alexnet_cli.errors import ArtifactError, ResourceError, UsageError, describe_os_error
from alexnet_cli.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor

    from alexnet_cli.patches import InputTransform

KIND = "checkpoint"
SCHEMA = 1
MODEL = "model.safetensors"
MOMENTUM = "momentum.safetensors"
INPUT = "input.safetensors"
CONFIG = "config.json"
STATE = "state.json"
_DIGESTED = (MODEL, MOMENTUM, INPUT, CONFIG, STATE)


@dataclass(frozen=True, eq=False)
class CheckpointRecord:
    """What a checkpoint says of itself, read without its tensors and without torch."""

    path: Path
    manifest: Manifest
    recipe: Recipe
    state: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a checkpoint folder holds. Tensors on the CPU."""

    path: Path
    manifest: Manifest
    recipe: Recipe
    classes: ClassList
    model: dict[str, Tensor]
    """`conv1.weight` (96, 3, 11, 11) …: whole tensors, column a first."""
    transform: InputTransform
    momentum: dict[str, Tensor]
    """m by parameter name, the velocity is −rate·m; empty where the checkpoint was read to evaluate."""
    state: dict[str, Any]


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
    """Publish a checkpoint folder; ResourceError where the disk won't have it."""
    from safetensors.torch import save_file

    partial = partial_of(path)
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for name, tensors in ((MODEL, model), (MOMENTUM, momentum), (INPUT, transform.tensors())):
            plain = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
            save_file(plain, partial / name)
        explained = {name: values for name, values in (("words", classes.words), ("ids", classes.ids)) if values}
        config = {"recipe": recipe.to_dict(), "classes": classes.names, **explained}
        (partial / CONFIG).write_text(json.dumps(config, indent=2, ensure_ascii=False), encoding="utf-8")
        (partial / STATE).write_text(json.dumps(state, indent=2), encoding="utf-8")
        files = {name: digest_of_file(partial / name) for name in _DIGESTED}
        manifest = Manifest(
            kind=KIND,
            schema=SCHEMA,
            # What the net computes, whatever the training's state: model, input and config.
            digest=digest_of([files[MODEL], files[INPUT], files[CONFIG]]),
            parents=parents,
            details={**details, "files": files},
        )
        (partial / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
        publish_folder(partial, path)
    except OSError as error:
        raise ResourceError(describe_os_error(error, path)) from error
    except SafetensorError as error:
        raise ResourceError(f"{path}: can't be written ({error}): is the disk full?") from error
    return manifest


def read_checkpoint_manifest(path: Path) -> Manifest:
    """The manifest alone; ArtifactError where the checkpoint is unfinished or foreign."""
    return read_folder_manifest(
        path, kind=KIND, schema=SCHEMA, unfinished="it was interrupted while it was written; use another checkpoint"
    )


def read_checkpoint(path: Path, *, to_train: bool = False) -> Checkpoint:
    """Read a checkpoint, verified by its files' digests; ArtifactError where it is unfinished, foreign or damaged."""
    from safetensors.torch import load_file

    from alexnet_cli.patches import InputTransform

    manifest = read_checkpoint_manifest(path)
    wanted = [name for name in _DIGESTED if to_train or name != MOMENTUM]
    try:
        for name in wanted:
            file = path / name
            if not file.is_file() or digest_of_file(file) != manifest.details["files"][name]:
                raise ArtifactError(f"{file}: is missing or damaged: use another checkpoint of the run")
        config = json.loads((path / CONFIG).read_text(encoding="utf-8"))
        return Checkpoint(
            path=path,
            manifest=manifest,
            recipe=Recipe.from_dict(config["recipe"]),
            classes=ClassList(
                tuple(config["classes"]), words=tuple(config.get("words", ())), ids=tuple(config.get("ids", ()))
            ),
            model=load_file(path / MODEL),
            transform=InputTransform(**load_file(path / INPUT)),
            momentum=load_file(path / MOMENTUM) if to_train else {},
            state=json.loads((path / STATE).read_text(encoding="utf-8")),
        )
    except (KeyError, TypeError, ValueError, SafetensorError, UsageError) as error:
        raise ArtifactError(f"{path}: is no checkpoint of this program ({error}): use another") from None


def read_checkpoint_record(path: Path) -> CheckpointRecord:
    """Recipe and state without the tensors; ArtifactError where the checkpoint is unfinished, foreign or damaged."""
    manifest = read_checkpoint_manifest(path)
    try:
        for name in (CONFIG, STATE):
            if digest_of_file(path / name) != manifest.details["files"][name]:
                raise ArtifactError(f"{path / name}: is damaged: use another checkpoint of the run")
        config = json.loads((path / CONFIG).read_text(encoding="utf-8"))
        state = json.loads((path / STATE).read_text(encoding="utf-8"))
        return CheckpointRecord(path, manifest, Recipe.from_dict(config["recipe"]), state)
    except OSError as error:
        raise ArtifactError(f"{path}: is damaged ({error.strerror}): use another checkpoint of the run") from None
    except (KeyError, TypeError, ValueError, UsageError) as error:
        raise ArtifactError(f"{path}: is no checkpoint of this program ({error}): use another") from None
