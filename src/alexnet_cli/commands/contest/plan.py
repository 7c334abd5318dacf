"""The plan of a contest: stage by stage, how many pictures pass, how long that takes and how many bytes it leaves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from alexnet_cli import imagenet
from alexnet_cli.artifacts.crops import KIND as CROPS_KIND
from alexnet_cli.artifacts.crops import SCHEMA as CROPS_SCHEMA
from alexnet_cli.artifacts.manifest import MANIFEST_FILE, read_folder_manifest
from alexnet_cli.artifacts.run_folder import RunFolder
from alexnet_cli.commands.contest.config import ContestConfig
from alexnet_cli.commands.contest.rates import Rate, Rates
from alexnet_cli.commands.contest.results import FINETUNED_NETS
from alexnet_cli.recipes.net import layers
from alexnet_cli.recipes.read import load_recipe
from alexnet_cli.recipes.recipe import Recipe

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

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def stages(config: ContestConfig, rates: Rates) -> list[Stage]:
    """Every stage, in the order in which `make contest` runs them."""
    return list(_Plan(config, rates).stages())


class _Plan:
    def __init__(self, config: ContestConfig, rates: Rates) -> None:
        self.config, self.rates, self.out = config, rates, config.out
        self.splits = ("val", "test") if config.test else ("val",)
        self.counts: dict[str, int] = {}
        self.classes: dict[str, int] = {}
        for name, official in OFFICIAL.items():
            self.counts[name], self.classes[name] = _counted(
                self.out / "crops" / f"{name}.lmdb", official, CLASSES.get(name, 0)
            )
        self.paper = self._recipe(config.recipe, config.epochs, "train")

    def _recipe(self, name: str, epochs: int | None, store: str) -> Recipe:
        return load_recipe(name).with_options(net={"classes": self.classes[store]}, training={"epochs": epochs})

    def stages(self) -> Iterator[Stage]:
        config = self.config
        sources = ("train", *self.splits, *(("fall2011",) if config.fall2011 else ()))
        for name in sources:
            codec = config.fall2011_codec if name == "fall2011" else config.codec
            crop_bytes = RAW_BYTES if codec == "raw" else self.rates.jpeg_bytes
            yield self._stage(
                f"preprocess {name}",
                name,
                self.rates.decoded.per_second,
                self.counts[name] * crop_bytes,
                done=(self.out / "crops" / f"{name}.lmdb" / MANIFEST_FILE).is_file(),
            )
        for name in ("train", *(("fall2011",) if config.fall2011 else ())):
            done = (self.out / "statistics" / f"{name}.h5").is_file()
            yield self._stage(f"pca {name}", name, self.rates.read.per_second, STATISTICS_BYTES, done=done)
        nets = [(f"cnn-{number}", self.paper, "train") for number in range(1, config.members + 1)]
        if config.fall2011:
            pretrain = self._recipe(config.pretrain_recipe, config.pretrain_epochs, "fall2011")
            finetune = self._recipe(config.finetune_recipe, config.finetune_epochs, "train")
            nets += [(f"pretrained-{number}", pretrain, "fall2011") for number in range(1, config.pretrained + 1)]
            nets += [(f"finetuned-{number}", finetune, "train") for number in range(1, FINETUNED_NETS + 1)]
        for net, recipe, store in nets:
            yield self._training(net, recipe, store)
        for split in self.splits:
            yield from self._scoring([net for net, _, _ in nets if not net.startswith("pretrained")], split)

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

    def _training(self, net: str, recipe: Recipe, store: str) -> Stage:
        """At most the recipe's epochs, less those done; validation in the centre view after each epoch on ILSVRC."""
        run = RunFolder(self.out / "nets" / net)
        # Time goes with the multiply-adds: of conv6 nets, or of more classes.
        per_second = self.rates.trained.per_second * _multiply_adds(self.paper) / _multiply_adds(recipe)
        epochs = max(recipe.training.epochs - len(run.metrics()), 0)
        size = KEPT_CHECKPOINTS * 2 * 4 * sum(layer.parameters for layer in layers(recipe.net))
        stage = self._stage(f"train {net}", store, per_second, size, done=run.finished, passes=epochs)
        if stage.done or store != "train":
            return stage
        validation = epochs * self.counts["val"] / (VIEWS * self.rates.evaluated.per_second)
        return Stage(**{**asdict(stage), "seconds": stage.seconds + validation})

    def _scoring(self, nets: list[str], split: str) -> Iterator[Stage]:
        # Two arrays of float32 probabilities: ten views, and the centre.
        size = 2 * 4 * self.counts[split] * self.classes["train"]
        for net in nets:
            done = (self.out / "scores" / split / f"{net}.h5").is_file()
            yield self._stage(f"eval {net} {split}", split, self.rates.evaluated.per_second, size, done=done)
        for count in (self.config.members, len(nets))[: 2 if self.config.fall2011 else 1]:
            folder = self.out / "ensembles" / f"{count}-{split}"
            done = (folder / MANIFEST_FILE).is_file()
            # Averaging is reading scores: no pictures pass, and it takes minutes.
            yield Stage(
                name=f"ensemble {count}-{split}",
                pictures=self.counts[split],
                passes=0,
                per_second=0.0,
                seconds=0.0,
                bytes=0.0 if done else size,
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
