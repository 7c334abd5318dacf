"""Files that name the classes: whatever their form, the names, their order, and what labels that are numbers mean."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from miniature import WNIDS, jpeg, tar_of
from test_sources_classes import refused, sources_of, tree, write

from alexnet_cli.class_files import read_class_list
from alexnet_cli.errors import PictureError


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("classes.txt", "bat\nape\nhot dog\n"),
        ("classes.txt", "0 bat\n1 ape\n2 hot dog\n"),
        ("classes.txt", "2 ape\n1 bat\n3 hot dog\n"),
        ("classes.txt", "0: bat\n1: ape\n2: hot dog\n"),
        ("classes.csv", "0,bat\n1,ape\n2,hot dog\n"),
        ("classes.csv", "index,name\n1,bat\n2,ape\n3,hot dog\n"),
        ("classes.csv", "name;index\nape;1\nbat;0\nhot dog;2\n"),
        ("classes.tsv", "bat\t0\nhot dog\t2\nape\t1\n"),
        ("classes.json", '["bat", "ape", "hot dog"]'),
        ("classes.json", '{"ape": 1, "bat": 0, "hot dog": 2}'),
        ("classes.json", '{"0": "bat", "1": "ape",\n "2": "hot dog"}'),
    ],
)
def test_names_and_their_order_are_understood_in_every_form(file: str, text: str, tmp_path: Path) -> None:
    assert read_class_list(write(tmp_path / file, text)).names == ("bat", "ape", "hot dog")


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("synset_words.txt", "{1} goldfish, Carassius\n{0} tench, Tinca tinca\n"),
        ("map_clsloc.txt", "{1} 1 goldfish, Carassius\n{0} 2 tench, Tinca tinca\n"),
        ("words.csv", 'wnid,words\n{1},"goldfish, Carassius"\n{0},"tench, Tinca tinca"\n'),
        ("class_index.json", json.dumps({"1": ["{0}", "tench, Tinca tinca"], "0": ["{1}", "goldfish, Carassius"]})),
    ],
)
def test_words_of_wnids_are_understood_in_every_form(file: str, text: str, tmp_path: Path) -> None:
    text = text.replace("{0}", WNIDS[0]).replace("{1}", WNIDS[1])
    classes = read_class_list(write(tmp_path / file, text))
    assert (classes.names, classes.words) == ((WNIDS[1], WNIDS[0]), ("goldfish, Carassius", "tench, Tinca tinca"))


@pytest.mark.parametrize(
    "text",
    [
        "class 1\nclass 2\nclass 3\n",
        "7 up\n1 ape\n0 bat\n",
        "1 ape\n2 ape\n3 bat\n",
        "8\n7\n",
        "red kite\n0 ape\n1 bat\n",
    ],
)
def test_numbers_that_are_parts_of_names_stay(text: str, tmp_path: Path) -> None:
    classes = read_class_list(write(tmp_path / "classes.txt", text))
    assert (classes.names, classes.counted_from) == (tuple(text.splitlines()), None)


@pytest.mark.parametrize("text", ['{"ape": {"id": 1}}', "[1, 2]", "[", "3"])
def test_json_of_another_form_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(PictureError, match=r"is JSON of another form|holds no class names"):
        read_class_list(write(tmp_path / "classes.json", text))


def shard(root: Path, labels: list[int]) -> Path:
    files = [
        (f"{at}.{kind}", data)
        for at, label in enumerate(labels)
        for kind, data in (("jpg", jpeg(at)), ("cls", b"%d" % label))
    ]
    return write(root / "a.tar", tar_of(files))


@pytest.mark.parametrize("first", [0, 1])
def test_labels_that_are_numbers_are_those_of_the_class_file(first: int, tmp_path: Path) -> None:
    numbered = write(
        tmp_path / "numbered.txt", "".join(f"{first + at} {name}\n" for at, name in enumerate(("cat", "ape", "bat")))
    )
    labels = [first + 2, first, first + 1]
    found = sources_of(shard(tmp_path, labels), classes=numbered)
    assert [found.classes.names[label] for label in found.labels] == ["bat", "cat", "ape"]
    assert f"the labels are numbers, counted from {first}: {first} is cat" in found.notes
    flat = tree(tmp_path / "flat", [f"{at}.jpg" for at in range(3)])
    table = write(
        tmp_path / "labels.csv", "file,label\n" + "".join(f"{at}.jpg,{label}\n" for at, label in enumerate(labels))
    )
    assert list(sources_of(flat, labels=table, classes=numbered).labels) == list(found.labels)
    some = shard(tmp_path / "some", [first + 1, first])
    part = sources_of(some, classes=numbered, allow_missing=True)
    assert [part.classes.names[label] for label in part.labels] == ["ape", "cat"]


def test_labels_counted_otherwise_than_the_class_file_are_refused(tmp_path: Path) -> None:
    from_one = write(tmp_path / "one.txt", "1 cat\n2 ape\n3 bat\n")
    plain = write(tmp_path / "plain.txt", "cat\nape\nbat\n")
    line = refused(shard(tmp_path / "a", [0, 1, 2]), classes=from_one)
    assert line.endswith("expected labels from 1 to 3 (--classes), found 0: number the classes in that file from 0")
    line = refused(shard(tmp_path / "b", [1, 2, 3]), classes=plain)
    assert line.endswith("expected labels from 0 to 2 (--classes), found 3: number the classes in that file from 1")
    line = refused(shard(tmp_path / "c", [5, 9]), classes=plain)
    assert line.endswith("expected labels from 0 to 2 (--classes), found 9")


@pytest.mark.parametrize("form", ["folder", "tar"])
@pytest.mark.parametrize("name", ["{wnid}_{number}.JPEG", "ILSVRC2012_val_{number:08d}_{wnid}.JPEG"])
def test_wnids_in_the_names_of_flat_pictures_are_their_classes(name: str, form: str, tmp_path: Path) -> None:
    names = [name.format(wnid=WNIDS[number % 3], number=number) for number in range(6)]
    pictures = [(file, jpeg(number)) for number, file in enumerate(names)]
    root = tree(tmp_path / "in", names) if form == "folder" else write(tmp_path / "val_images.tar", tar_of(pictures))
    found = sources_of(root)
    assert found.classes.names == WNIDS[:3]
    assert {file: found.classes.names[label] for file, label in zip(found.names, found.labels, strict=True)} == {
        file: WNIDS[number % 3] for number, file in enumerate(names)
    }
    assert any("classes from the WNIDs in the pictures' names" in note for note in found.notes)
    if form == "folder":
        write(root / "cat.jpg", jpeg(9))
        assert "lies in no class folder" in refused(root)
