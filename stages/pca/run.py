"""Mean image and RGB covariance of a crop store (paper, sections 2 and 4.1), in one pass with exact sums.

    run(PcaConfig(crops=Path("train.lmdb"), out=Path("stats.h5")))

Each thread sums integers of its own; integers add up to the same in any order, so threads, order and batches change
nothing, not even the last bit.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from alexnet_cli.artifacts.common.freshness import Request, is_current
from alexnet_cli.artifacts.common.ownership import STATISTICS, require_output
from alexnet_cli.artifacts.common.working import only_writer, prepare_parent
from alexnet_cli.artifacts.crops.shards import open_crops
from alexnet_cli.artifacts.crops.store import SIDE, Crop, CropStore, raw_bytes, shape_of
from alexnet_cli.artifacts.statistics import KIND, SCHEMA, Statistics, read_statistics, write_statistics
from alexnet_cli.console import Talk
from alexnet_cli.errors import ArtifactError
from alexnet_cli.machine import cores
from alexnet_cli.tables import print_table
from alexnet_stages.pca.config import PcaConfig

if TYPE_CHECKING:
    from alexnet_cli.parallel.ranks import Ranks

CHUNK = 64
"""Pictures that a thread takes at a time."""
ROWS = 256
"""Products of 8-bit values that float32 adds exactly: 256 · 255² < 2²⁴."""
FOLD = 4
"""Pixels side by side in a row: 12×12 products per row, of which the four 3×3 blocks on the diagonal are wanted.
More work than 3×3, and three times as fast: so narrow a matrix product leaves the vector units idle."""
FLUSH = 256
"""Crops whose sum fits in 16 bits: 256 · 255 < 2¹⁶."""


class Sums:
    """Exact sums over crops: of each pixel's channels, and of the channels' products over all pixels."""

    def __init__(self, side: int = SIDE) -> None:
        self.pictures = 0
        self._totals = np.zeros(shape_of(side), np.int64)
        self._recent = np.zeros(shape_of(side), np.uint16)
        self._products = np.zeros((3 * FOLD, 3 * FOLD), np.int64)
        block = ROWS * 3 * FOLD
        self._floats = np.zeros(-(-raw_bytes(side) // block) * block, np.float32)
        """A crop, and zeros up to whole blocks: they add nothing."""

    def add(self, crop: Crop) -> None:
        """Add one crop, uint8 (side, side, 3)."""
        np.add(self._recent, crop, out=self._recent)
        np.copyto(self._floats[: crop.size], crop.reshape(-1))
        blocks = self._floats.reshape(-1, ROWS, 3 * FOLD)
        products = np.matmul(blocks.transpose(0, 2, 1), blocks)
        self._products += products.sum(axis=0, dtype=np.float64).astype(np.int64)
        self.pictures += 1
        if self.pictures % FLUSH == 0:
            self._flush()

    def merge(self, other: Sums) -> None:
        other._flush()
        self._totals += other._totals
        self._products += other._products
        self.pictures += other.pictures

    def add_up(self, ranks: Ranks) -> None:
        """Add up the sums of all ranks, on each rank. Integers: exact."""
        import torch

        self._flush()
        ranks.sum_tensor(torch.from_numpy(self._totals))
        ranks.sum_tensor(torch.from_numpy(self._products))
        self.pictures = int(ranks.sum_tensor(torch.tensor([self.pictures]))[0])

    def statistics(self) -> Statistics:
        self._flush()
        products = sum(self._products[at : at + 3, at : at + 3] for at in range(0, 3 * FOLD, 3))
        return Statistics.from_sums(self._totals, np.asarray(products, np.int64), self.pictures)

    def _flush(self) -> None:
        self._totals += self._recent
        self._recent.fill(0)


_FIGURES = ("channel_mean", "channel_std", "covariance", "eigenvalues", "eigenvectors", "standard_deviations")


@dataclass(frozen=True)
class Result:
    """What was computed, and where it lies."""

    out: Path
    digest: str
    statistics: Statistics
    seconds: float
    up_to_date: bool = False
    """Nothing was done: the existing statistics are of this store (--update)."""

    def as_json(self) -> dict[str, Any]:
        """The `--json` object: the figures without the mean image, on the 0–255 scale."""
        return {
            "pictures": self.statistics.pictures,
            **{name: getattr(self.statistics, name).tolist() for name in _FIGURES},
            "seconds": self.seconds,
            "digest": self.digest,
            "out": str(self.out),
            **({"up_to_date": True} if self.up_to_date else {}),
        }


def run(config: PcaConfig) -> Result:
    """Sum the store in one pass and write its statistics.

    UsageError: the output exists. ArtifactError: the store is unfinished, damaged or empty. ResourceError: the output
    can't be written.
    """
    require_output(config.out, STATISTICS, overwrite=config.replaces, inputs={"CROPS": config.crops})
    store = open_crops(config.crops)
    if config.update and (earlier := _up_to_date(config, store)):
        return earlier
    if len(store) == 0:
        raise ArtifactError(f"{config.crops}: has no pictures: preprocess a folder that has some")
    prepare_parent(config.out)
    if config.devices == "cpu" and "WORLD_SIZE" not in os.environ:
        return summarise(config, store=store)
    # Only several processes need torch, which takes longer to load than many a store to sum.
    from alexnet_cli.parallel.launch import run_ranks
    from alexnet_cli.parallel.team import find_team

    result: Result = run_ranks(summarise, config, find_team(config.devices, timeout=config.timeout))
    return result


def _up_to_date(config: PcaConfig, store: CropStore) -> Result | None:
    """The existing output, if it was made from this store; else None."""
    asked = Request(kind=KIND, schema=SCHEMA, parents={"crops": store.digest})
    manifest = is_current(config.out, asked, Talk(quiet=config.quiet), verify=read_statistics)
    if manifest is None:
        return None
    return Result(config.out, manifest.digest, read_statistics(config.out)[1], 0.0, up_to_date=True)


def summarise(config: PcaConfig, ranks: Ranks | None = None, store: CropStore | None = None) -> Result:
    """Sum and write; what each rank does with its share of the store. The first writes, and holds the output's lock."""
    start = time.perf_counter()
    rank, world, here = (ranks.rank, ranks.world, ranks.local_world) if ranks else (0, 1, 1)
    digest = ""
    with only_writer(config.out) if rank == 0 else nullcontext():
        if store is None:
            store = open_crops(config.crops)
        talk = Talk(quiet=config.quiet or rank > 0)
        sums = sum_store(store, config.workers or max(1, cores() // here), talk, slice(rank, None, world))
        if ranks:
            sums.add_up(ranks)
        statistics = sums.statistics()
        if rank == 0:
            digest = write_statistics(
                config.out,
                statistics,
                crops=store.manifest,
                classes=store.classes,
                overwrite=config.replaces,
                locked=True,
            ).digest
        store.close()
    return Result(config.out, digest, statistics, time.perf_counter() - start)


def sum_store(store: CropStore, workers: int, talk: Talk, share: slice = slice(None)) -> Sums:
    """The sums over the crops of a store, or over a share of its chunks, by at most `workers` threads.

    ArtifactError if a record is damaged.
    """
    ranges = [range(first, min(first + CHUNK, len(store))) for first in range(0, len(store), CHUNK)][share]
    chunks: queue.SimpleQueue[range] = queue.SimpleQueue()
    for chunk in ranges:
        chunks.put(chunk)
    stop = threading.Event()
    one_at_a_time = threading.Lock()

    with talk.progress("pca", sum(len(chunk) for chunk in ranges)) as advance:

        def work() -> Sums:
            sums, crop = Sums(store.side), np.empty(store.shape, np.uint8)
            while not stop.is_set():
                try:
                    chunk = chunks.get_nowait()
                except queue.Empty:
                    break
                for index in chunk:
                    store.read_into(index, crop)
                    sums.add(crop)
                with one_at_a_time:
                    advance(len(chunk))
            return sums

        total = Sums(store.side)
        workers = max(1, min(workers, len(ranges)))
        with ThreadPoolExecutor(workers) as pool:
            try:
                for finished in as_completed([pool.submit(work) for _ in range(workers)]):
                    total.merge(finished.result())
            finally:
                stop.set()  # after an error or Ctrl-C the other threads must not continue to the end of the store
    return total


def print_result(result: Result) -> None:
    """The figures next to ImageNet's published ones, on stdout.

    Published: means and deviations as torchvision has them, the covariance's eigenvalues and eigenvectors as they are
    widely copied (0–1 units), the standard deviations of the 2012 source. Signs follow our convention.
    """
    ours = result.statistics
    vectors = ours.eigenvectors
    rows = [
        ("mean R, G, B", _figures(ours.channel_mean, 2), "123.68 116.28 103.53"),
        ("  in 0–1 units", _figures(ours.channel_mean / 255, 4), "0.4850 0.4560 0.4060"),
        ("standard deviation R, G, B", _figures(ours.channel_std, 2), "58.40 57.12 57.38"),
        ("eigenvalues", _figures(ours.eigenvalues, 1), "14142.9 1222.5 292.6"),
        ("  in 0–1 units", _figures(ours.eigenvalues / 255**2, 4), "0.2175 0.0188 0.0045"),
        ("standard deviation of each", _figures(ours.standard_deviations, 1), "121.8 37.1 19.7"),
        ("eigenvector 1", _figures(vectors[:, 0], 4), "0.5675 0.5808 0.5836"),
        ("eigenvector 2", _figures(vectors[:, 1], 4), "0.7192 -0.0045 -0.6948"),
        ("eigenvector 3", _figures(vectors[:, 2], 4), "-0.4009 0.8140 -0.4203"),
    ]
    name = result.out
    print_table(f"{name}: {ours.pictures:,} pictures, {ours.pixels:,} pixels", ("0–255", str(name), "ImageNet"), rows)


def _figures(values: Any, digits: int) -> str:
    return " ".join(f"{value:.{digits}f}" for value in values)
