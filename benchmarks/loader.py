"""Crops a second from raw and JPEG stores into batch buffers, beside the machine's limit and a plain DataLoader.

$ .venv/bin/python benchmarks/loader.py                          # synthetic stores: 2,048 crops, and small ones
$ .venv/bin/python benchmarks/loader.py --store out/train.lmdb --threads 1 2

Random order, mini-batches of 128, the page cache warm, checksums included. The limit on one thread: for a raw store,
copying the same bytes from the memory map into the same buffers; for a JPEG store, Pillow decoding the same records and
nothing else. The small raw store has crops of 32×32, 3 kB each. Several passes make one measurement. The plain way is
what one writes first: a Dataset whose __getitem__ opens a transaction, copies the crop out and makes a tensor of it, in
a DataLoader with as many processes as the loader here has threads. Each repeat measures all of them, one after the
other; medians are printed, and the medians of the ratios within a repeat.
"""

from __future__ import annotations

import argparse
import importlib
import io
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import lmdb
import numpy as np
import torch
from crc32c import crc32c
from machine import about_machine
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from alexnet_cli.artifacts.crops.shards import open_crops
from alexnet_cli.artifacts.crops.store import SIDE, CropStore, key_of
from alexnet_cli.artifacts.crops.writer import CropWriter, Record
from alexnet_cli.class_list import ClassList
from alexnet_cli.loader import CropLoader, batches_of

BATCH = 128
PASS = 20_000 * SIDE * SIDE * 3
"""Bytes of one measurement of a raw store."""
SMALL = 32
"""Side of CIFAR-10's pictures."""


def make_store(path: Path, pictures: int, codec: str, side: int = SIDE) -> CropStore:
    """A store of smooth random crops, which a JPEG makes as small as a photograph's."""
    rng = np.random.default_rng(0)
    records = []
    for index in range(pictures):
        coarse = Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
        crop = coarse.resize((side, side), Image.Resampling.BICUBIC)
        if codec == "raw":
            value = crop.tobytes()
        else:
            file = io.BytesIO()
            crop.save(file, "JPEG", quality=95)
            value = file.getvalue()
        records.append(Record(f"{index:06d}.JPEG", 0, value, crc32c(value)))
    writer = CropWriter(path, {"benchmark": codec})
    writer.commit(len(records), records, [])
    writer.finish(ClassList(("one", "other")), codec=codec, side=side, options={}, details={})
    writer.close()
    return open_crops(path)


class Plain(Dataset[Tensor]):
    """A crop store as one would read it first."""

    def __init__(self, store: CropStore) -> None:
        self.path, self.codec, self.length, self.shape = str(store.path), store.codec, len(store), store.shape
        self.environment: lmdb.Environment | None = None

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Tensor:
        if self.environment is None:
            self.environment = lmdb.open(self.path, readonly=True, lock=False)
        with self.environment.begin() as transaction:
            value = transaction.get(key_of(index))
        assert value is not None
        if self.codec == "raw":
            return torch.from_numpy(np.frombuffer(value, np.uint8).reshape(self.shape).copy())
        return torch.from_numpy(np.array(Image.open(io.BytesIO(value)).convert("RGB")))


def ours(store: CropStore, threads: int, crops: int) -> Callable[[], float]:
    """Crops a second through the loader, in as many passes as make so many crops."""

    def measure() -> float:
        order = passes_over(store, crops)
        with CropLoader(store, batches_of(order, BATCH), threads=threads) as loader:
            start = time.perf_counter()
            count = sum(len(batch.crops) for batch in loader)
            return count / (time.perf_counter() - start)

    return measure


def limit(store: CropStore, crops: int) -> Callable[[], float]:
    """Crops a second that one thread copies or decodes when it does nothing else."""
    buffers = np.empty((3 * BATCH, *store.shape), np.uint8)  # as many as the loader has
    records = [np.frombuffer(store.stored(index), np.uint8) for index in range(len(store))]

    def measure() -> float:
        order = passes_over(store, crops).tolist()
        start = time.perf_counter()
        for place, index in enumerate(order):
            if store.codec == "raw":
                np.copyto(buffers[place % len(buffers)], records[index].reshape(store.shape))
            else:
                Image.open(io.BytesIO(records[index])).load()
        return len(order) / (time.perf_counter() - start)

    return measure


def passes_over(store: CropStore, crops: int) -> NDArray[np.int64]:
    """Passes over the store, each in an order of its own, of at least so many crops."""
    rng = np.random.default_rng(1)
    return np.concatenate([rng.permutation(len(store)) for _ in range(-(-crops // len(store)))])


def plain(store: CropStore, processes: int) -> Callable[[], float]:
    """Crops a second of one pass through a DataLoader, its processes' start not counted."""

    def measure() -> float:
        # Spawned: LMDB forbids a second environment on a store that a forked process has open already.
        loader = DataLoader(Plain(store), BATCH, True, num_workers=processes, multiprocessing_context="spawn")
        batches = iter(loader)
        count = 0
        first = next(batches)
        start = time.perf_counter()
        for batch in batches:
            count += len(batch)
        del first
        return count / max(time.perf_counter() - start, 1e-9)

    return measure


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--store", type=Path, help="a crop store; default: synthetic ones, raw and JPEG")
    parser.add_argument("--pictures", type=int, default=2048)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="without the plain way")
    options = parser.parse_args()
    importlib.import_module("numba")  # as a training has by then
    print(f"{about_machine()}; {options.repeats} repeats")
    with tempfile.TemporaryDirectory() as folder:
        if options.store:
            stores = [open_crops(options.store)]
        else:
            few, many = options.pictures, options.pictures * 25  # pages of 4 kB: both are far larger than a cache
            kinds = {"raw": ("raw", SIDE, few), "small": ("raw", SMALL, many), "jpeg": ("jpeg", SIDE, few)}
            stores = [
                make_store(Path(folder) / f"{name}.lmdb", pictures, codec, side)
                for name, (codec, side, pictures) in kinds.items()
            ]
        for store in stores:
            report(store, options)


def report(store: CropStore, options: argparse.Namespace) -> None:
    """Measure one store and print."""
    # Decoding takes a hundred times as long, and Python's loop over small records ten times.
    nbytes = math.prod(store.shape)
    crops = len(store) if store.codec != "raw" else PASS // nbytes // (1 if store.side > SMALL else 10)
    one, bound = "alexnet, 1 thread", "limit, 1 thread"
    ways = {bound: limit(store, crops), one: ours(store, 1, crops)}
    ways |= {f"alexnet, {count} threads": ours(store, count, crops) for count in options.threads if count > 1}
    if not options.quick:
        ways |= {f"plain, {count} processes": plain(store, count) for count in options.threads}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(options.repeats + 1):
        for name, measure in ways.items():
            rate = measure()
            if repeat:  # the first pass warms the page cache
                rates[name].append(rate)
    print(f"{store.codec}, {len(store):,} crops of {store.side}×{store.side}")
    for name, values in rates.items():
        rate = statistics.median(values)
        print(
            f"  {name:22} {rate:11,.0f} crops/s, {rate * nbytes / 1e9:5.2f} GB/s"
            f"  ({min(values):,.0f} … {max(values):,.0f})"
        )
    ratios = [mine / most for mine, most in zip(rates[one], rates[bound], strict=True)]
    what = "copying the same bytes" if store.codec == "raw" else "decoding alone"
    print(f"  of {what}: {statistics.median(ratios):.2f}  ({min(ratios):.2f} … {max(ratios):.2f})")


if __name__ == "__main__":
    main()
