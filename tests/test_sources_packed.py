"""Compressed tars and zips: the same pictures give the same store as a folder or a plain tar."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest
from miniature import WNIDS, Miniature, jpeg, tar_of
from preprocessing import content, fails, preprocess
from test_sources_classes import refused, sources_of, write

from alexnet_cli.artifacts.crops.shards import open_crops
from alexnet_cli.cli import main
from alexnet_cli.sources.packed import unpack
from alexnet_stages.preprocess import run as stage
from alexnet_stages.preprocess.sources import archives

FILES = {
    f"{name}/{number}.jpg": jpeg(10 * at + number) for at, name in enumerate(("ape", "bat")) for number in range(6)
}


def zstd(data: bytes) -> bytes:
    made: bytes = pytest.importorskip("zstandard").ZstdCompressor(write_checksum=True).compress(data)
    return made


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".tar.gz": gzip.compress,
    ".tgz": gzip.compress,
    ".tar.bz2": bz2.compress,
    ".tar.xz": lzma.compress,
    ".tar.zst": zstd,
}


def zip_of(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED, front: bytes = b"") -> bytes:
    out = io.BytesIO(front)
    out.seek(0, io.SEEK_END)
    with zipfile.ZipFile(out, "a" if front else "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def tree(root: Path, files: dict[str, bytes] = FILES) -> Path:
    for name, data in files.items():
        write(root / name, data)
    return root


def packed(root: Path, form: str, files: dict[str, bytes] = FILES) -> Path:
    """The files in one archive, in no order of names."""
    mixed = dict(sorted(files.items(), key=lambda item: item[1]))
    if form in PACKERS:
        return write(root / f"in{form}", PACKERS[form](tar_of(mixed.items())))
    method = zipfile.ZIP_STORED if form == "stored.zip" else zipfile.ZIP_DEFLATED
    return write(root / "in.zip", zip_of(mixed, method))


@pytest.mark.parametrize("form", [*PACKERS, "stored.zip", "deflated.zip"])
def test_an_archive_of_a_class_tree_becomes_the_same_store_as_its_folder(form: str, tmp_path: Path) -> None:
    preprocess(tree(tmp_path / "in"), tmp_path / "a.lmdb")
    preprocess(packed(tmp_path, form), tmp_path / "b.lmdb", workers=2)
    assert content(tmp_path / "a.lmdb") == content(tmp_path / "b.lmdb")
    assert sorted(entry.name for entry in (tmp_path / "b.lmdb").iterdir()) == sorted(
        entry.name for entry in (tmp_path / "a.lmdb").iterdir()
    )


@pytest.mark.parametrize("form", [".tar.gz", "deflated.zip"])
def test_update_and_holdout_know_archives(form: str, tmp_path: Path) -> None:
    path = packed(tmp_path, form, {**FILES, "ape/copy.jpg": FILES["bat/3.jpg"]})
    tree(tmp_path / "in", {**FILES, "ape/copy.jpg": FILES["bat/3.jpg"]})
    for source, name in ((tmp_path / "in", "a"), (path, "b")):
        train, held = tmp_path / f"{name}t.lmdb", tmp_path / f"{name}v.lmdb"
        preprocess(source, train, holdout=0.3, holdout_out=held)
    assert content(tmp_path / "at.lmdb") == content(tmp_path / "bt.lmdb")
    assert content(tmp_path / "av.lmdb") == content(tmp_path / "bv.lmdb")
    again = preprocess(path, tmp_path / "bt.lmdb", holdout=0.3, holdout_out=tmp_path / "bv.lmdb", update=True)
    assert again.up_to_date and again.held_out and again.held_out.up_to_date


def test_splits_words_and_metadata_are_found_in_a_zip(tmp_path: Path) -> None:
    files = {f"data/{part}/{name}": data for part in ("train", "val") for name, data in FILES.items()}
    path = write(tmp_path / "x.zip", zip_of(files))
    assert list(sources_of(path / "data", split="val").names) == sorted(FILES)
    assert f"give {path}/data" in refused(path)
    flat = {name.replace("/", "-"): data for name, data in FILES.items()}
    table = "file_name,label\n" + "".join(f"{name},{name[:3]}\n" for name in flat)
    for name, data in (
        ("y.zip", zip_of({**flat, "metadata.csv": table.encode()})),
        ("y.tar.gz", gzip.compress(tar_of([*flat.items(), ("metadata.csv", table.encode())]))),
    ):
        sources = sources_of(write(tmp_path / name, data))
        assert [sources.classes.names[label] for label in sources.labels] == ["ape"] * 6 + ["bat"] * 6


@pytest.mark.parametrize("form", [".tar", ".tar.gz", "deflated.zip"])
@pytest.mark.parametrize("place", ["inside", "beside"])
def test_kaggles_val_in_an_archive_finds_its_labels(place: str, form: str, tmp_path: Path) -> None:
    files = {f"ILSVRC/Data/CLS-LOC/train/{WNIDS[at]}/{WNIDS[at]}_1.JPEG": jpeg(at) for at in range(3)}
    wanted = [WNIDS[2], WNIDS[0], WNIDS[2], WNIDS[1]]
    files |= {f"ILSVRC/Data/CLS-LOC/val/ILSVRC2012_val_0000001{at}.JPEG": jpeg(10 + at) for at in range(4)}
    rows = "".join(f"ILSVRC2012_val_0000001{at},{wnid} 1 2 3 4 {wnid} 5 6 7 8\n" for at, wnid in enumerate(wanted))
    table = f"ImageId,PredictionString\n{rows}".encode()
    inside = {"LOC_val_solution.csv": table} if place == "inside" else {}
    archive = write(tmp_path / "in.tar", tar_of({**files, **inside}.items())) if form == ".tar" else None
    archive = archive or packed(tmp_path, form, {**files, **inside})
    if place == "beside":
        line = refused(archive, split="val")
        assert line.endswith(
            "its labels are in LOC_val_solution.csv, expected in it or next to it, found none: put it there, or give "
            "--labels FILE or --unlabelled"
        )
        write(tmp_path / "LOC_val_solution.csv", table)
    found = sources_of(archive, split="val")
    assert [found.classes.names[label] for label in found.labels] == wanted
    assert any(note.endswith("labels from LOC_val_solution.csv") for note in found.notes)
    assert sources_of(archive, split="train").classes.names == WNIDS[:3]


def test_compressed_shards_and_class_archives_are_those_that_they_hold(tmp_path: Path) -> None:
    made = Miniature(tmp_path / "plain")
    for place in (made.shards(), made.class_tars()):
        for file in place.iterdir():
            write(tmp_path / "packed" / place.name / f"{file.name}.gz", gzip.compress(file.read_bytes()))
    for name in ("shards", "fall2011"):
        preprocess(tmp_path / "plain" / name, tmp_path / f"{name}.a")
        preprocess(tmp_path / "packed" / name, tmp_path / f"{name}.b")
        assert content(tmp_path / f"{name}.a") == content(tmp_path / f"{name}.b")
        assert open_crops(tmp_path / f"{name}.b").classes.names == WNIDS
    made.devkit("plain2/ILSVRC2012_devkit_t12.tar.gz")
    pattern = tmp_path / "packed/shards/train-{000000..000004}.tar.gz"
    assert len(sources_of(pattern).names) == len(made.train)


def test_what_was_unpacked_is_used_again_and_nothing_of_it_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = packed(tmp_path, ".tar.gz")
    unpacked: list[Path] = []

    def spy(archive: Path, out: IO[bytes]) -> None:
        unpacked.append(archive)
        unpack(archive, out)

    monkeypatch.setattr(archives, "unpack", spy)

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(stage, "write_crops", stop)
        assert main(["preprocess", str(path), "--out", str(tmp_path / "a.lmdb"), "--workers", "1"]) == 130
    assert "can't be read in place: unpacking it" in capsys.readouterr().err
    preprocess(path, tmp_path / "a.lmdb")
    assert unpacked == [path]
    assert {entry.name for entry in tmp_path.iterdir()} == {path.name, "a.lmdb"}
    assert len(open_crops(tmp_path / "a.lmdb")) == len(FILES)


@pytest.mark.parametrize("form", [*PACKERS, "deflated.zip"])
def test_damaged_archives_are_named(form: str, tmp_path: Path) -> None:
    path = packed(tmp_path, form)
    whole = path.read_bytes()
    for broken in (whole[: len(whole) // 2], whole[:-30]):
        path.write_bytes(broken)
        line = refused(path)
        assert line.startswith(f"{path}: is ") and line.endswith("download it again"), line
    damaged = bytearray(whole)
    for at in range(len(whole) // 3, len(whole) // 3 + 64):
        damaged[at] ^= 0xFF
    path.write_bytes(damaged)
    os.utime(path, (1, 1))
    if form == "deflated.zip":
        return  # told when that picture is read, below
    assert "download it again" in refused(path)


def test_a_damaged_picture_in_a_zip_is_rejected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        data = bytearray(zip_of(FILES, method))
        data[data.index(b"ape/0.jpg") + 200] ^= 1
        path = write(tmp_path / f"{method}.zip", bytes(data))
        code, line = fails(capsys, path, "--out", tmp_path / "a.lmdb")
        assert code == 3
        assert line.startswith(f"{path}/ape/0.jpg: is damaged in its archive")


@pytest.mark.parametrize("code", ["utf-8", "cp437"])
def test_names_in_a_zip_may_be_utf8_that_does_not_say_so(code: str, tmp_path: Path) -> None:
    data = zip_of({f"{'x' * len('Vögel'.encode(code))}/1.jpg": jpeg(1), "bat/1.jpg": jpeg(2)})
    data = data.replace(b"x" * len("Vögel".encode(code)), "Vögel".encode(code))
    assert sources_of(write(tmp_path / "a.zip", data)).classes.names == ("Vögel", "bat")


def test_an_unfinished_archive_among_those_of_classes_is_refused(tmp_path: Path) -> None:
    for name in ("ape", "bat"):
        write(tmp_path / f"in/{name}.tar", tar_of([(f"{name}/1.jpg", jpeg(len(name)))]))
        write(tmp_path / f"folders/{name}/1.jpg", jpeg(len(name)))
    assert sources_of(tmp_path / "in").classes.names == ("ape", "bat")
    write(tmp_path / "in/cat.tar.part", b"")
    assert refused(tmp_path / "in").startswith(f"{tmp_path}/in/cat.tar.part: is an unfinished download")
    write(tmp_path / "folders/cat.zip.crdownload", b"")
    assert "cat.zip.crdownload: is an archive among class folders" in refused(tmp_path / "folders")


def test_zips_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "l.zip", zip_of(FILES, zipfile.ZIP_LZMA))
    assert "is compressed in a way that is not read: unpack it, and give the folder" in refused(path)
    locked = bytearray(zip_of(FILES))
    for mark, at in ((b"PK\1\2", 8), (b"PK\3\4", 6)):
        locked[locked.index(mark) + at] |= 1
    assert "is encrypted" in refused(write(tmp_path / "e.zip", bytes(locked)))
    link = io.BytesIO()
    with zipfile.ZipFile(link, "w") as archive:
        info = zipfile.ZipInfo("ape/1.jpg")
        info.create_system, info.external_attr = 3, 0o120777 << 16
        archive.writestr(info, "../elsewhere.jpg")
    assert "is a link" in refused(write(tmp_path / "k.zip", link.getvalue()))
    write(tmp_path / "zips/a.zip", zip_of(FILES))
    write(tmp_path / "zips/b.zip", zip_of(FILES))
    assert "expected an archive for each class, found the folders ape, bat in more than one" in refused(
        tmp_path / "zips"
    )


@pytest.mark.parametrize("form", list(PACKERS))
def test_a_compressed_tar_of_tars_becomes_the_same_store_as_the_folder(form: str, tmp_path: Path) -> None:
    inner = {
        "ape.tar": [(name.partition("/")[2], data) for name, data in FILES.items() if name.startswith("ape")],
        "bat.tar": [item for item in FILES.items() if item[0].startswith("bat")],  # in a folder of its name
    }
    outer = tar_of([(name, tar_of(files)) for name, files in inner.items()])
    preprocess(tree(tmp_path / "in"), tmp_path / "a.lmdb")
    preprocess(write(tmp_path / f"in{form}", PACKERS[form](outer)), tmp_path / "b.lmdb")
    assert content(tmp_path / "a.lmdb") == content(tmp_path / "b.lmdb")


def test_an_empty_or_damaged_tar_in_a_compressed_tar_is_named(tmp_path: Path) -> None:
    good = tar_of([("1.jpg", jpeg(1))])
    path = write(tmp_path / "a.tar.gz", gzip.compress(tar_of([("cat.tar", good), ("dog.tar", tar_of([]))])))
    assert "dog: the class folder holds no pictures" in refused(path)
    path = write(tmp_path / "b.tar.gz", gzip.compress(tar_of([("cat.tar", good), ("dog.tar", good[:1100])])))
    assert "b.tar.gz/dog.tar: is cut off" in refused(path)


def test_a_folder_of_zips_is_read_by_classes_or_splits(tmp_path: Path) -> None:
    preprocess(tree(tmp_path / "in"), tmp_path / "a.lmdb")
    halves = [{name: data for name, data in FILES.items() if name.startswith(folder)} for folder in ("ape", "bat")]
    bare = {name.partition("/")[2]: data for name, data in halves[1].items()}
    write(tmp_path / "zips/ape.zip", zip_of(halves[0]))
    assert "holds one archive: give it" in refused(tmp_path / "zips")
    write(tmp_path / "zips/bat.tar.gz", gzip.compress(tar_of(bare.items())))
    preprocess(tmp_path / "zips", tmp_path / "b.lmdb")
    assert content(tmp_path / "a.lmdb") == content(tmp_path / "b.lmdb")
    write(tmp_path / "splits/train.zip", zip_of(FILES))
    write(tmp_path / "splits/val.zip", zip_of(FILES))
    assert list(sources_of(tmp_path / "splits", split="val").names) == list(FILES)
    assert "holds the archives of train, val, not of classes" in refused(tmp_path / "splits")
    write(tmp_path / "zips/emu.rar", b"Rar!")
    assert "emu.rar: is an archive that is not read" in refused(tmp_path / "zips")


@pytest.mark.parametrize("inner", ["emu.zip", "emu.tar", "emu.tar.gz", "emu.7z"])
@pytest.mark.parametrize("form", ["folder", "tar", "zip"])
def test_an_archive_in_place_of_a_class_is_never_left_out_silently(form: str, inner: str, tmp_path: Path) -> None:
    data = {"emu.zip": zip_of(FILES), "emu.7z": b"7z"}.get(inner, tar_of(FILES.items()))
    root = tree(tmp_path / "in", {**FILES, "fox/1.jpg": jpeg(1), inner: data.replace(b"bat/", b"cow/")})
    if form != "folder":
        files = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        root = write(tmp_path / f"in.{form}", tar_of(files.items()) if form == "tar" else zip_of(files))
    line = refused(root)
    assert f"{inner}: is an archive among class folders" in line or (inner == "emu.tar" and "holds tars, and " in line)


def test_the_archive_that_class_folders_were_unpacked_from_may_lie_beside_them(tmp_path: Path) -> None:
    root = tree(tmp_path / "in", {**FILES, "download.zip": zip_of({f"animals/{name}": FILES[name] for name in FILES})})
    assert list(sources_of(root).names) == list(FILES)


def test_pictures_beside_tars_in_a_tar_are_never_left_out_silently(tmp_path: Path) -> None:
    tars = [(f"{name}.tar", tar_of([("1.jpg", jpeg(1))])) for name in ("ape", "bat")]
    path = write(tmp_path / "a.tar", tar_of([*tars, ("cow/1.jpg", jpeg(2))]))
    assert "holds tars, and also cow/1.jpg" in refused(path)


def test_zstd_without_what_reads_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    path = packed(tmp_path, ".tar.zst")
    for name in ("compression.zstd", "zstandard"):
        monkeypatch.setitem(sys.modules, name, None)
    assert refused(path) == f"{path}: is compressed by zstd: pip install 'alexnet[zstd]', or decompress it first"
