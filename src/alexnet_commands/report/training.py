"""The page about a training: curves, rate, speed, filters, recipe, machine."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.artifacts.checkpoint import Checkpoint, read_checkpoint
from alexnet_cli.artifacts.filters import first_convolution, read_filters
from alexnet_cli.artifacts.run import CONFIG, RunFolder, read_found
from alexnet_cli.console import duration, percent, size
from alexnet_cli.errors import ArtifactError
from alexnet_cli.reading import read_json_object
from alexnet_cli.recipes.recipe import Recipe
from alexnet_cli.reports import html
from alexnet_cli.reports.charts import Line, line_chart
from alexnet_cli.tiles import as_bytes, filter_tiles
from alexnet_commands.recipe.run import written

_ZOOM = 3


def training_page(path: Path) -> tuple[str, dict[str, Any]]:
    """The page about a run, and what `--json` says of it. ArtifactError if it has no epoch to show yet."""
    folder = RunFolder(path)
    rows = folder.metrics()
    if not rows:
        raise ArtifactError(
            f"{path}: has no finished epoch yet: wait for its first, or continue with `alexnet train --resume`"
        )
    checkpoint, which = read_found(path, read_checkpoint)
    epochs = [int(row["epoch"]) for row in rows]
    columns = {name: [_number(row[name]) for row in rows] for name in rows[0] if name != "epoch"}
    config = read_json_object(path / CONFIG) if (path / CONFIG).exists() else {}
    best = checkpoint.manifest.details.get("epoch")
    facts = {"run": str(path), "epochs": epochs[-1], "finished": folder.finished, "best_epoch": best}
    sections = {
        "In short": _summary(folder, checkpoint.recipe, config, epochs, columns, which),
        "Loss": _loss(checkpoint.recipe, epochs, columns),
        "Error": _errors(checkpoint.recipe, epochs, columns),
        "Rate": _rate(epochs, columns["rate"]),
        "Speed": line_chart(
            [Line("pictures/s", epochs, columns["images_per_second"])], x_name="epoch", y_name="pictures/s"
        ),
        "Filters of the first layer": _filters(path, checkpoint, best),
        "Recipe": _recipe(checkpoint.recipe),
    }
    return html.page(f"Training {path.name}", sections, about=checkpoint.recipe.about), facts


def _number(word: str) -> float | None:
    """A number of metrics.csv; None for an empty field, or what is not a number."""
    try:
        value = float(word)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _summary(
    folder: RunFolder,
    recipe: Recipe,
    config: Mapping[str, Any],
    epochs: list[int],
    columns: Mapping[str, list[float | None]],
    which: str,
) -> str:
    seconds = columns["seconds"][-1]
    rows = [
        ("recipe", recipe.name),
        (
            "epochs",
            f"{epochs[-1]} of up to {recipe.training.epochs}, {'finished' if folder.finished else 'not finished'}",
        ),
        ("steps", f"{int(columns['step'][-1] or 0):,}"),
        ("time of the steps", "–" if seconds is None else duration(seconds)),
        ("checkpoint to use", which),
    ]
    judged = [error for error in columns["validation_top1_error"] if error is not None]
    if judged:
        at = columns["validation_top1_error"].index(min(judged))
        errors = percent(min(judged)), percent(columns["validation_top5_error"][at])
        rows.append(("lowest validation error", f"{errors[0]} (top-5 {errors[1]}), epoch {epochs[at]}, centre view"))
    rows += [
        (name, str(config[name]))
        for name in ("precision", "seed", "crops", "val", "stats")
        if config.get(name) is not None
    ]
    return html.table(("", ""), rows + _machine(config.get("machine")), left=2)


def _machine(found: Any) -> list[tuple[str, str]]:
    if not isinstance(found, Mapping):
        return [("machine", "not recorded")]
    memory = found.get("memory")
    devices = found.get("devices")
    return [
        ("devices", ", ".join(map(str, devices)) if isinstance(devices, list) else "–"),
        ("processor", f"{found.get('processor')}, {found.get('cores')} cores"),
        ("memory", size(memory) if isinstance(memory, int) else "–"),
        ("system", f"{found.get('system')}, Python {found.get('python')}, torch {found.get('torch')}"),
    ]


def _loss(recipe: Recipe, epochs: list[int], columns: Mapping[str, list[float | None]]) -> str:
    lines = [Line("training", epochs, columns["train_loss"]), Line("validation", epochs, columns["validation_loss"])]
    patches = f"an epoch's patches{_with_dropout(recipe)}"
    words = f"Mean cross-entropy: in training over {patches}, in validation of the centre views."
    return line_chart([line for line in lines if line.points()], x_name="epoch", y_name="loss") + html.paragraph(words)


def _with_dropout(recipe: Recipe) -> str:
    return " with dropout" if any(spec.kind == "dropout" for spec in recipe.net.layers) else ""


def _errors(recipe: Recipe, epochs: list[int], columns: Mapping[str, list[float | None]]) -> str:
    names = {
        "validation top-1": "validation_top1_error",
        "validation top-5": "validation_top5_error",
        "training top-1": "train_top1_error",
    }
    lines = [
        Line(name, epochs, [None if share is None else 100 * share for share in columns[column]])
        for name, column in names.items()
    ]
    words = f"In validation of the centre views; in training of an epoch's patches{_with_dropout(recipe)}."
    drawn = [line for line in lines if line.points()]
    return line_chart(drawn, x_name="epoch", y_name="error (%)") + html.paragraph(words)


def _rate(epochs: list[int], rates: list[float | None]) -> str:
    """The rate of each epoch, and its changes in words."""
    chart = line_chart(
        [Line("rate", epochs, [rate if rate else None for rate in rates])],
        x_name="epoch",
        y_name="rate",
        logarithmic=True,
    )
    changes = [
        f"{before:g} → {after:g} from epoch {epoch} on"
        for epoch, before, after in zip(epochs[1:], rates, rates[1:], strict=False)
        if before is not None and after is not None and before != after
    ]
    return chart + html.paragraph("; ".join(changes) if changes else "The rate did not change.")


def _filters(path: Path, checkpoint: Checkpoint, epoch: Any) -> str:
    name = first_convolution(checkpoint.recipe.net)
    if name is None:
        return html.paragraph("The net does not begin with a convolution.")
    weights = checkpoint.model[f"{name}.weight"].float().numpy()
    shown = []
    if (first := read_filters(path)) is not None and not np.array_equal(first, weights):
        shown.append((first, "filters of the first epoch", "after epoch 1"))
    shown.append((weights, "filters of this checkpoint", f"after epoch {epoch}"))
    columns = checkpoint.recipe.net.columns
    figures = [
        html.figure(html.pixel_image(filter_pixels(kernels, columns), scale=_ZOOM, name=title), [when])
        for kernels, title, when in shown
    ]
    words = (
        f"{name}: {len(weights)} kernels of {weights.shape[2]}×{weights.shape[3]}; grey is 0, and each picture has its "
    )
    words += "own scale." + (" Column a is above column b (paper, figure 3)." if columns > 1 else "")
    return "".join(figures) + html.paragraph(words)


def filter_pixels(weights: NDArray[np.float32], columns: int) -> NDArray[np.uint8]:
    """Kernels (K, C, h, w) as one picture, uint8 (H, W, 3). Those of other than 3 channels are shown by their mean."""
    if weights.shape[1] != 3:
        weights = np.repeat(weights.mean(axis=1, keepdims=True), 3, axis=1)
    return as_bytes(filter_tiles(weights, columns=columns))


def _recipe(recipe: Recipe) -> str:
    """The resolved recipe: the layers in order, then input and training."""
    values = recipe.to_dict()
    net = values["net"]
    rows = [("columns, classes", f"{net['columns']}, {net['classes']}")]
    for name in net["order"]:
        fields = [f"{key} {written(value)}" for key, value in net[name].items() if key != "kind" and value is not None]
        rows.append((name, ", ".join([net[name]["kind"], *fields])))
    layers = html.table(("layer", ""), rows, left=2)
    tables = [
        html.table(
            (name, ""), [(key, written(value)) for key, value in values[name].items() if value is not None], left=2
        )
        for name in ("input", "training")
    ]
    return layers + "".join(tables)
