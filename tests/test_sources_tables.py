"""Labels in tables, however people have them: separators, titles, paths, Hugging Face's and Tiny-ImageNet's layouts."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from miniature import WNIDS, jpeg, tar_of
from preprocessing import content, preprocess
from test_sources_classes import refused, sources_of, write

NAMES = ("a.jpg", "b.jpg", "c.jpg", "d.jpg")
LABELS = ("cat", "dog", "cat", "ape")


def flat(root: Path, names: tuple[str, ...] = NAMES) -> Path:
    for number, name in enumerate(names):
        write(root / name, jpeg(number))
    return root


def labels_of(root: Path, file: Path | None = None) -> dict[str, str]:
    sources = sources_of(root, labels=file) if file else sources_of(root)
    assert sources.classes.names == tuple(sorted(set(LABELS)))
    return {name: sources.classes.names[label] for name, label in zip(sources.names, sources.labels, strict=True)}


def rows(template: str) -> str:
    pairs = zip(NAMES, LABELS, strict=True)
    return "".join(
        template.format(name=name, stem=name[:-4], label=label, number=number)
        for number, (name, label) in enumerate(pairs, 7)
    )


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("l.csv", "id,breed\n" + rows("{stem},{label}\n")),  # Kaggle's dog breeds
        ("l.csv", "breed;id\n" + rows("{label};{stem}\n")),
        ("l.csv", "label\tfile\n" + rows("{label}\t{name}\n")),
        ("l.tsv", "label\tfile\n" + rows("{label}\t{name}\n")),
        ("l.csv", ",filename,label\n" + rows("{number},{name},{label}\n")),  # pandas' row numbers
        ("l.csv", "Unnamed: 0,Label,File Name,width\n" + rows("{number},{label},{name},500\n")),
        ("l.csv", "photo;verdict\n" + rows("{name};{label}\n")),  # titles that nobody knows
        ("l.csv", rows("{name};{label}\n")),
        ("l.csv", rows("{label},{name}\n")),
        ("l.csv", rows('"{name}","{label}"\n')),
        ("l.csv", "id,filename,class\n" + rows("{number},{name},{label}\n")),
        ("l.csv", "wnid,label,filename\n" + rows("x{label},{label},{name}\n").replace("xcat", "cat")),
        ("l.txt", rows("{name}|{label}\n")),
        ("l.txt", rows("./{name} {label}\n")),
        ("l.txt", rows("in/{name}\t{label}\n")),
        ("l.txt", rows("in\\{name}\t{label}\n")),
        ("l.csv", "file,label\r\n" + rows("{{root}}/{name},{label}\r\n")),
        ("l.csv", "\ufefffile,label\n" + rows("{name},{label}\n")),
        ("l.csv", "sep=;\nfile;label\n" + rows("{name};{label}\n")),  # Excel's first line
        ("l.json", json.dumps(dict(zip(NAMES, LABELS, strict=True)), indent=1)),
        (
            "l.json",
            json.dumps([{"file_name": name, "label": label} for name, label in zip(NAMES, LABELS, strict=True)]),
        ),
        ("l.jsonl", rows('{{"label": "{label}", "file_name": "{name}", "box": [1, 2]}}\n')),
    ],
)
def test_a_table_is_understood_whatever_its_form(file: str, text: str, tmp_path: Path) -> None:
    root = flat(tmp_path / "in")
    expected = dict(zip(NAMES, LABELS, strict=True))
    if "wnid" in text:  # which of two equal divisions gives the names does not matter: labels are looked for first
        assert labels_of(root, write(tmp_path / file, text)) == expected
    else:
        assert labels_of(root, write(tmp_path / file, text.replace("{root}", str(root)))) == expected


def test_paths_below_a_linked_source_are_found(tmp_path: Path) -> None:
    root = flat(tmp_path / "real")
    (tmp_path / "link").symlink_to(root)
    for place in (tmp_path / "real", tmp_path / "link"):
        table = write(tmp_path / "l.csv", rows(f"{place}/{{name}},{{label}}\n"))
        assert labels_of(tmp_path / "link", table) == dict(zip(NAMES, LABELS, strict=True))


def test_accents_written_in_two_ways_are_one_name(tmp_path: Path) -> None:
    composed = unicodedata.normalize("NFC", "é.jpg")
    root = flat(tmp_path / "in", (unicodedata.normalize("NFD", composed), "b.jpg"))
    table = write(tmp_path / "l.csv", f"{composed},cat\nb.jpg,dog\n")
    assert list(sources_of(root, labels=table).labels) == [1, 0]


def test_pictures_in_folders_may_be_named_without_them(tmp_path: Path) -> None:
    root = flat(tmp_path / "in", tuple(f"{name[0]}/{name}" for name in NAMES))
    found = labels_of(root, write(tmp_path / "l.csv", rows("{name},{label}\n")))
    assert list(found.values()) == list(LABELS)
    flat(root, ("z/a.jpg",))
    table = write(tmp_path / "l.csv", rows("{name},{label}\n"))
    assert refused(root, labels=table) == f"{table}, line 1: {root} has no picture a.jpg"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "file,label,class\n" + rows("{name},{label},c{stem}\n"),
            "'label' and 'class' may both be the labels, and differ",
        ),
        ("file,sex,age\n" + rows("{name},{label},4\n"), "has no column of labels that is known by its title (found"),
        (rows("{name},{label},4\n"), "has 3 columns without titles: put a line in front"),
        ("file,label\n" + rows("{name},{label}\n") + "e.jpg,ape\n", "line 6: {root} has no picture e.jpg"),
        ("ghost,cat\n" + rows("{stem},{label}\n"), "line 1: {root} has no picture ghost"),
        (rows("{name},{label}\n") + "a,dog\n", "line 5: a has a label in line 1 already"),
        ("file,label\n", "{root}/a.jpg: has no label in"),
        ("", "is empty"),
    ],
)
def test_a_table_that_leaves_a_choice_is_refused(text: str, message: str, tmp_path: Path) -> None:
    root = flat(tmp_path / "in")
    assert message.replace("{root}", str(root)) in refused(root, labels=write(tmp_path / "l.csv", text))


@pytest.mark.parametrize(
    "text",
    [
        "id,label\n{rows}",
        "file_name,label\n{rows}",
        "split,id,label\n{split}",
        "{rows}",
        "id,label,confidence\n{more}",
    ],
)
def test_labels_that_are_numbers_are_not_taken_for_names_of_pictures(text: str, tmp_path: Path) -> None:
    root = flat(tmp_path / "in", tuple(f"{number}.png" for number in range(20)))
    pairs = [(str(number), str(number * 3 % 5)) for number in range(20)]
    table = text.format(
        rows="".join(f"{name},{label}\n" for name, label in pairs),
        split="".join(f"{'train' if int(name) < 9 else 'val'},{name},{label}\n" for name, label in pairs),
        more="".join(f"{name},{label},0.{name}\n" for name, label in pairs),
    )
    sources = sources_of(root, labels=write(tmp_path / "l.csv", table))
    wanted = dict(pairs)
    assert sources.classes.names == ("0", "1", "2", "3", "4")
    assert [str(label) for label in sources.labels] == [wanted[Path(name).stem] for name in sources.names]
    assert any("'split' (train, val) is IGNORED" in note for note in sources.notes) == ("split" in text)


def test_which_column_holds_the_labels_can_be_said(tmp_path: Path) -> None:
    text = "".join(f"{name},{number},{number // 2}\n" for number, name in enumerate(NAMES))
    root = flat(tmp_path / "in")
    table = write(tmp_path / "l.csv", f"file,fine_label,coarse_label\n{text}")
    beside = flat(tmp_path / "beside")
    write(beside / "metadata.csv", f"file_name,fine_label,coarse_label\n{text}")
    for source, options in ((root, {"labels": table}), (beside, {})):
        line = refused(source, **options)
        assert "(found file" in line and "fine_label, coarse_label): give --label-column TITLE" in line
        assert list(sources_of(source, label_column="fine_label", **options).labels) == [0, 1, 2, 3]
        assert list(sources_of(source, label_column="coarse_label", **options).labels) == [0, 0, 1, 1]
        assert "has no column of labels 'colour' (--label-column)" in refused(source, label_column="colour", **options)


def test_a_column_is_refused_if_the_labels_come_from_no_table(tmp_path: Path) -> None:
    pictures = [("cat/a.jpg", jpeg(0)), ("dog/b.jpg", jpeg(1))]
    for name, data in pictures:
        write(tmp_path / "in" / name, data)
    archive = write(tmp_path / "in.tar", tar_of(pictures))
    for source, how in ((tmp_path / "in", "folders"), (archive, "archive")):
        line = refused(source, label_column="breed")
        assert f"--label-column breed: has no table of labels (classes from the {how}): leave it out" in line
    table = write(tmp_path / "l.csv", "name,breed,colour\ncat/a.jpg,x,y\ndog/b.jpg,z,y\n")
    assert sources_of(tmp_path / "in", labels=table, label_column="breed").classes.names == ("x", "z")


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (
            "l.csv",
            "file,MEL,NV\n" + rows("{name},1.0,0.0\n"),
            "has a column for each class (MEL, NV), of ones and zeros",
        ),
        ("l.csv", "file,label\n" + rows("{name},{label}|fox\n"), "line 2: expected one class for each picture, found"),
        ("l.jsonl", rows('{{"file_name": "{name}", "label": ["{label}"]}}\n'), "expected one class for each picture"),
        ("l.csv", "file,label\n" + rows("{name},{number}.0\n").replace("8.0", "nan"), "expected a number, found 'nan'"),
        ("l.csv", "file,label\n" + rows('{name},"{label}\nx"\n'), "has a class named 'ape\\nx'"),
        ("l.json", '{"images": [], "annotations": [], "categories": []}', "is COCO's JSON"),
        ("l.json", '{"labels": [["a.jpg", 1]]}', "is JSON of another form: expected {name: label}"),
    ],
)
def test_labels_that_are_no_classes_are_refused(file: str, text: str, message: str, tmp_path: Path) -> None:
    assert message in refused(flat(tmp_path / "in"), labels=write(tmp_path / file, text))


def test_captions_are_no_classes(tmp_path: Path) -> None:
    names = tuple(f"{number}.jpg" for number in range(60))
    root = flat(tmp_path / "in", names)
    text = "".join(f"{name},a photograph of thing {number}\n" for number, name in enumerate(names))
    table = write(tmp_path / "l.csv", text)
    assert "expected classes, found another text for each of the 60 pictures" in refused(root, labels=table)
    write(root / "metadata.csv", f"file_name,text\n{text}")
    assert "metadata.csv: has no column of labels that is known by its title (found file_name, text)" in refused(root)


# Hugging Face's imagefolder


def in_form(form: str, root: Path, files: dict[str, bytes | str]) -> Path:
    """Files in a folder, or in a tar of that folder."""
    if form == "folder":
        for name, data in files.items():
            write(root / name, data)
        return root
    members = [
        (f"{root.name}/{name}", data.encode() if isinstance(data, str) else data) for name, data in files.items()
    ]
    return write(root.with_suffix(".tar"), tar_of(members)) / root.name


PICTURES: dict[str, bytes | str] = {name: jpeg(number) for number, name in enumerate(NAMES)}
CSV = "file_name,label\n" + rows("{name},{label}\n")
JSONL = "".join(
    json.dumps({"file_name": name, "label": label, "note": None}) + "\n"
    for name, label in zip(NAMES, LABELS, strict=True)
)


@pytest.mark.parametrize("form", ["folder", "tar"])
@pytest.mark.parametrize(("file", "text"), [("metadata.csv", CSV), ("metadata.jsonl", JSONL)])
def test_metadata_is_found_by_itself(form: str, file: str, text: str, tmp_path: Path) -> None:
    root = in_form(form, tmp_path / "in", {**PICTURES, file: text})
    assert labels_of(root) == dict(zip(NAMES, LABELS, strict=True))
    assert f"labels from {root}/{file}" in sources_of(root).notes[0]
    preprocess(root, tmp_path / "a.lmdb")
    preprocess(
        flat(tmp_path / "plain"), tmp_path / "b.lmdb", labels=write(tmp_path / "l.csv", rows("{name},{label}\n"))
    )
    assert content(tmp_path / "a.lmdb") == content(tmp_path / "b.lmdb")


@pytest.mark.parametrize("form", ["folder", "tar"])
def test_metadata_above_the_splits_counts_for_each(form: str, tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {f"train/{name}": data for name, data in PICTURES.items()}
    text = "label,file_name\n" + rows("{label},train/{name}\n") + "dog,test/z.jpg\n"
    root = in_form(form, tmp_path / "in", {**files, "test/z.jpg": jpeg(9), "metadata.csv": text})
    assert labels_of(root / "train") == dict(zip(NAMES, LABELS, strict=True))
    if form == "folder":
        assert list(sources_of(root, split="train").names) == list(NAMES)
    assert "--split" in refused(root)


@pytest.mark.parametrize("form", ["folder", "tar"])
def test_folders_and_metadata_that_contradict_each_other_are_refused(form: str, tmp_path: Path) -> None:
    folders = dict(zip(("cat/a.jpg", "dog/b.jpg", "cat/c.jpg", "ape/d.jpg"), PICTURES.values(), strict=True))
    same = "file_name,label\n" + "".join(f"{name},{name[:3]}\n" for name in folders)
    root = in_form(form, tmp_path / "same", {**folders, "metadata.csv": same})
    assert sources_of(root).classes.names == ("ape", "cat", "dog")
    other = same.replace("a.jpg,cat", "a.jpg,dog")
    root = in_form(form, tmp_path / "other", {**folders, "metadata.csv": other})
    line = refused(root)
    assert line.startswith(f"{root}/cat/a.jpg: lies in the class folder 'cat', and has the label 'dog' in ")
    assert "rename it to take the class folders" in line
    partly = "\n".join(same.split("\n")[:3])
    root = in_form(form, tmp_path / "partly", {**folders, "metadata.csv": partly})
    assert "rename it to take the class folders" in refused(root)
    credits = "file_name,photographer\n" + "".join(f"{name},me\n" for name in folders)
    root = in_form(form, tmp_path / "credits", {**folders, "metadata.csv": credits})
    sources = sources_of(root)
    assert sources.classes.names == ("ape", "cat", "dog")
    assert any("has no column of labels: classes from the folders" in note for note in sources.notes)


def test_folders_that_each_have_their_table_are_no_classes(tmp_path: Path) -> None:
    for part, names in (("part1", NAMES[:2]), ("part2", NAMES[2:])):
        for name in names:
            write(tmp_path / "in" / part / name, PICTURES[name])
        lines = "".join(f"{name},{LABELS[NAMES.index(name)]}\n" for name in names)
        write(tmp_path / "in" / part / "metadata.csv", f"file_name,label\n{lines}")
    assert list(labels_of(tmp_path / "in").values()) == list(LABELS)
    write(tmp_path / "in/part1/metadata.jsonl", "{}")
    assert "lies next to another table of labels" in refused(tmp_path / "in")


# Tiny-ImageNet


@pytest.mark.parametrize("form", ["folder", "tar"])
def test_tiny_imagenet_is_read_as_it_ships(form: str, tmp_path: Path) -> None:
    wnids = ("n02124075", "n01443537")
    files: dict[str, bytes | str] = {
        f"train/{wnid}/images/{wnid}_{number}.JPEG": jpeg(10 * at + number)
        for at, wnid in enumerate(wnids)
        for number in range(3)
    }
    files |= {f"train/{wnid}/{wnid}_boxes.txt": f"{wnid}_0.JPEG\t0\t10\t63\t58\n" for wnid in wnids}
    files |= {f"val/images/val_{number}.JPEG": jpeg(100 + number) for number in range(4)}
    truth = [wnids[number % 2] for number in range(4)]
    files["val/val_annotations.txt"] = "".join(
        f"val_{at}.JPEG\t{wnid}\t0\t32\t44\t62\n" for at, wnid in enumerate(truth)
    )
    files |= {f"test/images/test_{number}.JPEG": jpeg(200 + number) for number in range(3)}
    files |= {"wnids.txt": "\n".join(wnids), "words.txt": "n02124075\tEgyptian cat\nn01443537\tgoldfish\n"}
    root = in_form(form, tmp_path / "tiny-imagenet-200", files)
    train = sources_of(root, split="train")
    assert train.classes.names == tuple(sorted(wnids))
    assert [train.classes.names[label] for label in train.labels] == [name[:9] for name in train.names]
    for place, options in ((root, {"split": "val"}), (root / "val", {}), (root / "val" / "images", {})):
        val = sources_of(place, **options)
        assert [val.classes.names[label] for label in val.labels] == truth, place
    test = sources_of(root, split="test")
    assert list(test.labels) == [-1, -1, -1]
    assert train.classes.words == ("goldfish", "Egyptian cat")


# Advice that can be followed


def test_a_flat_folder_names_the_table_beside_it(tmp_path: Path) -> None:
    root = flat(tmp_path / "train")
    assert "give --labels FILE or --unlabelled" in refused(root)
    table = write(tmp_path / "labels.csv", "id,breed\n" + rows("{stem},{label}\n"))
    assert f"give --labels {table} or --unlabelled" in refused(root)
    assert labels_of(root, table) == dict(zip(NAMES, LABELS, strict=True))
    write(tmp_path / "sample_submission.csv", "id,breed\n")
    assert "give --labels FILE or --unlabelled" in refused(root)


def test_kaggles_val_without_its_table_says_which(tmp_path: Path) -> None:
    root = flat(tmp_path / "Data/CLS-LOC/val")
    assert "its labels are in LOC_val_solution.csv, expected in a folder above it, found none" in refused(root)


def test_kaggles_table_beside_a_val_folder_is_found(tmp_path: Path) -> None:
    for number in range(1, 5):
        write(tmp_path / f"val/ILSVRC2012_val_0000001{number}.JPEG", jpeg(number))
        write(tmp_path / f"train/{WNIDS[number % 2]}/{number}.JPEG", jpeg(number))
    lines = [f"ILSVRC2012_val_0000001{number},{WNIDS[number % 2]} 1 2 3 4\n" for number in range(1, 5)]
    write(tmp_path / "LOC_val_solution.csv", "ImageId,PredictionString\n" + "".join(lines))
    for source, split in ((tmp_path / "val", None), (tmp_path, "val")):
        assert list(sources_of(source, split=split).labels) == [1, 0, 1, 0]
    assert list(sources_of(tmp_path, split="train").labels) == [0, 0, 1, 1]
