"""The plan of a contest: stage by stage, how many pictures pass, how long that takes and how many bytes it leaves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from alexnet_cli import imagenet
from alexnet_cli.artifacts.common.manifest import MANIFEST_FILE, read_folder_manifest
from alexnet_cli.artifacts.crops.store import KIND as CROPS_KIND
from alexnet_cli.artifacts.crops.store import SCHEMA as CROPS_SCHEMA
from alexnet_cli.artifacts.run import RunFolder
from alexnet_cli.recipes.net import layers
from alexnet_cli.recipes.read import load_recipe
from alexnet_cli.recipes.recipe import Recipe
from alexnet_commands.contest.config import ContestConfig
from alexnet_commands.contest.graph import Step
from alexnet_commands.contest.make import chosen_steps
from alexnet_commands.contest.rates import Rate, Rates

OFFICIAL = {**{split: official.pictures for split, official in imagenet.OFFICIAL.items()}, "fall2011": 14_197_122}
"""Pictures: ILSVRC-2012's three splits; Fall 2011 as image-net.org counts it (the paper says 15 million)."""
CLASSES = {"train": imagenet.CLASSES, "fall2011": 21_841}
RAW_BYTES = 49 * 4096
"""A raw crop in LMDB: 196,608 bytes and a header in whole pages."""
KEPT_CHECKPOINTS = 3
"""The newest two and the best; model and momentum in float32 each."""
STATISTICS_BYTES = 8 * 256 * 256 * 3
VIEWS = 10


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step of the plan."""

    name: str
    pictures: int
    passes: float
    """How often each picture is used."""
    per_second: float
    seconds: float
    bytes: float
    """What it leaves on the disk."""
    done: bool
    """It is there already: no time, no further bytes."""


def stages(config: ContestConfig, rates: Rates) -> list[Stage]:
    """Every stage, in the order in which `make contest` runs them."""
    return list(_Plan(config, rates).stages())


class _Plan:
    def __init__(self, config: ContestConfig, rates: Rates) -> None:
        self.config, self.rates, self.out = config, rates, config.out
        self.counts: dict[str, int] = {}
        self.classes: dict[str, int] = {}
        for name, official in OFFICIAL.items():
            store = self.out / "crops" / f"{name}.lmdb"
            self.counts[name], self.classes[name] = _counted(store, official, CLASSES.get(name, 0))
        self.paper = self._recipe(config.recipe, config.epochs, "train")

    def _recipe(self, name: str, epochs: int | None, store: str) -> Recipe:
        return load_recipe(name).with_options(net={"classes": self.classes[store]}, training={"epochs": epochs})

    def stages(self) -> Iterator[Stage]:
        for step in chosen_steps(self.config):
            yield getattr(self, f"_{step.kind}")(step)

    def _preprocess(self, step: Step) -> Stage:
        codec = self.config.fall2011_codec if step.store == "fall2011" else self.config.codec
        size = self.counts[step.store] * (RAW_BYTES if codec == "raw" else self.rates.jpeg_bytes)
        done = (step.out / MANIFEST_FILE).is_file()
        return self._stage(step.label, step.store, self.rates.decoded.per_second, size, done=done)

    def _pca(self, step: Step) -> Stage:
        per_second = self.rates.read.per_second
        return self._stage(step.label, step.store, per_second, STATISTICS_BYTES, done=step.out.is_file())

    def _stage(self, name: str, store: str, per_second: float, size: float, *, done: bool, passes: float = 1) -> Stage:
        pictures = self.counts[store]
        return Stage(
            name=name,
            pictures=pictures,
            passes=passes,
            per_second=per_second,
            seconds=0.0 if done else passes * pictures / per_second,
            bytes=0.0 if done else size,
            done=done,
        )

    def _train(self, step: Step) -> Stage:
        """At most the recipe's epochs, less those done; validation in the centre view after each epoch on ILSVRC."""
        run, store = RunFolder(step.out), step.store
        recipe = self._recipe(step.recipe, step.epochs, store)
        # Time goes with the multiply-adds: of conv6 nets, or of more classes.
        per_second = self.rates.trained.per_second * _multiply_adds(self.paper) / _multiply_adds(recipe)
        epochs = max(recipe.training.epochs - len(run.metrics()), 0)
        size = KEPT_CHECKPOINTS * 2 * 4 * sum(layer.parameters for layer in layers(recipe.net))
        stage = self._stage(step.label, store, per_second, size, done=run.finished, passes=epochs)
        if stage.done or store != "train":
            return stage
        validation = epochs * self.counts["val"] / (VIEWS * self.rates.evaluated.per_second)
        return Stage(**{**asdict(stage), "seconds": stage.seconds + validation})

    def _scores_bytes(self, split: str) -> int:
        """Two arrays of float32 probabilities: ten views, and the centre."""
        return 2 * 4 * self.counts[split] * self.classes["train"]

    def _eval(self, step: Step) -> Stage:
        size, per_second = self._scores_bytes(step.store), self.rates.evaluated.per_second
        return self._stage(step.label, step.store, per_second, size, done=step.out.is_file())

    def _ensemble(self, step: Step) -> Stage:
        """Averaging is reading scores: no pictures pass, and it takes minutes."""
        done = (step.out / MANIFEST_FILE).is_file()
        return Stage(
            name=step.label,
            pictures=self.counts[step.store],
            passes=0,
            per_second=0.0,
            seconds=0.0,
            bytes=0.0 if done else self._scores_bytes(step.store),
            done=done,
        )


def _multiply_adds(recipe: Recipe) -> int:
    return sum(layer.multiply_adds for layer in layers(recipe.net))


def _counted(store: Path, pictures: int, classes: int) -> tuple[int, int]:
    """Pictures and classes of a store that is there, else the official numbers."""
    if not (store / MANIFEST_FILE).is_file():
        return pictures, classes
    details = read_folder_manifest(store, kind=CROPS_KIND, schema=CROPS_SCHEMA, unfinished="finish it").details
    return int(details["pictures"]), int(details["classes"])


def describe(rate: Rate) -> str:
    """A rate and where it comes from."""
    return f"{rate.per_second:,.0f} pictures/s ({rate.source})"
