"""The work of `alexnet plot`: open what is requested, draw it, publish the file.

drawn = filters(FiltersConfig(net=Path("out/runs/1"), out=Path("filters.png")))
drawn.path, drawn.numbers
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from alexnet_cli.artifacts.checkpoint import read_checkpoint
from alexnet_cli.artifacts.crops.shards import open_crops
from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.artifacts.filters import first_convolution
from alexnet_cli.artifacts.run import in_words, read_found
from alexnet_cli.artifacts.scores import best_classes, read_scores
from alexnet_cli.artifacts.statistics import read_statistics
from alexnet_cli.console import Talk
from alexnet_cli.cutting import cutting_for
from alexnet_cli.errors import ArtifactError, PictureError, UsageError
from alexnet_cli.evaluation import Net, average_views, require_same_classes
from alexnet_cli.pictures import BadPictureError, crop_of, read_picture
from alexnet_cli.reports.judging import confusion as confusion_matrix
from alexnet_commands.plot import colours as colours_figure
from alexnet_commands.plot import confusion as confusion_figure
from alexnet_commands.plot import curves as curves_figure
from alexnet_commands.plot import filters as filters_figure
from alexnet_commands.plot import maps as maps_figure
from alexnet_commands.plot import neighbours as neighbours_figure
from alexnet_commands.plot import predictions as predictions_figure
from alexnet_commands.plot.config import (
    ActivationsConfig,
    ConfusionConfig,
    CurvesConfig,
    FiltersConfig,
    MeanConfig,
    NeighboursConfig,
    PredictionsConfig,
)
from alexnet_commands.plot.figure import Drawn, require_figure
from alexnet_commands.plot.opened import activations as activations_of
from alexnet_commands.plot.opened import chosen, net_of, read_some, steps_to


def filters(config: FiltersConfig) -> Drawn:
    """Draw the first convolution's kernels."""
    inputs = {"NET": config.net}
    require_figure(config, inputs)
    checkpoint, which = read_found(config.net, read_checkpoint)
    net = checkpoint.recipe.net
    layer = first_convolution(net)
    if layer is None:
        raise UsageError(f"{config.net}: its net has no convolution, and so no filters to draw")
    Talk(quiet=config.quiet).say(f"{layer} of {which}")
    weights = checkpoint.model[f"{layer}.weight"].float().numpy()
    if weights.ndim != 4 or weights.shape[1] != 3:
        raise UsageError(f"{config.net}: its {layer} does not see a picture's three colours: there is nothing to draw")
    page = filters_figure.draw(weights, net.columns, each=config.scale == "each")
    return page.publish(config, inputs, filters_figure.numbers(weights, net.columns, layer))


def curves(config: CurvesConfig) -> Drawn:
    """Draw the metrics of runs."""
    inputs = {f"RUN {path}": path for path in config.runs}
    require_figure(config, inputs)
    groups = curves_figure.grouped([curves_figure.read_run(path) for path in config.runs], separate=config.separate)
    return curves_figure.draw(groups).publish(config, inputs, curves_figure.numbers(groups))


def predictions(config: PredictionsConfig) -> Drawn:
    """Draw what a net says of some pictures."""
    inputs = {"NET": config.net, "CROPS": config.crops}
    require_figure(config, inputs)
    store = open_crops(config.crops)
    net = _net_for(config.net, config.devices, store, quiet=config.quiet)
    indices = chosen(store, config.picture, config.count, config.seed)
    crops, classes = read_some(store, indices), net.classes.explained_by(store.classes)
    _, mean = average_views(net, torch.from_numpy(crops).to(net.device), config.views)
    values = mean.numpy()
    pictures = [
        {
            "name": store.names[index],
            "label": classes.names[label] if (label := int(store.labels[index])) >= 0 else None,
            "predictions": [
                {
                    "class": classes.names[best],
                    "words": classes.words[best] if classes.words else None,
                    "probability": float(row[best]),
                }
                for best in order.tolist()
            ],
        }
        for index, row, order in zip(indices, values, best_classes(values, predictions_figure.MOST_BARS), strict=True)
    ]
    page = predictions_figure.draw(crops, values, store.labels[indices], classes)
    return page.publish(config, inputs, {"pictures": pictures})


def neighbours(config: NeighboursConfig) -> Drawn:
    """Draw the pictures that are nearest to some queries in a layer's activations."""
    inputs = {"NET": config.net, "CROPS": config.crops, "--query-crops": config.query_crops}
    require_figure(config, inputs)
    store = open_crops(config.crops)
    asked = store if config.query_crops is None else open_crops(config.query_crops)
    net = _net_for(config.net, config.devices, store, quiet=config.quiet)
    indices = chosen(asked, config.query, 5, config.seed)
    layer, steps = steps_to(net.network, config.layer)
    own = [index if asked.digest == store.digest else None for index in indices]
    talk = Talk(quiet=config.quiet)
    found_queries = activations_of(net, asked, np.array(indices), steps, config.batch_size)
    queries = torch.cat([numbers.clone() for _, numbers in found_queries])
    with talk.progress(f"{layer} of {store.path}", len(store)) as advance:
        nearest = neighbours_figure.nearest(
            net, store, queries, steps, count=config.count, without=own, batch_size=config.batch_size, advance=advance
        )
    page = neighbours_figure.draw(
        read_some(asked, indices),
        [_title(asked, index) for index in indices],
        [read_some(store, [one.index for one in row]) if row else np.empty((0, 1, 1, 3), np.uint8) for row in nearest],
        [[f"{_title(store, one.index)}, {one.distance:#.3g}".removesuffix(".") for one in row] for row in nearest],
    )
    queries_told = [
        {
            "name": asked.names[index],
            "class": _class(asked, index),
            "neighbours": [
                {"name": store.names[one.index], "class": _class(store, one.index), "distance": one.distance}
                for one in row
            ],
        }
        for index, row in zip(indices, nearest, strict=True)
    ]
    return page.publish(config, inputs, {"layer": layer, "queries": queries_told})


def confusion(config: ConfusionConfig) -> Drawn:
    """Draw a confusion matrix."""
    inputs = {"SCORES": config.scores}
    require_figure(config, inputs)
    folder = config.scores / "scores.h5"
    _, scores = read_scores(folder if folder.is_file() else config.scores)
    if not scores.labelled:
        raise ArtifactError(
            f"{config.scores}: its pictures have no labels, so nothing is right or wrong: evaluate others"
        )
    counts = confusion_matrix(scores.labels, scores.probabilities.argmax(axis=1), len(scores.classes))
    rows, columns = np.nonzero(counts)
    entries = [[int(row), int(column), int(counts[row, column])] for row, column in zip(rows, columns, strict=True)]
    page = confusion_figure.draw(scores, counts)
    return page.publish(config, inputs, {"classes": list(scores.classes.names), "counts": entries})


def activations(config: ActivationsConfig) -> Drawn:
    """Draw every convolution's maps of a picture."""
    inputs = {"NET": config.net, "PICTURE": config.picture}
    require_figure(config, inputs)
    checkpoint, which = read_found(config.net, read_checkpoint)
    try:
        crop, _ = crop_of(read_picture(config.picture), name=config.picture.name, **cutting_for(checkpoint))
    except BadPictureError as error:
        raise PictureError(f"{config.picture}: {error}") from None
    net = net_of(checkpoint, config.devices)
    layers = maps_figure.maps_of(net, crop)
    if not layers:
        raise UsageError(f"{config.net}: its net has no convolution, and so no maps to draw")
    Talk(quiet=config.quiet).say(f"{len(layers)} convolutions of {which}")
    told = [
        {
            "name": maps.layer,
            "maps": len(maps.values),
            "side": int(maps.values.shape[1]),
            "lowest": float(maps.values.min()),
            "highest": float(maps.values.max()),
            "silent": maps.silent,
        }
        for maps in layers
    ]
    return maps_figure.draw(crop, layers, net.network.net.columns).publish(config, inputs, {"layers": told})


def mean(config: MeanConfig) -> Drawn:
    """Draw a mean image and the principal directions of the colours."""
    inputs = {"STATS": config.stats}
    require_figure(config, inputs)
    _, statistics = read_statistics(config.stats)
    return colours_figure.draw(statistics).publish(config, inputs, colours_figure.numbers(statistics))


def _net_for(path: Path, devices: str, store: CropStore, *, quiet: bool) -> Net:
    checkpoint, which = read_found(path, read_checkpoint)
    net = net_of(checkpoint, devices)
    require_same_classes(net.classes, store)
    Talk(quiet=quiet).say(f"{in_words(path, which)}, on {net.device}")
    return net


def _class(store: CropStore, index: int) -> str | None:
    label = int(store.labels[index])
    return store.classes.names[label] if label >= 0 else None


def _title(store: CropStore, index: int) -> str:
    """The caption of a picture: its class, else the end of its name."""
    label = int(store.labels[index])
    return store.classes.called(label) if label >= 0 else Path(store.names[index]).stem
