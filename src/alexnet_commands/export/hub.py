"""A folder for a model hub: a stripped checkpoint, which `alexnet` reads as it is, and README.md as its model card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alexnet_cli import __version__
from alexnet_cli.artifacts.checkpoint import Checkpoint
from alexnet_cli.console import percent, printable
from alexnet_cli.recipes.net import layers
from alexnet_cli.recipes.recipe import Recipe

CARD = "README.md"


def model_card(checkpoint: Checkpoint, which: str) -> str:
    """The card: data, recipe, errors, licence, limits, how to use it; with the front matter that hubs read."""
    recipe, manifest = checkpoint.recipe, checkpoint.manifest
    count = sum(layer.parameters for layer in layers(recipe.net))
    front = [
        "---",
        "license: other",
        "library_name: alexnet",
        "pipeline_tag: image-classification",
        "tags: [alexnet, image-classification, pytorch, safetensors]",
        "---",
    ]
    return "\n".join(
        [
            *front,
            "",
            f"# AlexNet, recipe {_plain(recipe.name)}",
            "",
            f"{_plain(recipe.about)}. {count:,} parameters, {len(checkpoint.classes):,} classes.",
            "",
            *_use(len(checkpoint.transform.mean), recipe.input.patch),
            *_data(checkpoint),
            *_recipe(recipe),
            *_errors(manifest.details, which),
            *_licence(),
            *_limits(recipe),
        ]
    )


def _plain(text: object) -> str:
    """One line without markup, whatever a name holds."""
    return printable(text).translate({ord(mark): f"\\{mark}" for mark in "\\`*_[]<>|#"})


def _use(side: int, patch: int) -> list[str]:
    return [
        "## Use",
        "",
        "    alexnet predict FOLDER picture.jpg",
        "",
        "FOLDER is this folder. `model.safetensors` has the weights (`conv1.weight`, …; dimension 0 is column a's",
        "kernels, then column b's), `input.safetensors` the input transform (`mean`, `scale`), `config.json` recipe",
        "and classes.",
        f"Input: R, G, B, 0–255; the shorter side scaled to {side}, the central {side}×{side}, of it patches of "
        f"{patch}×{patch};",
        "then (value − mean) · scale.",
        "",
    ]


def _data(checkpoint: Checkpoint) -> list[str]:
    names, parents = checkpoint.classes.names, checkpoint.manifest.parents
    shown = ", ".join(_plain(checkpoint.classes.title(number)) for number in range(min(5, len(names))))
    lines = [
        "## Data",
        "",
        f"Classes: {shown}{', …' if len(names) > 5 else ''} ({len(names):,} in all, in config.json).",
    ]
    known = {"crops": "training pictures", "statistics": "statistics", "validation": "validation pictures"}
    lines += [f"Digest of the {what}: `{parents[role]}`." for role, what in known.items() if role in parents]
    return [*lines, "TODO: say where the pictures come from.", ""]


def _recipe(recipe: Recipe) -> list[str]:
    training = recipe.training
    kinds = " → ".join(spec.name for spec in recipe.net.layers)
    return [
        "## Recipe",
        "",
        f"`{_plain(recipe.name)}`: {kinds}.",
        f"Columns: {recipe.net.columns}. Mini-batches of {training.batch_size}, rate {training.rate:g}, momentum "
        f"{training.momentum:g}, weight decay {training.weight_decay:g}, at most {training.epochs} epochs, schedule "
        f"{training.schedule}.",
        f"Made with alexnet {__version__}; the whole recipe is in `config.json`.",
        "",
    ]


def _errors(details: Mapping[str, Any], which: str) -> list[str]:
    found = [
        f"- {name} {percent(float(details[key]))}"
        for name, key in (("top-1 error", "validation_top1_error"), ("top-5 error", "validation_top5_error"))
        if isinstance(details.get(key), (int, float))
    ]
    place = [f"epoch {details['epoch']}"] if isinstance(details.get("epoch"), int) else []
    lines = ["## Errors", "", f"{_plain(which)}{', ' + place[0] if place else ''}."]
    if found:
        return [*lines, "Centre view of the validation pictures, while it was trained:", "", *found, ""]
    return [*lines, "No validation error is known.", ""]


def _licence() -> list[str]:
    return [
        "## Licence",
        "",
        "TODO: choose one, and put it into the front matter. alexnet, which made the net, is under BSD-2-Clause; that",
        "says nothing of the weights, which the terms of the training pictures may bind (ILSVRC's: research alone).",
        "",
    ]


def _limits(recipe: Recipe) -> list[str]:
    mirrored = "" if recipe.input.flip else " It was trained without mirror images and sees none."
    return [
        "## Limits",
        "",
        "It answers with one of its classes whatever the picture shows, and its probabilities are not calibrated: a",
        f"high one is not proof.{mirrored} Pictures unlike the training pictures (other cameras, drawings, other",
        "places) are told worse.",
        "Nets of 2012 are easily fooled by small changes that people don't see. Don't decide about people with it.",
        "",
    ]
