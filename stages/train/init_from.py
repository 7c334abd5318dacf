"""`--init-from`: a training whose first values are those of another net, layer by layer.

The *origin* is the checkpoint that the values come from. Each layer is *taken* (its weights and biases are the
origin's), *new* (initial values by the recipe's scheme) or *dropped* (the origin has it, this net has not), and the run
says why.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from alexnet_cli.artifacts.checkpoint import Checkpoint, read_checkpoint, read_checkpoint_manifest
from alexnet_cli.artifacts.run import RunFolder, Saved, read_found
from alexnet_cli.class_list import ClassList
from alexnet_cli.errors import ArtifactError, UsageError
from alexnet_cli.net.network import Network
from alexnet_cli.recipes.layers import Linear
from alexnet_cli.recipes.net import Layer, layers, shapes
from alexnet_cli.recipes.recipe import Recipe
from alexnet_stages.train.config import TrainConfig
from alexnet_stages.train.inputs import ORIGIN, recorded
from alexnet_stages.train.journal import Journal


@dataclass(frozen=True)
class Fate:
    """What becomes of one layer."""

    layer: str
    fate: str
    """taken, new or dropped."""
    why: str

    def __str__(self) -> str:
        return f"{self.layer} {self.fate}: {self.why}"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a run's first values come from. For a resumed run, only the digest is known, and no more is needed."""

    digest: str
    """Of the checkpoint."""
    recipe: Recipe | None = None
    """For a recipe with `keep_net`: the origin's, or the resumed run's."""
    path: Path | None = None
    which: str = ""
    """Which checkpoint it is, in words."""
    checkpoint: Checkpoint | None = None
    fates: tuple[Fate, ...] = ()
    differences: tuple[str, ...] = ()
    """Why the taken layers compute something else here than in the origin, in words."""

    def record(self) -> dict[str, Any]:
        """For the run's config.json."""
        return {
            "path": str(self.path),
            "checkpoint": self.which,
            "digest": self.digest,
            "layers": [asdict(fate) for fate in self.fates],
        }

    def tell(self, journal: Journal) -> None:
        """What became of each layer, line by line, and what to know about it."""
        journal.note(f"initial values from {self.path} ({self.which})")
        for fate in self.fates:
            journal.note(f"  {fate}")
        journal.note("  mean image and colour noise are of this run's own statistics, not the origin's")
        if self.differences:
            journal.warn(
                f"the taken layers compute something else here than in the origin: {'; '.join(self.differences)}: "
                "give the origin's recipe, or --set these fields"
            )

    def load_into(self, network: Network) -> None:
        """Copy the rows of the taken layers that the network holds, and free the origin's tensors."""
        assert self.checkpoint is not None, "a resumed run has its values already"
        tensors = self.checkpoint.model
        with torch.no_grad():
            for name in (fate.layer for fate in self.fates if fate.fate == "taken"):
                weights = network.weights(name)
                weights.weight.copy_(tensors[f"{name}.weight"][weights.rows])
                weights.bias.copy_(tensors[f"{name}.bias"][weights.rows])
        tensors.clear()


def find_origin(config: TrainConfig, folder: RunFolder) -> Origin | None:
    """The origin that `--init-from` names, or that of the run that `--resume` continues; None if there is none.

    A resumed run no longer needs its origin's files. ArtifactError if --init-from names another origin than the run
    began with; UsageError if the run has no checkpoint yet and --init-from is missing.
    """
    newest = folder.newest() if config.resume and folder.path.exists() else None
    if newest is not None:
        return _origin_of_run(config, folder, newest)
    if config.init_from is None:
        began = _recorded(folder) if config.resume else None
        if began:
            raise UsageError(
                f"{config.out}: began from {began['path']} and has no checkpoint yet: give --init-from again"
            )
        return None
    checkpoint, which = read_found(config.init_from, read_checkpoint)
    return Origin(
        digest=checkpoint.manifest.digest,
        recipe=checkpoint.recipe,
        path=config.init_from,
        which=which,
        checkpoint=checkpoint,
    )


def _origin_of_run(config: TrainConfig, folder: RunFolder, newest: Saved) -> Origin | None:
    digest = newest.manifest.parents.get(ORIGIN)
    if config.init_from is not None:
        _require_same_origin(config, config.init_from, folder, digest)
    if digest is None:
        return None
    return Origin(digest=digest, recipe=read_checkpoint(newest.path).recipe)


def _require_same_origin(config: TrainConfig, path: Path, folder: RunFolder, digest: str | None) -> None:
    if digest is None:
        raise ArtifactError(
            f"{config.out}: did not begin from another net: leave --init-from out to continue, or give --overwrite in "
            "place of --resume"
        )
    recorded = _recorded(folder)
    if not path.exists() and recorded and recorded["path"] == str(path):
        return  # the origin may no longer exist: the run has all of it
    given = read_found(path, read_checkpoint_manifest)[0]
    if given.digest != digest:
        raise ArtifactError(
            f"{config.out}: began from a different checkpoint than {path}: leave --init-from out to continue, or give "
            "--overwrite instead of --resume"
        )


def _recorded(folder: RunFolder) -> dict[str, Any] | None:
    found = recorded(folder).get("init_from")
    return found if isinstance(found, dict) else None


def plan(origin: Origin | None, recipe: Recipe, classes: ClassList) -> Origin | None:
    """The origin with the fate of every layer. `recipe` is the resolved one, `classes` those of the training pictures.

    Raises UsageError if the recipe needs an origin and has none, or takes a layer that does not fit.
    """
    if origin is None:
        if needed := recipe.training.needs_origin:
            raise UsageError(
                f"recipe {recipe.name} starts from a trained net (training.{needed}): give --init-from RUN"
            )
        return None
    checkpoint = origin.checkpoint
    if checkpoint is None:
        return origin
    their_layers = layers(checkpoint.recipe.net)
    theirs = {layer.name: layer for layer in their_layers}
    under = {layer.name: lower.name for lower, layer in pairwise(their_layers)}
    fates: list[Fate] = []
    for layer in layers(recipe.net):
        misfit = _misfit(layer, theirs.get(layer.name), classes, checkpoint.classes)
        fates.append(_fate(layer.name, misfit, fates[-1] if fates else None, under.get(layer.name), recipe))
    mine = {fate.layer for fate in fates}
    fates += [Fate(name, "dropped", "this net has none") for name in theirs if name not in mine]
    if not any(fate.fate == "taken" for fate in fates):
        raise UsageError(f"--init-from {origin.path}: no layer fits: {fates[0]}")
    return replace(origin, fates=tuple(fates), differences=_differences(checkpoint.recipe, recipe))


def _misfit(mine: Layer, theirs: Layer | None, classes: ClassList, their_classes: ClassList) -> str | None:
    """Why a layer does not fit, or None."""
    if theirs is None:
        return "the origin has none"
    if isinstance(mine.spec, Linear) and mine.spec.neurons == "classes":
        difference = their_classes.difference(classes)
        if difference:
            return f"different classes than the origin's: {difference}"
    if mine.weight_shape != theirs.weight_shape:
        shapes = ("×".join(str(number) for number in layer.weight_shape) for layer in (theirs, mine))
        return "its weights are {} in the origin and {} here".format(*shapes)
    return None


def _fate(name: str, misfit: str | None, below: Fate | None, below_there: str | None, recipe: Recipe) -> Fate:
    """below: the layer that this one sees, and its fate; below_there: the name of the one that it sees there."""
    training = recipe.training
    if name in training.fresh:
        return Fate(name, "new", "so the recipe says (fresh)")
    if name in training.take:
        if misfit:
            raise UsageError(f"recipe {recipe.name} takes {name} from the origin, and it does not fit: {misfit}")
        return Fate(name, "taken", "so the recipe says (take)")
    if training.take:
        return Fate(name, "new", "the recipe does not take it (take)")
    if misfit:
        return Fate(name, "new", misfit)
    if below is not None and below.fate == "new":
        return Fate(name, "new", f"it sees {below.layer}, which is new")
    if below is not None and below.layer != below_there:
        return Fate(name, "new", f"it sees {below.layer}, and in the origin {below_there}")
    return Fate(name, "taken", "it fits" if name != "fc8" else "it fits, and the classes are the same")


def _differences(theirs: Recipe, mine: Recipe) -> tuple[str, ...]:
    """What makes the same weights compute something else: other layers between them, other fields, another input."""
    found = []
    for name in ("normalisation", "divisor", "mean_at"):
        was, now = getattr(theirs.input, name), getattr(mine.input, name)
        if was != now:
            found.append(f"input.{name} is {was} there and {now} here")
    there = {layer.name: layer.after for layer in shapes(theirs.net) if layer.weighted}
    for layer in shapes(mine.net):
        if layer.weighted and layer.after != there.get(layer.name, layer.after):
            orders = (" → ".join(kinds) or "nothing" for kinds in (there[layer.name], layer.after))
            found.append("{} is followed by {} there and by {} here".format(layer.name, *orders))
    specs = {spec.name: spec for spec in theirs.net.layers}
    for spec in mine.net.layers:
        before = specs.get(spec.name)
        if before is None or before.kind != spec.kind:
            continue
        for field in fields(spec):
            was, now = getattr(before, field.name), getattr(spec, field.name)
            if was != now and field.name not in ("kernels", "neurons", "probability"):
                found.append(f"net.{spec.name}.{field.name} is {was} there and {now} here")
    return tuple(found)
