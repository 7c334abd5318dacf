"""The report of `alexnet preprocess`: what it says about the pictures is true, short, and kept with the store."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tarfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from alexnet_cli.artifacts.crops.shards import open_crops
from alexnet_cli.class_list import ClassList
from alexnet_cli.cli import main
from alexnet_cli.errors import ArtifactError
from alexnet_cli.imagenet import DEFECTIVE
from alexnet_cli.pictures import Facts, crop_of
from alexnet_stages.preprocess.config import PreprocessConfig
from alexnet_stages.preprocess.duplicates import SHOWN_NAMES, duplicates_between, duplicates_within
from alexnet_stages.preprocess.official import official_text
from alexnet_stages.preprocess.rejects import read_rejects, write_rejects
from alexnet_stages.preprocess.report import HANDLED, Contents, fact_key, make_report, text_of
from alexnet_stages.preprocess.result import Result
from alexnet_stages.preprocess.run import run

SAMPLES = Path(__file__).parents[2] / "shared" / "data" / "imagenet-samples.tar"


def save(path: Path, seed: int, mode: str = "RGB", side: int = 60, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side + 20, 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, options.pop("format", None), **options)
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Ape 4 pictures, bat 1, cat 2; all different."""
    root = tmp_path / "pictures"
    names = ["ape/1.jpg", "ape/2.jpg", "ape/3.jpg", "ape/4.jpg", "bat/1.jpg", "cat/1.jpg", "cat/2.jpg"]
    for number, name in enumerate(names):
        save(root / name, number)
    return root


def preprocess(source: Path, out: Path, **options: Any) -> Result:
    return run(PreprocessConfig(source=source, out=out, **{"quiet": True, "workers": 1, **options}))


def report_of(store: Path) -> tuple[dict[str, Any], str]:
    """report.json and report.txt."""
    return json.loads((store / "report.json").read_text()), (store / "report.txt").read_text()


# What is kept of each file


def test_the_store_keeps_each_files_digest_and_facts(tree: Path, tmp_path: Path) -> None:
    save(tree / "cat/grey.jpg", 9, "L", side=300)
    preprocess(tree, tmp_path / "a.lmdb")
    store = open_crops(tmp_path / "a.lmdb")
    assert store.digests is not None and store.facts is not None
    for index, name in enumerate(store.names):
        data = (tree / name).read_bytes()
        assert store.digests[index].tobytes() == hashlib.sha256(data).digest()[:16]
        assert store.facts[index] == crop_of(data, name=name)[1]
    assert Facts.GREYSCALE in Facts(int(store.facts[store.names.index("cat/grey.jpg")]))


def test_a_store_without_digests_is_read_and_its_report_says_so(tree: Path, tmp_path: Path, make_store: Any) -> None:
    old = make_store("old", labels=[0, 1, 2])
    assert old.digests is None and old.facts is None
    result = preprocess(tree, tmp_path / "a.lmdb", compare=old.path)
    assert result.report["elsewhere"] == [{"store": str(old.path), "digest": old.digest}]
    assert result.as_facts()["elsewhere"] == f"{old.path} has no digests: made by an older version, not compared"


def test_damaged_digests_are_refused(tree: Path, tmp_path: Path) -> None:
    import lmdb

    preprocess(tree, tmp_path / "a.lmdb")
    with (
        lmdb.open(str(tmp_path / "a.lmdb"), lock=False, map_size=1 << 30) as environment,
        environment.begin(write=True) as transaction,
    ):
        transaction.put(b"meta/digests", bytes(16 * 7))
    with pytest.raises(ArtifactError, match="its facts or digests are damaged: preprocess it again"):
        open_crops(tmp_path / "a.lmdb")


# Classes


def test_the_report_counts_each_class(tree: Path, tmp_path: Path) -> None:
    result = preprocess(tree, tmp_path / "a.lmdb")
    report, text = report_of(tmp_path / "a.lmdb")
    assert report["classes"] == {"ape": 4, "bat": 1, "cat": 2}
    assert report["summary"]["classes"] == {
        "count": 3,
        "smallest": ["bat", 1],
        "median": 2.0,
        "largest": ["ape", 4],
        "imbalance": 4.0,
        "empty": 0,
    }
    assert "Classes: 3, 1 (bat) to 4 (ape) of each, median 2, largest : smallest = 4.0" in text
    assert [line.split() for line in text.splitlines()[-3:]] == [["1", "bat"], ["2", "cat"], ["4", "ape"]]
    assert result.as_facts()["classes"] == "3, 1 (bat) to 4 (ape) of each, median 2, largest : smallest = 4.0"


def test_classes_without_pictures_and_classes_of_one_size_are_told(tree: Path, tmp_path: Path) -> None:
    preprocess(tree, tmp_path / "train.lmdb")
    shutil.rmtree(tree / "bat")
    result = preprocess(tree, tmp_path / "a.lmdb", classes=tmp_path / "train.lmdb", allow_missing=True)
    assert result.as_facts()["classes"] == "3, 0 (bat) to 4 (ape) of each, median 2; 1 without any"
    (tree / "ape/3.jpg").unlink()
    (tree / "ape/4.jpg").unlink()
    assert preprocess(tree, tmp_path / "b.lmdb").as_facts()["classes"] == "2, 2 of each"


def test_classes_are_called_by_their_words_where_they_are_known() -> None:
    classes = ClassList(("n1", "n2"), words=("tench, Tinca tinca", "goldfish"))
    labels = np.array([0, 0, 1])
    some = Contents(names=["a", "b", "c"], labels=labels, classes=classes, facts=None, digests=None, rejects=[])
    report = make_report(some, digest="")
    text = text_of(report, "a.lmdb")
    assert "Classes: 2, 1 (n2 (goldfish)) to 2 (n1 (tench)) of each" in text
    assert text.endswith("          1  n2  goldfish\n          2  n1  tench, Tinca tinca\n")
    assert report["classes"] == {"n1": 2, "n2": 1}


def test_an_unlabelled_store_has_no_class_counts(tree: Path, tmp_path: Path) -> None:
    result = preprocess(tree, tmp_path / "a.lmdb", unlabelled=True)
    report, _ = report_of(tmp_path / "a.lmdb")
    assert "classes" not in report and "classes" not in report["summary"]
    assert result.as_facts()["classes"] == "0"


# ILSVRC-2012

WNIDS = ClassList.sorted(
    {"n01440764", "n15075141"}
    | {f"n0144{number:04d}" for number in range(800, 864)}
    | {"n01751748"}
    | {f"n0175{number:04d}" for number in range(2000, 2212)}
    | {"n02119789"}
    | {f"n0212{number:04d}" for number in range(720)}
)
"""A thousand classes with ILSVRC-2012's at the places where it is looked for."""


def contents(counts: list[int], file: str, **more: Any) -> Contents:
    """A set whose n-th class has counts[n] pictures."""
    labels = np.repeat(np.arange(len(counts)), counts)
    names = [file.format(wnid=WNIDS.names[label], number=number) for number, label in enumerate(labels.tolist())]
    rest = {"facts": np.zeros(len(names), np.uint8), "digests": None, "rejects": [], **more}
    return Contents(names=names, labels=labels, classes=WNIDS, **rest)


def test_a_whole_validation_set_is_told_to_be_whole() -> None:
    assert len(WNIDS) == 1000
    report = make_report(contents([50] * 1000, "{wnid}/ILSVRC2012_val_{number:08d}.JPEG"), digest="")
    assert official_text(report["official"]) == "ILSVRC-2012 val: all 50,000 pictures, 50 of each class"
    assert "ILSVRC-2012 val: all 50,000 pictures, 50 of each class\n" in text_of(report, "val.lmdb")
    assert "official" not in make_report(contents([50] * 1000, "{wnid}/picture{number}.JPEG"), digest="")["summary"]
    assert "official" not in make_report(
        contents([50] * 1000, "ILSVRC2012_val_{number:08d}.JPEG"), digest="", whole=False
    )


def test_what_lacks_of_the_official_counts_is_told() -> None:
    counts = [50] * 1000
    counts[3], counts[7] = 49, 52
    report = make_report(contents(counts, "ILSVRC2012_val_{number:08d}.JPEG"), digest="")
    assert official_text(report["summary"]["official"]) == (
        "ILSVRC-2012 val: 50,001 PICTURES INSTEAD OF 50,000, 2 CLASSES WITHOUT THE OFFICIAL 50, "
        f"such as {WNIDS.names[3]} (49)"
    )
    assert report["official"]["listed"] == [[WNIDS.names[3], 49], [WNIDS.names[7], 52]]


def test_rejected_pictures_were_there(tmp_path: Path) -> None:
    counts = [50] * 1000
    counts[3] = 49
    reject = (f"{WNIDS.names[3]}/ILSVRC2012_val_00019877.JPEG", "is truncated")
    some = contents(counts, "{wnid}/ILSVRC2012_val_{number:08d}.JPEG", rejects=[reject])
    report = make_report(some, digest="")
    assert official_text(report["official"]) == "ILSVRC-2012 val: all 50,000 pictures, 50 of each class"
    assert report["known_defective"][-1] == {"name": reject[0], "defect": "CMYK", "handled": "rejected: is truncated"}


def test_train_has_between_732_and_1300_pictures_of_each_class() -> None:
    counts = [1300] * 1000
    counts[0], counts[1] = 732, 731
    report = make_report(contents(counts, "{wnid}/{wnid}_{number}.JPEG"), digest="")
    assert official_text(report["official"]) == (
        f"ILSVRC-2012 train: {sum(counts):,} PICTURES INSTEAD OF 1,281,167, "
        f"1 CLASSES WITHOUT THE OFFICIAL 732 to 1,300, such as {WNIDS.names[1]} (731)"
    )


def test_the_test_set_has_no_labels() -> None:
    names = [f"ILSVRC2012_test_{number:08d}.JPEG" for number in range(100_000)]
    labels = np.full(100_000, -1)
    some = Contents(names=names, labels=labels, classes=ClassList(()), facts=None, digests=None, rejects=[])
    report = make_report(some, digest="")
    assert official_text(report["official"]) == "ILSVRC-2012 test: all 100,000 pictures"


def test_known_defective_files_are_found_and_their_handling_told(tree: Path, tmp_path: Path) -> None:
    save(tree / "bat/n01739381_1309.JPEG", 20, "CMYK", format="JPEG")
    save(tree / "bat/n02077923_14822.JPEG", 21)  # repaired by somebody
    save(tree / "bat/n02105855_2933.JPEG", 22, "RGBA", format="PNG")
    result = preprocess(tree, tmp_path / "a.lmdb")
    report, text = report_of(tmp_path / "a.lmdb")
    handled = {
        "bat/n01739381_1309.JPEG": ("CMYK", "converted to RGB"),
        "bat/n02077923_14822.JPEG": ("CMYK", "is not CMYK here: it was repaired earlier"),
        "bat/n02105855_2933.JPEG": ("PNG named .JPEG", "read as the PNG that it is, transparency over white"),
    }
    found = {entry["name"]: (entry["defect"], entry["handled"]) for entry in report["known_defective"]}
    assert found == handled
    assert "Known defective files: 3\n  bat/n01739381_1309.JPEG  CMYK: converted to RGB\n" in text
    assert result.as_facts()["known defective"] == ("3, such as bat/n01739381_1309.JPEG (CMYK: converted to RGB)")


def test_the_known_defective_files_are_22_in_cmyk_and_a_png_of_train_and_one_of_val() -> None:
    train = [name for name in DEFECTIVE if re.fullmatch(r"n\d{8}_\d+", name)]
    assert len(train) == 23
    assert [name for name in DEFECTIVE if name not in train] == ["ILSVRC2012_val_00019877"]
    assert [name for name, defect in DEFECTIVE.items() if defect != "CMYK"] == ["n02105855_2933"]


def test_the_real_defective_file_is_reported(tmp_path: Path) -> None:
    if not SAMPLES.exists():
        pytest.skip("no imagenet-samples.tar here")
    name = "n02105855_2933.JPEG"
    (tmp_path / "train/n02105855").mkdir(parents=True)
    with tarfile.open(SAMPLES) as archive:
        member = archive.extractfile(f"defective/{name}")
        assert member is not None
        (tmp_path / "train/n02105855" / name).write_bytes(member.read())
    result = preprocess(tmp_path / "train", tmp_path / "a.lmdb", unlabelled=True)
    assert result.report["known_defective"]["first"] == [
        {
            "name": f"n02105855/{name}",
            "defect": "PNG named .JPEG",
            "handled": "read as the PNG that it is, transparency over white",
        }
    ]


# Noteworthy pictures


def test_noteworthy_pictures_are_counted_named_and_explained(tree: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds = {
        Facts.GREYSCALE: save(tree / "bat/grey.jpg", 10, "L", side=300),
        Facts.CMYK: save(tree / "bat/ink.jpg", 11, "CMYK", side=300),
        Facts.CONVERTED: save(tree / "bat/palette.png", 12, "P", side=300),
        Facts.ROTATED: save(tree / "bat/turned.jpg", 13, side=300, exif=exif),
        Facts.WRONG_EXTENSION: save(tree / "bat/png.JPEG", 14, side=300, format="PNG"),
        Facts.ANIMATED: tree / "bat/moves.png",
    }
    frames = [Image.new("RGB", (300, 300), colour) for colour in ("red", "green", "blue")]
    frames[0].save(kinds[Facts.ANIMATED], save_all=True, append_images=frames[1:])
    result = preprocess(tree, tmp_path / "a.lmdb")
    report, text = report_of(tmp_path / "a.lmdb")
    for fact, path in kinds.items():
        assert report["summary"]["facts"][fact_key(fact)] == 1
        assert report["pictures"][fact_key(fact)] == [f"bat/{path.name}"]
        title, handled = HANDLED[fact]
        assert f"{title[0].upper()}{title[1:]}: 1 ({handled})\n  bat/{path.name}\n" in text
    assert report["summary"]["facts"]["small"] == 7
    assert result.as_facts()["noteworthy"] == (
        "1 greyscale, 1 CMYK, 1 converted, 1 turned upright, 7 enlarged, 1 wrong extension, 1 animated"
    )
    assert open_crops(tmp_path / "a.lmdb").manifest.details["report"] == report["summary"]


def test_people_read_only_what_is_noteworthy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(2):
        save(tmp_path / f"pictures/class{number}/1.jpg", number, side=256)
    out = tmp_path / "a.lmdb"
    assert main(["preprocess", str(tmp_path / "pictures"), "--out", str(out), "--workers", "1", "--quiet"]) == 0
    lines = [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert lines == ["pictures", "classes", "size", "time", "report"]


# Duplicates


def test_duplicates_are_counted_and_conflicting_labels_called_out(tree: Path, tmp_path: Path) -> None:
    shutil.copy(tree / "ape/1.jpg", tree / "ape/5.jpg")
    shutil.copy(tree / "ape/1.jpg", tree / "ape/6.jpg")
    shutil.copy(tree / "bat/1.jpg", tree / "cat/3.jpg")
    result = preprocess(tree, tmp_path / "a.lmdb")
    report, text = report_of(tmp_path / "a.lmdb")
    assert report["duplicates"] == {
        "groups": 2,
        "superfluous": 3,
        "conflicting": 1,
        "listed": [
            {"names": ["bat/1.jpg", "cat/3.jpg"], "pictures": 2, "classes": ["bat", "cat"]},
            {"names": ["ape/1.jpg", "ape/5.jpg", "ape/6.jpg"], "pictures": 3, "classes": ["ape"]},
        ],
    }
    assert "  bat/1.jpg = cat/3.jpg  DIFFERENT LABELS: bat, cat\n  ape/1.jpg = ape/5.jpg = ape/6.jpg\n" in text
    assert result.as_facts()["duplicates"] == (
        "3 copies too many, of 2 pictures, 1 WITH DIFFERENT LABELS, such as bat/1.jpg = cat/3.jpg"
    )


def test_a_picture_saved_again_is_no_exact_duplicate(tree: Path, tmp_path: Path) -> None:
    Image.open(tree / "ape/1.jpg").save(tree / "ape/9.jpg", quality=91)
    result = preprocess(tree, tmp_path / "a.lmdb")
    assert result.report["duplicates"]["groups"] == 0
    assert "duplicates" not in result.as_facts()


def test_pictures_of_validation_that_are_in_train_too_are_found_by_themselves(tree: Path, tmp_path: Path) -> None:
    preprocess(tree, tmp_path / "train.lmdb")
    for number, name in enumerate(("ape", "bat", "cat")):
        save(tmp_path / f"val/{name}/1.jpg", 100 + number)
    shutil.copy(tree / "ape/2.jpg", tmp_path / "val/ape/leak.jpg")
    shutil.copy(tree / "bat/1.jpg", tmp_path / "val/cat/leak.jpg")
    result = preprocess(tmp_path / "val", tmp_path / "val.lmdb", classes=tmp_path / "train.lmdb")
    report, text = report_of(tmp_path / "val.lmdb")
    (found,) = report["elsewhere"]
    assert (found["pictures"], found["conflicting"]) == (2, 1)
    assert found["digest"] == open_crops(tmp_path / "train.lmdb").digest
    assert found["listed"] == [
        {"name": "cat/leak.jpg", "other": "bat/1.jpg", "classes": ["cat"], "other_classes": ["bat"]},
        {"name": "ape/leak.jpg", "other": "ape/2.jpg", "classes": ["ape"], "other_classes": ["ape"]},
    ]
    assert "cat/leak.jpg = bat/1.jpg  DIFFERENT LABELS: cat here, bat there\n  ape/leak.jpg = ape/2.jpg\n" in text
    assert result.as_facts()["elsewhere"] == (
        f"2 in {tmp_path}/train.lmdb too, 1 WITH DIFFERENT LABELS, such as cat/leak.jpg = bat/1.jpg"
    )


def test_a_store_may_be_compared_with_one_of_other_classes(tree: Path, tmp_path: Path) -> None:
    """Labels are compared by the classes' names: index 0 is 'ape' here and 'cat' there."""
    preprocess(tree, tmp_path / "a.lmdb")
    shutil.copytree(tree / "cat", tmp_path / "others/cat")
    save(tmp_path / "others/dog/1.jpg", 78)
    shutil.copy(tree / "ape/1.jpg", tmp_path / "others/cat/x.jpg")
    result = preprocess(tmp_path / "others", tmp_path / "b.lmdb", compare=tmp_path / "a.lmdb")
    (found,) = result.report["elsewhere"]
    assert (found["pictures"], found["conflicting"]) == (3, 1)
    assert found["first"][0]["name"] == "cat/x.jpg"


def test_nothing_in_common_is_said_too(tree: Path, tmp_path: Path) -> None:
    preprocess(tree, tmp_path / "a.lmdb")
    save(tmp_path / "others/ape/1.jpg", 77)
    save(tmp_path / "others/bat/1.jpg", 78)
    result = preprocess(tmp_path / "others", tmp_path / "b.lmdb", compare=tmp_path / "a.lmdb")
    assert result.as_facts()["elsewhere"] == f"none in {tmp_path}/a.lmdb"


@pytest.mark.parametrize("seed", range(5))
def test_duplicates_are_those_that_a_dictionary_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    digests = rng.integers(0, 2, (400, 16), np.uint8) * (np.arange(16) > 8).astype(np.uint8)
    labels = rng.integers(0, 3, 400)
    names = [f"{number}" for number in range(400)]
    classes = ClassList(("a", "b", "c"))
    places: dict[bytes, list[int]] = defaultdict(list)
    for index, digest in enumerate(digests):
        places[digest.tobytes()].append(index)
    groups = [group for group in places.values() if len(group) > 1]
    found = duplicates_within(digests, names, labels, classes)
    assert found["groups"] == len(groups)
    assert found["superfluous"] == 400 - len(places)
    assert found["conflicting"] == sum(len({labels[index] for index in group}) > 1 for group in groups)
    listed = {tuple(group["names"]) for group in found["listed"]}
    assert listed == {tuple(names[index] for index in group[:SHOWN_NAMES]) for group in groups}
    first, second = slice(0, 150), slice(150, 400)
    between = duplicates_between(
        (digests[first], names[first], labels[first], classes),
        (digests[second], names[second], labels[second], classes),
    )
    there = {digest.tobytes() for digest in digests[second]}
    common = [index for index in range(150) if digests[index].tobytes() in there]
    assert sorted(int(entry["name"]) for entry in between["listed"]) == common
    assert between["pictures"] == len(common)


def test_a_comparison_with_what_is_no_store_is_refused_before_the_work(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for other, message in (
        ("none.lmdb", "no such crop store: check the path"),
        ("pictures", "is made of pictures: make a crop store of it first"),
    ):
        arguments = [str(tree), "--out", str(tmp_path / "a.lmdb"), "--compare", str(tmp_path / other), "--quiet"]
        assert main(["preprocess", *arguments]) == 4
        assert message in capsys.readouterr().err
    assert not (tmp_path / ".a.lmdb.alexnet-work").exists()


# Rejected and absurd pictures


def test_rejects_come_back_from_their_file_whatever_their_names(tmp_path: Path) -> None:
    rejects = [("a/b.jpg", "is empty"), ("tab\t\\t.jpg", "is truncated"), ("line\n\\n\\.jpg", "a: b")]
    write_rejects(tmp_path, rejects)
    assert read_rejects(tmp_path) == rejects
    write_rejects(tmp_path, [])
    assert read_rejects(tmp_path) == []


def test_absurd_pictures_are_rejected_or_handled_each_as_stated(tree: Path, tmp_path: Path) -> None:
    whole = save(tree / "cat/whole.jpg", 3, side=300).read_bytes()
    (tree / "cat/truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (tree / "cat/nothing.jpg").write_bytes(b"")
    (tree / "cat/zeros.jpg").write_bytes(bytes(5000))
    (tree / "cat/page.jpg").write_text("<!DOCTYPE html><html>404</html>")
    Image.new("L", (1, 60_000), 200).save(tree / "cat/thin.png")
    frames = [Image.new("RGB", (300, 300), colour) for colour in ("red", "green")]
    frames[0].save(tree / "cat/moves.gif", save_all=True, append_images=frames[1:])
    result = preprocess(tree, tmp_path / "a.lmdb", allow_bad=4)
    assert read_rejects(tmp_path / "a.lmdb") == [
        ("cat/nothing.jpg", "is empty"),
        ("cat/page.jpg", "is a web page or XML, not a picture"),
        ("cat/truncated.jpg", "is truncated"),
        ("cat/zeros.jpg", "holds only zero bytes"),
    ]
    store = open_crops(tmp_path / "a.lmdb")
    assert np.array_equal(np.unique(store.read(store.names.index("cat/thin.png"))), [200])
    red = store.read(store.names.index("cat/moves.gif"))
    assert (red.min(axis=(0, 1)).tolist(), red.max(axis=(0, 1)).tolist()) == ([255, 0, 0], [255, 0, 0])
    assert result.facts["animated"] == 1


@pytest.mark.slow
def test_a_picture_of_88_megapixels_takes_little_more_than_its_pixels(tmp_path: Path) -> None:
    """264 MB of pixels: below the bound of 178 megapixels, so it is cropped. By a process of its own."""
    (tmp_path / "pictures/a").mkdir(parents=True)
    Image.new("RGB", (11_000, 8_000), (10, 200, 30)).save(tmp_path / "pictures/a/huge.png", compress_level=1)
    out = tmp_path / "a.lmdb"
    script = (  # not getrusage: its peak is inherited from the process that starts this one
        "import re, sys; from alexnet_cli.cli import main\n"
        "code = main()\n"
        "print(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1], file=sys.stderr); sys.exit(code)"
    )
    options = [
        "preprocess",
        str(tmp_path / "pictures/a"),
        "--unlabelled",
        "--out",
        str(out),
        "--workers",
        "1",
        "--quiet",
    ]
    done = subprocess.run([sys.executable, "-c", script, *options], check=True, capture_output=True, text=True)
    assert int(done.stderr) * 1024 < 264_000_000 + 200_000_000
    assert open_crops(out).read(0).reshape(-1, 3).max(axis=0).tolist() == [10, 200, 30]
