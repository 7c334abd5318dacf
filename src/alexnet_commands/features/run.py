"""The work of `alexnet features`."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from alexnet_cli.artifacts.checkpoint import read_checkpoint_record
from alexnet_cli.artifacts.common.freshness import Request, is_current
from alexnet_cli.artifacts.common.ownership import FEATURES, require_output
from alexnet_cli.artifacts.common.working import free_bytes, prepare_parent
from alexnet_cli.artifacts.crops.shards import open_crops
from alexnet_cli.artifacts.features import KIND, SCHEMA, read_features
from alexnet_cli.artifacts.run import in_words, read_found
from alexnet_cli.console import Talk, size
from alexnet_cli.errors import ResourceError
from alexnet_cli.recipes.named import layer_named
from alexnet_cli.recipes.net import Net, shapes
from alexnet_commands.features.config import FeaturesConfig


@dataclass(frozen=True)
class Result:
    """What was written."""

    features: Path
    checkpoint: str
    """Which checkpoint was used, in words."""
    layer: str
    shape: tuple[int, ...]
    up_to_date: bool = False
    """Nothing was done: the features there are of this net, layer and store (--update)."""

    @property
    def bytes(self) -> int:
        """Of the features."""
        return 4 * math.prod(self.shape)

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "features": str(self.features),
            "checkpoint": self.checkpoint,
            "pictures": self.shape[0],
            "layer": self.layer,
            "shape": list(self.shape),
            **({"up_to_date": True} if self.up_to_date else {}),
        }


def run(config: FeaturesConfig) -> Result:
    """Compute and write the features; raises ArtifactError, ResourceError or UsageError."""
    talk = Talk(quiet=config.quiet)
    inputs = {"NET": config.net, "CROPS": config.crops}
    require_output(config.out, FEATURES, overwrite=config.replaces, inputs=inputs)
    record, which = read_found(config.net, read_checkpoint_record)
    store = open_crops(config.crops)
    layer = layer_named(record.recipe.net, config.layer)
    result = Result(config.out, which, layer, (len(store), *shape_of(record.recipe.net, layer)))
    asked = Request(
        kind=KIND,
        schema=SCHEMA,
        options={"layer": layer, **config.shaping},
        parents={"checkpoint": record.manifest.digest, "crops": store.digest},
    )
    if config.update and is_current(config.out, asked, talk, verify=read_features) is not None:
        return replace(result, up_to_date=True)
    prepare_parent(config.out)
    _require_room(result)
    return replace(result, checkpoint=_compute(config, result, talk))


def shape_of(net: Net, layer: str) -> tuple[int, ...]:
    """One picture's shape after a layer of the net, without torch: (channels, rows, columns), or (numbers,)."""
    found = shapes(net)
    at = next(index for index, one in enumerate(found) if one.name == layer)
    flat = any(one.kind == "linear" for one in found[: at + 1])
    return (found[at].outputs,) if flat else (found[at].outputs, found[at].output_side, found[at].output_side)


def _require_room(result: Result) -> None:
    """ResourceError if the disk has no room for the features. Memory only holds one mini-batch's at a time."""
    free = free_bytes(result.features)
    if result.bytes > free:
        raise ResourceError(
            f"{result.features}: needs {size(result.bytes)}, and the disk has {size(free)} free: make room, or take a "
            "smaller layer, or a part of the pictures"
        )


def _compute(config: FeaturesConfig, result: Result, talk: Talk) -> str:
    """Compute and write; which checkpoint it was, in words: a run in training may have a better one by now."""
    # torch is loaded here: not if there is nothing to do.
    from alexnet_cli.parallel.launch import run_ranks
    from alexnet_cli.parallel.team import find_team
    from alexnet_commands.features.work import extract_to_file

    team = find_team(config.devices, timeout=config.timeout)
    where = team.devices[0] if team.world == 1 else f"{team.world} devices, each a share of the pictures"
    talk.say(f"{result.layer} of {in_words(config.net, result.checkpoint)}, {result.shape[0]:,} pictures, on {where}")
    used: str = run_ranks(extract_to_file, (config, result.layer, result.shape), team)
    return used
