"""Data sets of Hugging Face in Parquet: pictures, labels and the order of classes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from miniature import jpeg
from preprocessing import content, preprocess
from test_sources_classes import refused, sources_of, write

from alexnet_cli.artifacts.crops.shards import open_crops

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

NAMES = ["zebra", "ape", "bat"]  # in the schema's order, which is not that of the letters
LABELS = [0, 2, 1, 1, 0, 2, 2, 0]
PICTURES = [jpeg(number) for number in range(8)]


def save(path: Path, columns: dict[str, list[Any]], features: dict[str, Any] | None) -> Path:
    table = pyarrow.table(columns)
    if features is not None:
        text = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": text})
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path, row_group_size=3)
    return path


FEATURES = {"image": {"_type": "Image"}, "label": {"names": NAMES, "_type": "ClassLabel"}}


def cells(pictures: list[bytes]) -> list[dict[str, Any]]:
    return [{"bytes": data, "path": None} for data in pictures]


def in_parts(root: Path, split: str = "train", labels: list[int] = LABELS) -> Path:
    for part, which in enumerate((slice(0, 5), slice(5, 8))):
        columns: dict[str, list[Any]] = {"image": cells(PICTURES[which]), "label": labels[which]}
        save(root / f"data/{split}-{part:05d}-of-00002.parquet", columns, FEATURES)
    return root


def test_the_schema_names_the_classes_in_their_order(tmp_path: Path) -> None:
    root = in_parts(tmp_path / "in")
    preprocess(root, tmp_path / "a.lmdb", workers=2)
    store = open_crops(tmp_path / "a.lmdb")
    assert store.classes.names == tuple(NAMES)
    assert store.labels.tolist() == LABELS
    assert store.names[0] == "train-00000-of-00002/0000000.jpg"
    store.close()
    for number, (data, label) in enumerate(zip(PICTURES, LABELS, strict=True)):
        write(tmp_path / "tree" / NAMES[label] / f"{number}.jpg", data)
    classes = write(tmp_path / "classes.txt", "\n".join(NAMES))
    preprocess(tmp_path / "tree", tmp_path / "b.lmdb", classes=classes)
    mine, theirs = content(tmp_path / "a.lmdb"), content(tmp_path / "b.lmdb")
    pairs = [sorted(zip(each[4], each[1], strict=True)) for each in (mine, theirs)]
    assert pairs[0] == pairs[1], "the same pictures give the same records and labels"
    assert not any(entry.name.startswith("unpacked") for entry in (tmp_path / "a.lmdb").iterdir())


def test_splits_files_and_given_classes(tmp_path: Path) -> None:
    root = in_parts(in_parts(tmp_path / "in"), "validation", [0, 0, 1, 1, 2, 2, 0, 1])
    assert "give --split train|val" in refused(root)
    assert list(sources_of(root, split="val").labels) == [0, 0, 1, 1, 2, 2, 0, 1]
    preprocess(root, tmp_path / "t.lmdb", split="train")
    val = sources_of(root, split="val", classes=tmp_path / "t.lmdb")
    assert (val.classes.names, list(val.labels)) == (tuple(NAMES), [0, 0, 1, 1, 2, 2, 0, 1])
    file = root / "data/train-00001-of-00002.parquet"
    assert list(sources_of(file, allow_missing=True).labels) == LABELS[5:]
    (root / "data/train-00000-of-00002.parquet").unlink()
    assert "lacks train-00000-of-00002.parquet: download it" in refused(root, split="train")


def test_the_folder_may_name_the_split(tmp_path: Path) -> None:
    columns: dict[str, list[Any]] = {"image": cells(PICTURES), "label": LABELS}
    for split in ("train", "test"):
        save(tmp_path / f"default/{split}/0000.parquet", columns, FEATURES)
    assert list(sources_of(tmp_path / "default", split="train").labels) == LABELS


def test_holdout_keeps_copies_together(tmp_path: Path) -> None:
    columns: dict[str, list[Any]] = {"image": cells(PICTURES + PICTURES), "label": LABELS + LABELS}
    path = save(tmp_path / "x.parquet", columns, FEATURES)
    preprocess(path, tmp_path / "t.lmdb", holdout=0.3, holdout_out=tmp_path / "v.lmdb")
    train, held = content(tmp_path / "t.lmdb"), content(tmp_path / "v.lmdb")
    assert len(train[0]) + len(held[0]) == 16
    assert not set(train[4]) & set(held[4])


def test_what_leaves_a_choice_is_refused(tmp_path: Path) -> None:
    image = cells(PICTURES)
    two = {**FEATURES, "coarse": {"names": ["x"], "_type": "ClassLabel"}}
    path = save(tmp_path / "a.parquet", {"image": image, "label": LABELS, "coarse": [0] * 8}, two)
    assert "has 2 columns of labels (label, coarse)" in refused(path)
    assert sources_of(path, label_column="coarse").classes.names == ("x",)
    assert list(sources_of(path, label_column="label").labels) == LABELS
    path = save(tmp_path / "b.parquet", {"image": image, "text": ["x"] * 8}, {"image": {"_type": "Image"}})
    assert "has no column of labels" in refused(path)
    assert list(sources_of(path, unlabelled=True).labels) == [-1] * 8
    path = save(tmp_path / "c.parquet", {"image": image, "label": [0, 1, 2, 3, 0, 1, 2, 0]}, FEATURES)
    assert "row 3: expected a label from 0 to 2, found '3'" in refused(path)
    path = save(tmp_path / "d.parquet", {"image": image, "label": [-1, *LABELS[1:]]}, FEATURES)
    assert "have the label -1, which is not a class" in refused(path)
    path = save(tmp_path / "e.parquet", {"image": [{"bytes": None, "path": "x.jpg"}] * 8, "label": LABELS}, FEATURES)
    assert "row 0 holds no picture, only a path" in refused(path)
    path.write_bytes(path.read_bytes()[:-40])
    assert "is damaged or cut off" in refused(path)
    twice = {**FEATURES, "label": {"names": ["ape", "ape", "bat"], "_type": "ClassLabel"}}
    path = save(tmp_path / "g.parquet", {"image": image, "label": LABELS}, twice)
    assert "names 'ape' twice" in refused(path)
    bare = save(tmp_path / "h.parquet", {"image": PICTURES, "label": [10.0, 9.0, 2.0, 2.0, 9.0, 10.0, 2.0, 9.0]}, None)
    assert sources_of(bare).classes.names == ("2", "9", "10")
    plain = save(tmp_path / "f.parquet", {"image": image, "label": [10, 9, 2, 2, 9, 10, 2, 9]}, None)
    assert sources_of(plain).classes.names == ("2", "9", "10")


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = in_parts(tmp_path / "in")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "is a Parquet file: pip install 'alexnet[parquet]', which reads it" in refused(root)
