"""What is not a source of pictures, or not a crop store, is named, with advice that can be followed."""

from __future__ import annotations

from pathlib import Path

import pytest
from miniature import DEVKIT, WNIDS, Miniature, jpeg, tar_of
from preprocessing import preprocess
from test_sources_classes import refused, sources_of, write

from alexnet_cli.artifacts.crops.shards import open_crops
from alexnet_cli.cli import main
from alexnet_cli.errors import ArtifactError
from alexnet_cli.imagenet import find_devkit


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("train-00000-of-01024", "holds TFRecord files, such as train-00000-of-01024"),
        ("cats.tfrecord", "holds TFRecord files"),
        ("data-00000-of-00002.arrow", "holds Arrow files of Hugging Face"),
        ("data.mdb", "is an LMDB of another program"),
    ],
)
def test_folders_of_other_programs_are_named(name: str, what: str, tmp_path: Path) -> None:
    write(tmp_path / "in" / name, b"x" * 1000)
    line = refused(tmp_path / "in")
    assert line.startswith(f"{tmp_path}/in: {what}")
    assert line.endswith("write its pictures into one folder for each class, and give the folder above")


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("train/data-00000-of-00001.arrow", "Arrow files of Hugging Face"),
        ("val/data.mdb", "LMDBs of another program"),
        ("train/a.tfrecord", "TFRecord files"),
        ("x.npy", "arrays of numpy"),
    ],
)
def test_what_lies_in_folders_without_pictures_is_named(name: str, what: str, tmp_path: Path) -> None:
    write(tmp_path / "in" / name, b"x" * 1000)
    write(tmp_path / "in/readme.txt", b"x")
    assert refused(tmp_path / "in").startswith(f"{tmp_path}/in: holds {what}, which are not read: write its pictures")


@pytest.mark.parametrize(
    ("name", "start", "what"),
    [
        ("a.7z", b"7z\xbc\xaf", "is a 7z archive, which is not read: unpack it"),
        ("a.arrow", b"ARROW1", "is an Arrow file"),
        ("train-00000-of-01024", b"\0", "is a TFRecord file"),
    ],
)
def test_files_of_other_programs_are_named(name: str, start: bytes, what: str, tmp_path: Path) -> None:
    assert refused(write(tmp_path / name, start + bytes(1000))).startswith(f"{tmp_path}/{name}: {what}")


def test_a_crop_store_is_no_source_and_pictures_are_no_crop_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("cat", "dog"):
        write(tmp_path / "in" / name / "a.jpg", jpeg(1))
    preprocess(tmp_path / "in", tmp_path / "a.lmdb")
    assert "is a crop store already: give it to alexnet pca, train or eval" in refused(tmp_path / "a.lmdb")
    write(tmp_path / "in.tar", tar_of([("cat/a.jpg", jpeg(1))]))
    for source in (tmp_path / "in", tmp_path / "in" / "cat", tmp_path / "in.tar"):
        with pytest.raises(ArtifactError) as caught:
            open_crops(source)
        advice = f"make a crop store of it first: alexnet preprocess {source} --out NAME.lmdb"
        assert str(caught.value) == f"{source}: is made of pictures: {advice}"
    assert main(["pca", str(tmp_path / "in"), "--out", str(tmp_path / "stats.h5"), "--quiet"]) == 4
    assert "make a crop store of it first" in capsys.readouterr().err


def test_a_folder_in_a_tar_can_be_given_as_the_advice_says(tmp_path: Path) -> None:
    files = [(f"imagenet/{name}/a.jpg", jpeg(number)) for number, name in enumerate(("cat", "dog"))]
    path = write(tmp_path / "x.tar", tar_of(files))
    assert f"give {path}/imagenet" in refused(path)
    sources = sources_of(path / "imagenet")
    assert (list(sources.names), list(sources.labels)) == (["cat/a.jpg", "dog/a.jpg"], [0, 1])
    assert refused(path / "nothing") == f"{path}: holds no folder nothing: check the path"


def test_a_checksum_beside_a_devkit_is_no_devkit(tmp_path: Path) -> None:
    made = Miniature(tmp_path)
    write(tmp_path / f"{DEVKIT}.md5", "fa75699e90414af021442c21a62c3abf")
    assert find_devkit(tmp_path) is None
    made.devkit()
    assert find_devkit(tmp_path) == tmp_path / DEVKIT
    assert sources_of(made.train_tar()).classes.names == WNIDS
