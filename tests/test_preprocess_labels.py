"""`alexnet preprocess`: labels, class lists, and folders that are wrong."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from preprocessing import fails, preprocess, save

from alexnet_cli.artifacts.crops.shards import open_crops
from alexnet_cli.artifacts.crops.writer import CropWriter


@pytest.mark.parametrize("mark", [" ", "\t", ",", ", ", "  "])
def test_a_folder_takes_its_labels_from_a_file(tmp_path: Path, mark: str) -> None:
    for name in ("b.jpg", "a.jpg", "#c d.png", "deep/e.jpg"):
        save(tmp_path / "flat" / name)
    pairs = [("a.jpg", "hat"), ("./b.jpg", "cap"), ("#c d.png", "hat"), ("deep/e.jpg", "cap")]
    labels = tmp_path / "labels.txt"
    labels.write_bytes(
        b"\xef\xbb\xbf" + "\r\n".join(f"{name}{mark}{label}" for name, label in pairs).encode() + b"\n\n"
    )
    preprocess(tmp_path / "flat", tmp_path / "a.lmdb", labels=labels)
    store = open_crops(tmp_path / "a.lmdb")
    assert store.names == ["#c d.png", "a.jpg", "b.jpg", "deep/e.jpg"]
    assert store.classes.names == ("cap", "hat")
    assert store.labels.tolist() == [1, 1, 0, 0]
    store.close()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.jpg hat\nb.jpg cap\nc.jpg hat\n", "labels.txt, line 3: {root} has no picture c.jpg"),
        ("c.jpg x\na.jpg hat\nd.jpg cap\nb.jpg x", "labels.txt, line 1: {root} has no picture c.jpg (and 1 more such)"),
        ("a.jpg hat\n", "{root}/b.jpg: has no label in {labels}: add or remove it"),
        ("a.jpg hat\nb.jpg cap\na.jpg hat\n", "labels.txt, line 3: a.jpg has a label in line 1 already"),
        ("a.jpg hat\nb.jpg\n", "labels.txt, line 2: is not 'name label': 'b.jpg'"),
        ("a.jpg,hat\nb.jpg,\n", "labels.txt, line 2: is not 'name label': 'b.jpg,'"),
        ("a.jpg h\xe4t\n", "labels.txt, line 1: is not UTF-8 text: save the file as UTF-8"),
    ],
)
def test_labels_that_do_not_fit_are_named_with_their_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    root, labels = tmp_path / "flat", tmp_path / "labels.txt"
    for name in ("a.jpg", "b.jpg"):
        save(root / name)
    labels.write_bytes(text.encode("latin-1"))
    code, line = fails(capsys, root, "--out", tmp_path / "a.lmdb", "--labels", labels)
    assert code == 3
    assert line.endswith(message.format(root=root, labels=labels)), line


def test_a_label_file_that_is_not_there_is_named(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, line = fails(capsys, tree, "--out", tmp_path / "a.lmdb", "--labels", tmp_path / "none.txt")
    assert (code, line) == (3, f"{tmp_path}/none.txt: no such file: check the path")


def test_a_folder_may_have_no_labels(tree: Path, tmp_path: Path) -> None:
    result = preprocess(tree, tmp_path / "a.lmdb", unlabelled=True)
    store = open_crops(tmp_path / "a.lmdb")
    assert (result.pictures, result.classes) == (6, 0)
    assert store.labels.tolist() == [-1] * 6
    assert not store.labelled
    store.close()


def test_a_split_that_lacks_a_class_keeps_the_others_indices(tree: Path, tmp_path: Path) -> None:
    preprocess(tree, tmp_path / "train.lmdb")
    shutil.rmtree(tree / "bat")
    preprocess(tree, tmp_path / "val.lmdb", classes=tmp_path / "train.lmdb", allow_missing=True)
    names = tmp_path / "classes.txt"
    names.write_text("cat\nape\n\nbat\n")
    preprocess(tree, tmp_path / "text.lmdb", classes=names, allow_missing=True)
    expected = {"val": (("ape", "bat", "cat"), [0, 0, 0, 2, 2]), "text": (("cat", "ape", "bat"), [1, 1, 1, 0, 0])}
    for name, (classes, labels) in expected.items():
        store = open_crops(tmp_path / f"{name}.lmdb")
        assert store.classes.names == classes
        assert store.labels.tolist() == labels
        store.close()


def test_an_unlabelled_store_may_carry_a_class_list(tree: Path, tmp_path: Path) -> None:
    preprocess(tree, tmp_path / "train.lmdb")
    result = preprocess(tree, tmp_path / "test.lmdb", unlabelled=True, classes=tmp_path / "train.lmdb")
    assert (result.classes, open_crops(tmp_path / "test.lmdb").labelled) == (3, False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ape\nbat\n", "cat/0.JPEG: its class 'cat' is not among the 2 classes of"),
        ("ape\nbat\ncat\nbat\n", "classes.txt, line 4: the class 'bat' stands in line 2 already"),
        ("\n", "classes.txt: holds no class names"),
    ],
)
def test_a_class_list_that_does_not_fit_is_refused(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    (tmp_path / "classes.txt").write_text(text)
    code, line = fails(capsys, tree, "--out", tmp_path / "a.lmdb", "--classes", tmp_path / "classes.txt")
    assert code == 3
    assert message in line


def test_a_class_list_of_an_unfinished_store_is_refused(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    CropWriter(tmp_path / "train.lmdb", {}).close()
    code, line = fails(capsys, tree, "--out", tmp_path / "a.lmdb", "--classes", tmp_path / ".train.lmdb.alexnet-work")
    assert code == 4
    assert "is not a finished crop store" in line


# Wrong folders


def empty_class(root: Path) -> None:
    (root / "dog").mkdir()


def class_of_texts(root: Path) -> None:
    (root / "dog").mkdir()
    (root / "dog/notes.txt").touch()


def loose_picture(root: Path) -> None:
    save(root / "loose.jpg")


def nothing(root: Path) -> None:
    shutil.rmtree(root)
    root.mkdir()


def only_texts(root: Path) -> None:
    nothing(root)
    (root / "notes.txt").touch()


def missing(root: Path) -> None:
    shutil.rmtree(root)


def a_file(root: Path) -> None:
    shutil.rmtree(root)
    root.write_text("hello")


def splits(root: Path) -> None:
    shutil.move(root, root.with_name("inner"))
    root.mkdir()
    shutil.move(root.with_name("inner"), root / "train")


def loop(root: Path) -> None:
    (root / "ape/again").symlink_to(root)


def latin_name(root: Path) -> None:
    shutil.copy(root / "cat/1.jpg", os.fsdecode(os.fsencode(root / "cat") + b"/\xe4.jpg"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (empty_class, "pictures/dog: the class folder holds no pictures: remove it, or put its pictures in"),
        (class_of_texts, "pictures/dog: the class folder holds no pictures: remove it, or put its pictures in"),
        (
            loose_picture,
            "pictures/loose.jpg: lies in no class folder: make one folder for each class",
        ),
        (nothing, "pictures: holds no pictures: check the path (it is empty)"),
        (only_texts, "pictures: holds no pictures: check the path (other files: 1 .txt)"),
        (missing, "pictures: no such folder: check the path"),
        (a_file, "pictures: is a file, neither a folder of pictures nor a tar"),
        (splits, "pictures: holds train, not class folders: give one, such as"),
        (loop, "pictures/ape/again: is a link to a folder above it: remove it"),
        (latin_name, "\\udce4.jpg': its name is not UTF-8: rename it"),
    ],
)
def test_a_wrong_folder_is_named_with_what_to_do(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Callable[[Path], None], message: str
) -> None:
    change(tree)
    code, line = fails(capsys, tree, "--out", tmp_path / "a.lmdb")
    assert code == 3
    assert message in line
    assert not (tmp_path / "a.lmdb").exists()
