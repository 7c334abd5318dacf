"""The class list is right, or the command refuses: folders, archives and shards have one order and one rule."""

from __future__ import annotations

import io
import tarfile
import unicodedata
import zipfile
from pathlib import Path
from typing import Any

import pytest
from miniature import WNIDS, jpeg, tar_of

from alexnet_cli.class_list import ClassList
from alexnet_cli.errors import PictureError
from alexnet_stages.preprocess.config import PreprocessConfig
from alexnet_stages.preprocess.sources import Sources, find_sources

FORMS = ("folders", "tar", "tar of tars", "class tars", "shards")
SYSTEM = (
    "@eaDir",
    "#recycle",
    "@Recycle",
    "$RECYCLE.BIN",
    "System Volume Information",
    "lost+found",
    ".Trash-1000",
    "RECYCLER",
    "FOUND.000",
    "__pycache__",
    "LOST.DIR",
    "@SynologyDrive",
    "~snapshot",
)


def sources_of(source: Path, **options: Any) -> Sources:
    return find_sources(PreprocessConfig(source=source, out=Path("/nowhere/x.lmdb"), **options))


def refused(source: Path, **options: Any) -> str:
    with pytest.raises(PictureError) as caught:
        sources_of(source, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def write(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def tree(root: Path, names: list[str]) -> Path:
    for number, name in enumerate(names):
        write(root / name, jpeg(number))
    return root


def in_form(form: str, root: Path, names: list[str]) -> Path:
    """The pictures `class/file` of `names` in one of FORMS."""
    pictures = [(name, jpeg(number)) for number, name in enumerate(names)]
    if form == "folders":
        return tree(root / "folders", names)
    if form == "tar":
        return write(root / "a.tar", tar_of(pictures))
    if form == "shards":
        files = []
        for name, data in pictures:
            key = name.replace("/", "_").partition(".")[0]
            files += [(f"{key}.jpg", data), (f"{key}.cls", name.partition("/")[0].encode())]
        return write(root / "a.tar", tar_of(files))
    inner: dict[str, list[tuple[str, bytes]]] = {}
    for name, data in pictures:
        folder, _, file = name.partition("/")
        inner.setdefault(folder, []).append((f"{folder}/{file}", data))
    archives = [(f"{folder}.tar", tar_of(files)) for folder, files in inner.items()]
    if form == "tar of tars":
        return write(root / "a.tar", tar_of(archives))
    for name, data in archives:
        write(root / "tars" / name, data)
    return root / "tars"


# One order


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("width", [1, 4])
def test_numbers_are_in_numeric_order_in_every_form(form: str, width: int, tmp_path: Path) -> None:
    names = [f"{number:0{width}d}/a.jpg" for number in range(12)]
    sources = sources_of(in_form(form, tmp_path, names))
    assert sources.classes.names == tuple(map(str, range(12)))
    numbers = [int(name.replace("_", "/").split("/")[0]) for name in sources.names]
    assert sorted(numbers) == list(range(12))
    assert list(sources.labels) == numbers
    assert any("in numeric order: 0 to 11" in note for note in sources.notes)


@pytest.mark.parametrize("form", FORMS)
def test_names_that_are_not_all_numbers_are_in_text_order_in_every_form(form: str, tmp_path: Path) -> None:
    sources = sources_of(in_form(form, tmp_path, [f"{name}/a.jpg" for name in ("0", "1", "10", "2", "cat")]))
    assert sources.classes.names == ("0", "1", "10", "2", "cat")
    assert not any("numeric" in note for note in sources.notes)


@pytest.mark.parametrize("text", ["{name} {label}\n", "{name},{label}.0\n", "{name}\t{label:03d}\n"])
def test_numbers_in_label_files_are_in_numeric_order(text: str, tmp_path: Path) -> None:
    flat = tree(tmp_path / "flat", [f"{number}.jpg" for number in range(12)])
    lines = "".join(text.format(name=f"{number}.jpg", label=number) for number in range(12))
    sources = sources_of(flat, labels=write(tmp_path / "labels.txt", lines))
    assert sources.classes.names == tuple(map(str, range(12)))
    assert [int(name.split(".")[0]) for name in sources.names] == list(sources.labels)


def test_a_number_that_is_no_index_is_said(tmp_path: Path) -> None:
    sources = sources_of(in_form("folders", tmp_path, ["1/a.jpg", "2/a.jpg", "5/a.jpg"]))
    assert any(note.endswith("index and name differ: class 1 has index 0") for note in sources.notes)


def test_the_same_classes_written_otherwise_match(tmp_path: Path) -> None:
    given = write(tmp_path / "classes.txt", "00\n01\n02\n")
    sources = sources_of(in_form("folders", tmp_path, ["0/a.jpg", "2/a.jpg"]), classes=given, allow_missing=True)
    assert (list(sources.labels), sources.classes.names) == ([0, 2], ("0", "1", "2"))
    old = ClassList(("00", "01", "10"))
    assert old.spelt(["0", "10", "001", "3"]) == {"0": "00", "10": "10", "001": "01", "3": "3"}


@pytest.mark.parametrize("form", ["folders", "tar", "class tars"])
def test_two_folders_of_one_number_are_refused(form: str, tmp_path: Path) -> None:
    line = refused(in_form(form, tmp_path, ["0/a.jpg", "00/a.jpg", "1/a.jpg"]))
    assert "the class folders '0' and '00' are the same number" in line


def test_accents_written_in_two_ways_are_one_class(tmp_path: Path) -> None:
    composed, apart = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    train = in_form("folders", tmp_path / "train", [f"{composed}/a.jpg", "bar/a.jpg"])
    val = in_form("folders", tmp_path / "val", [f"{apart}/a.jpg", "bar/a.jpg"])
    assert sources_of(train).classes == sources_of(val).classes
    both = in_form("folders", tmp_path / "both", [f"{composed}/a.jpg", f"{apart}/b.jpg", "bar/a.jpg"])
    assert "accents are written in two ways" in refused(both)


@pytest.mark.parametrize("form", FORMS[:-1])
def test_blanks_around_a_name_make_no_class(form: str, tmp_path: Path) -> None:
    assert sources_of(in_form(form, tmp_path / "a", ["cat /1.jpg", "dog\xa0/2.jpg"])).classes.names == ("cat", "dog")
    assert sources_of(in_form(form, tmp_path / "b", [" 1/1.jpg", "2/2.jpg", "10/3.jpg"])).classes.names == (
        "1",
        "2",
        "10",
    )
    assert "'cat' and 'cat ' are one name, but for blanks around it" in refused(
        in_form(form, tmp_path / "c", ["cat/1.jpg", "cat /2.jpg", "dog/3.jpg"])
    )
    assert "has a class named 'do\\ng'" in refused(in_form(form, tmp_path / "d", ["cat/1.jpg", "do\ng/2.jpg"]))


def test_classes_that_may_be_one_are_named(tmp_path: Path) -> None:
    names = ["Cat", "cat", "cat - Copy", "dog", "dog (1)", "a", "A", "emu_old"]
    notes = "\n".join(sources_of(tree(tmp_path, [f"{name}/1.jpg" for name in names])).notes)
    assert "'Cat' and 'cat' DIFFER BY CASE alone" in notes
    assert "'cat - Copy' MAY BE A COPY of 'cat'" in notes
    assert "'dog (1)' MAY BE A COPY of 'dog'" in notes
    assert "emu" not in notes and "'a'" not in notes, "letters are told apart by case, and there is no emu"


def test_minus_one_is_no_label(tmp_path: Path) -> None:
    names = ["0.jpg", "1.jpg", "2.jpg"]
    flat = tree(tmp_path / "flat", names)
    some = write(tmp_path / "some.txt", "0.jpg 0\n1.jpg -1\n2.jpg 1\n")
    assert refused(flat, labels=some) == (
        f"{flat}: 1 of 3 pictures have the label -1, which is not a class, such as 1.jpg: leave them out, "
        "or give --unlabelled"
    )
    every = write(tmp_path / "all.txt", "".join(f"{name} -1\n" for name in names))
    sources = sources_of(flat, labels=every)
    assert (list(sources.labels), len(sources.classes)) == ([-1] * 3, 0)
    shard = tar_of([("a.jpg", jpeg(1)), ("a.cls", b"-1"), ("b.jpg", jpeg(2)), ("b.cls", b"0")])
    assert "1 of 2 pictures have the label -1" in refused(write(tmp_path / "x.tar", shard))


# --classes FILE


def test_a_class_file_gives_the_order(tmp_path: Path) -> None:
    folders = in_form("folders", tmp_path, ["cat/a.jpg", "dog/a.jpg", "ant/a.jpg"])
    sources = sources_of(folders, classes=write(tmp_path / "classes.txt", "dog\ncat\nant\n"))
    assert sources.classes.names == ("dog", "cat", "ant")
    assert dict(zip(sources.names, sources.labels, strict=True)) == {"dog/a.jpg": 0, "cat/a.jpg": 1, "ant/a.jpg": 2}
    assert any(note == f"classes in the order of {tmp_path / 'classes.txt'}: dog, cat, ant" for note in sources.notes)


def test_a_class_file_that_names_a_class_twice_or_reverses_numbers_says_so(tmp_path: Path) -> None:
    root = tree(tmp_path / "in", ["7/a.jpg", "8/b.jpg"])
    assert "line 2: the class '7' stands in line 1 already" in refused(
        root, classes=write(tmp_path / "c", "007\n7\n8\n")
    )
    sources = sources_of(root, classes=write(tmp_path / "d", "8\n7\n"))
    assert sources.classes.names == ("8", "7")
    assert any("not of the numbers: 8, 7" in note for note in sources.notes)


def test_a_class_file_may_give_words_or_indices(tmp_path: Path) -> None:
    folders = in_form("folders", tmp_path, [f"{wnid}/a.jpg" for wnid in WNIDS[:2]])
    words = write(tmp_path / "synset_words.txt", f"{WNIDS[0]} tench, Tinca tinca\n{WNIDS[1]}\tgoldfish\n")
    sources = sources_of(folders, classes=words)
    assert (sources.classes.names, sources.classes.words) == (WNIDS[:2], ("tench, Tinca tinca", "goldfish"))
    folders = in_form("folders", tmp_path / "b", ["hot dog/a.jpg", "002.Cat/a.jpg"])
    sources = sources_of(folders, classes=write(tmp_path / "classes.txt", "1 hot dog\n2 002.Cat\n"))
    assert sources.classes.names == ("hot dog", "002.Cat")
    plain = write(tmp_path / "plain.txt", "hot dog\n002.Cat\n")
    assert sources_of(folders, classes=plain).classes.names == ("hot dog", "002.Cat")


# What is none of the user's


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", SYSTEM)
def test_system_folders_are_no_classes_and_hold_no_pictures(form: str, name: str, tmp_path: Path) -> None:
    right = ["cat/a.jpg", "dog/b.jpg"]
    expected = sources_of(in_form(form, tmp_path / "right", right))
    junk = [f"cat/{name}/a.jpg/SYNOPHOTO_THUMB_M.jpg"]
    if form in ("folders", "tar", "shards"):
        junk.append(f"{name}/c.jpg")
    if form == "shards":
        files = [(f"cat_a.{kind}", content) for kind, content in (("jpg", jpeg(0)), ("cls", b"cat"))]
        files += [(f"dog_b.{kind}", content) for kind, content in (("jpg", jpeg(1)), ("cls", b"dog"))]
        found = sources_of(write(tmp_path / "wrong" / "a.tar", tar_of([*files, *((path, b"x") for path in junk)])))
    else:
        found = sources_of(in_form(form, tmp_path / "wrong", [*right, *junk]))
    assert (found.names, list(found.labels), found.classes) == (expected.names, list(expected.labels), expected.classes)
    assert found.ignored["hidden"] >= 1


def test_a_class_may_be_called_as_an_old_system_folder(tmp_path: Path) -> None:
    names = ["cvs/a.jpg", "glass/b.jpg", "recycled/c.jpg"]
    assert sources_of(in_form("folders", tmp_path, names)).classes.names == ("cvs", "glass", "recycled")


def test_an_empty_system_folder_stops_nothing(tmp_path: Path) -> None:
    folders = in_form("folders", tmp_path, ["cat/a.jpg", "dog/b.jpg"])
    for name in SYSTEM:
        (folders / name).mkdir()
    sources = sources_of(folders)
    assert (sources.classes.names, sources.ignored) == (("cat", "dog"), {"hidden": len(SYSTEM)})


@pytest.mark.parametrize("place", ["emu", "cat/more"])
@pytest.mark.parametrize("target", ["nowhere", "emu"])
def test_a_link_to_nothing_is_refused_where_a_folder_could_be(place: str, target: str, tmp_path: Path) -> None:
    folders = in_form("folders", tmp_path, ["cat/a.jpg", "dog/b.jpg"])
    link = folders / place
    link.symlink_to(link if target == "emu" else target)
    assert refused(folders).startswith(f"{link}: is a link to ")
    link.unlink()
    link.symlink_to(folders / "dog")
    assert len(sources_of(folders).names) == 3


@pytest.mark.parametrize(
    ("name", "start", "what"),
    [
        ("emu.lnk", b"L\0\0\0", "a shortcut of Windows"),
        ("emu", b"XSym\n0007\n", "a link of macOS"),
        ("emu", b"../birds/emu", "the text of a link ('../birds/emu')"),
    ],
)
def test_what_other_systems_have_for_a_link_is_refused(name: str, start: bytes, what: str, tmp_path: Path) -> None:
    root = tree(tmp_path / "in", ["cat/1.jpg", "dog/2.jpg"])
    write(root / name, start)
    assert f"is {what} in place of a folder" in refused(root)
    write(root / name, b"notes on emus")
    assert ("shortcut" in refused(root)) if name.endswith(".lnk") else sources_of(root).classes.names == ("cat", "dog")


# The level of the classes


TREES = ("dir", "tar", "zip")


def tree_in(form: str, root: Path, names: list[str]) -> Path:
    """The pictures of `names` in a folder, or in an archive of what lies in it."""
    files = {name: jpeg(number) for number, name in enumerate(names)}
    if form == "dir":
        return tree(root / "dir", names)
    if form == "tar":
        return write(root / "a.tar", tar_of(files.items()))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return write(root / "a.zip", packed.getvalue())


@pytest.mark.parametrize("form", TREES)
@pytest.mark.parametrize(
    ("tops", "message"),
    [
        ("Training Validation", "holds Training, Validation"),
        ("TRAIN TEST", "holds TEST, TRAIN"),
        ("train valid extra", "holds"),
        ("seg_train seg_test", "holds seg_test, seg_train, not class folders"),
        ("train2017 test2017", "not class folders"),
        ("fold1 fold2 fold3", "holds fold1, fold2, fold3, not class folders"),
        ("color grey", "the folders color, grey hold the same folders, cat, dog: give one, such as"),
        ("2019 2020", "hold the same folders"),
    ],
)
def test_parts_of_a_data_set_are_no_classes(form: str, tops: str, message: str, tmp_path: Path) -> None:
    names = [f"{top}/{name}/1.jpg" for top in tops.split() for name in ("cat", "dog")]
    root = tree_in(form, tmp_path, names)
    assert message in refused(root)
    first = max(tops.split(), key=lambda name: name.lower().startswith("train"))
    assert sources_of(root / first).classes.names == ("cat", "dog"), "the advice can be followed"


@pytest.mark.parametrize("form", TREES)
def test_flat_parts_are_no_classes_and_a_train_is_one(form: str, tmp_path: Path) -> None:
    assert "not class folders" in refused(tree_in("dir", tmp_path / "a", ["train/cat.1.jpg", "test1/1.jpg"]))
    root = tree_in(form, tmp_path / "b", ["train/1.jpg", "cat/1.jpg", "bus/1.jpg"])
    assert sources_of(root).classes.names == ("bus", "cat", "train")


@pytest.mark.parametrize("form", TREES)
def test_a_split_is_found_below_folders_around_all(form: str, tmp_path: Path) -> None:
    names = [f"data/set/{split}/{name}/1.jpg" for split in ("train", "val") for name in ("cat", "dog")]
    root = tree_in(form, tmp_path, names)
    assert list(sources_of(root, split="val").names) == ["cat/1.jpg", "dog/1.jpg"]
    assert f"give {root}/data/set" in refused(root)


@pytest.mark.parametrize("form", TREES)
@pytest.mark.parametrize(
    ("tops", "what"),
    [
        ("JPEGImages Annotations", "Pascal VOC's layout"),
        ("images labels", "YOLO's layout"),
        ("train2017 annotations", "COCO's layout"),
        ("images masks", "pictures with outlines"),
    ],
)
def test_layouts_of_objects_are_named(form: str, tops: str, what: str, tmp_path: Path) -> None:
    root = tree_in(form, tmp_path, [f"{top}/{number}.jpg" for top in tops.split() for number in range(2)])
    assert what in refused(root)


def test_classes_in_the_names_of_files_are_seen_and_not_guessed(tmp_path: Path) -> None:
    line = refused(tree(tmp_path / "in", [f"{name}.{number}.jpg" for name in ("cat", "dog") for number in range(3)]))
    assert line.endswith("(their names begin with cat, dog: if those are the classes, sort them into folders)")
    assert "names begin" not in refused(tree(tmp_path / "plain", [f"img_{number}.jpg" for number in range(3)]))


def test_folders_in_class_folders_are_said_to_be_no_classes(tmp_path: Path) -> None:
    names = ["animal/cat/1.jpg", "animal/dog/1.jpg", "plant/oak/1.jpg", "plant/elm/1.jpg"]
    sources = sources_of(tree(tmp_path, names))
    assert sources.classes.names == ("animal", "plant")
    assert any("such as animal/cat, animal/dog, plant/elm, …, ARE NOT CLASSES" in note for note in sources.notes)


def test_classes_that_look_like_none_are_named(tmp_path: Path) -> None:
    names = ["BACKGROUND_Google", "unlabeled", "__unknown__", "backgammon", "cat"]
    sources = sources_of(in_form("folders", tmp_path, [f"{name}/a.jpg" for name in names]))
    assert len(sources.classes) == 5
    note = next(note for note in sources.notes if note.startswith("DO NOT LOOK LIKE CLASSES"))
    assert "BACKGROUND_Google (1), __unknown__ (1), unlabeled (1)" in note
    assert "backgammon" not in note


# Shards without labels


def shards(root: Path, files: list[str], *, name: str = "im-{:06d}.tar", text: bool = False) -> Path:
    for number in range(2):
        part = [(file, jpeg(place)) for place, file in enumerate(files) if place % 2 == number]
        part += [(f"{file.rpartition('.')[0]}.txt", b"a caption") for file, _ in part if text]
        write(root / "shards" / name.format(number), tar_of(part))
    return root / "shards"


@pytest.mark.parametrize(
    "name", ["im-{:06d}.tar", "train_images_{}.tar", "{:05d}.tar", "shard{:03d}.tar", "3fa9c{}.tar"]
)
@pytest.mark.parametrize("text", [False, True])
def test_shards_without_labels_are_no_classes(name: str, text: bool, tmp_path: Path) -> None:
    folder = shards(tmp_path, [f"{number:04d}.jpg" for number in range(8)], name=name, text=text)
    line = refused(folder)
    assert line.startswith(f"{folder / name.format(0)}: 0000 has no .cls and no .json")
    assert "give --labels FILE" in line
    assert "--unlabelled" in line
    assert len(sources_of(folder, unlabelled=True).names) == 8
    labels = write(tmp_path / "labels.csv", "".join(f"{number:04d},{number % 2}\n" for number in range(8)))
    assert list(sources_of(folder, labels=labels).labels) == [0, 1] * 4


@pytest.mark.parametrize("key", ["{wnid}_{number}_{wnid}.JPEG", "{wnid}/{number}.jpg", "val_{number}_{wnid}.JPEG"])
def test_wnids_in_front_of_every_key_are_the_classes(key: str, tmp_path: Path) -> None:
    files = [key.format(wnid=WNIDS[number // 2], number=number) for number in range(8)]
    sources = sources_of(shards(tmp_path, files, name="train_images_{}.tar"))
    assert sources.classes.names == WNIDS[:4]
    expected = {file: number // 2 for number, file in enumerate(files)}
    assert [expected[name] for name in sources.names] == list(sources.labels)
    one_without = shards(tmp_path / "b", [*files, "x.jpg"], name="train_images_{}.tar")
    assert "x.jpg begins with no WNID" in refused(one_without)


def test_archives_that_mix_classes_are_no_class_archives(tmp_path: Path) -> None:
    mixed = [f"{WNIDS[number]}_{number}.JPEG" for number in range(4)]
    folder = shards(tmp_path, mixed, name="part{}.tar")
    assert "found those of 2 WNIDs" in refused(folder)
    outer = write(tmp_path / "o.tar", tar_of([(path.name, path.read_bytes()) for path in sorted(folder.iterdir())]))
    assert "found those of 2 WNIDs" in refused(outer)
    trees = tmp_path / "trees"
    for name in ("one", "two"):
        write(trees / f"{name}.tar", tar_of([("cat/a.jpg", jpeg(1)), ("dog/b.jpg", jpeg(2))]))
    assert "found the folders cat, dog in more than one" in refused(trees)
    splits = tmp_path / "splits"
    for name in ("train", "val"):
        write(splits / f"{name}.tar", tar_of([(f"{name}.jpg", jpeg(1))]))
    assert "not of classes: give one, such as" in refused(splits)


@pytest.mark.parametrize(
    "names", [("part_a", "part_b"), ("train-aa", "train-ab"), ("i-1-of-2", "i-2-of-2"), ("0-9", "10-19")]
)
def test_archives_called_after_a_part_are_no_classes(names: tuple[str, str], tmp_path: Path) -> None:
    for name in names:
        write(tmp_path / f"{name}.tar", tar_of([(f"{name}_1.jpg", jpeg(1)), (f"{name}_2.jpg", jpeg(2))]))
    assert "has no .cls and no .json" in refused(tmp_path)


def test_archives_that_hold_a_folder_of_another_class_are_refused(tmp_path: Path) -> None:
    for name, folder in (("xa", "cat"), ("xb", "dog")):
        write(tmp_path / f"{name}.tar", tar_of([(f"{folder}/1.jpg", jpeg(1)), (f"{folder}/2.jpg", jpeg(2))]))
    assert "xa.tar: is named after a different class than the folder in it, cat" in refused(tmp_path)
    for name in ("xa", "xb"):
        write(tmp_path / f"{name}.tar", tar_of([("images/1.jpg", jpeg(1)), ("images/2.jpg", jpeg(2))]))
    assert sources_of(tmp_path).classes.names == ("xa", "xb")


def samples(root: Path, end: str, texts: list[str]) -> Path:
    """A shard of pictures with a text each."""
    files = [item for at, text in enumerate(texts) for item in ((f"{at}.jpg", jpeg(at)), (f"{at}{end}", text.encode()))]
    return write(root, tar_of(files))


def test_shards_of_two_splits_need_a_choice_and_json_one_meaning(tmp_path: Path) -> None:
    samples(tmp_path / "in/x-train-000.tar", ".cls", ["0", "1"])
    samples(tmp_path / "in/x-val-000.tar", ".cls", ["1", "0"])
    assert "holds shards of train, val: give --split train|val" in refused(tmp_path / "in")
    assert list(sources_of(tmp_path / "in", split="val").labels) == [1, 0]
    texts = ['{"label": 0, "class": "a"}', '{"label": 1, "class": "a"}', '{"label": 1, "class": "b"}']
    path = samples(tmp_path / "a.tar", ".json", texts)
    assert "'label' and 'class' in .json may both be the labels, and differ" in refused(path)
    assert sources_of(path, label_column="class").classes.names == ("a", "b")


def test_class_archives_stay_class_archives(tmp_path: Path) -> None:
    for number, name in enumerate(("cat", "dog")):
        write(tmp_path / "tars" / f"{name}.tar", tar_of([("images/1.jpg", jpeg(number)), ("2.jpg", jpeg(number + 5))]))
    assert sources_of(tmp_path / "tars").classes.names == ("cat", "dog")
    for number in range(3):
        write(tmp_path / "numbers" / f"{number}.tar", tar_of([(f"{number}/1.jpg", jpeg(number))]))
    assert sources_of(tmp_path / "numbers").classes.names == ("0", "1", "2")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize("name", ["emu", "cat/b.jpg"])
def test_links_in_archives_are_never_left_out_silently(kind: bytes, name: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar", tar_of([("cat/a.jpg", jpeg(1)), ("dog/b.jpg", jpeg(2))]))
    with tarfile.open(path, "a") as tar:
        link = tarfile.TarInfo(name)
        link.type, link.linkname = kind, "cat/a.jpg"
        tar.addfile(link)
    assert refused(path).startswith(f"{path}: {name} is a link to cat/a.jpg")
