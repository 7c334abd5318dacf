"""The weights of torchvision.models.alexnet, and of files with the same names (timm's, DataParallel's)."""

from __future__ import annotations

from alexnet_cli.exchange.notes import read_notes
from alexnet_cli.exchange.torchvision import NAMES, RECIPE
from alexnet_cli.recipes.layers import Convolution, Linear
from alexnet_cli.recipes.read import load_recipe
from alexnet_commands.import_.found import Row
from alexnet_commands.import_.weights import read_weights


def read_torchvision(row: Row) -> None:
    """Fill a row from its file; ArtifactError if a name is missing or one too many."""
    weights, said = read_weights(row.path)
    row.noted = read_notes(said, row.path)
    wanted = {f"{theirs}.{part}" for theirs in NAMES.values() for part in ("weight", "bias")}
    if odd := sorted(wanted ^ set(weights)):
        side = "lacks" if odd[0] in wanted else "also holds"
        raise row.wrong(f"it {side} '{odd[0]}', and torchvision's alexnet has features.0 … classifier.6")
    for spec in load_recipe(RECIPE).net.layers:
        theirs = NAMES.get(spec.name)
        if theirs is None:
            row.specs.append(spec)
            continue
        weight, bias = weights[f"{theirs}.weight"], weights[f"{theirs}.bias"]
        if isinstance(spec, Convolution):
            row.convolution(weight, bias, stride=spec.stride, padding=spec.padding)
        elif isinstance(spec, Linear):
            row.linear(weight, bias)
