"""How fast this machine is: each stage in miniature, as the commands run it, on a few of your pictures."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from alexnet_cli.artifacts.crops.shards import open_crops
from alexnet_cli.artifacts.run import RunFolder
from alexnet_cli.console import Talk
from alexnet_cli.devices import choose_device
from alexnet_cli.errors import PictureError, ResourceError
from alexnet_cli.imagenet import CLASSES
from alexnet_cli.recipes.read import load_recipe
from alexnet_cli.sources.gather import in_tar
from alexnet_cli.sources.tars import Archive, extension_of, is_picture
from alexnet_cli.timing.evaluating import evaluation_rate
from alexnet_cli.timing.measure import Timed, time_recipe
from alexnet_commands.contest.config import ContestConfig

EVALUATED = 64
"""Trial pictures that are evaluated, times ten views."""
_ROUNDS = 3
"""Of training steps, whose median counts."""
_GENERATED = (375, 500)
"""Rows and columns of a generated picture: ImageNet's most frequent shape."""


@dataclass(frozen=True, kw_only=True)
class Rate:
    """A number of pictures in a second, and where it comes from."""

    per_second: float
    source: str


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What the plan's hours and bytes are made of."""

    decoded: Rate
    """`alexnet preprocess`."""
    read: Rate
    """`alexnet pca`."""
    trained: Rate
    """`alexnet train`, a net of five convolutions, as `alexnet time` measures it."""
    evaluated: Rate
    """`alexnet eval`, ten views."""
    jpeg_bytes: float
    """A crop with codec jpeg, on disk."""
    jpeg_source: str

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        rates = {name: getattr(self, name) for name in ("decoded", "read", "trained", "evaluated")}
        return {
            **{f"{name}_per_second": rate.per_second for name, rate in rates.items()},
            "sources": {name: rate.source for name, rate in rates.items()},
            "jpeg_bytes": self.jpeg_bytes,
        }


def find_rates(config: ContestConfig, talk: Talk) -> Rates:
    """The rates that were given, else those of finished nets, else measured now."""
    known = {
        name: Rate(per_second=getattr(config, f"{name}_per_second"), source="given")
        for name in ("decoded", "read", "evaluated")
        if getattr(config, f"{name}_per_second") is not None
    }
    trained = _trained(config)
    if trained is not None:
        known["trained"] = trained
    wants_jpeg = "jpeg" in (config.codec, config.fall2011_codec if config.fall2011 else "")
    jpeg = (40_000.0, "as `alexnet preprocess --help` says") if not wants_jpeg else None
    if len(known) < 4 or jpeg is None:
        with tempfile.TemporaryDirectory(prefix="alexnet-plan-") as folder:
            trial = _Trial(config, Path(folder), talk)
            if jpeg is None:
                jpeg = trial.jpeg_bytes(), f"measured on {trial.what}"
            for name in ("decoded", "read", "trained", "evaluated"):
                if name not in known:
                    known[name] = Rate(per_second=getattr(trial, name)(), source=f"measured on {trial.what}")
    return Rates(**known, jpeg_bytes=jpeg[0], jpeg_source=jpeg[1])


def _trained(config: ContestConfig) -> Rate | None:
    if config.images_per_second is not None:
        return Rate(per_second=config.images_per_second, source="given")
    for number in range(1, config.members + 1):
        run = RunFolder(config.out / "nets" / f"cnn-{number}")
        if run.finished:
            return Rate(per_second=float(run.manifest().details["images_per_second"]), source=f"of {run.path}")
    return None


class _Trial:
    """A few pictures through every stage, each stage when its rate is requested."""

    def __init__(self, config: ContestConfig, folder: Path, talk: Talk) -> None:
        self.config, self.folder, self.talk = config, folder, talk
        self.what = self._make_pictures()
        (folder / "classes.txt").write_text("".join(f"n{index:08d}\n" for index in range(CLASSES)))
        self.raw = self._preprocess("raw")

    def decoded(self) -> float:
        """Pictures/s of preprocessing to raw crops."""
        return float(self.raw["pictures_per_second"])

    def jpeg_bytes(self) -> float:
        """Bytes on disk of a crop in codec jpeg."""
        result = self._preprocess("jpeg")
        return float(result["bytes"]) / int(result["pictures"])

    def read(self) -> float:
        """Crops/s of the statistics."""
        result = self._alexnet("pca", "raw.lmdb", "--out", "raw.h5")
        return int(result["pictures"]) / float(result["seconds"])

    def trained(self) -> float:
        """Pictures/s of training on the trial's crops, as `alexnet time --loader` measures it."""
        config = self.config
        recipe = load_recipe(config.recipe).with_options(net={"classes": CLASSES})
        self.talk.say(f"measuring: steps of recipe {recipe.name}")
        job = Timed(
            recipe=recipe,
            devices=config.devices,
            precision=config.precision,
            loader=self.folder / "raw.lmdb",
            repeats=_ROUNDS,
            limit=False,
        )
        return time_recipe(job).images_per_second

    def evaluated(self) -> float:
        """Pictures/s in ten views, the first mini-batch not counted."""
        config, store = self.config, open_crops(self.folder / "raw.lmdb")
        self.talk.say(f"measuring: eval of {len(store):,} pictures in ten views")
        device, size = choose_device(config.devices), min(EVALUATED, max(1, len(store) // 2))
        return evaluation_rate(load_recipe(config.recipe), store, device, config.precision, batch_size=size)

    def _preprocess(self, codec: str) -> dict[str, Any]:
        words = ("--classes", "classes.txt", "--allow-missing", "--allow-bad", str(self.config.trial_pictures))
        return self._alexnet("preprocess", "pictures", "--out", f"{codec}.lmdb", "--codec", codec, *words)

    def _alexnet(self, *words: str) -> dict[str, Any]:
        self.talk.say(f"measuring: alexnet {words[0]}")
        program = [sys.executable, "-m", "alexnet_cli", *words, "--json", "--quiet"]
        path = os.pathsep.join(path for path in sys.path if path)  # the same program, wherever it was imported from
        environment = {**os.environ, "PYTHONPATH": path}
        done = subprocess.run(program, cwd=self.folder, capture_output=True, text=True, check=False, env=environment)
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["no message"]
            raise ResourceError(
                f"the rate of `alexnet {words[0]}` can't be measured ({lines[-1].removeprefix('alexnet: ')}): "
                f"give it (see `alexnet contest --help`)"
            )
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    def _make_pictures(self) -> str:
        """Pictures in class folders; what they are, in words."""
        wanted = self.config.trial_pictures
        count = 0
        for data, ending in pictures_in(self.config.data):
            self._place(count, ending).write_bytes(data)
            count += 1
            if count == wanted:
                break
        if count:
            return f"{count:,} pictures of {self.config.data}"
        for index in range(wanted):
            _generate(self._place(index, ".jpeg"), index)
        return f"{wanted:,} generated pictures"

    def _place(self, index: int, ending: str) -> Path:
        folder = self.folder / "pictures" / f"n{index % 2:08d}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{index:06d}{ending}"


def pictures_in(data: Path | None) -> Iterator[tuple[bytes, str]]:
    """The content and ending of pictures in a folder, in tars, and in tars of tars."""
    if data is None:
        return
    files = [data] if data.is_file() else (Path(root, name) for root, _, names in os.walk(data) for name in names)
    for path in files:
        if path.is_file() and is_picture(path.name):
            yield path.read_bytes(), extension_of(path.name)
        elif path.is_file() and extension_of(path.name) == ".tar":
            with contextlib.suppress(PictureError):
                yield from ((picture.read(), extension_of(picture.path)) for picture in in_tar(Archive(path)))


def _generate(path: Path, seed: int) -> None:
    """A JPEG of ImageNet's usual shape and about its mean size, 110 kB."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize(_GENERATED[::-1], Image.Resampling.BICUBIC), np.int16)
    noisy = smooth + rng.integers(-24, 25, smooth.shape, dtype=np.int16)
    buffer = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=85)
    path.write_bytes(buffer.getvalue())
