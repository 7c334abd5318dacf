"""The work of `alexnet predict`: decode and cut in threads, ask the nets in batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
        """What people call a class, where that is known."""
        return self.classes.words[index] if self.classes.words else None


def run(config: PredictConfig) -> Result:
    """Ask the net; raises ArtifactError, ResourceError or UsageError. Pictures that can't be read are rows."""
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
    return Result(config.net, trained.which, config.views, copies[0].classes, rows)


def _predict(
    pictures: Sequence[Picture],
    rows: list[Row],
    copies: Sequence[Nets],
    devices: Sequence[torch.device],
    config: PredictConfig,
    advance: Advance,
) -> None:
    """Fill the rows. Each device takes the next mini-batch that is ready; the good pictures alone make mini-batches."""

    def ask(nets: Nets, device: torch.device, places: list[int], crops: list[Crop]) -> None:
        _, said = nets.probabilities(torch.from_numpy(np.stack(crops)).to(device), config.views)
        for place, probabilities, best in zip(places, said, best_classes(said, config.top), strict=True):
            rows[place].predictions = [Prediction(index, float(probabilities[index])) for index in best.tolist()]

    asked: deque[tuple[Future[None], int]] = deque()
    before = 0
    with ThreadPoolExecutor(len(devices), "alexnet-net") as pool:
        try:
            for number, (places, crops, after) in enumerate(_batches(pictures, rows, copies[0].cutting, config)):
                if len(asked) == len(devices):
                    _take(asked, advance)
                at = number % len(devices)
                if crops:
                    asked.append((pool.submit(ask, copies[at], devices[at], places, crops), after - before))
                else:
                    advance(after - before)
                before = after
            while asked:
                _take(asked, advance)
        finally:
            pool.shutdown(cancel_futures=True)


def _take(asked: deque[tuple[Future[None], int]], advance: Advance) -> None:
    """Wait for the oldest mini-batch."""
    future, count = asked.popleft()
    future.result()
    advance(count)


def _batches(
    pictures: Sequence[Picture], rows: list[Row], cutting: dict[str, Any], config: PredictConfig
) -> Iterator[tuple[list[int], list[Crop], int]]:
    """Mini-batches of good pictures: their places, crops, and how many pictures are done with them.

    Whole ones but the last. Bad pictures get their error.
    """
    places: list[int] = []
    crops: list[Crop] = []
    for place, cut in enumerate(_crops_in_order(pictures, cutting, config.workers or cores(), config.batch_size)):
        if isinstance(cut, str):
            rows[place].error = cut
        else:
            places.append(place)
            crops.append(cut)
        if len(crops) == config.batch_size:
            yield places, crops, place + 1
            places, crops = [], []
    yield places, crops, len(pictures)


def _crops_in_order(
    pictures: Sequence[Picture], cutting: dict[str, Any], threads: int, batch_size: int
) -> Iterator[Crop | str]:
    """Each picture's crop, or why there is none, decoded in threads some mini-batches ahead."""

    def cut(picture: Picture) -> Crop | str:
        try:
            return crop_of(picture.read(), name=picture.path, **cutting)[0]
        except BadPictureError as error:
            return str(error)

    waiting: deque[Future[Crop | str]] = deque()
    with ThreadPoolExecutor(threads, "alexnet-decode") as pool:
        try:
            for picture in pictures:
                if len(waiting) > _AHEAD * batch_size:
                    yield waiting.popleft().result()
                waiting.append(pool.submit(cut, picture))
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
