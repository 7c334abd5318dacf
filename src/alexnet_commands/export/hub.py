"""A folder for a model hub: a stripped checkpoint, which `alexnet` reads as it is, and README.md as its model card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alexnet_cli import __version__
from alexnet_cli.artifacts.checkpoint import Checkpoint
from alexnet_cli.console import percent, printable
from alexnet_cli.recipes.net import layers

CARD = "README.md"


def model_card(checkpoint: Checkpoint, which: str) -> str:
    """The card: data, recipe, errors, licence, limits, how to use it; with the front matter that hubs read."""
    recipe, classes = checkpoint.recipe, checkpoint.classes
    training, side, patch = recipe.training, checkpoint.transform.side, recipe.input.patch
    count = sum(layer.parameters for layer in layers(recipe.net))
    shown = ", ".join(_plain(classes.title(number)) for number in range(min(5, len(classes))))
    mirrored = "" if recipe.input.flip else " It was trained without mirror images and sees none."
    return f"""---
license: other
library_name: alexnet
pipeline_tag: image-classification
tags: [alexnet, image-classification, pytorch, safetensors]
---

# AlexNet, recipe {_plain(recipe.name)}

{_plain(recipe.about)}. {count:,} parameters, {len(classes):,} classes.

## Use

    alexnet predict FOLDER picture.jpg

FOLDER is this folder. `model.safetensors` has the weights (`conv1.weight`, …; dimension 0 is column a's
kernels, then column b's), `input.safetensors` the input transform (`mean`, `scale`), `config.json` recipe
and classes.
Input: R, G, B, 0–255. Scale the shorter side to {side}, take the central {side}×{side}, cut patches of {patch}×{patch};
then (value − mean) · scale.

## Data

Classes: {shown}{", …" if len(classes) > 5 else ""} ({len(classes):,} in all, in config.json).
{_digests(checkpoint.manifest.parents)}TODO: say where the pictures come from.

## Recipe

`{_plain(recipe.name)}`: {" → ".join(spec.name for spec in recipe.net.layers)}.
Columns: {recipe.net.columns}. Mini-batches of {training.batch_size}, rate {training.rate:g}, momentum \
{training.momentum:g}, weight decay {training.weight_decay:g}, at most {training.epochs} epochs, schedule \
{training.schedule}.
Made with alexnet {__version__}; the whole recipe is in `config.json`.

## Errors

{_errors(checkpoint.manifest.details, which)}

## Licence

TODO: choose one, and put it into the front matter. alexnet, which made the net, is under BSD-2-Clause; that
says nothing about the weights: the terms of the training pictures may restrict them (ILSVRC's: research only).

## Limits

It answers with one of its classes whatever the picture shows, and its probabilities are not calibrated: a
high one is not proof.{mirrored} Pictures unlike the training pictures (other cameras, drawings, other
places) are classified worse.
Nets of 2012 are easily fooled by small changes that people don't see. Don't decide about people with it.
"""


def _plain(text: object) -> str:
    """One line without markup, whatever a name holds."""
    return printable(text).translate({ord(mark): f"\\{mark}" for mark in "\\`*_[]<>|#"})


def _digests(parents: Mapping[str, str]) -> str:
    known = {"crops": "training pictures", "statistics": "statistics", "validation": "validation pictures"}
    return "".join(f"Digest of the {what}: `{parents[role]}`.\n" for role, what in known.items() if role in parents)


def _errors(details: Mapping[str, Any], which: str) -> str:
    found = [
        f"- {name} {percent(float(details[key]))}"
        for name, key in (("top-1 error", "validation_top1_error"), ("top-5 error", "validation_top5_error"))
        if isinstance(details.get(key), (int, float))
    ]
    place = f", epoch {details['epoch']}" if isinstance(details.get("epoch"), int) else ""
    said = "Centre view of the validation pictures, during training:\n" if found else "No validation error is known."
    return "\n".join([f"{_plain(which)}{place}.", said, *found])
