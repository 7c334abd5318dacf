"""How cost grows: pictures, classes, columns and ranks, from a model whose constants are measured here or counted.

$ .venv/bin/python benchmarks/growth.py                 # measures preprocess and pca on some hundred pictures
$ .venv/bin/python benchmarks/growth.py --no-timing     # bytes and memory alone, which other work does not disturb

Seconds are pictures times the seconds for one; bytes on disk are what LMDB takes for a raw crop; memory is what is kept
for each picture, on top of what a process has anyway. Parameters, operations and bytes sent are counted from recipes.
"""

from __future__ import annotations

import argparse
import tempfile
import tracemalloc
from pathlib import Path

from loader import make_store
from machine import about_machine
from preprocess import synthetic

from alexnet_cli.artifacts.crops.shards import open_crops
from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.artifacts.crops.writer import CropWriter, Record
from alexnet_cli.class_list import ClassList
from alexnet_cli.console import duration, size
from alexnet_cli.parallel.account import account, crop_bytes, map_bytes, state_bytes
from alexnet_cli.parallel.layout import choose_layout
from alexnet_cli.recipes.net import layers
from alexnet_cli.recipes.read import load_recipe
from alexnet_stages.pca.config import PcaConfig
from alexnet_stages.pca.run import run as pca
from alexnet_stages.preprocess.config import PreprocessConfig
from alexnet_stages.preprocess.run import run as preprocess

PICTURES = (1_000, 1_300_000, 15_000_000)
CLASSES = (10, 1_000, 10_184, 21_841)
RANKS = (1, 2, 4)
RAW_BYTES = 49 * 4096
"""A raw crop in LMDB: 196,608 bytes and a header in whole pages."""
VALIDATION = 50_000
BATCH = 128


def opened_bytes(pictures: int) -> float:
    """Bytes of memory for each picture of a store that is open: names, labels, checksums, digests."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "names.lmdb"
        names = (f"n{number % 1000:08d}/n{number % 1000:08d}_{number}.JPEG" for number in range(pictures))
        records = [Record(name, number % 1000, b"", 0, 0, bytes(16)) for number, name in enumerate(names)]
        writer = CropWriter(path, {})
        writer.commit(pictures, records, [])
        classes = ClassList(tuple(f"n{number:08d}" for number in range(1000)))
        writer.finish(classes, codec="raw", options={}, details={})
        writer.close()
        del records
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        store: CropStore = open_crops(path)
        kept = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert len(store) == pictures
        return kept / pictures


def seconds_for_one(pictures: int) -> tuple[float, float]:
    """Seconds of preprocess and of pca for one picture, on all cores: 500×375 JPEGs, raw crops."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "pictures"
        source.mkdir()
        synthetic(source, pictures)
        stored = Path(folder) / "crops.lmdb"
        cropped = preprocess(PreprocessConfig(source=source, out=stored, unlabelled=True, quiet=True))
        many = make_store(Path(folder) / "many.lmdb", 4 * pictures, "raw")
        summed = pca(PcaConfig(crops=many.path, out=Path(folder) / "stats.h5", quiet=True))
        return 1 / cropped.pictures_per_second, summed.seconds / len(many)


def show_pictures(options: argparse.Namespace) -> None:
    """Time, bytes and memory by the number of pictures."""
    kept = opened_bytes(options.opened)
    print(f"an open store keeps {kept:.0f} bytes for each picture")
    times = None if options.no_timing else seconds_for_one(options.pictures)
    print(f"{'pictures':>12}{'raw store':>12}{'open store':>12}{'preprocess':>14}{'pca':>12}")
    for count in PICTURES:
        seconds = [duration(count * one) for one in times] if times else ["", ""]
        line = f"{count:>12,}{size(count * RAW_BYTES):>12}{size(count * kept):>12}"
        print(f"{line}{seconds[0]:>14}{seconds[1]:>12}".rstrip())


def show_classes() -> None:
    """What the last layer costs, and the scores of a validation set in memory and on disk."""
    print(f"{'classes':>12}{'parameters':>14}{'MFLOP, forward':>16}{'checkpoint':>12}{f'scores of {VALIDATION:,}':>18}")
    for classes in CLASSES:
        net = load_recipe("paper").with_options(net={"classes": classes}).net
        parameters = sum(layer.parameters for layer in layers(net))
        flop = 2 * sum(layer.multiply_adds for layer in layers(net))
        scores = 2 * 4 * VALIDATION * classes
        print(f"{classes:>12,}{parameters:>14,}{flop / 1e6:>16,.0f}{size(8 * parameters):>12}{size(scores):>18}")


def show_columns() -> None:
    """The paper's net beside one column of it."""
    print(f"{'columns':>12}{'parameters':>14}{'MFLOP, forward':>16}{'maps of a batch':>18}")
    for recipe in ("one-column", "paper"):
        net = load_recipe(recipe).net
        parameters = sum(layer.parameters for layer in layers(net))
        flop = 2 * sum(layer.multiply_adds for layer in layers(net))
        maps = map_bytes(net, choose_layout("auto", 1, net)[0], BATCH)
        print(f"{net.columns:>12}{parameters:>14,}{flop / 1e6:>16,.0f}{size(maps):>18}")


def show_ranks() -> None:
    """What each rank holds, and what all send in a step of 128 pictures."""
    net = load_recipe("paper").net
    print(f"{'ranks':>6} {'parallel':<10}{'weights and momentum':>22}{'maps':>12}{'sent in a step':>18}")
    for ranks in RANKS:
        for mode in ("columns", "data", "hybrid") if ranks > 1 else ("auto",):
            layout, _ = choose_layout(mode, ranks, net)
            sent = sum(layer.sent_per_picture for layer in account(net, layout, BATCH)) + crop_bytes(net, layout)
            held, maps = state_bytes(net, layout), map_bytes(net, layout, BATCH)
            print(f"{ranks:>6} {layout.mode:<10}{size(held):>22}{size(maps):>12}{size(BATCH * sent):>18}")


def main() -> None:
    """Measure, count and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--pictures", type=int, default=600, help="that preprocess is timed on; pca on four times these"
    )
    parser.add_argument("--opened", type=int, default=50_000, help="records of the store whose memory is measured")
    parser.add_argument("--no-timing", action="store_true", help="bytes and memory alone")
    options = parser.parse_args()
    print(about_machine())
    show_pictures(options)
    show_classes()
    show_columns()
    show_ranks()


if __name__ == "__main__":
    main()
