"""Files that a stranger made: links, absurd sizes, deep nesting, FIFOs and devices end in one line, at once."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from alexnet_cli.artifacts.checkpoint import read_checkpoint
from alexnet_cli.artifacts.common import hdf5
from alexnet_cli.artifacts.common.manifest import Manifest
from alexnet_cli.artifacts.common.ownership import SCORES
from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.artifacts.run import COLUMNS, RunFolder
from alexnet_cli.cli import main
from alexnet_cli.errors import ArtifactError, PictureError
from alexnet_cli.reading import parse_json, parse_texts, read_json, read_regular

MakeStore = Callable[..., CropStore]
Capture = pytest.CaptureFixture[str]
DEEP = "[" * 200_000


@pytest.fixture(autouse=True)
def at_once() -> Iterator[None]:
    """Nothing here may take long."""
    start = time.monotonic()
    yield
    assert time.monotonic() - start < 20


# --------------------------------------------------------------------------------------------------------------- HDF5


def scores_file(path: Path) -> Path:
    """Sound scores of four pictures and three classes."""
    values = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]]
    arrays = {
        "probabilities": values,
        "centre_probabilities": values,
        "labels": np.array([0, 1, 2, 0]),
        "names": np.array(["w", "x", "y", "z"], object),
        "classes": np.array(["a", "b", "c"], object),
    }
    hdf5.write_arrays(path, arrays, Manifest(kind="scores", schema=2, digest=""), SCORES, overwrite=False)
    return path


def soft_loop(file: h5py.File, other: Path) -> None:
    del file["labels"]
    file["labels"] = h5py.SoftLink("/loop")
    file["loop"] = h5py.SoftLink("/labels")


def soft_link(file: h5py.File, other: Path) -> None:
    file.move("labels", "true")
    file["labels"] = h5py.SoftLink("/true")


def external_link(file: h5py.File, other: Path) -> None:
    del file["labels"]
    file["labels"] = h5py.ExternalLink(str(other), "/labels")


def external_storage(file: h5py.File, other: Path) -> None:
    del file["labels"]
    file.create_dataset("labels", (4,), "i8", external=[(str(other), 0, 32)])


def virtual(file: h5py.File, other: Path) -> None:
    del file["labels"]
    layout = h5py.VirtualLayout((4,), "i8")
    layout[:] = h5py.VirtualSource(str(other), "labels", (4,))
    file.create_virtual_dataset("labels", layout)


def group(file: h5py.File, other: Path) -> None:
    del file["labels"]
    file.create_group("labels")


def terabyte(file: h5py.File, other: Path) -> None:
    del file["probabilities"]
    file.create_dataset("probabilities", (1 << 38,), "f4", chunks=(1 << 16,))


def terabyte_of_text(file: h5py.File, other: Path) -> None:
    del file["names"]
    file.create_dataset("names", (1 << 36,), h5py.string_dtype(), chunks=(1 << 10,))


def packed(file: h5py.File, other: Path) -> None:
    del file["labels"]
    file.create_dataset("labels", data=np.zeros(4, np.int64), compression="gzip", chunks=(4,))


def empty(file: h5py.File, other: Path) -> None:
    del file["labels"]
    file["labels"] = h5py.Empty("i8")


def compound(file: h5py.File, other: Path) -> None:
    del file["labels"]
    file["labels"] = np.zeros(4, [("a", "i4"), ("b", "i4")])


def references(file: h5py.File, other: Path) -> None:
    del file["labels"]
    file.create_dataset("labels", (4,), h5py.ref_dtype)


def no_text(file: h5py.File, other: Path) -> None:
    del file["names"]
    file.create_dataset("names", data=np.array([b"\xff\xfe"] * 4, object), dtype=h5py.string_dtype("utf-8"))


def manifest_of_numbers(file: h5py.File, other: Path) -> None:
    file.attrs["manifest"] = np.arange(4)


def manifest_too_deep(file: h5py.File, other: Path) -> None:
    del file.attrs["manifest"]
    file.attrs["manifest"] = DEEP[:60_000]


CHANGES = [soft_loop, soft_link, external_link, external_storage, virtual, group, terabyte, terabyte_of_text, packed]
CHANGES += [empty, compound, references, no_text, manifest_of_numbers, manifest_too_deep]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: str(change.__name__))
def test_a_strangers_hdf5_is_one_line_and_4(
    tmp_path: Path, capsys: Capture, change: Callable[[h5py.File, Path], None]
) -> None:
    path, other = scores_file(tmp_path / "s.h5"), scores_file(tmp_path / "other.h5")
    with h5py.File(path, "r+") as file:
        change(file, other)
    assert main(["ensemble", str(path), "--out", str(tmp_path / "e")]) == 4
    line = capsys.readouterr().err
    assert line.startswith(f"alexnet: {path}: ") and line.count("\n") == 1


def test_many_texts_that_are_one_long_text_are_not_read_to_the_end(tmp_path: Path, capsys: Capture) -> None:
    """In HDF5 many strings may point to the same bytes: 16 bytes each stand for a megabyte."""
    path = scores_file(tmp_path / "s.h5")
    with h5py.File(path, "r+") as file:
        del file["names"]
        names = file.create_dataset("names", (20_000,), h5py.string_dtype())
        names[0] = "x" * (1 << 20)
        offset = names.id.get_offset()
    data = bytearray(path.read_bytes())
    data[offset : offset + 16 * 20_000] = data[offset : offset + 16] * 20_000
    path.write_bytes(data)
    assert main(["ensemble", str(path), "--out", str(tmp_path / "e")]) == 4
    assert "its names is longer than the file" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------------------------- JSON


@pytest.mark.parametrize("text", [DEEP, '{"a":' * 200_000, b"\xff\xfe{}", "{", "", "[1,]", "9" * 5000])
def test_what_is_no_json_is_one_line(tmp_path: Path, text: str | bytes) -> None:
    with pytest.raises(ArtifactError, match=r"x\.json: its content is damaged") as caught:
        parse_json(text, path="x.json")
    assert "\n" not in str(caught.value)
    (tmp_path / "y.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ArtifactError, match=r"y\.json: its content is damaged"):
        read_json(tmp_path / "y.json")


@pytest.mark.parametrize("text", ["{}", "[1]", '["a", null]', "null", '"ab"'])
def test_what_is_no_list_of_names_is_one_line(text: str) -> None:
    with pytest.raises(ArtifactError, match="not a list of names"):
        parse_texts(text, path="x", what="its list")


@pytest.mark.parametrize("name", ["config.json", "state.json"])
@pytest.mark.parametrize("text", [DEEP, "null", "[]", '{"recipe": 3, "classes": 4}', '{"recipe": {"net": []}}'])
def test_a_checkpoints_json_from_a_stranger_is_one_line(
    make_store: MakeStore,
    make_statistics: Callable[[CropStore], Path],
    make_checkpoint: Callable[..., Path],
    name: str,
    text: str,
) -> None:
    from alexnet_cli.artifacts.common.manifest import digest_of_file

    store = make_store("val", [0, 1, 2])
    net = make_checkpoint("net", store, make_statistics(store))
    (net / name).write_text(text)
    values = json.loads((net / "manifest.json").read_text())
    fields = {key: values[key] for key in ("kind", "schema", "digest", "parents", "options")}
    details = {**values["details"], "files": {each: digest_of_file(net / each) for each in values["details"]["files"]}}
    (net / "manifest.json").write_text(Manifest(**fields, details=details).to_json())
    if name == "state.json" and text.startswith("{"):
        read_checkpoint(net)  # its fields are for the training to judge
        return
    with pytest.raises(ArtifactError) as caught:
        read_checkpoint(net)
    assert "\n" not in str(caught.value)


# --------------------------------------------------------------------------------------------------------- metrics.csv

ROW = "1,6,0.01,1.0,0.5,0.1,10.0,3.0,1.2,0.6"


@pytest.mark.parametrize(
    "content",
    [
        f"{','.join(COLUMNS)}\n{ROW}\n".encode("utf-16"),
        b"\xe9poch,step\n1,2\n",
        b"epoch,step\n1,2\n",
        f"{','.join(COLUMNS)}\n{ROW},9,9\n".encode(),
        f"{','.join(COLUMNS)}\n1,6\n".encode(),
        f"{','.join(COLUMNS)}\none,6,0.01,1.0,0.5,0.1,10.0,3.0\n".encode(),
        f"{','.join(COLUMNS)}\n1,NaN,0.01,1.0,0.5,0.1,10.0,3.0\n".encode(),
        f'{",".join(COLUMNS)}\n"1,6\n'.encode(),
        f"{','.join(COLUMNS)}\n{'9' * 200_000},6,0.01,1.0,0.5,0.1,10.0,3.0\n".encode(),
    ],
)
def test_metrics_of_another_form_are_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "metrics.csv").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"metrics\.csv.*: is ") as caught:
        RunFolder(tmp_path).metrics()
    assert "\n" not in str(caught.value)


def test_metrics_of_ours_are_read(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(f"{','.join(COLUMNS)}\n{ROW}\n")
    assert RunFolder(tmp_path).metrics() == [dict(zip(COLUMNS, ROW.split(","), strict=True))]


def test_metrics_from_before_the_validation_loss_are_read(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(f"{','.join(COLUMNS[:-1])}\n{ROW.rpartition(',')[0]}\n")
    values = [*ROW.split(",")[:-1], ""]
    assert RunFolder(tmp_path).metrics() == [dict(zip(COLUMNS, values, strict=True))]


# ------------------------------------------------------------------------------------------ FIFOs, sockets and devices


def fifo(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # a socket's path is short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(before)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [fifo, unix_socket, endless], ids=lambda make: str(make.__name__))
def test_what_is_no_regular_file_is_refused_at_once(
    tmp_path: Path,
    capsys: Capture,
    make_store: MakeStore,
    make_statistics: Callable[[CropStore], Path],
    make_checkpoint: Callable[..., Path],
    make: Callable[[Path], None],
) -> None:
    store = make_store("val", [0, 1, 2])
    net = make_checkpoint("net", store, make_statistics(store))
    odd = {name: tmp_path / f"odd{name}" for name in (".h5", ".txt", ".tar", ".tar.gz", ".csv", "")}
    for path in odd.values():
        make(path)
    pictures = tmp_path / "pictures/a"
    pictures.mkdir(parents=True)
    make(pictures / "x.jpg")
    out = ("--out", tmp_path / "out", "--quiet")
    train = ("train", store.path, "--devices", "cpu", *out)
    (net / "config.json").unlink()
    make(net / "config.json")
    cases: list[tuple[int, tuple[object, ...]]] = [
        (4, ("ensemble", odd[".h5"], *out)),
        (4, (*train, "--recipe", "quickstart", "--stats", odd[".h5"])),
        (4, ("eval", net, store.path, *out)),
        (4, ("features", net, store.path, "--devices", "cpu", *out)),
        (4, ("strip", net, *out)),
        (3, ("preprocess", odd[".tar"], *out)),
        (3, ("preprocess", odd[".txt"], *out)),
        (3, ("preprocess", odd[""], *out)),
        (3, ("preprocess", pictures.parent, "--unlabelled", *out)),
        (3, ("preprocess", pictures.parent, "--labels", odd[".csv"], *out)),
        (3, ("preprocess", pictures.parent, "--labels", odd[".tar.gz"], *out)),
        (3, ("preprocess", pictures.parent, "--classes", odd[".txt"], *out)),
    ]
    for code, words in cases:
        found = main([str(word) for word in words])
        line = capsys.readouterr().err
        assert (found, line.count("\n")) == (code, 1), (words, line)


def test_a_stores_data_that_is_a_fifo_is_refused_at_once(
    tmp_path: Path, make_store: MakeStore, capsys: Capture
) -> None:
    path = make_store("val", [0, 1, 2]).path
    (path / "data.mdb").unlink()
    os.mkfifo(path / "data.mdb")
    assert main(["pca", str(path), "--out", str(tmp_path / "s.h5")]) == 4
    assert "data.mdb: is a FIFO, not a file" in capsys.readouterr().err


def test_a_regular_file_is_read_and_one_that_is_too_large_is_not(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert read_regular(tmp_path / "x", most=3) == b"abc"
    with pytest.raises(PictureError, match="has 3 bytes, more than 2"):
        read_regular(tmp_path / "x", PictureError, most=2)
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "y")
