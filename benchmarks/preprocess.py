"""Preprocessing on one core beside plain Pillow doing the same, and beside decoding alone; interleaved in one run.

$ .venv/bin/python benchmarks/preprocess.py                                       # synthetic 500×375 JPEGs
$ .venv/bin/python benchmarks/preprocess.py --pictures DATA/train --plain-python /tmp/plain/bin/python

Pillow and pillow-simd are two builds of one module and can't live in one environment: --plain-python names a Python
that has plain Pillow and numpy, in which the plain measurements run. Each Python is a process of its own; they take
turns, one measurement each, and the medians are printed. Rates are pictures per second of processor time (user and
system), so that other work on the machine disturbs them little; of the whole command also per second of the clock.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 256


def decode(path: str) -> object:
    """JPEG to pixels, nothing else: no program that decodes whole pictures is faster."""
    return Image.open(path).load()


def plain(path: str) -> object:
    """What one writes first: scale the shorter side to 256, cut out the centre."""
    image = Image.open(path).convert("RGB")
    scale = SIDE / min(image.size)
    size = max(SIDE, round(image.width * scale)), max(SIDE, round(image.height * scale))
    image = image.resize(size, Image.Resampling.BILINEAR)
    left, top = (image.width - SIDE) // 2, (image.height - SIDE) // 2
    return np.asarray(image.crop((left, top, left + SIDE, top + SIDE)))


def plain_box(path: str) -> object:
    """The same for someone who knows `box`: scale only what is kept."""
    image = Image.open(path).convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box))


def ours(path: str) -> object:
    """The stage's own function for one picture."""
    from alexnet_cli.pictures import crop_of, read_picture

    return crop_of(read_picture(path), name=path)


def whole_command(folder: str) -> None:
    """`alexnet preprocess` with one worker: walk, crop, checksum, store, sync."""
    from alexnet_stages.preprocess.config import PreprocessConfig
    from alexnet_stages.preprocess.run import run

    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "crops.lmdb"
        run(PreprocessConfig(source=Path(folder), out=out, unlabelled=True, workers=1, quiet=True))


MEASURED: dict[str, Callable[[str], object]] = {
    "decode": decode,
    "plain": plain,
    "plain_box": plain_box,
    "ours": ours,
}


def serve(folder: str) -> None:
    """Measure what stdin names, a line at a time; answer with pictures per processor second and per clock second."""
    paths = sorted(str(path) for path in Path(folder).rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    for line in sys.stdin:
        processor, clock = time.process_time(), time.perf_counter()
        if line.strip() == "command":
            whole_command(folder)
        else:
            function = MEASURED[line.strip()]
            for path in paths:
                function(path)
        used = time.process_time() - processor, time.perf_counter() - clock
        print(len(paths) / used[0], len(paths) / used[1], flush=True)


class Server:
    """A Python that measures on demand."""

    def __init__(self, python: str, folder: str) -> None:
        command = [python, __file__, "--serve", folder]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def measure(self, what: str) -> tuple[float, float]:
        """Pictures per processor second and per clock second."""
        assert self.process.stdin is not None and self.process.stdout is not None
        print(what, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline().split()
        if len(answer) != 2:
            raise SystemExit(f"{self.process.args!r} ended while measuring '{what}'")
        return float(answer[0]), float(answer[1])


def synthetic(folder: Path, count: int) -> None:
    """JPEGs of 500×375 with a photograph's spectrum, roughly: noise at five scales."""
    rng = np.random.default_rng(0)
    for number in range(count):
        total = np.zeros((375, 500, 3))
        for power in range(5):
            small = rng.normal(0, 6 * 2**power, (max(2, 375 >> power), max(2, 500 >> power), 3))
            channels = [Image.fromarray(small[..., channel].astype(np.float32)) for channel in range(3)]
            scaled = [channel.resize((500, 375), Image.Resampling.BICUBIC) for channel in channels]
            total += np.stack([np.asarray(channel) for channel in scaled], axis=-1)
        pixels = (128 + total / 2).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:04d}.jpg", quality=90)


def version_of(python: str) -> str:
    """Which Pillow a Python has."""
    code = "import PIL; print(PIL.__version__)"
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def report(rates: dict[str, list[tuple[float, float]]], mine: str, other: str) -> None:
    """Medians, and what matters: the ratios to plain Pillow."""
    labels = {
        "decode": f"decode alone (Pillow {mine})",
        "plain": f"plain Pillow {other}: convert, resize, crop",
        "plain_box": f"plain Pillow {other}: resize with a box",
        "ours": f"alexnet's crop function (Pillow {mine})",
        "command": f"alexnet preprocess --workers 1, store and all (Pillow {mine})",
    }
    medians = {what: statistics.median(rate for rate, _ in found) for what, found in rates.items()}
    title = "pictures per processor second, one core"
    print(f"{title:<62}{'median':>8}{'lowest':>8}{'highest':>8}{'× plain':>9}{'× box':>8}")
    for what, label in labels.items():
        values = [rate for rate, _ in rates[what]]
        ratios = f"{medians[what] / medians['plain']:>9.2f}{medians[what] / medians['plain_box']:>8.2f}"
        print(f"{label:<62}{medians[what]:>8.0f}{min(values):>8.0f}{max(values):>8.0f}{ratios}")
    clock = statistics.median(rate for _, rate in rates["command"])
    print(f"alexnet preprocess --workers 1 by the clock: {clock:.0f} pictures/s")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, help="a folder with JPEGs; default: synthetic ones")
    parser.add_argument("--count", type=int, default=300, help="how many pictures at most (default %(default)s)")
    parser.add_argument("--repeats", type=int, default=7, help="measurements of each (default %(default)s)")
    parser.add_argument("--plain-python", default=sys.executable, help="a Python with plain Pillow and numpy")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if options.pictures:
            found = sorted(path for path in options.pictures.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
            for number, path in enumerate(found[:: max(1, len(found) // options.count)][: options.count]):
                shutil.copy(path, folder / f"{number:04d}.jpg")
        else:
            synthetic(folder, options.count)
        sizes = [Image.open(io.BytesIO(path.read_bytes())).size for path in folder.iterdir()]
        width, height = (statistics.median(values) for values in zip(*sizes, strict=True))
        print(f"{len(sizes)} JPEGs, median {width:.0f}×{height:.0f}; {options.repeats} rounds; {os.cpu_count()} cores")
        servers = {"mine": Server(sys.executable, place), "plain": Server(options.plain_python, place)}
        turns = {"decode": "mine", "plain": "plain", "plain_box": "plain", "ours": "mine", "command": "mine"}
        rates: dict[str, list[tuple[float, float]]] = {what: [] for what in turns}
        for round_number in range(options.repeats + 1):
            for what, who in turns.items():
                rate = servers[who].measure(what)
                if round_number:  # the first round warms up
                    rates[what].append(rate)
        report(rates, version_of(sys.executable), version_of(options.plain_python))
        for server in servers.values():
            server.process.communicate()


if __name__ == "__main__":
    main()
