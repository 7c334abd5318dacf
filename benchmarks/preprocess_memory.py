"""Peak memory of `alexnet preprocess` for sets of many pictures: what grows with their number.

$ .venv/bin/python benchmarks/preprocess_memory.py                              # 5,000 and 20,000 pictures
$ .venv/bin/python benchmarks/preprocess_memory.py --pictures 20000 80000 200000

The pictures are hard links to a few tiny JPEGs, in 100 class folders, and the store's crops are JPEGs, so that little
disk is needed. Each size runs in a process of its own with one worker. Printed are that process's peak of memory of its
own (anonymous pages, looked at fifty times a second), how much each further picture took of it, and its peak with the
pages of the store that happen to be mapped, which the system takes back whenever it needs them. Linux only.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = 100
DIFFERENT = 64


def synthetic(folder: Path, pictures: int) -> None:
    """`pictures` hard links in class folders, named as ImageNet names its files."""
    rng = np.random.default_rng(0)
    originals = []
    for number in range(DIFFERENT):
        path = folder / f"{number}.jpg"
        Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8)).save(path, quality=50)
        originals.append(path)
    for number in range(pictures):
        place = folder / "train" / f"n{number % CLASSES:08d}"
        place.mkdir(parents=True, exist_ok=True)
        os.link(originals[number % DIFFERENT], place / f"n{number % CLASSES:08d}_{number}.JPEG")


def memory(what: str) -> int:
    """A line of this process's status in bytes: RssAnon, its own memory now; VmHWM, its highest resident memory."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"this kernel does not tell {what}")


class Watch(threading.Thread):
    """Remembers the highest own memory until it is stopped."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = memory("RssAnon")
        self.stopped = threading.Event()

    def run(self) -> None:
        """Look every 20 ms."""
        while not self.stopped.wait(0.02):
            self.peak = max(self.peak, memory("RssAnon"))


def one(folder: str) -> None:
    """Preprocess, and print this process's peak memory, own and all, in bytes, and the seconds."""
    from alexnet_stages.preprocess.config import PreprocessConfig
    from alexnet_stages.preprocess.run import run

    source, out = Path(folder) / "train", Path(folder) / "crops.lmdb"
    start = time.perf_counter()
    watch = Watch()
    watch.start()
    run(PreprocessConfig(source=source, out=out, workers=1, codec="jpeg", quality=50, quiet=True))
    watch.stopped.set()
    print(watch.peak, memory("VmHWM"), time.perf_counter() - start)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, nargs="+", default=[5000, 20_000], help="sizes, ascending")
    parser.add_argument("--folder", help="where the temporary folder is made (default: the system's)")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one(options.one)
        return
    before: tuple[int, float] | None = None
    print(f"{'pictures':>10}{'own MB':>10}{'bytes each further':>20}{'with mapped MB':>16}{'seconds':>10}")
    for pictures in options.pictures:
        with tempfile.TemporaryDirectory(dir=options.folder) as place:
            synthetic(Path(place), pictures)
            command = [sys.executable, __file__, "--one", place]
            answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        peak, mapped, seconds = map(float, answer)
        slope = "" if before is None else f"{(peak - before[1]) / (pictures - before[0]):,.0f}"
        print(f"{pictures:>10,}{peak / 1e6:>10.0f}{slope:>20}{mapped / 1e6:>16.0f}{seconds:>10.0f}", flush=True)
        before = pictures, peak


if __name__ == "__main__":
    main()
