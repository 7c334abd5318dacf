"""Peak memory of `alexnet preprocess` for sets of many pictures: what grows with their number.

$ .venv/bin/python benchmarks/preprocess_memory.py                              # 5,000 and 20,000 pictures
$ .venv/bin/python benchmarks/preprocess_memory.py --pictures 20000 80000 200000

The pictures are hard links to a few tiny JPEGs, in 100 class folders, and the store's crops are JPEGs, so that little
disk is needed. Each size runs in a process of its own with one worker; printed are that process's peak resident memory
and how much each further picture took.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
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


def one(folder: str) -> None:
    """Preprocess, and print this process's peak memory in bytes and the seconds."""
    from stages.preprocess.config import PreprocessConfig
    from stages.preprocess.run import run

    source, out = Path(folder) / "train", Path(folder) / "crops.lmdb"
    start = time.perf_counter()
    run(PreprocessConfig(source=source, out=out, workers=1, codec="jpeg", quality=50, quiet=True))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, time.perf_counter() - start)


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
    print(f"{'pictures':>10}{'peak MB':>10}{'seconds':>10}{'bytes for each further picture':>33}")
    for pictures in options.pictures:
        with tempfile.TemporaryDirectory(dir=options.folder) as place:
            synthetic(Path(place), pictures)
            command = [sys.executable, __file__, "--one", place]
            answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        peak, seconds = float(answer[0]), float(answer[1])
        slope = "" if before is None else f"{(peak - before[1]) / (pictures - before[0]):,.0f}"
        print(f"{pictures:>10,}{peak / 1e6:>10.0f}{seconds:>10.0f}{slope:>33}", flush=True)
        before = pictures, peak


if __name__ == "__main__":
    main()
