"""The sources of `alexnet preprocess`: each form of the same pictures becomes the same store."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from miniature import IDS, TEST_TAR, TRAIN_TAR, VAL_TAR, WNIDS, WORDS, Miniature, tar_of

from alexnet_cli.artifacts.crops.shards import open_crops
from alexnet_cli.cli import main
from alexnet_cli.errors import PictureError
from alexnet_cli.pictures import crop_of
from alexnet_stages.preprocess.config import PreprocessConfig
from alexnet_stages.preprocess.run import run
from alexnet_stages.preprocess.sources import Located, Sources, find_sources, read_located
from alexnet_stages.preprocess.sources.listing import Listing

SAMPLES = Path(__file__).parents[2] / "shared" / "data" / "imagenet-samples.tar"


@pytest.fixture
def made(tmp_path: Path) -> Miniature:
    return Miniature(tmp_path / "in")


def sources_of(source: Path, **options: Any) -> Sources:
    return find_sources(PreprocessConfig(source=source, out=Path("/nowhere/x.lmdb"), **options))


def bytes_of(sources: Sources) -> dict[str, bytes]:
    return {picture.name: read_located(picture) for picture in sources.pictures}


def stored(source: Path, out: Path, **options: Any) -> tuple[str, list[bytes], list[int]]:
    """Digest, records and labels of a source's store."""
    run(PreprocessConfig(source=source, out=out, **{"quiet": True, "workers": 1, **options}))
    store = open_crops(out)
    result = store.digest, [bytes(store.stored(index)) for index in range(len(store))], store.labels.tolist()
    store.close()
    return result


# The same pictures in every form


def test_every_form_of_train_becomes_the_same_store(made: Miniature, tmp_path: Path) -> None:
    forms: dict[str, tuple[Path, dict[str, Any]]] = {
        "folders": (made.folders(), {}),
        "tar": (made.train_tar(), {}),
        "folder of class tars": (made.class_tars(), {}),
        "kaggle": (made.kaggle(), {"split": "train"}),
        "tar of folders": (made.write("tree.tar", tar_of(made.train.items())), {}),
        "tar of splits": (
            made.write("splits.tar", tar_of((f"./train/{name}", data) for name, data in made.train.items())),
            {},
        ),
    }
    stores = {form: stored(path, tmp_path / f"{form}.lmdb", **options) for form, (path, options) in forms.items()}
    names = sorted(made.train)
    expected = [crop_of(made.train[name], name=name)[0].tobytes() for name in names]
    for form, (digest, records, labels) in stores.items():
        assert records == expected, form
        assert labels == [WNIDS.index(name.split("/")[0]) for name in names], form
        assert digest == stores["folders"][0], form


def test_every_form_of_val_becomes_the_same_store(made: Miniature, tmp_path: Path) -> None:
    devkit = made.devkit("devkit/ILSVRC2012_devkit_t12.tar.gz")
    pairs = list(zip(made.val, made.val_labels, strict=True))
    lines = made.write("labels.txt", "".join(f"{name} {WNIDS[label]}\n" for name, label in reversed(pairs)).encode())
    table = "".join(f"{label},{Path(name).stem},{WNIDS[label]}\n" for name, label in pairs)
    csv_file = made.write("labels.csv", f"number,image_id,class\n{table}".encode())
    truth = made.write("devkit/truth.txt", "".join(f"{number}\n" for number in made.truth).encode())
    forms: dict[str, tuple[Path, dict[str, Any]]] = {
        "tar": (made.val_tar(), {"labels": devkit}),
        "flat": (made.flat(), {"labels": devkit}),
        "kaggle": (made.kaggle(), {"split": "val"}),
        "lines": (made.flat(), {"labels": lines}),
        "csv": (made.flat(), {"labels": csv_file}),
        "truth": (made.flat(), {"labels": truth}),
    }
    stores = {form: stored(path, tmp_path / f"{form}.lmdb", **options) for form, (path, options) in forms.items()}
    for form, (digest, _, labels) in stores.items():
        assert labels == made.val_labels, form
        assert digest == stores["tar"][0], form


def test_a_store_from_tars_does_not_depend_on_the_number_of_workers(made: Miniature, tmp_path: Path) -> None:
    path = made.train_tar()
    assert stored(path, tmp_path / "1.lmdb", workers=1) == stored(path, tmp_path / "2.lmdb", workers=2)


def test_nothing_is_extracted(made: Miniature, tmp_path: Path) -> None:
    evil = tar_of(
        [("../../evil.JPEG", made.train[min(made.train)]), ("/tmp/../evil2.JPEG", made.train[max(made.train)])]
    )
    path = made.write("x/evil.tar", tar_of([("n1.tar", evil), ("../../n2.tar", made.class_tar(WNIDS[0]))]))
    before = set(tmp_path.rglob("*"))
    stored(path, tmp_path / "a.lmdb")
    new = {found.relative_to(tmp_path).parts[0] for found in set(tmp_path.rglob("*")) - before}
    assert new == {"a.lmdb"}


def test_what_a_mac_adds_to_archives_is_no_picture(made: Miniature) -> None:
    junk = [("._n1_1.JPEG", b"x"), ("__MACOSX/n1_1.JPEG", b"x"), ("notes.txt", b"x")]
    tree = made.write("tree.tar", tar_of([*((f"a/{name}", data) for name, data in junk), *made.train.items()]))
    inner = tar_of([*junk, ("n1_1.JPEG", next(iter(made.train.values())))])
    tars = made.write("tars.tar", tar_of([("._n1.tar", b"x"), ("n1.tar", inner), ("n2.tar", made.class_tar(WNIDS[0]))]))
    assert sources_of(tars).ignored == {"hidden": 2, ".txt": 1}
    assert len(sources_of(tars).names) == 4
    with pytest.raises(PictureError, match=r"tree\.tar/a: the class folder holds no pictures"):
        sources_of(tree)


def test_long_names_and_pax_headers_are_read_at_their_place(made: Miniature) -> None:
    name, data = f"{'long' * 60}.jpg", next(iter(made.train.values()))
    for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        path = made.root / f"{kind}.tar"
        made.write("some.jpg", data)
        with tarfile.open(path, "w", format=kind) as tar:
            for folder in ("a", "bü"):
                tar.add(made.root / "some.jpg", f"./{folder}/{name}")
        sources = sources_of(path)
        assert list(sources.names) == [f"a/{name}", f"bü/{name}"]
        assert set(bytes_of(sources).values()) == {data}


# ILSVRC-2012 as it ships


def test_the_folder_of_ilsvrcs_files_gives_each_split(made: Miniature) -> None:
    root = made.ilsvrc()
    train, val, test = (sources_of(root, split=split) for split in ("train", "val", "test"))
    assert bytes_of(train) == made.train
    assert bytes_of(val) == made.val
    assert bytes_of(test) == made.test
    assert list(val.labels) == made.val_labels
    assert list(test.labels) == [-1] * len(made.test)
    for sources in (train, val, test):
        assert (sources.classes.names, sources.classes.words, sources.classes.ids) == (WNIDS, WORDS, IDS)


def test_what_was_recognised_and_checked_is_said(made: Miniature) -> None:
    root = made.ilsvrc()
    assert sources_of(root / TRAIN_TAR).notes == (
        f"{root}/{TRAIN_TAR}, a tar of a tar for each class: 24 pictures of 8 classes, n01440764 (tench) to n07753592 "
        "(banana), 3 of each; classes from the archive",
        "ILSVRC2012_devkit_t12.tar.gz: 8 classes, IDs mapped through meta.mat to sorted WNIDs; "
        "16 validation labels, 2 of each class",
        "ILSVRC2012_devkit_t12.tar.gz: each class has the number of training pictures that it gives",
    )
    assert sources_of(root / VAL_TAR).notes[0].endswith("2 of each; labels from ILSVRC2012_devkit_t12.tar.gz")
    assert sources_of(root / TEST_TAR).notes[0].endswith("5 pictures; the test split: without labels")


def test_an_only_tar_needs_no_split(made: Miniature) -> None:
    path = made.train_tar()
    assert sources_of(made.root).root == path


@pytest.mark.parametrize("name", ["ILSVRC2012_img_test.tar", "ILSVRC2012_img_test_v10102019.tar"])
def test_the_test_tar_is_known_by_both_of_its_names(made: Miniature, name: str) -> None:
    made.test_tar(name)
    sources = sources_of(made.root, split="test")
    assert list(sources.names) == list(made.test)
    assert set(sources.labels) == {-1}


def test_the_test_tar_may_be_flat(made: Miniature) -> None:
    made.write(TEST_TAR, tar_of(made.test.items()))
    assert bytes_of(sources_of(made.root)) == made.test


def test_class_folders_of_val_need_no_devkit(made: Miniature) -> None:
    folders = made.folders("val", val=True)
    sources = sources_of(folders)
    assert sources.classes.names == WNIDS
    assert all(name.split("/")[0] == WNIDS[label] for name, label in zip(sources.names, sources.labels, strict=True))


def test_a_split_is_found_below_the_folder_given(made: Miniature) -> None:
    made.folders("tree/train")
    made.folders("tree/validation", val=True)
    assert sources_of(made.root / "tree", split="val").root == made.root / "tree/validation"
    assert sources_of(made.root / "tree/train", split="train").root == made.root / "tree/train"


@pytest.mark.parametrize("place", ["kaggle", "kaggle/ILSVRC", "kaggle/ILSVRC/Data", "kaggle/ILSVRC/Data/CLS-LOC"])
def test_kaggles_layout_is_known_from_each_of_its_folders(made: Miniature, place: str) -> None:
    made.kaggle()
    val, test = (sources_of(made.root / place, split=split) for split in ("val", "test"))
    assert (list(val.labels), val.classes.words) == (made.val_labels, WORDS)
    assert (bytes_of(test), set(test.labels)) == (made.test, {-1})
    direct = sources_of(made.root / "kaggle/ILSVRC/Data/CLS-LOC/val")
    assert list(direct.labels) == made.val_labels


def test_a_folder_of_class_tars_takes_its_words_from_a_file_beside(made: Miniature) -> None:
    folder = made.class_tars()
    made.write("fall2011/words.txt", "".join(f"{w}\t{words}\n" for w, words in zip(WNIDS, WORDS, strict=True)).encode())
    sources = sources_of(folder)
    assert (sources.classes.names, sources.classes.words) == (WNIDS, WORDS)
    assert bytes_of(sources) == made.train


def test_a_ground_truth_takes_its_ids_from_a_store_made_with_the_devkit(made: Miniature, tmp_path: Path) -> None:
    made.devkit()
    stored(made.train_tar(), tmp_path / "train.lmdb")
    truth = made.write("elsewhere/truth.txt", "".join(f"{number}\n" for number in made.truth).encode())
    sources = sources_of(made.flat("deep/flat"), labels=truth, classes=tmp_path / "train.lmdb")
    assert list(sources.labels) == made.val_labels


# WebDataset


@pytest.mark.parametrize("labels", ["cls", "wnid", "json"])
def test_shards_become_sorted_samples_with_wnids(made: Miniature, labels: str) -> None:
    sources = sources_of(made.shards(labels=labels))
    expected = {name.split("/")[1]: data for name, data in made.train.items()}
    assert list(sources.names) == sorted(expected)
    assert bytes_of(sources) == expected
    assert sources.classes.names == WNIDS
    assert [WNIDS[label] for label in sources.labels] == [name.split("_")[0] for name in sources.names]


def test_shards_may_be_given_as_pattern_list_or_one(made: Miniature) -> None:
    folder = made.shards()
    listed = made.write("train.txt", b"# shards\nshards/train-{000000..000002}.tar\nshards/train-000003.tar\n")
    everything = list(sources_of(folder).names)
    assert list(sources_of(folder / "train-{000000..000004}.tar").names) == everything
    assert len(sources_of(listed).names) == 20
    assert len(sources_of(folder / "train-000004.tar", classes=None, allow_missing=True).names) == 4


def test_numbers_become_names_whose_order_is_the_numbers(made: Miniature, tmp_path: Path) -> None:
    data = next(iter(made.train.values()))
    files = [
        (f"{key:04d}.{kind}", content) for key in range(12) for kind, content in (("jpg", data), ("cls", b"%d" % key))
    ]
    path = made.write("a.tar", tar_of(files))
    sources = sources_of(path)
    assert sources.classes.names == tuple(str(number) for number in range(12))
    assert list(sources.labels) == list(range(12))
    names = made.write("classes.txt", "".join(f"class{number:02d}\n" for number in range(20)).encode())
    given = sources_of(path, classes=names, allow_missing=True)
    assert (len(given.classes), list(given.labels)) == (20, list(range(12)))


# Words and IDs come along


def test_words_and_ids_are_in_the_store_and_change_no_digest(made: Miniature, tmp_path: Path) -> None:
    path = made.train_tar()
    plain = stored(path, tmp_path / "plain.lmdb")
    made.devkit()
    explained = stored(path, tmp_path / "explained.lmdb")
    assert plain == explained
    store, other = open_crops(tmp_path / "explained.lmdb"), open_crops(tmp_path / "plain.lmdb")
    assert (store.classes.words, store.classes.ids) == (WORDS, IDS)
    assert (other.classes.words, other.classes.ids) == ((), ())
    store.close()
    other.close()


def test_val_takes_words_from_the_train_store(made: Miniature, tmp_path: Path) -> None:
    made.devkit()
    stored(made.train_tar(), tmp_path / "train.lmdb")
    sources = sources_of(made.folders("elsewhere/deep/val", val=True), classes=tmp_path / "train.lmdb")
    assert (sources.classes.words, sources.classes.ids) == (WORDS, IDS)


# Many pictures


def test_a_part_of_the_sources_is_a_shard(made: Miniature) -> None:
    sources = sources_of(made.train_tar())
    parts = [sources.part(slice(0, 10)), sources.part(slice(10, 24))]
    assert [name for part in parts for name in part.names] == list(sources.names)
    assert [label for part in parts for label in part.labels] == list(sources.labels)
    assert {name: data for part in parts for name, data in bytes_of(part).items()} == made.train
    again = parts[1].pictures[3:5]
    assert [picture.name for picture in again] == list(sources.names)[13:15]


def test_a_listing_sorts_by_the_parts_of_names() -> None:
    listing = Listing()
    file = listing.file("x.tar")
    names = ["a-b/1", "a/2", "a b/1", "a/10", "a/1/z"]
    for place, name in enumerate(names):
        listing.add(name, file=file, size=1, offset=place)
    expected = sorted(names, key=lambda name: name.split("/"))
    assert [picture.name for picture in listing.sorted()] == expected
    assert [names[picture.offset] for picture in listing.sorted()] == expected
    assert listing.sorted()[0] == Located(expected[0], "x.tar", names.index(expected[0]), 1)


def test_a_changed_archive_begins_an_unfinished_store_again(made: Miniature) -> None:
    path = made.train_tar()
    before = sources_of(path).fingerprint
    assert sources_of(path).fingerprint == before
    made.train[min(made.train)] = made.test[min(made.test)]
    made.train_tar()
    assert sources_of(path).fingerprint != before


# The real samples


def test_the_real_samples_are_read_inside_their_tar(tmp_path: Path) -> None:
    if not SAMPLES.exists():
        pytest.skip("no imagenet-samples.tar here")
    sources = sources_of(SAMPLES, split="train")
    with tarfile.open(SAMPLES) as tar:
        files = [member for member in tar if member.isfile() and member.name.startswith("train/")]
        content = {member.name.removeprefix("train/"): tar.extractfile(member).read() for member in files}  # type: ignore[union-attr]
    assert bytes_of(sources) == content
    assert sources.classes.names == tuple(sorted({name.split("/")[0] for name in content}))
    few = [name for name in sources.names if name.startswith(("n0144", "n0148", "n0153"))]
    tree = tmp_path / "tree"
    for name in few:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(content[name])
    inner = [(f"{name.split('/')[0]}.tar", tar_of([(name.split("/")[1], content[name])])) for name in few]
    (tmp_path / "few.tar").write_bytes(tar_of(inner))
    assert stored(tree, tmp_path / "a.lmdb") == stored(tmp_path / "few.tar", tmp_path / "b.lmdb")


def test_the_json_result_is_that_of_any_source(
    made: Miniature, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = made.ilsvrc()
    command = [
        "preprocess",
        str(root),
        "--split",
        "val",
        "--out",
        str(tmp_path / "val.lmdb"),
        "--workers",
        "1",
        "--json",
    ]
    assert main(command) == 0
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert (result["pictures"], result["classes"], result["rejected"]) == (16, 8, 0)
    assert "labels from ILSVRC2012_devkit_t12.tar.gz" in printed.err


def test_a_picture_in_an_archive_that_shrank_is_rejected_not_misread(made: Miniature, tmp_path: Path) -> None:
    path = made.train_tar()
    sources = sources_of(path)
    copy = shutil.copy(path, tmp_path / "copy.tar")
    content = np.fromfile(copy, np.uint8)
    last = max(sources.pictures, key=lambda picture: picture.offset)
    content[: last.offset + 10].tofile(path)
    with pytest.raises(Exception, match="lies beyond the end of"):
        read_located(last)
