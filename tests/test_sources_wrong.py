"""What is wrong with a source: one line with what was expected and what was found, and code 3."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from miniature import DEVKIT, IDS, TEST_TAR, TRAIN_TAR, VAL_TAR, WNIDS, Miniature, devkit_files, tar_of

from alexnet_cli import imagenet
from alexnet_cli.class_list import ClassList
from alexnet_cli.cli import main
from alexnet_cli.errors import PictureError, UsageError
from alexnet_stages.preprocess.config import PreprocessConfig
from alexnet_stages.preprocess.sources import Sources, checks, find_sources
from alexnet_stages.preprocess.sources.webdataset import expand_braces


@pytest.fixture
def made(tmp_path: Path) -> Miniature:
    return Miniature(tmp_path / "in")


def sources_of(source: Path, **options: Any) -> Sources:
    return find_sources(PreprocessConfig(source=source, out=Path("/nowhere/x.lmdb"), **options))


def refused(source: Path, **options: Any) -> str:
    """The one line, without the folder that the test works in."""
    with pytest.raises(PictureError) as caught:
        sources_of(source, **options)
    assert caught.value.exit_code == 3
    line = str(caught.value)
    assert "\n" not in line
    assert "{" not in line or "{" in str(source)
    return line


def test_a_wrong_source_ends_the_command_with_code_3_and_one_line(
    made: Miniature, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = made.val_tar()
    assert main(["preprocess", str(path), "--out", str(tmp_path / "a.lmdb"), "--workers", "1"]) == 3
    assert capsys.readouterr().err == (
        f"alexnet: {path}: its labels are in the devkit, expected next to it, found none: put "
        "ILSVRC2012_devkit_t12.tar.gz there, or give --labels DEVKIT or --unlabelled\n"
    )
    assert not (tmp_path / "a.lmdb").exists()


# Archives that are none


@pytest.mark.parametrize("name", [TRAIN_TAR, VAL_TAR, TEST_TAR])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty (0 bytes): download it again"),
        (b"<!DOCTYPE html><title>Login</title>" + b" " * 600, "is a web page, not a tar: the download failed"),
        (b"\n<html>", "is a web page, not a tar"),
        (bytes(10_240), "is empty, or holds nothing but zeros"),
        (b"hello " * 200, "is not a tar: give a folder of pictures, or a tar"),
    ],
    ids=["nothing", "page", "other page", "zeros", "text"],
)
def test_a_failed_download_is_named(made: Miniature, name: str, content: bytes, message: str) -> None:
    path = made.write(name, content)
    for source in (path, made.root):
        assert message in refused(source)
        assert refused(source).startswith(f"{path}: ")


def cut_in_data(content: bytes) -> bytes:
    return content[: len(content) // 2 - 100]


def broken_header(content: bytes) -> bytes:
    damaged = bytearray(content)
    second = content.index(b"ustar", 600) - 257
    damaged[second : second + 100] = b"\xff" * 100
    return bytes(damaged)


@pytest.mark.parametrize(
    ("damage", "message"),
    [(cut_in_data, "is cut off: download it again"), (broken_header, ": download it again")],
)
@pytest.mark.parametrize("form", ["val", "train"])
def test_a_damaged_archive_is_never_taken_for_a_shorter_one(
    made: Miniature, damage: Callable[[bytes], bytes], message: str, form: str
) -> None:
    made.devkit()
    path = made.val_tar() if form == "val" else made.train_tar()
    path.write_bytes(damage(path.read_bytes()))
    assert message in refused(path)


def test_an_archive_cut_off_between_two_members_is_seen(made: Miniature) -> None:
    made.devkit()
    path = made.write(VAL_TAR, tar_of(made.val.items()))
    content = path.read_bytes()
    third = [at for at in range(0, len(content), 512) if content[at + 257 : at + 262] == b"ustar"][3]
    path.write_bytes(content[:third])
    assert "is cut off: download it again" in refused(path)


def test_damage_inside_a_class_archive_names_that_archive(made: Miniature) -> None:
    tars = [(f"{wnid}.tar", made.class_tar(wnid)) for wnid in WNIDS]
    tars[2] = (tars[2][0], broken_header(tars[2][1]))
    path = made.write(TRAIN_TAR, tar_of(tars))
    assert refused(path).startswith(f"{path}/{WNIDS[2]}.tar: is damaged at byte ")


# Which split


def test_several_splits_need_a_choice(made: Miniature) -> None:
    root = made.ilsvrc()
    assert refused(root) == f"{root}: holds {TEST_TAR}, {TRAIN_TAR}, {VAL_TAR}: give --split train|val|test"
    (root / TEST_TAR).unlink()
    expected = f"{root}: expected ILSVRC's test tar, found {TRAIN_TAR}, {VAL_TAR}: give another --split"
    assert refused(root, split="test") == expected
    assert refused(root / TRAIN_TAR, split="val") == (
        f"{root}/{TRAIN_TAR}: expected the val split (--split), found train's: give {root}/{VAL_TAR}"
    )


def test_a_folder_made_of_a_tar_is_a_choice_beside_the_tars(made: Miniature) -> None:
    made.devkit()
    made.val_tar()
    made.folders("train")
    assert refused(made.root) == f"{made.root}: holds {VAL_TAR}, train: give --split train|val"
    assert sources_of(made.root, split="train").root == made.root / "train"
    assert sources_of(made.root, split="val").root == made.root / VAL_TAR
    made.train_tar()
    assert "give one of them, such as" in refused(made.root, split="train")


def test_a_flat_folder_called_test_is_not_silently_without_labels(made: Miniature) -> None:
    made.write("test/a.jpg", made.test[min(made.test)])
    assert "lies in no class folder" in refused(made.root / "test")
    assert sources_of(made.root / "test", split="test").notes[0].endswith("the test split: without labels")


def test_two_test_tars_need_a_choice(made: Miniature) -> None:
    made.test_tar()
    made.test_tar("ILSVRC2012_img_test.tar")
    assert "give one of them, such as" in refused(made.root, split="test")


def test_kaggles_splits_need_a_choice(made: Miniature) -> None:
    made.kaggle()
    base = made.root / "kaggle"
    assert refused(base) == f"{base}: is Kaggle's layout: give --split train|val|test, found train, val, test"
    shutil.rmtree(base / "ILSVRC/Data/CLS-LOC/test")
    assert "expected test (--split), found train, val" in refused(base, split="test")
    inner = base / "ILSVRC/Data/CLS-LOC/val"
    assert "expected the train split (--split), found val's" in refused(inner, split="train")


def test_a_tree_without_the_split_says_which_it_has(made: Miniature) -> None:
    made.folders("tree/train")
    root = made.root / "tree"
    message = f"{root}: expected a folder called val or validation or valid (--split), found train"
    assert refused(root, split="val") == message
    assert "holds train, not class folders: give one, such as" in refused(root)
    path = made.write("tree.tar", tar_of([(f"train/{n}", d) for n, d in made.train.items()] + [("val/a/b.jpg", b"x")]))
    assert refused(path) == f"{path}: holds train, val: give --split train|val"
    assert "expected the test split (--split), found train, val" in refused(path, split="test")


# Classes


def test_one_class_is_the_wrong_level(made: Miniature) -> None:
    made.folders("deep/more/train")
    root = made.root / "deep/more"
    (root / "train").rename(root / "pictures")
    assert refused(root) == (
        f"{root}: expected two or more class folders, found one, 'pictures', with 24 pictures: is this the wrong "
        f"level? give {root / 'pictures'}"
    )
    one = made.folders("one")
    for wnid in WNIDS[1:]:
        shutil.rmtree(one / wnid)
    assert "found one, 'n01440764', with 3 pictures: is this the wrong level? give the folder above" in refused(one)
    path = made.train_tar(WNIDS[:1], "one.tar")
    assert "found one, 'n01440764'" in refused(path)


def test_a_class_that_the_devkit_has_and_the_source_lacks_is_missing(made: Miniature) -> None:
    made.devkit()
    path = made.train_tar(WNIDS[2:])
    assert refused(path) == (
        f"{path}: expected the 8 classes of {made.root / DEVKIT}, found 6: 2 without pictures, "
        "n01440764, n01443537: add them, or give --allow-missing"
    )
    sources = sources_of(path, allow_missing=True)
    assert (sources.classes.names, min(sources.labels)) == (WNIDS, 2)
    folders = made.folders("other/folders")
    shutil.rmtree(folders / WNIDS[0])
    assert "expected the 8 classes of" in refused(folders, labels=made.root / DEVKIT)


def test_a_class_that_the_devkit_lacks_is_one_too_many(made: Miniature) -> None:
    rows = [row for row in made.rows() if row[1] not in WNIDS[:2]]
    made.write(DEVKIT, tar_of(devkit_files(rows, []), "w:gz"))
    path = made.train_tar()
    assert refused(path) == (
        f"{path}/n01440764/n01440764_17.JPEG: its class 'n01440764' is not among the 6 classes of "
        f"{made.root / DEVKIT} (found 8, of which 2 are not: n01440764, n01443537)"
    )


def test_a_class_of_the_list_without_pictures_is_missing(made: Miniature) -> None:
    names = made.write("classes.txt", "\n".join([*WNIDS, "n09999999"]).encode())
    folders = made.folders("deep/folders")
    assert refused(folders, classes=names) == (
        f"{folders}: expected the 9 classes of {names}, found 8: 1 without pictures, n09999999: "
        "add them, or give --allow-missing"
    )
    assert len(sources_of(folders, classes=names, allow_missing=True).classes) == 9


@pytest.mark.parametrize("form", ["tar of tars", "folder of tars"])
def test_an_empty_class_archive_is_named(made: Miniature, form: str) -> None:
    empty = tar_of([("readme.txt", b"x")])
    if form == "tar of tars":
        path = made.write(TRAIN_TAR, tar_of([("n1.tar", made.class_tar(WNIDS[0])), ("n2.tar", empty)]))
    else:
        path = made.class_tars()
        made.write("fall2011/n2.tar", empty)
    assert refused(path) == f"{path}/n2.tar: the class folder holds no pictures: remove it, or put its pictures in"


def test_a_picture_twice_in_an_archive_is_refused(made: Miniature) -> None:
    made.devkit()
    name, data = next(iter(made.val.items()))
    path = made.write(VAL_TAR, tar_of([*made.val.items(), (name, data)]))
    assert refused(path) == f"{path}: expected each picture once, found {name} twice: remove one of them"
    twice = tar_of([("a.jpg", data), ("./a.jpg", data)])
    path = made.write(TRAIN_TAR, tar_of([("n1.tar", twice), ("n2.tar", made.class_tar(WNIDS[0]))]))
    assert "found n1/a.jpg twice" in refused(path)
    path = made.write(TRAIN_TAR, tar_of([("n1.tar", made.class_tar(WNIDS[0]))] * 2))
    assert "expected an archive for each class, found two of one name" in refused(path)


# Labels


def test_a_ground_truth_of_another_length_is_refused(made: Miniature) -> None:
    made.write(DEVKIT, tar_of(devkit_files(made.rows(), made.truth[:-3]), "w:gz"))
    path = made.val_tar()
    assert refused(path) == f"{path}: expected 13 pictures, one for each label of {made.root / DEVKIT}, found 16"
    made.devkit()
    truth = made.write("truth.txt", "".join(f"{number}\n" for number in made.truth[:-1]).encode())
    flat = made.flat()
    assert refused(flat, labels=truth) == f"{flat}: expected 15 pictures, one for each label of {truth}, found 16"


def test_devkit_ids_without_the_devkit_are_never_guessed(made: Miniature) -> None:
    truth = made.write("truth.txt", "".join(f"{number}\n" for number in made.truth).encode())
    line = refused(made.flat("deep/flat"), labels=truth)
    assert line.startswith(
        f"{truth}: gives devkit IDs, whose classes only meta.mat knows (ID - 1 is not the class index)"
    )


def test_an_unknown_id_names_its_line(made: Miniature) -> None:
    made.devkit()
    truth = made.write("truth.txt", b"1\n2\n77\n" + b"3\n" * 13)
    assert refused(made.flat(), labels=truth) == (
        f"{truth}, line 3: expected a devkit ID, one of 8 from 1 to 8, found '77'"
    )


def test_a_table_that_names_unknown_pictures_is_refused(made: Miniature) -> None:
    flat = made.flat()
    rows = "".join(f"{name},{WNIDS[0]}\n" for name in [*made.val, "ghost.JPEG"])
    table = made.write("labels.csv", f"filename,label\n{rows}".encode())
    assert refused(flat, labels=table) == f"{table}, line 18: {flat} has no picture ghost.JPEG"
    table = made.write("labels.csv", b"filename,label\nx.jpg\n")
    assert refused(flat, labels=table) == f"{table}, line 2: is not 'name,label': 'x.jpg'"
    first = next(iter(made.val))
    table = made.write("labels.csv", f"{first},a\n{first},b\n".encode())
    assert refused(flat, labels=table) == f"{table}, line 2: {first} has a label in line 1 already"


def test_labels_in_the_devkits_order_are_seen_by_the_three_that_are_known() -> None:
    """Someone took `ID - 1` for the index: of the real classes that is noticed, whatever the source."""
    names = ["n00000000"] * 1000
    names[65] = "n01751748"
    classes = ClassList(tuple(names))
    pictures = [f"val/ILSVRC2012_val_{number:08d}.JPEG" for number in (1, 2, 3)]
    right = checks.check_known_labels(Path("val"), pictures, [65, 970, 230], classes)
    assert right == "3 of 3 known validation labels checked: right"
    with pytest.raises(PictureError, match=r"expected .*00000001.JPEG to be class 65 \(n01751748\), found 489"):
        checks.check_known_labels(Path("val"), pictures, [489, 360, 170], classes)


# Shards


def test_shards_that_are_wrong_are_named(made: Miniature) -> None:
    folder = made.shards()
    assert "expected 6 shards, found no" in refused(folder / "train-{000000..000005}.tar")
    assert "expected a range from a smaller to a larger number" in refused(folder / "x-{5..1}.tar")
    listed = made.write("list.txt", b"shards/train-000000.tar\nnot a shard\n")
    assert "expected the path of a tar on each line, found 'not a shard'" in refused(listed)
    twice = made.write("list.txt", b"shards/train-000000.tar\n" * 2)
    assert "expected each shard once, found" in refused(twice)
    data = next(iter(made.train.values()))
    path = made.write("a.tar", tar_of([("1.jpg", data), ("1.cls", b"0"), ("2.jpg", data)]))
    assert refused(path) == f"{path}: 2 has no .cls and no .json: give --labels FILE or --unlabelled"
    assert list(sources_of(path, unlabelled=True).labels) == [-1, -1]
    path = made.write("a.tar", tar_of([("1.jpg", data), ("1.png", data), ("1.cls", b"0")]))
    assert "expected one picture in each sample, found two of 1" in refused(path)
    path = made.write("a.tar", tar_of([("1.jpg", data), ("1.json", b"{}")]))
    assert "1.json: expected one of wnid, synset" in refused(path)


def test_numbers_beyond_the_class_list_are_refused(made: Miniature) -> None:
    data = next(iter(made.train.values()))
    path = made.write("a.tar", tar_of([("1.jpg", data), ("1.cls", b"0"), ("2.jpg", data), ("2.cls", b"2")]))
    names = made.write("classes.txt", b"a\nb\n")
    assert refused(path, classes=names) == f"{path}: expected labels from 0 to 1 (--classes), found 2"


def test_braces_are_expanded_with_their_zeros() -> None:
    assert expand_braces("a-{08..11}.tar") == ["a-08.tar", "a-09.tar", "a-10.tar", "a-11.tar"]
    assert expand_braces("{0..1}/x-{0..1}.tar") == ["0/x-0.tar", "0/x-1.tar", "1/x-0.tar", "1/x-1.tar"]


# --expect


@pytest.fixture
def official(monkeypatch: pytest.MonkeyPatch) -> None:
    """The miniature's figures in the official ones' place."""
    counts = {"train": (24, 3, 3), "val": (16, 2, 2), "test": (5, 0, 0)}
    small = {
        split: imagenet.Official(
            split=split, pictures=number, fewest=low, most=high, names=imagenet.OFFICIAL[split].names
        )
        for split, (number, low, high) in counts.items()
    }
    monkeypatch.setattr(checks, "OFFICIAL", small)
    monkeypatch.setattr(checks, "CLASSES", 8)
    monkeypatch.setattr(checks, "is_ilsvrc2012", lambda classes: classes.names == WNIDS)
    monkeypatch.setattr(checks, "check_known_labels", lambda *_: None)


def test_a_miniature_is_not_what_was_published(made: Miniature) -> None:
    root = made.ilsvrc()
    line = f"{root / TRAIN_TAR}: --expect ilsvrc2012, train: expected 1,281,167 pictures, found 24"
    assert refused(root, split="train", expect="ilsvrc2012") == line
    assert "val: expected 50,000 pictures, found 16" in refused(root / VAL_TAR, expect="ilsvrc2012")
    assert "test: expected 100,000 pictures, found 5" in refused(root / TEST_TAR, expect="ilsvrc2012")


@pytest.mark.usefixtures("official")
def test_the_official_counts_are_confirmed(made: Miniature) -> None:
    root = made.ilsvrc()
    notes = {split: sources_of(root, split=split, expect="ilsvrc2012").notes[-1] for split in ("train", "val", "test")}
    assert notes == {
        "train": "as ILSVRC-2012 train must be: 24 pictures of 8 classes, 3 of each",
        "val": "as ILSVRC-2012 val must be: 16 pictures of 8 classes, 2 of each",
        "test": "as ILSVRC-2012 test must be: 5 pictures",
    }
    assert sources_of(made.folders("x/y"), expect="ilsvrc2012").notes[-1].startswith("as ILSVRC-2012 train must be")


@pytest.mark.usefixtures("official")
def test_official_counts_that_do_not_come_out_are_refused(made: Miniature) -> None:
    folders = made.folders("x/y")
    first, second = sorted(made.train)[:1] + sorted(made.train)[-1:]
    (folders / first).rename(folders / WNIDS[-1] / "n07753592_999.JPEG")
    assert refused(folders, expect="ilsvrc2012") == (
        f"{folders}: --expect ilsvrc2012, train: expected 3 pictures of each class, found another number in 2: "
        "n01440764: 2, n07753592: 4"
    )
    (folders / second).unlink()
    assert "expected 24 pictures, found 23" in refused(folders, expect="ilsvrc2012")
    shutil.rmtree(folders)
    made.folders("x/y")
    (folders / WNIDS[0]).rename(folders / "n00000001")
    assert "expected its 8 classes, found other ones" in refused(folders, expect="ilsvrc2012")
    made.write("tree/a/1.jpg", made.train[first])
    made.write("tree/b/1.jpg", made.train[first])
    assert "can't tell which split this is (a/1.jpg): give --split" in refused(made.root / "tree", expect="ilsvrc2012")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "training"}, "--split training: must be train, val or test"),
        ({"expect": "imagenet"}, "--expect imagenet: must be ilsvrc2012"),
    ],
)
def test_options_that_cannot_be_meant_are_usage_errors(options: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        PreprocessConfig(source=Path("a"), out=Path("b"), **options)  # type: ignore[arg-type]


def test_ids_of_the_miniature_are_a_trap_too() -> None:
    assert all(number - 1 != index for index, number in enumerate(IDS))
