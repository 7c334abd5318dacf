"""The recipe `finetune-last` with its frozen layers' features computed once, beside the same without the cache.

$ .venv/bin/python benchmarks/finetune_last.py                         # 256 pictures, the whole 61M-parameter net
$ .venv/bin/python benchmarks/finetune_last.py --pictures 3000 --views 2 --device cuda

Both are whole commands on made-up pictures: reading, validation after each epoch and checkpoints are in the seconds.
The cached training runs all its epochs; the other runs one epoch and three, and what an epoch costs is carried forward.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from crc32c import crc32c

from alexnet_cli.artifacts.checkpoint import write_checkpoint
from alexnet_cli.artifacts.crops.shards import open_crops
from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.artifacts.crops.writer import CropWriter, Record
from alexnet_cli.artifacts.statistics import Statistics, write_statistics
from alexnet_cli.class_list import ClassList
from alexnet_cli.console import duration
from alexnet_cli.input.normalisation import input_transform
from alexnet_cli.net.initial import initialise
from alexnet_cli.net.network import Network
from alexnet_cli.recipes.read import load_recipe
from alexnet_stages.train.config import TrainConfig
from alexnet_stages.train.run import run

CLASSES = ClassList(("ape", "bat", "cat", "dog", "eel", "fox", "gnu", "hen"))


def made_store(path: Path, pictures: int, seed: int) -> CropStore:
    """Noise with labels: what a picture shows costs nothing."""
    rng = np.random.default_rng(seed)
    writer = CropWriter(path, {"benchmark": seed})
    records = []
    for index in range(pictures):
        value = rng.integers(0, 256, (256, 256, 3), dtype=np.uint8).tobytes()
        records.append(Record(f"{index:06d}.JPEG", index % len(CLASSES), value, crc32c(value)))
        if len(records) == 256 or index == pictures - 1:
            writer.commit(index + 1, records, [])
            records = []
    writer.finish(CLASSES, codec="raw", options={}, details={})
    return open_crops(path)


def made_statistics(path: Path, store: CropStore) -> Statistics:
    """Of the first 32 pictures."""
    crops = np.stack([store.read(index) for index in range(min(32, len(store)))]).astype(np.int64)
    pixels = crops.reshape(-1, 3)
    statistics = Statistics.from_sums(crops.sum(axis=0), pixels.T @ pixels, len(crops))
    write_statistics(path, statistics, crops=store.manifest, classes=store.classes, overwrite=True)
    return statistics


def made_origin(path: Path, statistics: Statistics) -> None:
    """The checkpoint of a whole net of 1000 classes at its initial values."""
    recipe = load_recipe("small").with_options(net={"classes": 1000})
    network = Network(recipe.net)
    initialise(network, "he", 0)
    parameters = dict(network.named_parameters())
    write_checkpoint(
        path,
        recipe=recipe,
        classes=ClassList(tuple(f"class {number:04d}" for number in range(1000))),
        model=parameters,
        momentum={name: torch.zeros_like(parameter) for name, parameter in parameters.items()},
        transform=input_transform(statistics, recipe.input),
        state={},
        parents={},
        details={"step": 0, "epoch": 0},
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--pictures", type=int, default=256)
    parser.add_argument("--validation", type=int, default=64)
    parser.add_argument("--views", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="fp32")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder)
        store = made_store(where / "train.lmdb", options.pictures, 0)
        made_store(where / "val.lmdb", options.validation, 1)
        made_origin(where / "origin", made_statistics(where / "stats.h5", store))

        def seconds(epochs: int, *, cached: bool) -> float:
            config = TrainConfig(
                crops=where / "train.lmdb",
                val=where / "val.lmdb",
                stats=where / "stats.h5",
                out=where / "run",
                init_from=where / "origin",
                recipe="finetune-last",
                epochs=epochs,
                set=[
                    "training.schedule=steps",
                    f"training.cached_features={str(cached).lower()}",
                    f"training.cached_views={options.views}",
                ],
                devices=options.device,
                precision=options.precision,
                overwrite=True,
                quiet=True,
            )
            start = time.perf_counter()
            run(config)
            return time.perf_counter() - start

        whole, short = seconds(options.epochs, cached=True), seconds(1, cached=True)
        one, three = seconds(1, cached=False), seconds(3, cached=False)
    epoch = (three - one) / 2
    without = one + (options.epochs - 1) * epoch
    print(f"torch {torch.__version__}, {options.precision}, {torch.get_num_threads()} threads, {options.device}")
    print(f"{options.pictures:,} pictures, {options.validation:,} for validation, {options.epochs} epochs of fc8 alone")
    each = (whole - short) / max(options.epochs - 1, 1)
    pays = int(short / max(epoch - each, 1e-9)) + 1
    print(f"  from pictures         {duration(without):>10}  ({epoch:.1f} s an epoch)")
    print(f"  from {options.views:2} cached views  {duration(whole):>10}  ({short:.1f} s once, {each:.2f} s an epoch)")
    print(f"  {without / whole:.1f} times as fast; the cache pays from epoch {pays} on")


if __name__ == "__main__":
    main()
