"""How pictures were cut into crops: options of `alexnet preprocess`, recorded with a net, and used by `predict`.

cutting_of(store)                                 # {"filter": "bilinear", "exif_rotation": True}
crop_of(data, name="cat.jpg", **cutting_for(checkpoint))
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from alexnet_cli.errors import UsageError

if TYPE_CHECKING:
    from alexnet_cli.artifacts.checkpoint import Checkpoint
    from alexnet_cli.artifacts.crops.store import CropStore
    from alexnet_cli.recipes.recipe import Recipe

DETAIL = "cutting"
"""Under this name in a checkpoint's details."""


def cutting_of(store: CropStore) -> dict[str, Any]:
    """The options that shaped a store's crops; not how they are stored, nor which pictures were taken."""
    return _known(store.manifest.options)


def cutting_for(checkpoint: Checkpoint) -> dict[str, Any]:
    """How a net's training crops were cut, as arguments of `crop_of`. Of older checkpoints their side alone."""
    recorded = checkpoint.manifest.details.get(DETAIL)
    known = _known(recorded) if isinstance(recorded, Mapping) else {}
    return {**known, "side": checkpoint.transform.side}


def require_patch_fits(recipe: Recipe, store: CropStore) -> None:
    """UsageError if a recipe's patches are larger than a store's crops."""
    patch, side = recipe.input.patch, store.side
    if patch > side:
        raise UsageError(
            f"recipe {recipe.name} cuts patches of {patch}×{patch} (input.patch), and the crops of {store.path} are "
            f"{side}×{side}: make them with `alexnet preprocess … --side {patch}` or more, or choose another recipe"
        )


def _known(options: Mapping[str, Any]) -> dict[str, Any]:
    """Of some options, those that are arguments of the function that cuts."""
    from alexnet_cli.pictures import crop_image

    arguments = set(inspect.signature(crop_image).parameters) - {"data", "name"}
    return {name: value for name, value in options.items() if name in arguments}
