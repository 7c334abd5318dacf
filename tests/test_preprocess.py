"""`alexnet preprocess`: from folders of pictures to a crop store, bad pictures, and outputs that can't be made."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crc32c import crc32c
from PIL import Image
from preprocessing import content, fails, preprocess, save, save_noise

from alexnet_cli.artifacts.common.working import only_writer
from alexnet_cli.artifacts.crops.shards import open_crops
from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.cli import main
from alexnet_cli.decoders import active_pillow
from alexnet_cli.errors import AlexNetError, PictureError
from alexnet_cli.pictures import crop_of
from alexnet_stages.preprocess import pool
from alexnet_stages.preprocess.config import PreprocessConfig
from alexnet_stages.preprocess.sources import Located

SAMPLES = Path(__file__).parents[2] / "shared" / "data" / "imagenet-samples.tar"


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
    monkeypatch.setattr(pool.Job, "room", 1000)
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
        "truncated": 0,
    }


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
        f"{tree}/ape/b.png: is empty, and 2 more (listed in {tmp_path}/.a.lmdb.alexnet-work/rejects.tsv): repair or "
        "remove, or give --allow-bad 3 to leave out (the good ones are not done again)"
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
        "cat/0.JPEG\tis a web page or XML, not a picture\n"
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
        f"{tmp_path}/precious: is not a crop store, so it is not replaced: choose another --out",
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
        (["--filter", "cubic"], "--filter cubic: must be nearest, box, bilinear, hamming, bicubic or lanczos"),
        (["--codec", "png"], "--codec png: must be raw or jpeg"),
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
    def refuse(**_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
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


def test_the_stage_opens_no_torch(tree: Path, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from alexnet_stages.preprocess.run import run\n"
        "from alexnet_stages.preprocess.config import PreprocessConfig\n"
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
