"""What a training works from, opened and checked to belong together. No torch here: `--update` answers without it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from alexnet_cli.artifacts.checkpoint import CheckpointRecord
from alexnet_cli.artifacts.crops.shards import open_crops
from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.artifacts.run import CONFIG, RunFolder
from alexnet_cli.artifacts.statistics import Statistics, read_statistics
from alexnet_cli.cutting import require_patch_fits
from alexnet_cli.errors import AlexNetError, ArtifactError, UsageError
from alexnet_cli.reading import read_json_object
from alexnet_cli.recipes.net import layers
from alexnet_cli.recipes.read import load_recipe
from alexnet_cli.recipes.recipe import Recipe, differing
from alexnet_stages.train.config import TrainConfig

_CHANNEL_DEVIATION = 57.4
"""What normalisation "channel" divides by, about (0.225 · 255)."""
ORIGIN = "init-from"
"""The origin's role among the parents of a run and its checkpoints."""
_SCALED = 16.0
"""From this divisor on, the signals that the paper's values let through are too small to learn from."""
_ENOUGH = 0.1
"""Inputs of about 1 need weights that let through more; `cifar-26` has 0.0002, `paper` 0.002, `source-2012` 0.06."""


@dataclass(frozen=True, eq=False)
class Inputs:
    """What a training works from, checked to belong together."""

    recipe: Recipe
    store: CropStore
    val: CropStore | None
    statistics: Statistics
    parents: dict[str, str]
    """Role → digest."""


def open_inputs(config: TrainConfig, origin: Recipe | None) -> Inputs:
    """Open what the config names; UsageError or ArtifactError if something does not fit the rest.

    origin: as `resolve_recipe` takes it.
    """
    store = _require_labelled(open_crops(config.crops))
    recipe = resolve_recipe(config, len(store.classes), origin)
    require_patch_fits(recipe, store)
    val = _open_validation(config, recipe, store)
    statistics, parents = _open_statistics(config, store)
    if val is not None:
        parents["validation"] = val.digest
    return Inputs(recipe, store, val, statistics, parents)


def resolve_recipe(config: TrainConfig, classes: int, origin: Recipe | None = None) -> Recipe:
    """The recipe with the config's options and the store's number of classes; UsageError if they don't fit.

    origin: the recipe of the net that `--init-from` names, or of the run that is resumed. If the recipe keeps the
    origin's net (`keep_net`), net and input are the origin's, and options override those.
    """
    recipe = load_recipe(config.recipe, config.set)
    if recipe.training.keep_net and origin is not None:
        recipe = load_recipe(config.recipe, config.set, kept=origin)
    return recipe.with_options(
        net={"classes": classes},
        training={"epochs": config.epochs, "batch_size": config.batch_size, "rate": config.rate},
    )


def _require_labelled(store: CropStore) -> CropStore:
    if not store.labelled:
        raise ArtifactError(f"{store.path}: has no labels (or no pictures), and training needs them")
    return store


def _open_validation(config: TrainConfig, recipe: Recipe, store: CropStore) -> CropStore | None:
    if config.val is None:
        if recipe.training.schedule == "plateau":
            raise UsageError(
                f"recipe {recipe.name} lowers the rate by the validation error: give --val STORE, "
                "or --set training.schedule=steps"
            )
        return None
    val = _require_labelled(open_crops(config.val))
    store.classes.require_same(val.classes, str(store.path), str(val.path))
    if val.side != store.side:
        raise ArtifactError(
            f"{val.path}: its crops are {val.side}×{val.side}, and those of {store.path} {store.side}×{store.side}: "
            f"make them with `alexnet preprocess … --side {store.side}`"
        )
    return val


def _open_statistics(config: TrainConfig, store: CropStore) -> tuple[Statistics, dict[str, str]]:
    if config.stats is None:
        raise UsageError(f"--stats is missing: make them with `alexnet pca {config.crops} --out stats.h5`")
    manifest, statistics = read_statistics(config.stats)
    if manifest.parents.get("crops") != store.digest and not config.allow_other_stats:
        raise ArtifactError(
            f"{config.stats}: are the statistics of a different crop store than {config.crops}: make them with "
            f"`alexnet pca {config.crops}`, or give --allow-other-stats"
        )
    if statistics.side != store.side:
        raise ArtifactError(
            f"{config.stats}: are the statistics of crops of {statistics.side}×{statistics.side}, and those of "
            f"{config.crops} are {store.side}×{store.side}: make them with `alexnet pca {config.crops}`"
        )
    return statistics, {"crops": store.digest, "statistics": manifest.digest}


def doubts(recipe: Recipe) -> list[str]:
    """Why a training may hardly begin to learn, each reason in one line with its remedy."""
    scale = recipe.input.divisor * (_CHANNEL_DEVIATION if recipe.input.normalisation == "channel" else 1)
    if scale < _SCALED or _let_through(recipe) > _ENOUGH:
        return []
    own = " --set training.initial_deviations={}" if recipe.training.initial_deviations else ""
    which = "input.normalisation=channel" if recipe.input.normalisation == "channel" else "input.divisor"
    return [
        f"{which} makes inputs of about 1, and the initial values are made for 0–255: the net will hardly begin to "
        f"learn: --set training.initial_values=he{own}"
    ]


def _let_through(recipe: Recipe) -> float:
    """How many times the deviation of their inputs the initial weights of all layers make of it, one after the other.

    2^(layers / 2) with `he`, half of which ReLUs take; 0.002 with the paper's values in its net.
    """
    from alexnet_cli.net.initial import deviation

    training, through = recipe.training, 1.0
    for layer in layers(recipe.net):
        own = deviation(training.initial_values, layer, training.initial_deviations)
        through *= own * math.sqrt(layer.inputs * layer.size**2)
    return through


def difference(config: TrainConfig, recipe: Recipe, parents: dict[str, str], before: CheckpointRecord) -> str | None:
    """In what a run was begun differently than it is to be resumed, in words; None if it may be resumed.

    The number of epochs may change, and what does not change the result: workers, devices, --parallel, --compile,
    --cuda-graph, how often it is saved, what is shown.
    """
    was = before.recipe.with_options(training={"epochs": recipe.training.epochs}).to_dict()
    now = recipe.to_dict()
    for path, before_, now_ in differing(was, now):
        if path.startswith(("net.", "input.", "training.")):
            return f"was trained by recipe {was['name']} with {path} = {before_}, not {now_}"
    if before.state["seed"] != config.seed:
        return f"was started with --seed {before.state['seed']}, not {config.seed}"
    # Checkpoints of older versions don't say it themselves.
    precision = before.state.get("precision") or recorded(RunFolder(config.out)).get("precision")
    if precision not in (None, config.precision):
        return f"was trained with --precision {precision}, not {config.precision}"
    for role, digest in parents.items():
        if before.manifest.parents.get(role) != digest:
            return f"was trained with another {role}"
    return None


def recorded(folder: RunFolder) -> dict[str, Any]:
    """The run's config.json; empty if it can't be read."""
    try:
        return read_json_object(folder.path / CONFIG)
    except (OSError, AlexNetError):
        return {}


def has_more_to_do(recipe: Recipe, before: CheckpointRecord) -> bool:
    """Whether more epochs are requested than a finished run had, and its schedule did not end it."""
    return before.manifest.details["epoch"] < recipe.training.epochs and not before.state["schedule"]["finished"]
