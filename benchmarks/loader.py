"""Crops a second from a raw and a JPEG store into batch buffers, beside a plain Dataset with a DataLoader's workers.

$ .venv/bin/python benchmarks/loader.py                          # a synthetic store of 2,048 crops
$ .venv/bin/python benchmarks/loader.py --store out/train.lmdb --threads 1 2

Random order, mini-batches of 128, the page cache warm. The plain way is what one writes first: a Dataset whose
__getitem__ opens a transaction, copies the crop out and makes a tensor of it, in a DataLoader with as many processes as
the loader here has threads. Each repeat measures all of them, one after the other; medians are printed.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import lmdb
import numpy as np
import torch
from crc32c import crc32c
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from alexnet_cli.artifacts.crops.shards import open_crops
from alexnet_cli.artifacts.crops.store import SIDE, CropStore, key_of
from alexnet_cli.artifacts.crops.writer import CropWriter, Record
from alexnet_cli.class_list import ClassList
from alexnet_cli.loader import CropLoader, batches_of

BATCH = 128


def make_store(path: Path, pictures: int, codec: str) -> CropStore:
    """A store of smooth random crops, which a JPEG makes as small as a photograph's."""
    rng = np.random.default_rng(0)
    records = []
    for index in range(pictures):
        coarse = Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
        crop = coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        if codec == "raw":
            value = crop.tobytes()
        else:
            file = io.BytesIO()
            crop.save(file, "JPEG", quality=95)
            value = file.getvalue()
        records.append(Record(f"{index:06d}.JPEG", 0, value, crc32c(value)))
    writer = CropWriter(path, {"benchmark": codec})
    writer.commit(len(records), records, [])
    writer.finish(ClassList(("one", "other")), codec=codec, options={}, details={})
    writer.close()
    return open_crops(path)


class Plain(Dataset[Tensor]):
    """A crop store as one would read it first."""

    def __init__(self, store: CropStore) -> None:
        self.path, self.codec, self.length = str(store.path), store.codec, len(store)
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
            return torch.from_numpy(np.frombuffer(value, np.uint8).reshape(SIDE, SIDE, 3).copy())
        return torch.from_numpy(np.array(Image.open(io.BytesIO(value)).convert("RGB")))


def ours(store: CropStore, threads: int) -> Callable[[], float]:
    """Crops a second of one pass through the loader."""

    def measure() -> float:
        order = np.random.default_rng(1).permutation(len(store))
        start = time.perf_counter()
        with CropLoader(store, batches_of(order, BATCH), threads=threads) as loader:
            count = sum(len(batch.crops) for batch in loader)
        return count / (time.perf_counter() - start)

    return measure


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
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.store:
            stores = [open_crops(options.store)]
        else:
            stores = [make_store(Path(folder) / f"{codec}.lmdb", options.pictures, codec) for codec in ("raw", "jpeg")]
        for store in stores:
            ways = {f"alexnet, {count} threads": ours(store, count) for count in options.threads}
            ways |= {f"plain, {count} processes": plain(store, count) for count in options.threads}
            rates: dict[str, list[float]] = {name: [] for name in ways}
            for repeat in range(options.repeats + 1):
                for name, measure in ways.items():
                    rate = measure()
                    if repeat:  # the first pass warms the page cache
                        rates[name].append(rate)
            print(f"{store.codec}, {len(store):,} crops")
            for name, values in rates.items():
                print(
                    f"  {name:22} {statistics.median(values):9,.0f} crops/s  ({min(values):,.0f} … {max(values):,.0f})"
                )


if __name__ == "__main__":
    main()
