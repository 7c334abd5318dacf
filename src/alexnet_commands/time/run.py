"""The work of `alexnet time`.

run(TimeConfig(recipe="paper", devices="cpu"))
"""

from __future__ import annotations

from alexnet_cli.artifacts.crops.shards import open_crops
from alexnet_cli.cutting import require_patch_fits
from alexnet_cli.errors import ArtifactError
from alexnet_cli.recipes.read import load_recipe
from alexnet_cli.timing.measure import Timed, Timing, time_recipe
from alexnet_commands.time.config import TimeConfig


def run(config: TimeConfig) -> Timing:
    """Measure. With --loader the net has the store's classes. UsageError, ArtifactError or ResourceError."""
    recipe = load_recipe(config.recipe, config.set)
    if config.loader is not None:
        store = open_crops(config.loader)
        if not store.labelled:
            raise ArtifactError(f"{config.loader}: has no labels (or no pictures), and training needs them")
        require_patch_fits(recipe, store)
        recipe = recipe.with_options(net={"classes": len(store.classes)})
    recipe = recipe.with_options(training={"batch_size": config.batch_size})
    return time_recipe(
        Timed(
            recipe=recipe,
            devices=config.devices,
            parallel=config.parallel,
            precision=config.precision,
            compile=config.compile,
            cuda_graph=config.cuda_graph,
            loader=config.loader,
            threads=config.workers,
            repeats=config.repeats,
            seconds=config.seconds,
        )
    )
