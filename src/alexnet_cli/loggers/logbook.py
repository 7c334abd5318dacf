"""All loggers of a run as one: each is told what this one is told. A training outlives its loggers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from alexnet_cli.artifacts.run import CONFIG, LOGS, TENSORBOARD, RunFolder
from alexnet_cli.errors import AlexNetError, ResourceError
from alexnet_cli.loggers.find import make
from alexnet_cli.loggers.protocol import Beginning, Logger, Value
from alexnet_cli.reading import read_json_object
from alexnet_cli.tiles import as_bytes, filter_tiles

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_ZOOM = 4
"""Pixels of the picture for each weight of a kernel."""


class Logbook:
    """The requested loggers."""

    def __init__(self, names: Sequence[str], warn: Callable[[str], None]) -> None:
        """warn: is told when a logger fails. UsageError if one can't be used here."""
        self._loggers: dict[str, Logger] = {name: make(name) for name in names}
        self._warn = warn
        self._shown: NDArray[np.float32] | None = None

    @property
    def empty(self) -> bool:
        return not self._loggers

    def begin(self, folder: RunFolder, step: int) -> None:
        """A run begins, or resumes after this many steps. ResourceError if a logger can't begin."""
        config = read_json_object(folder.path / CONFIG) if not self.empty and (folder.path / CONFIG).is_file() else {}
        for name, logger in self._loggers.items():
            own = folder.path / (TENSORBOARD if name == TENSORBOARD else f"{LOGS}/{name}")
            try:
                logger.begin(Beginning(name=folder.out.name, folder=own, step=step, config=config))
            except AlexNetError:
                raise
            except Exception as error:
                text = f"--log {name}: can't begin ({type(error).__name__}: {error}): fix that, or leave it out"
                raise ResourceError(text) from error
        if step == 0 and config:
            self._each(lambda logger: logger.text("recipe", json.dumps(config.get("recipe"), indent=2)))
            self._each(lambda logger: logger.hparams(dict(chosen(config))))

    def scalars(self, step: int, values: Mapping[str, object]) -> None:
        """Figures after a step; what is not a finite number is left out."""
        finite = {name: value for name, value in values.items() if isinstance(value, float) and math.isfinite(value)}
        if finite:
            self._each(lambda logger: logger.scalars(step, finite))

    def filters(self, step: int, name: str, weights: NDArray[np.float32], columns: int) -> None:
        """The first convolution's kernels, (kernels, 3, size, size), as a picture; the same ones only once."""
        if self.empty or (self._shown is not None and (weights == self._shown).all()):
            return
        self._shown = weights.copy()
        tiles = as_bytes(filter_tiles(weights, columns=columns))
        picture = tiles.repeat(_ZOOM, axis=0).repeat(_ZOOM, axis=1)
        self._each(lambda logger: logger.image(step, f"filters/{name}", picture))

    def finish(self) -> None:
        self._each(lambda logger: logger.finish())

    def _each(self, tell: Callable[[Logger], None]) -> None:
        for name, logger in list(self._loggers.items()):
            try:
                tell(logger)
            except Exception as error:
                del self._loggers[name]
                self._warn(f"--log {name}: failed ({type(error).__name__}: {error}); training continues without it")


def chosen(config: Mapping[str, Any]) -> Iterator[tuple[str, Value]]:
    """The flat values of a run's config: its recipe's name, columns, input and training, seed and precision."""
    recipe = config.get("recipe") or {}
    yield "recipe", str(recipe.get("name"))
    yield from _flat("", {name: config.get(name) for name in ("seed", "precision")})
    yield from _flat("net.", {"columns": recipe.get("net", {}).get("columns")})
    for table in ("input", "training"):
        yield from _flat(f"{table}.", recipe.get(table, {}))


def _flat(above: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Value]]:
    for name, value in values.items():
        if isinstance(value, (str, float, int, bool)):
            yield f"{above}{name}", value
        elif isinstance(value, Mapping):
            yield from _flat(f"{above}{name}.", value)
