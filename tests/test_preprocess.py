"""`alexnet preprocess`: from folders of pictures to a crop store, and one line for whatever is wrong with them."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crc32c import crc32c
from PIL import Image

from alexnet_cli.artifacts.crops import CropStore, open_crops
from alexnet_cli.artifacts.crops_writer import CropWriter
from alexnet_cli.artifacts.publish import only_writer
from alexnet_cli.cli import main
from alexnet_cli.errors import AlexNetError, PictureError, ResourceError
from alexnet_cli.pictures import active_pillow, crop_of
from stages.preprocess import pool
from stages.preprocess import run as run_module
from stages.preprocess.config import PreprocessConfig
from stages.preprocess.result import Result
from stages.preprocess.run import run
from stages.preprocess.sources import Located

SAMPLES = Path(__file__).parents[2] / "shared" / "data" / "imagenet-samples.tar"

# Runs `alexnet` as the installed command would, in a process that a test may kill.
COMMAND = [sys.executable, "-m", "alexnet_cli"]


def save(path: Path, colour: int | tuple[int, ...] = (10, 20, 30), mode: str = "RGB", **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (40, 30), colour).save(path, options.pop("format", None), **options)
    return path


def save_noise(path: Path, seed: int, side: int = 60) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side + 20, 3), np.uint8)
    Image.fromarray(pixels).save(path, quality=90)
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Three classes: cat 2, ape 3 (one in a folder further down), bat 1 pictures."""
    root = tmp_path / "pictures"
    for number, name in enumerate(["cat/1.jpg", "cat/0.JPEG", "ape/b.png", "ape/a/z.jpg", "ape/c.bmp", "bat/x.gif"]):
        save_noise(root / name, number)
    return root


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Two classes of 300 pictures: three steps and many chunks."""
    root = tmp_path / "many"
    for number in range(600):
        save_noise(root / f"class{number % 2}" / f"{number:03d}.jpg", number, side=40)
    return root


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


# What is stored


def test_a_tree_becomes_a_store_with_sorted_classes_and_paths(tree: Path, tmp_path: Path) -> None:
    result = preprocess(tree, tmp_path / "a.lmdb")
    store = open_crops(tmp_path / "a.lmdb")
    assert store.classes.names == ("ape", "bat", "cat")
    assert store.names == ["ape/a/z.jpg", "ape/b.png", "ape/c.bmp", "bat/x.gif", "cat/0.JPEG", "cat/1.jpg"]
    assert store.labels.tolist() == [0, 0, 0, 1, 2, 2]
    for index, name in enumerate(store.names):
        assert np.array_equal(store.read(index), crop_of((tree / name).read_bytes())[0])
    store.close()
    assert (result.pictures, result.classes, result.rejected, result.digest) == (6, 3, 0, store.digest)
    assert sorted(file.name for file in (tmp_path / "a.lmdb").iterdir()) == [
        "data.mdb",
        "manifest.json",
        "report.json",
        "report.txt",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.lmdb", "pictures"]


def test_the_manifest_tells_how_the_store_was_made(tree: Path, tmp_path: Path) -> None:
    preprocess(tree, tmp_path / "a.lmdb", filter="lanczos", exif_rotation=False)
    manifest = open_crops(tmp_path / "a.lmdb").manifest
    assert manifest.options == {"filter": "lanczos", "codec": "raw", "exif_rotation": False}
    assert manifest.details["pictures"] == 6
    assert manifest.details["source"] == str(tree)
    assert manifest.details["pillow"] == active_pillow()
    assert manifest.details["small"] == 6


@pytest.mark.parametrize("codec", ["raw", "jpeg"])
def test_the_stored_bytes_do_not_depend_on_the_number_of_workers(many: Path, tmp_path: Path, codec: str) -> None:
    for workers in (1, 2, 3):
        preprocess(many, tmp_path / f"{workers}.lmdb", workers=workers, codec=codec)
    assert content(tmp_path / "1.lmdb") == content(tmp_path / "2.lmdb") == content(tmp_path / "3.lmdb")
    files = [(tmp_path / f"{workers}.lmdb/data.mdb").read_bytes() for workers in (1, 2, 3)]
    assert files[0] == files[1] == files[2]


def test_jpeg_crops_are_small_and_close(tree: Path, tmp_path: Path) -> None:
    preprocess(tree, tmp_path / "raw.lmdb")
    for quality in (50, 95):
        preprocess(tree, tmp_path / f"{quality}.lmdb", codec="jpeg", quality=quality)
    raw, low, high = (open_crops(tmp_path / f"{name}.lmdb") for name in ("raw", 50, 95))
    assert len(low.stored(0)) < len(high.stored(0)) < len(raw.stored(0)) / 3
    error = [np.abs(store.read(0).astype(int) - raw.read(0)).mean() for store in (low, high)]
    assert error[1] < error[0]
    assert high.manifest.options["quality"] == 95
    for store in (raw, low, high):
        store.close()


def test_a_jpeg_larger_than_its_room_comes_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    for name in ("1.png", "2.png"):
        Image.fromarray(pixels).save(tmp_path / name)
    expected = io.BytesIO()
    Image.fromarray(pixels).save(expected, "JPEG", quality=100)
    job = pool.Job(filter="bilinear", exif_rotation=True, codec="jpeg", quality=100)
    monkeypatch.setattr(pool, "RECORD_BYTES", 1000)
    pictures = [Located(name, str(tmp_path / name)) for name in ("1.png", "2.png")]
    stored = [pair for pairs in pool.crops_in_order(pictures, job, workers=1) for pair in pairs]
    assert [bytes(value) for _, value in stored] == [expected.getvalue()] * 2
    assert [outcome.crc for outcome, _ in stored] == [crc32c(expected.getvalue())] * 2


def test_other_files_and_hidden_ones_are_ignored_and_counted(tree: Path, tmp_path: Path) -> None:
    for name in ("ape/notes.txt", "ape/more.TXT", "cat/LICENSE", "cat/.DS_Store", "cat/._0.JPEG", "readme.md"):
        (tree / name).write_text("hello")
    (tree / "__MACOSX").mkdir()
    result = preprocess(tree, tmp_path / "a.lmdb")
    assert result.pictures == 6
    assert result.ignored == {".txt": 2, "no extension": 1, "hidden": 3, ".md": 1}
    assert result.as_json()["ignored"] == 7


def test_linked_files_and_folders_are_followed(tree: Path, tmp_path: Path) -> None:
    (tree / "ape/linked.jpg").symlink_to(tree / "cat/1.jpg")
    (tree / "dog").symlink_to(tree / "cat")
    result = preprocess(tree, tmp_path / "a.lmdb")
    assert (result.pictures, result.classes) == (9, 4)


def test_the_summary_counts_what_is_noteworthy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "in"
    exif = Image.Exif()
    exif[0x0112] = 6
    save(root / "a/grey.png", 7, "L")
    save(root / "a/cmyk.jpg", (0, 0, 0, 9), "CMYK")
    save(root / "a/alpha.png", (1, 2, 3, 4), "RGBA")
    save(root / "b/turned.jpg", exif=exif)
    save(root / "a/png.JPEG", format="PNG")
    (root / "a/notes.txt").touch()
    (root / "a/bad.jpg").touch()
    out = tmp_path / "a.lmdb"
    assert main(["preprocess", str(root), "--out", str(out), "--json", "--allow-bad", "1", "--workers", "1"]) == 0
    printed = json.loads(capsys.readouterr().out)
    expected = {
        "pictures": 5,
        "classes": 2,
        "rejected": 1,
        "greyscale": 1,
        "cmyk": 1,
        "converted": 1,
        "rotated": 1,
        "small": 5,
        "wrong_extension": 1,
        "ignored": 1,
        "continued": 0,
    }
    assert {name: printed[name] for name in expected} == expected
    assert printed["seconds"] > 0
    assert printed["bytes"] > 5 * 196_608
    assert printed["store"] == str(out)
    assert printed["pillow"] == active_pillow()


def test_people_read_a_summary_and_progress(tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["preprocess", str(tree), "--out", str(tmp_path / "a.lmdb"), "--workers", "1"]) == 0
    printed = capsys.readouterr()
    facts = dict(line.split(None, 1) for line in printed.out.splitlines()[1:])
    assert facts["pictures"] == "6"
    assert facts["classes"] == "3, 1 (bat) to 3 (ape) of each, median 2, largest : smallest = 3.0"
    assert facts["noteworthy"] == "1 converted, 6 enlarged"
    assert "pictures/s with pillow" in facts["time"]
    assert facts["report"] == f"{tmp_path}/a.lmdb/report.txt"
    assert sorted(facts) == ["classes", "noteworthy", "pictures", "report", "size", "time"]
    assert "cropping: 6/6" in printed.err


def test_preprocess_says_nothing_on_stdout_but_json(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["preprocess", str(tree), "--out", str(tmp_path / "a.lmdb"), "--json", "--quiet"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["pictures"] == 6
    assert printed.err == ""


def test_the_real_samples_go_through(tmp_path: Path) -> None:
    if not SAMPLES.exists():
        pytest.skip("no imagenet-samples.tar here")
    with tarfile.open(SAMPLES) as archive:
        archive.extractall(tmp_path, filter="data")
    shutil.copy(tmp_path / "defective/n02105855_2933.JPEG", tmp_path / "train/n02105855")
    result = preprocess(tmp_path / "train", tmp_path / "a.lmdb", workers=2)
    assert (result.pictures, result.classes, result.rejected) == (107, 106, 0)
    assert result.facts == {
        "greyscale": 6,
        "cmyk": 0,
        "converted": 1,
        "rotated": 1,
        "small": 12,
        "wrong_extension": 1,
        "animated": 0,
    }


# Labels and class lists


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
        ("a.jpg hat\nb.jpg\n", "labels.txt, line 2: is no 'name label': 'b.jpg'"),
        ("a.jpg,hat\nb.jpg,\n", "labels.txt, line 2: is no 'name label': 'b.jpg,'"),
        ("a.jpg h\xe4t\n", "labels.txt, line 1: is no UTF-8 text: save the file as UTF-8"),
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
    assert (code, line) == (3, f"{tmp_path}/none.txt: there is no such file: check the path")


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
    for name in ("val", "text"):
        store = open_crops(tmp_path / f"{name}.lmdb")
        assert store.classes.names == ("ape", "bat", "cat")
        assert store.labels.tolist() == [0, 0, 0, 2, 2]
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
    code, line = fails(capsys, tree, "--out", tmp_path / "a.lmdb", "--classes", tmp_path / "train.lmdb.partial")
    assert code == 4
    assert "is no finished crops" in line


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
        (missing, "pictures: there is no such folder: check the path"),
        (a_file, "pictures: is a file, not a folder of pictures"),
        (splits, "pictures: holds train, not class folders: give one, such as"),
        (loop, "pictures/ape/again: is a link to a folder above it: remove it"),
        (latin_name, "\\udce4.jpg': its name is no UTF-8: rename it"),
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


# Bad pictures


def spoil(tree: Path) -> None:
    (tree / "ape/b.png").write_bytes(b"")
    (tree / "cat/0.JPEG").write_text("<html>")
    (tree / "cat/gone.jpg").symlink_to("nowhere.jpg")


@pytest.mark.parametrize("workers", [1, 2])
def test_bad_pictures_end_the_command_when_all_others_are_done(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], workers: int
) -> None:
    spoil(tree)
    code, line = fails(capsys, tree, "--out", tmp_path / "a.lmdb", "--workers", workers)
    assert code == 3
    assert line == (
        f"{tree}/ape/b.png: is empty, and 2 more (listed in {tmp_path}/a.lmdb.partial/rejects.tsv): repair or remove, "
        "or give --allow-bad 3 to leave out (the good ones are not done again)"
    )
    assert not (tmp_path / "a.lmdb").exists()
    assert fails(capsys, tree, "--out", tmp_path / "a.lmdb", "--allow-bad", 2)[0] == 3


def test_allowed_bad_pictures_are_left_out_and_listed(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(tree)
    result = preprocess(tree, tmp_path / "a.lmdb", allow_bad=5)
    assert (result.pictures, result.rejected) == (4, 3)
    assert (tmp_path / "a.lmdb/rejects.tsv").read_text() == (
        "ape/b.png\tis empty\n"
        "cat/0.JPEG\tis a web page or XML, no picture\n"
        "cat/gone.jpg\tcan't be read: No such file or directory\n"
    )
    store = open_crops(tmp_path / "a.lmdb")
    assert store.names == ["ape/a/z.jpg", "ape/c.bmp", "bat/x.gif", "cat/1.jpg"]
    assert store.labels.tolist() == [0, 0, 1, 2]
    store.close()
    assert "rejects.tsv lists 3 pictures that were left out" in capsys.readouterr().err


def test_allowing_bad_pictures_later_does_no_good_one_again(tree: Path, tmp_path: Path) -> None:
    spoil(tree)
    with pytest.raises(PictureError):
        preprocess(tree, tmp_path / "a.lmdb")
    result = preprocess(tree, tmp_path / "a.lmdb", allow_bad=3)
    assert (result.continued, result.pictures, result.rejected) == (7, 4, 3)
    preprocess(tree, tmp_path / "b.lmdb", allow_bad=3)
    assert content(tmp_path / "a.lmdb") == content(tmp_path / "b.lmdb")


def test_a_repaired_picture_is_seen(tree: Path, tmp_path: Path) -> None:
    spoil(tree)
    with pytest.raises(PictureError):
        preprocess(tree, tmp_path / "a.lmdb")
    for number, name in enumerate(("ape/b.png", "cat/0.JPEG")):
        save_noise(tree / name, number)
    (tree / "cat/gone.jpg").unlink()
    result = preprocess(tree, tmp_path / "a.lmdb")
    assert (result.continued, result.pictures, result.rejected) == (0, 6, 0)
    assert not (tmp_path / "a.lmdb/rejects.tsv").exists()


def test_a_folder_of_nothing_but_bad_pictures_makes_no_store(tree: Path, tmp_path: Path) -> None:
    for path in tree.rglob("*.*"):
        path.write_text("hello")
    with pytest.raises(PictureError, match="not one of its 6 pictures can be read"):
        preprocess(tree, tmp_path / "a.lmdb", allow_bad=100)
    assert not (tmp_path / "a.lmdb").exists()


# Outputs


def test_an_existing_output_is_kept_unless_overwritten(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.lmdb"
    preprocess(tree, out)
    code, line = fails(capsys, tree, "--out", out)
    assert (code, line) == (2, f"{out}: exists already: give --overwrite to replace it, or another --out")
    shutil.rmtree(tree / "cat")
    preprocess(tree, out, overwrite=True)
    assert len(content(out)[0]) == 4


def test_overwriting_never_destroys_what_is_no_crop_store(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    precious = save(tmp_path / "precious/photo.jpg")
    code, line = fails(capsys, tree, "--out", tmp_path / "precious", "--overwrite")
    assert (code, line) == (
        2,
        f"{tmp_path}/precious: is no crop store, so --overwrite spares it: choose another --out",
    )
    assert precious.exists()


def test_the_output_lies_neither_in_nor_around_the_pictures(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fails(capsys, tree, "--out", tree / "a.lmdb") == (
        2,
        f"--out {tree}/a.lmdb: lies inside the pictures' folder {tree}: choose another --out",
    )
    code, line = fails(capsys, tree, "--out", tmp_path, "--overwrite")
    assert (code, line) == (2, f"--out {tmp_path}: holds the pictures' folder {tree}: choose another --out")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--filter", "cubic"], "--filter cubic: is none of nearest, box, bilinear, hamming, bicubic, lanczos"),
        (["--codec", "png"], "--codec png: is none of raw, jpeg"),
        (["--labels", "x", "--unlabelled"], "--labels x and --unlabelled contradict each other: give one of them"),
        (["--quality", "0"], "--quality 0: must lie from 1 to 100"),
        (["--allow-bad", "-1"], "--allow-bad -1: must be 0 or more"),
        (["--workers", "-1"], "'--workers'"),
        (["--nonsense"], "No such option: --nonsense"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: Sequence[str], message: str
) -> None:
    code, line = fails(capsys, tree, "--out", tmp_path / "a.lmdb", *arguments)
    assert code == 2
    assert message in line


@pytest.mark.parametrize(("name", "value"), [("quality", 101), ("workers", -1), ("allow_bad", -1)])
def test_the_config_checks_numbers_where_there_is_no_command_line(tree: Path, name: str, value: int) -> None:
    options: dict[str, Any] = {name: value}
    with pytest.raises(AlexNetError, match=f"--{name.replace('_', '-')} {value}: must"):
        PreprocessConfig(source=tree, out=Path("a.lmdb"), **options)


def test_two_at_once_on_one_output_are_one_too_many(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with only_writer(tmp_path / "a.lmdb"):
        code, line = fails(capsys, tree, "--out", tmp_path / "a.lmdb")
    assert code == 5
    assert line.startswith(f"{tmp_path}/a.lmdb: another process (pid {os.getpid()}) is writing it")
    preprocess(tree, tmp_path / "a.lmdb")


def test_an_output_that_cannot_be_made_is_one_line(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path / "file/a.lmdb", Path("/proc/a.lmdb")):
        code, line = fails(capsys, tree, "--out", out)
        assert code == 5
        assert str(out) in line


def test_a_read_only_file_system_is_one_line(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(Path, "touch", refuse)
    code, line = fails(capsys, tree, "--out", tmp_path / "a.lmdb")
    assert (code, line) == (5, f"{tmp_path}/a.lmdb: the file system is read-only: choose another --out")


def test_too_little_space_is_known_before_the_work(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    code, line = fails(capsys, tree, "--out", tmp_path / "a.lmdb")
    assert (code, line) == (
        5,
        f"{tmp_path}/a.lmdb: the disk is too full: 1.3 MB needed, 1.0 MB free: "
        "free some space, choose another --out, or use --codec jpeg",
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_a_disk_that_fills_up_is_one_line_and_the_work_goes_on_later(many: Path, tmp_path: Path, workers: int) -> None:
    out = tmp_path / "a.lmdb"
    script = (
        "import resource, sys; from alexnet_cli.cli import main\n"
        "if __name__ == '__main__':\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (80_000_000, resource.RLIM_INFINITY)); sys.exit(main())"
    )
    command = [sys.executable, "-c", script, "preprocess", str(many), "-o", str(out), "-q", "--workers", str(workers)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr == (f"alexnet: {out}: the disk is full: free some space, then run the same command again\n")
    result = preprocess(many, out)
    assert (result.continued, result.pictures) == (256, 600)


# Killed, stopped, crashed


def start(source: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    command = [*COMMAND, "preprocess", str(source), "--out", str(out), "--workers", "2", *more]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)


def wait_for_a_step(out: Path, process: subprocess.Popen[str]) -> None:
    """Until the second transaction of 50 MB is on its way to the disk."""
    data = out.with_name(out.name + ".partial") / "data.mdb"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if data.exists() and data.stat().st_size > 60_000_000:
            return
        time.sleep(0.005)
    pytest.fail(f"no step was written: {process.communicate()}")


def alive(group: int) -> bool:
    """Whether any process of a group still runs."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def nobody_is_left(process: subprocess.Popen[str]) -> bool:
    deadline = time.monotonic() + 10
    while alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(process.pid)


@pytest.fixture
def slow_pictures(tmp_path: Path) -> Path:
    """Four steps of links to a picture that takes a while."""
    save_noise(tmp_path / "large/1.jpg", 1, side=300)
    root = tmp_path / "slow"
    for number in range(900):
        link = root / f"class{number % 3}" / f"{number:03d}.jpg"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(tmp_path / "large/1.jpg")
    return root


def test_killed_in_the_middle_the_same_command_continues_and_ends_the_same(slow_pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed.lmdb"
    process = start(slow_pictures, out)
    wait_for_a_step(out, process)
    process.kill()
    stderr = process.communicate()[1]
    assert process.returncode == -signal.SIGKILL
    assert stderr.startswith(f"{out}: 900 pictures to crop, about ")
    assert all(line.startswith("cropping: ") for line in stderr.splitlines()[1:]), stderr
    assert nobody_is_left(process)
    assert not out.exists()
    result = preprocess(slow_pictures, out)
    assert 256 <= result.continued < 900
    assert result.continued % 256 == 0
    preprocess(slow_pictures, tmp_path / "whole.lmdb", workers=2)
    assert content(out) == content(tmp_path / "whole.lmdb")
    sizes = [(path / "data.mdb").stat().st_size for path in (out, tmp_path / "whole.lmdb")]
    assert sizes[0] == sizes[1]
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"killed.lmdb", "whole.lmdb", "slow", "large"}


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (signal.SIGINT, 130, "alexnet: interrupted: the same command goes on where it stopped"),
        (signal.SIGTERM, 75, "alexnet: stopped by SIGTERM: the same command goes on where it stopped"),
    ],
)
def test_stopped_it_leaves_one_line_the_partial_and_nobody(
    slow_pictures: Path, tmp_path: Path, number: signal.Signals, code: int, said: str
) -> None:
    out = tmp_path / "a.lmdb"
    process = start(slow_pictures, out, "--quiet")
    wait_for_a_step(out, process)
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    assert (*process.communicate(), process.returncode) == ("", said + "\n", code)
    assert nobody_is_left(process)
    assert not out.exists()
    assert {path.name for path in tmp_path.iterdir()} == {"a.lmdb.partial", "slow", "large"}


def test_a_worker_that_dies_ends_the_command_in_one_line(tree: Path, tmp_path: Path) -> None:
    names = [f"{name}" for name in ("ape/b.png", "cat/0.JPEG") for _ in range(pool.CHUNK)]
    pictures = [Located(name, str(tree / name)) for name in names]
    job = pool.Job(filter="bilinear", exif_rotation=True, codec="raw", quality=95)
    workers = pool._Pool(job, 2)
    try:
        workers._workers[0].process.kill()
        with pytest.raises(
            ResourceError, match=r"a worker process died \(SIGKILL\).* run the same command again"
        ) as caught:
            for _ in workers.run(pictures * 20):
                pass
    finally:
        workers.close()
    assert caught.value.exit_code == 5


def test_a_worker_out_of_memory_ends_the_command_with_code_5(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(pool, "crop_image", exhausted)
    code, line = fails(capsys, tree, "--out", tmp_path / "a.lmdb")
    assert (code, line) == (5, "out of memory: use a smaller --batch-size or fewer --workers")


def test_other_options_or_pictures_begin_an_unfinished_store_again(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "a.lmdb"

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    for change in ({"filter": "box"}, {"codec": "jpeg"}, {"exif_rotation": False}, {"unlabelled": True}):
        with monkeypatch.context() as patch:
            patch.setattr(run_module, "_finish", stopped)
            with pytest.raises(KeyboardInterrupt):
                preprocess(tree, out)
        result = preprocess(tree, out, quiet=False, **change)
        assert result.continued == 0
        assert "had other pictures or options: starting again" in capsys.readouterr().err
        shutil.rmtree(out)


def test_interrupted_while_finishing_it_finishes_without_doing_any_picture_again(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.lmdb"

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "_finish", stopped)
        with pytest.raises(KeyboardInterrupt):
            preprocess(tree, out)
    assert preprocess(tree, out, quiet=False).continued == 6
    assert "going on after 6 of 6 pictures" in capsys.readouterr().err
    preprocess(tree, tmp_path / "b.lmdb")
    assert content(out) == content(tmp_path / "b.lmdb")


def test_the_stage_opens_no_torch(tree: Path, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from stages.preprocess.run import run\n"
        "from stages.preprocess.config import PreprocessConfig\n"
        "run(PreprocessConfig(source=Path(sys.argv[1]), out=Path(sys.argv[2]), workers=1, quiet=True))\n"
        "sys.exit('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", script, str(tree), str(tmp_path / "a.lmdb")]
    assert subprocess.run(command, check=False).returncode == 0


def test_a_walk_of_a_folder_that_cannot_be_listed_is_one_line(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    monkeypatch.setattr(os, "scandir", refuse)
    code, line = fails(capsys, tree, "--out", tmp_path / "a.lmdb")
    assert (code, line) == (5, f"{tree}: permission denied: choose another path, or ask for access")


def test_the_store_is_read_where_it_was_written_from(tree: Path, tmp_path: Path) -> None:
    """From a notebook: preprocess, read, preprocess again over it, read again, in one process."""
    out = tmp_path / "a.lmdb"
    preprocess(tree, out)
    before: CropStore = open_crops(out)
    preprocess(tree, out, overwrite=True, filter="box")
    after = open_crops(out)
    assert not np.array_equal(before.read(0), after.read(0))
    for store in (before, after):
        store.close()
