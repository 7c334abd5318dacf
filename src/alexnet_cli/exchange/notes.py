"""What an exported file notes of the net in addition to its graph: recipe, classes and the whole input transform.

A graph holds what the centre view needs. Dropout, the columns' borders, the mean image around the centre and the colour
noise are in no node of it: with these notes they come back.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

from alexnet_cli.artifacts.checkpoint import CONFIG, INPUT, net_files, parse_net, require_transform
from alexnet_cli.class_list import ClassList
from alexnet_cli.errors import AlexNetError
from alexnet_cli.input.patches import InputTransform
from alexnet_cli.reading import parse_json
from alexnet_cli.recipes.recipe import Recipe

Noted = tuple[Recipe, ClassList, InputTransform]


def notes(recipe: Recipe, classes: ClassList, transform: InputTransform) -> dict[str, str]:
    """The files of a checkpoint that are not weights, as text: `input.safetensors` in base64."""
    files = dict(net_files(recipe=recipe, classes=classes, model={}, transform=transform))
    return {CONFIG: files[CONFIG].decode(), INPUT: base64.b64encode(files[INPUT]).decode()}


def read_notes(said: Mapping[str, str], path: Path) -> Noted | None:
    """What `notes` wrote; None if there are none, or damaged ones. path: of the file, for messages."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        config = parse_json(said[CONFIG], path=path)
        recipe, classes, transform = parse_net(config, load(base64.b64decode(said[INPUT], validate=True)))
        require_transform(path, recipe, transform)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, SafetensorError, AlexNetError):
        return None
    return recipe, classes, transform
