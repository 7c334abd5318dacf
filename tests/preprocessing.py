"""Pictures to preprocess, and preprocessing them: what the tests of `alexnet preprocess` share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from alexnet_cli.artifacts.crops.shards import open_crops
from alexnet_cli.cli import main
from alexnet_stages.preprocess.config import PreprocessConfig
from alexnet_stages.preprocess.result import Result
from alexnet_stages.preprocess.run import run


def save(path: Path, colour: int | tuple[int, ...] = (10, 20, 30), mode: str = "RGB", **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (40, 30), colour).save(path, options.pop("format", None), **options)
    return path


def save_noise(path: Path, seed: int, side: int = 60) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side + 20, 3), np.uint8)
    Image.fromarray(pixels).save(path, quality=90)
    return path


def preprocess(source: Path, out: Path, **options: Any) -> Result:
    return run(PreprocessConfig(source=source, out=out, **{"quiet": True, "workers": 1, **options}))


def content(path: Path) -> tuple[Any, ...]:
    store = open_crops(path)
    records = [bytes(store.stored(index)) for index in range(len(store))]
    result = store.names, store.labels.tolist(), store.classes, store.digest, records
    store.close()
    return result


def fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """The exit code and the one line on stderr."""
    code = main(["preprocess", "--quiet", "--workers", "1", *map(str, arguments)])
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1, printed.err
    return code, printed.err.removeprefix("alexnet: ").rstrip("\n")
