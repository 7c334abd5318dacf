"""The five stages one after the other, as a user types them: what must be true of all of them together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from alexnet_cli.artifacts.crops.shards import open_crops
from alexnet_cli.cli import main

COLOURS = {"zebra": (200, 40, 40), "ant": (40, 200, 40), "Bee": (40, 40, 200)}
CLASSES = ["Bee", "ant", "zebra"]
"""In sorted order, capitals first, as Python and `LC_ALL=C sort` have it."""


def write_pictures(root: Path, count: int, seed: int) -> None:
    """JPEGs of noise in their class's colour, of varied sizes."""
    rng = np.random.default_rng(seed)
    for name, colour in COLOURS.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            height, width = rng.integers(40, 90, 2)
            pixels = np.clip(rng.normal(colour, 30, (height, width, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.JPEG", quality=95)


def command(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    """Run one; what it says with --json."""
    assert main([*map(str, words), "--quiet", "--json"]) == 0
    printed = capsys.readouterr()
    assert printed.err == "", "nothing but the result"
    result: dict[str, Any] = json.loads(printed.out)
    return result


def test_class_order_digests_and_errors_hold_from_pictures_to_ensemble(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], narrow: list[str]
) -> None:
    write_pictures(tmp_path / "pictures" / "train", 10, 0)
    write_pictures(tmp_path / "pictures" / "val", 4, 1)
    train, val, stats = tmp_path / "train.lmdb", tmp_path / "val.lmdb", tmp_path / "stats.h5"

    made = command(capsys, "preprocess", tmp_path / "pictures" / "train", "--out", train, "--workers", 1)
    assert (made["pictures"], made["classes"], made["rejected"]) == (30, 3, 0)
    words = ["preprocess", tmp_path / "pictures" / "val", "--out", val, "--classes", train, "--workers", 1]
    assert command(capsys, *words)["pictures"] == 12
    summed = command(capsys, "pca", train, "--out", stats)
    assert summed["pictures"] == 30 and len(summed["eigenvalues"]) == 3

    runs, scores = [tmp_path / "runs" / name for name in "12"], [tmp_path / f"{name}.h5" for name in "12"]
    for seed, run in enumerate(runs, 1):
        words = ["train", train, "--val", val, "--stats", stats, "--out", run, "--seed", seed, "--devices", "cpu"]
        words += ["--recipe", "quickstart", "--batch-size", 5, "--epochs", 8, "--rate", 0.003]
        sets = [*narrow, "training.changes=[]"]
        trained = command(capsys, *words, *(word for text in sets for word in ("--set", text)))
        assert trained["steps"] == 48
        assert trained["top1_error"] <= 0.25, "by chance it would be 0.67"
    evaluated = [
        command(capsys, "eval", run, val, "--out", out, "--devices", "cpu")
        for run, out in zip(runs, scores, strict=True)
    ]
    together = command(capsys, "ensemble", *scores, "--crops", val, "--out", tmp_path / "ensemble")
    assert [member["top1_error"] for member in together["members"]] == [each["top1_error"] for each in evaluated]
    assert together["top1_error"] <= 0.25

    with h5py.File(tmp_path / "ensemble" / "scores.h5") as file:
        assert file["classes"].asstr()[...].tolist() == CLASSES
        names, labels = file["names"].asstr()[...].tolist(), file["labels"][...].tolist()
    assert [CLASSES[label] for label in labels] == [name.split("/")[0] for name in names]
    assert list(open_crops(train).classes.names) == list(open_crops(val).classes.names) == CLASSES
    for run in runs:
        config = json.loads((run / "config.json").read_text())
        assert config["recipe"]["net"]["classes"] == 3
        assert config["parents"]["crops"] == open_crops(train).digest
        for checkpoint in (run / "checkpoints").iterdir():
            assert json.loads((checkpoint / "config.json").read_text())["classes"] == CLASSES
    for path in scores:
        with h5py.File(path) as file:
            assert json.loads(file.attrs["manifest"])["parents"]["crops"] == open_crops(val).digest
