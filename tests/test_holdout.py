"""`alexnet preprocess --holdout`: two stores of one source, stable, stratified, copies together."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from miniature import jpeg, tar_of
from preprocessing import content, fails, preprocess

from alexnet_cli.artifacts.crops.shards import open_crops
from alexnet_cli.cli import main
from alexnet_cli.errors import UsageError
from alexnet_stages.preprocess.config import PreprocessConfig
from alexnet_stages.preprocess.holdout import choose


def both(source: Path, folder: Path, holdout: float = 0.25, **options: Any) -> tuple[Any, Any]:
    """Names, labels, classes, digest, records of the two stores."""
    train, held = folder / "train.lmdb", folder / "val.lmdb"
    preprocess(source, train, holdout=holdout, holdout_out=held, **options)
    return content(train), content(held)


def write_tree(root: Path, counts: dict[str, int]) -> dict[str, bytes]:
    files = {
        f"{name}/{number:03d}.jpg": jpeg(1000 * index + number)
        for index, (name, count) in enumerate(counts.items())
        for number in range(count)
    }
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return files


def test_the_hash_of_the_name_decides(tmp_path: Path) -> None:
    files = write_tree(tmp_path / "in", {"ape": 40, "bat": 30})
    train, held = both(tmp_path / "in", tmp_path)
    expected = sorted(name for name in files if int(hashlib.sha256(name.encode()).hexdigest()[:16], 16) / 2**64 < 0.25)
    assert 8 < len(expected) < 28
    assert list(held[0]) == expected
    assert list(train[0]) == sorted(set(files) - set(expected))
    assert train[2].names == held[2].names == ("ape", "bat")
    assert [train[2].names[label] for label in train[1]] == [name[:3] for name in train[0]]
    whole = tmp_path / "whole.lmdb"
    preprocess(tmp_path / "in", whole)
    names, _, _, _, records = content(whole)
    by_name = dict(zip(names, records, strict=True))
    for side in (train, held):
        assert side[4] == [by_name[name] for name in side[0]]


def test_a_picture_stays_on_its_side_when_others_are_added(tmp_path: Path) -> None:
    write_tree(tmp_path / "in", {"ape": 40, "bat": 30})
    train, held = both(tmp_path / "in", tmp_path / "a")
    write_tree(tmp_path / "in", {"ape": 60, "bat": 50, "cat": 20})
    more_train, more_held = both(tmp_path / "in", tmp_path / "b")
    assert set(train[0]) < set(more_train[0])
    assert set(held[0]) < set(more_held[0])
    assert set(more_held[1]) == {0, 1, 2}


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.5, 0.99])
def test_each_class_has_about_the_fraction_and_is_on_both_sides(fraction: float) -> None:
    rng = np.random.default_rng(5)
    labels = np.sort(rng.choice(60, 6000, p=rng.dirichlet(np.full(60, 0.5)))).tolist()
    labels = [*labels, 60, 60, 61]  # two pictures; one
    names = [f"{label}/{number}.jpg" for number, label in enumerate(labels)]
    held = choose(names, labels, range(len(names)), fraction)
    counts = Counter(labels)
    out = Counter(label for label, there in zip(labels, held, strict=True) if there)
    for label, count in counts.items():
        if count == 1:
            assert out[label] == 0
            continue
        assert 1 <= out[label] < count
        # A binomial number, within five standard deviations, and the one that keeps a class on both sides.
        assert abs(out[label] - fraction * count) <= 1 + 5 * (count * fraction * (1 - fraction)) ** 0.5
    assert abs(sum(held) / len(names) - fraction) < 0.02


def test_copies_of_one_file_stay_on_one_side(tmp_path: Path) -> None:
    files = write_tree(tmp_path / "in", {"ape": 20, "bat": 20})
    for number, data in enumerate(files.values()):  # a copy of each, in the other class
        other = "bat" if number < 20 else "ape"
        (tmp_path / "in" / other / f"copy{number:03d}.jpg").write_bytes(data)
    train, held = both(tmp_path / "in", tmp_path)
    of = {path.relative_to(tmp_path / "in").as_posix(): path.read_bytes() for path in (tmp_path / "in").rglob("*.jpg")}
    sides = [{of[name] for name in side[0]} for side in (train, held)]
    assert not sides[0] & sides[1]
    assert len(train[0]) + len(held[0]) == 80
    assert set(train[1]) == {0, 1}


def test_every_class_keeps_a_picture_to_train_on() -> None:
    """Class 1 has only copies of class 0's pictures, all of which would be held out."""
    names, labels = ["a/0", "a/1", "a/2", "b/0"], [0, 0, 0, 1]
    for copied in range(3):
        held = choose(names, labels, [0, 1, 2, copied], 0.9)
        assert held[3] == held[copied] == 0


def test_a_tar_is_divided_as_its_folder_is(tmp_path: Path) -> None:
    files = write_tree(tmp_path / "in", {"ape": 12, "bat": 9})
    (tmp_path / "in.tar").write_bytes(tar_of(reversed(files.items())))
    assert both(tmp_path / "in", tmp_path / "a") == both(tmp_path / "in.tar", tmp_path / "b")


def test_update_knows_both_stores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tree(tmp_path / "in", {"ape": 12, "bat": 9})
    words = ["preprocess", str(tmp_path / "in"), "--out", str(tmp_path / "t.lmdb"), "--holdout", "0.25"]
    words += ["--holdout-out", str(tmp_path / "v.lmdb"), "--workers", "1", "--json", "--update"]

    def result(*more: str) -> dict[str, Any]:
        assert main([*words, *more]) == 0
        printed: dict[str, Any] = json.loads(capsys.readouterr().out)
        return printed

    first = result()
    assert first["pictures"] + first["held_out"]["pictures"] == 21
    assert "up_to_date" not in first
    again = result()
    assert again["up_to_date"] and again["held_out"]["up_to_date"]
    assert again["digest"] == first["digest"]
    name = open_crops(tmp_path / "v.lmdb").names[0]
    (tmp_path / "in" / name).write_bytes(jpeg(77))
    changed = result()
    assert changed["up_to_date"] and "up_to_date" not in changed["held_out"]
    assert changed["held_out"]["digest"] != first["held_out"]["digest"]
    other = result("--holdout", "0.5")
    assert "up_to_date" not in other and "up_to_date" not in other["held_out"]


def test_nothing_is_published_where_one_side_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = write_tree(tmp_path / "in", {"ape": 12, "bat": 9})
    held = both(tmp_path / "in", tmp_path / "good")[1][0]
    (tmp_path / "in" / held[0]).write_bytes(b"no picture")
    words = (tmp_path / "in", "--out", tmp_path / "t.lmdb", "--holdout", "0.25", "--holdout-out", tmp_path / "v.lmdb")
    code, line = fails(capsys, *words)
    assert code == 3 and held[0] in line
    assert not (tmp_path / "t.lmdb").exists() and not (tmp_path / "v.lmdb").exists()
    (tmp_path / "in" / held[0]).write_bytes(files[held[0]])
    assert main(["preprocess", *map(str, words), "--workers", "1", "--quiet"]) == 0
    assert content(tmp_path / "t.lmdb") == content(tmp_path / "good/train.lmdb")
    assert content(tmp_path / "v.lmdb") == content(tmp_path / "good/val.lmdb")
    assert {entry.name for entry in tmp_path.iterdir()} == {"in", "good", "t.lmdb", "v.lmdb"}


def test_an_existing_second_store_is_refused_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tree(tmp_path / "in", {"ape": 4, "bat": 4})
    (tmp_path / "v.lmdb").mkdir()
    (tmp_path / "v.lmdb" / "mine").write_text("x")
    words = (tmp_path / "in", "--out", tmp_path / "t.lmdb", "--holdout", "0.25", "--holdout-out", tmp_path / "v.lmdb")
    assert fails(capsys, *words)[0] == 2
    assert not (tmp_path / "t.lmdb").exists()


def test_single_pictures_are_kept_for_training_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tree(tmp_path / "in", {"ape": 1, "bat": 1})
    words = ("--holdout", "0.25", "--holdout-out", tmp_path / "v.lmdb")
    code, line = fails(capsys, tmp_path / "in", "--out", tmp_path / "t.lmdb", *words)
    assert code == 3 and "no picture can be held out" in line
    write_tree(tmp_path / "in", {"ape": 1, "bat": 1, "cat": 12})
    main(["preprocess", str(tmp_path / "in"), "--out", str(tmp_path / "t.lmdb"), *map(str, words), "--workers", "1"])
    said = capsys.readouterr().err
    assert "NONE HELD OUT of 2 classes, such as ape" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"holdout": 0.1}, "belong together"),
        ({"holdout_out": Path("v.lmdb")}, "belong together"),
        ({"holdout": 0.0, "holdout_out": Path("v.lmdb")}, "must lie between 0 and 1"),
        ({"holdout": 1.0, "holdout_out": Path("v.lmdb")}, "must lie between 0 and 1"),
        ({"holdout": float("nan"), "holdout_out": Path("v.lmdb")}, "must lie between 0 and 1"),
        ({"holdout": 0.1, "holdout_out": Path("t.lmdb")}, "choose another"),
        ({"holdout": 0.1, "holdout_out": Path("in/v.lmdb")}, "lies inside the pictures' folder"),
        ({"holdout": 0.1, "holdout_out": Path("v.lmdb"), "shard": "1/2"}, "leave --shard out"),
    ],
)
def test_options_that_cannot_be_meant_are_usage_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        PreprocessConfig(source=Path("in"), out=Path("t.lmdb"), **options)
