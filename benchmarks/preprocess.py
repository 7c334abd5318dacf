"""Preprocessing beside its own crop function, bare decoding, and plain Pillow doing the same; interleaved in one run.

$ .venv/bin/python benchmarks/preprocess.py                                       # synthetic 500×375 JPEGs
$ .venv/bin/python benchmarks/preprocess.py --pictures DATA/train --plain-python /tmp/plain/bin/python

Pillow and pillow-simd are two builds of one module and can't live in one environment: --plain-python names a Python
that has plain Pillow and numpy, in which the plain measurements run. Each Python is a process of its own; they take
turns, one measurement each, and the medians are printed. Rates are pictures per second of processor time (user and
system, workers included), so that other work on the machine disturbs them little; of the whole command also per
second of the clock. The crop function runs in as many processes at once as the command has workers: cores that share
memory and caches are slower together than one alone. The whole command works on one and on several copies of each
picture: the difference is its rate without start and end, which a large set hardly feels. Removing what it wrote is not
counted. The last line says what it does beside cropping, each part alone.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import multiprocessing
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

try:
    import lmdb
    from crc32c import crc32c
except ImportError:  # a Python with plain Pillow and numpy alone
    pass

SIDE = 256
IMAGE = Image.new("RGB", (SIDE, SIDE))
CROP = IMAGE.tobytes()
COPIES = bytearray(len(CROP)), bytearray(len(CROP))
FIRST = "copy-0"
"""Folder of the pictures; the others hold copies with other bytes after their end."""


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


def hashing(path: str) -> object:
    """The SHA-256 by which duplicates are known."""
    return hashlib.sha256(Path(path).read_bytes(), usedforsecurity=False).digest()


def summing(path: str) -> object:
    """A crop's checksum."""
    return crc32c(CROP)


def copying(path: str) -> object:
    """A crop from Pillow's memory, over the one that is shared with the workers, to that of its transaction."""
    room, step = memoryview(COPIES[0]), memoryview(COPIES[1])
    room[:] = IMAGE.tobytes()
    step[:] = room
    return step


def storing(paths: Sequence[str], place: str) -> None:
    """Crops to disk, in transactions as the command makes them, in memory that is kept as it keeps it."""
    from alexnet_cli.memory import keep_freed_blocks
    from alexnet_stages.preprocess.cropping import STEP

    keep_freed_blocks()

    with lmdb.open(place, map_size=1 << 34, lock=False) as environment:
        for start in range(0, len(paths), STEP):
            with environment.begin(write=True) as transaction:
                for number in range(start, min(start + STEP, len(paths))):
                    transaction.put(b"%08d" % number, CROP)


def at_once(work: Callable[[str], object], paths: Sequence[str], processes: int) -> None:
    """The same work on the same pictures in several processes at the same time."""

    def all_of_it() -> None:
        for path in paths:
            work(path)

    if processes == 1:
        all_of_it()
        return
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=all_of_it) for _ in range(processes)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def whole_command(folder: str, workers: int, place: str) -> None:
    """`alexnet preprocess`: walk, crop, checksum, store, sync."""
    from alexnet_stages.preprocess.config import PreprocessConfig
    from alexnet_stages.preprocess.run import run

    out = Path(place) / "crops.lmdb"
    run(PreprocessConfig(source=Path(folder), out=out, unlabelled=True, workers=workers, quiet=True))


MEASURED: dict[str, Callable[[str], object]] = {
    "decode": decode,
    "plain": plain,
    "plain_box": plain_box,
    "ours": ours,
    "hash": hashing,
    "sum": summing,
    "copy": copying,
}


def used() -> tuple[float, float]:
    """Processor seconds of this process and its children so far, and the clock."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in both), time.perf_counter()


def serve(folder: str) -> None:
    """Measure what stdin names, a line at a time; answer with pictures per processor second and per clock second."""
    paths = sorted(str(path) for path in Path(folder).rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    once = [path for path in paths if Path(path).parent.name == FIRST]
    for line in sys.stdin:
        what, _, number = line.strip().partition(" ")
        chosen = paths if what == "command" else once
        times = int(number or 1) if what in MEASURED else 1
        with tempfile.TemporaryDirectory() as place:
            before = used()
            if what in ("command", "first"):
                whole_command(folder if what == "command" else str(Path(folder) / FIRST), int(number), place)
            elif what == "store":
                storing(chosen, place)
            else:
                at_once(MEASURED[what], chosen, times)
            processor, clock = (after - start for after, start in zip(used(), before, strict=True))
        print(times * len(chosen) / processor, times * len(chosen) / clock, flush=True)


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


def report(rates: dict[str, list[tuple[float, float]]], copies: int, mine: str, other: str) -> None:
    """Medians, and what matters: the ratios to the crop function, to decoding, and to plain Pillow."""
    labels = {
        "decode": f"decoding alone (Pillow {mine})",
        "plain": f"plain Pillow {other}: convert, resize, crop",
        "plain_box": f"plain Pillow {other}: resize with a box",
        "ours 1": f"alexnet's crop function (Pillow {mine})",
    }
    labels |= {
        what: f"the same in {what.split()[1]} processes at once"
        for what in rates
        if what.startswith("ours ") and what != "ours 1"
    }
    commands = [what for what in rates if what.startswith("command")]
    labels |= {what: f"alexnet preprocess --workers {what.split()[1]}, all" for what in commands}
    medians = {what: statistics.median(rate for rate, _ in found) for what, found in rates.items()}
    print(f"{'pictures per processor second':<46}{'median':>8}{'× crop':>9}{'× decoding':>12}{'× plain':>9}")
    for what, label in labels.items():
        crop = f"ours {what.split()[1]}" if what in commands else "ours 1"
        against = (medians[what] / medians[other_] for other_ in (crop, "decode", "plain"))
        ratios = "".join(f"{ratio:>{width}.2f}" for ratio, width in zip(against, (9, 12, 9), strict=True))
        print(f"{label:<46}{medians[what]:>8.0f}{ratios}")
    for what in commands:
        workers, found = int(what.split()[1]), []
        for which in (0, 1):  # of processor time, by the clock
            first, all_ = (
                statistics.median(pair[which] for pair in rates[name]) for name in (f"first {workers}", what)
            )
            found.append((copies - 1) / (copies / all_ - 1 / first))
        crop = f"ours {workers}"
        clock = found[1] / statistics.median(rate for _, rate in rates[crop])
        print(
            f"{labels[what]}, without start and end: {found[0] / medians[crop]:.2f} of the crop function, "
            f"{found[0] / medians['decode']:.2f} of decoding; by the clock {found[1]:.0f} pictures/s, {clock:.2f}"
        )
    parts = {"hash": "SHA-256", "sum": "checksum", "copy": "copies", "store": "LMDB and the disk"}
    spent = ", ".join(f"{text} {1e6 / medians[what]:.0f}" for what, text in parts.items())
    print(f"microseconds for each picture: cropping {1e6 / medians['ours 1']:.0f}; beside it {spent}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, help="a folder with JPEGs; default: synthetic ones")
    parser.add_argument("--count", type=int, default=300, help="how many pictures at most (default %(default)s)")
    parser.add_argument("--copies", type=int, default=8, help="of each picture, for the command (default %(default)s)")
    parser.add_argument("--workers", type=int, nargs="+", help="of the command; default: 1, a core each, two each")
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each (default %(default)s)")
    parser.add_argument("--quick", action="store_true", help="two rounds, two copies")
    parser.add_argument("--plain-python", default=sys.executable, help="a Python with plain Pillow and numpy")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / FIRST
        folder.mkdir()
        if options.pictures:
            found = sorted(path for path in options.pictures.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
            for number, path in enumerate(found[:: max(1, len(found) // options.count)][: options.count]):
                shutil.copy(path, folder / f"{number:04d}.jpg")
        else:
            synthetic(folder, options.count)
        sizes = [Image.open(io.BytesIO(path.read_bytes())).size for path in folder.iterdir()]
        copies = 2 if options.quick else options.copies
        for number in range(1, copies):
            (folder.parent / f"copy-{number}").mkdir()
            for path in folder.iterdir():
                (folder.parent / f"copy-{number}" / path.name).write_bytes(path.read_bytes() + bytes([number]))
        width, height = (statistics.median(values) for values in zip(*sizes, strict=True))
        rounds = 2 if options.quick else options.repeats
        from machine import about_machine  # not at the top: each of the command's workers would import torch with it

        print(f"{about_machine()}\n{copies} × {len(sizes)} JPEGs, median {width:.0f}×{height:.0f}; {rounds} rounds")
        measure(place, options, copies, rounds)


def measure(place: str, options: argparse.Namespace, copies: int, rounds: int) -> None:
    """Take turns, and print."""
    servers = {"mine": Server(sys.executable, place), "plain": Server(options.plain_python, place)}
    turns = {"decode": "mine", "plain": "plain", "plain_box": "plain", "ours 1": "mine"}
    turns |= dict.fromkeys(("hash", "sum", "copy", "store"), "mine")
    cores = os.cpu_count() or 1
    for workers in options.workers or sorted({1, cores, 2 * cores}):
        turns |= {f"ours {workers}": "mine", f"first {workers}": "mine", f"command {workers}": "mine"}
    rates: dict[str, list[tuple[float, float]]] = {what: [] for what in turns}
    for round_number in range(rounds + 1):
        for what, who in turns.items():
            rate = servers[who].measure(what)
            if round_number:  # the first round warms up
                rates[what].append(rate)
    report(rates, copies, version_of(sys.executable), version_of(options.plain_python))
    for server in servers.values():
        server.process.communicate()


if __name__ == "__main__":
    main()
