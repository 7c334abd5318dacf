"""The work of `alexnet predict`: decode and cut in threads, ask the nets in batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from alexnet_cli.artifacts.common.ownership import PREDICTIONS, require_output
from alexnet_cli.artifacts.run import in_words
from alexnet_cli.artifacts.scores import best_classes
from alexnet_cli.class_list import ClassList
from alexnet_cli.console import Advance, Talk, counted
from alexnet_cli.devices import choose_devices, prepare
from alexnet_cli.machine import cores
from alexnet_cli.pictures import BadPictureError, crop_of
from alexnet_cli.sources.gather import Picture, gather
from alexnet_cli.trained import Nets, find_trained, open_nets
from alexnet_commands.predict.config import PredictConfig

_AHEAD = 2
"""Mini-batches that are decoded while the nets are busy with another."""
Crop = NDArray[np.uint8]
A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True)
class Prediction:
    """One class of one picture."""

    index: int
    probability: float


@dataclass
class Row:
    """What is said of one picture."""

    path: str
    predictions: list[Prediction] = field(default_factory=list)
    """The most probable first; of equals the one with the smaller index."""
    error: str | None = None
    """Why there are none."""


@dataclass(frozen=True)
class Result:
    """What was said of all pictures."""

    net: Path
    which: str
    """Which checkpoint or members, in words."""
    views: int
    """That were averaged: fewer than requested if the net was trained without mirror images, or on whole crops."""
    classes: ClassList
    rows: list[Row]

    @property
    def failed(self) -> list[Row]:
        """The pictures that could not be read."""
        return [row for row in self.rows if row.error is not None]

    def as_json(self) -> dict[str, Any]:
        """For `--json`, and `--format json`."""
        about = {"predicted_by": str(self.net), "checkpoint": self.which, "views": self.views}
        return {**about, "pictures": [self.row_as_json(row) for row in self.rows]}

    def row_as_json(self, row: Row) -> dict[str, Any]:
        """For `--format jsonl`."""
        said = [
            {"class": self.classes.names[one.index], "words": self.words(one.index), "probability": one.probability}
            for one in row.predictions
        ]
        return {"path": row.path, "predictions": said, "error": row.error}

    def words(self, index: int) -> str | None:
        """What people call a class, if that is known."""
        return self.classes.words[index] if self.classes.words else None


def run(config: PredictConfig) -> Result:
    """Ask the net; ArtifactError, ResourceError or UsageError. Pictures that can't be read get rows with errors."""
    if config.out is not None:
        named = {f"PICTURE {path}": path for path in config.pictures if str(path) != "-"}
        require_output(config.out, PREDICTIONS, overwrite=config.overwrite, inputs={"NET": config.net, **named})
    talk = Talk(quiet=config.quiet)
    trained = find_trained(config.net)
    pictures = gather(config.pictures)
    devices = list(dict.fromkeys(choose_devices(config.devices)))
    for device in devices:
        prepare(device, config.precision)
    trained, copies = open_nets(trained, devices, config.precision)
    where = str(devices[0]) if len(devices) == 1 else f"{len(devices)} devices"
    talk.say(f"{in_words(config.net, trained.which)}, {counted(len(pictures), 'picture')} on {where}")
    if not copies[0].uniform:
        talk.warn(
            f"{config.net}: its members' training pictures were cut in different ways: these are cut as the first's"
        )
    rows = [Row(picture.path) for picture in pictures]
    quiet = Talk(quiet=config.quiet or len(pictures) <= config.batch_size)
    with quiet.progress("predicting", len(pictures)) as advance:
        _predict(pictures, rows, copies, devices, config, advance)
    views = max(len(net.views(config.views)) for net in copies[0].nets)
    return Result(config.net, trained.which, views, copies[0].classes, rows)


def _predict(
    pictures: Sequence[Picture],
    rows: list[Row],
    copies: Sequence[Nets],
    devices: Sequence[torch.device],
    config: PredictConfig,
    advance: Advance,
) -> None:
    """Fill the rows. Each device takes the next mini-batch that is ready; the good pictures alone make mini-batches."""

    def ask(numbered: tuple[int, _Batch]) -> int:
        number, (places, crops, count) = numbered
        if crops:
            at = number % len(devices)
            _, said = copies[at].probabilities(torch.from_numpy(np.stack(crops)).to(devices[at]), config.views)
            for place, probabilities, best in zip(places, said, best_classes(said, config.top), strict=True):
                rows[place].predictions = [Prediction(index, float(probabilities[index])) for index in best.tolist()]
        return count

    batches = enumerate(_batches(pictures, rows, copies[0].cutting, config))
    for count in _in_order(ask, batches, threads=len(devices), most=len(devices)):
        advance(count)


_Batch = tuple[list[int], list[Crop], int]
"""Good pictures: their places and crops, and how many pictures are done with them."""


def _batches(
    pictures: Sequence[Picture], rows: list[Row], cutting: dict[str, Any], config: PredictConfig
) -> Iterator[_Batch]:
    """Whole mini-batches but the last, decoded in threads some mini-batches ahead. Bad pictures get their error."""

    def cut(picture: Picture) -> Crop | str:
        try:
            return crop_of(picture.read(), name=picture.path, **cutting)[0]
        except BadPictureError as error:
            return str(error)

    size, before = config.batch_size, 0
    places: list[int] = []
    crops: list[Crop] = []
    found = _in_order(cut, pictures, threads=config.workers or cores(), most=_AHEAD * size)
    for place, crop in enumerate(found):
        if isinstance(crop, str):
            rows[place].error = crop
        else:
            places.append(place)
            crops.append(crop)
        if len(crops) == size:
            yield places, crops, place + 1 - before
            places, crops, before = [], [], place + 1
    yield places, crops, len(pictures) - before


def _in_order(work: Callable[[A], B], items: Iterable[A], *, threads: int, most: int) -> Iterator[B]:
    """What `work` returns for each item, in their order. It runs in threads; `most` results at a time wait here."""
    waiting: deque[Future[B]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                if len(waiting) == most:
                    yield waiting.popleft().result()
                waiting.append(pool.submit(work, item))
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
