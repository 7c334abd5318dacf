"""Tiny real artifacts for the tests: crop stores, statistics, and a net of a few kernels that trains in a second."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from crc32c import crc32c
from numpy.typing import NDArray
from preprocessing import save_noise
from small_training import Bench

from alexnet_cli.artifacts.crops.shards import open_crops
from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.artifacts.crops.writer import CropWriter, Record
from alexnet_cli.artifacts.statistics import Statistics, write_statistics
from alexnet_cli.class_list import ClassList

MakeStore = Callable[..., CropStore]

# Under nohup or in the background a test run inherits ignored signals, and so would the commands that the tests stop.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# A whole AlexNet, only narrower: every layer, both columns, a second for some steps.
NARROW_NET: dict[str, dict[str, int]] = {
    "conv1": {"kernels": 4},
    **{f"conv{number}": {"kernels": 8} for number in range(2, 6)},
    "fc6": {"neurons": 16},
    "fc7": {"neurons": 16},
}
"""For `Recipe.with_options(net=…)`."""
NARROW = tuple(f"net.{name}.{field}={value}" for name, table in NARROW_NET.items() for field, value in table.items())


def coloured_crops(labels: Sequence[int], seed: int = 0) -> NDArray[np.uint8]:
    """Noise whose mean colour tells the class: uint8 (N, 256, 256, 3)."""
    rng = np.random.default_rng(seed)
    crops = rng.integers(0, 120, (len(labels), 256, 256, 3), dtype=np.uint8)
    for crop, label in zip(crops, labels, strict=True):
        crop[..., label % 3] += np.uint8(60 + 20 * (label // 3))
    return crops


@pytest.fixture
def make_store(tmp_path: Path) -> MakeStore:
    """make_store("train", labels=[0, 1, …], classes=("a", "b"), seed=0): a finished crop store of coloured noise."""

    def make(
        name: str,
        labels: Sequence[int],
        classes: Sequence[str] = ("ape", "bat", "cat"),
        seed: int = 0,
        crops: NDArray[np.uint8] | None = None,
    ) -> CropStore:
        pictures = coloured_crops(labels, seed) if crops is None else crops
        writer = CropWriter(tmp_path / f"{name}.lmdb", {"test": name, "seed": seed})
        records = []
        for index, (crop, label) in enumerate(zip(pictures, labels, strict=True)):
            value = crop.tobytes()
            records.append(Record(f"{name}/{index:04d}.JPEG", label, value, crc32c(value)))
        writer.commit(len(records), records, [])
        writer.finish(ClassList(tuple(classes)), codec="raw", side=pictures.shape[1], options={}, details={})
        return open_crops(tmp_path / f"{name}.lmdb")

    return make


@pytest.fixture
def make_statistics(tmp_path: Path) -> Callable[[CropStore], Path]:
    """make_statistics(store): the path of the store's statistics, summed by numpy."""

    def make(store: CropStore) -> Path:
        crops = np.stack([store.read(index) for index in range(len(store))]).astype(np.int64)
        pixels = crops.reshape(-1, 3)
        statistics = Statistics.from_sums(crops.sum(axis=0), pixels.T @ pixels, len(crops))
        path = tmp_path / f"{store.path.stem}.h5"
        write_statistics(path, statistics, crops=store.manifest, classes=store.classes, overwrite=True)
        return path

    return make


@pytest.fixture
def narrow() -> list[str]:
    """`--set` values that make any recipe's net narrow."""
    return list(NARROW)


@pytest.fixture
def make_checkpoint(tmp_path: Path) -> Callable[..., Path]:
    """make_checkpoint("run/checkpoints/step-00000006", store, stats, seed=3, step=6, error=0.5): a narrow net's.

    Its weights are random, but so large that it says different things of different pictures and views.
    """

    def make(
        name: str,
        store: CropStore,
        stats: Path,
        *,
        seed: int = 0,
        step: int = 6,
        error: float | None = None,
        recipe: str = "quickstart",
    ) -> Path:
        import torch

        from alexnet_cli.artifacts.checkpoint import write_checkpoint
        from alexnet_cli.artifacts.statistics import read_statistics
        from alexnet_cli.input.normalisation import input_transform
        from alexnet_cli.net.initial import initialise
        from alexnet_cli.net.network import Network
        from alexnet_cli.recipes.read import load_recipe

        chosen = load_recipe(recipe).with_options(net={**NARROW_NET, "classes": len(store.classes)})
        network = Network(chosen.net)
        initialise(network, "he", seed)
        with torch.no_grad():
            network.weights("fc8").weight.mul_(20 * chosen.input.divisor / 64)
        manifest, statistics = read_statistics(stats)
        details = {} if error is None else {"validation_top1_error": error, "validation_top5_error": 0.0}
        path = tmp_path / name
        write_checkpoint(
            path,
            recipe=chosen,
            classes=store.classes,
            model=dict(network.named_parameters()),
            momentum={key: torch.zeros_like(value) for key, value in network.named_parameters()},
            transform=input_transform(statistics, chosen.input),
            state={"progress": {"step": step}, "schedule": {}, "seed": seed},
            parents={"crops": store.digest, "statistics": manifest.digest},
            details={"step": step, "epoch": 1, **details},
        )
        return path

    return make


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Three classes: cat 2, ape 3 (one in a folder further down), bat 1 pictures."""
    root = tmp_path / "pictures"
    for number, name in enumerate(["cat/1.jpg", "cat/0.JPEG", "ape/b.png", "ape/a/z.jpg", "ape/c.bmp", "bat/x.gif"]):
        save_noise(root / name, number)
    return root


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Two classes of 300 pictures: three steps and many chunks."""
    root = tmp_path / "many"
    for number in range(600):
        save_noise(root / f"class{number % 2}" / f"{number:03d}.jpg", number, side=40)
    return root


@pytest.fixture
def bench(make_store: MakeStore, make_statistics: Callable[[CropStore], Path], narrow: list[str]) -> Bench:
    return Bench(make_store, make_statistics, narrow)
