"""Before the first step: whether the disk has room for what a training saves. After an epoch it is too late."""

from __future__ import annotations

from pathlib import Path

from alexnet_cli.artifacts.common.working import free_bytes
from alexnet_cli.console import counted, size
from alexnet_cli.errors import ResourceError
from alexnet_cli.recipes.net import layers
from alexnet_cli.recipes.recipe import Recipe

_FLOAT = 4
_MORE = 1 << 20
"""Of a checkpoint: the input's mean image, the recipe, the state."""


def checkpoint_bytes(recipe: Recipe) -> int:
    """About how large a checkpoint is: weights and momentum in float32, and what goes with them."""
    return 2 * _FLOAT * sum(layer.parameters for layer in layers(recipe.net)) + _MORE


def require_room(out: Path, recipe: Recipe, *, checkpoints: int) -> None:
    """ResourceError if so many more checkpoints do not fit on the disk of a run."""
    needed, free = checkpoints * checkpoint_bytes(recipe), free_bytes(out)
    if needed > free:
        raise ResourceError(
            f"{out}: the disk is too full: {counted(checkpoints, 'checkpoint')} of recipe {recipe.name} take "
            f"{size(needed)}, {size(free)} are free: free some space, or choose another --out"
        )
