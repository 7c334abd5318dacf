"""`alexnet predict` against `alexnet preprocess` and `alexnet eval`, and what it does with odd pictures."""

from __future__ import annotations

import bz2
import csv
import dataclasses
import gzip
import io
import json
import lzma
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from preprocessing import preprocess, save_noise

from alexnet_cli.artifacts.common.manifest import Manifest
from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.artifacts.scores import read_scores
from alexnet_cli.cli import main

MakeStore = Callable[..., CropStore]
Capture = pytest.CaptureFixture[str]


class Bench:
    """Two narrow nets of random weights, and a folder of pictures of three classes."""

    def __init__(
        self, make_store: MakeStore, statistics: Callable[..., Path], net: Callable[..., Path], tmp: Path
    ) -> None:
        self.tmp = tmp
        store = make_store("train", [0, 1, 2] * 2)
        stats = statistics(store)
        self.nets = [net(f"runs/{seed}/checkpoints/step-00000006", store, stats, seed=seed) for seed in (1, 2)]
        self.runs = [path.parent.parent for path in self.nets]
        self.pictures = tmp / "pictures"
        for number in range(7):
            save_noise(
                self.pictures / f"{('ape', 'bat', 'cat')[number % 3]}/{number}.jpg", number, side=60 + 40 * number
            )
        save_noise(self.pictures / "ape/small.png", 9)

    def scores(self, run: Path, **options: Any) -> NDArray[np.float32]:
        """What preprocess and eval say, in the order of the names."""
        preprocess(self.pictures, self.tmp / "val.lmdb", overwrite=True, **options)
        words = ["eval", run, self.tmp / "val.lmdb", "--out", self.tmp / "scores.h5", "--overwrite", "--quiet"]
        assert main([str(word) for word in (*words, "--devices", "cpu")]) == 0
        return read_scores(self.tmp / "scores.h5")[1].probabilities

    def __call__(self, *words: object) -> int:
        return main(["predict", *map(str, words), "--devices", "cpu"])


@pytest.fixture
def bench(
    make_store: MakeStore,
    make_statistics: Callable[..., Path],
    make_checkpoint: Callable[..., Path],
    tmp_path: Path,
) -> Bench:
    return Bench(make_store, make_statistics, make_checkpoint, tmp_path)


def probabilities(said: dict[str, Any]) -> NDArray[np.float32]:
    """(pictures, classes) in class order, from `--json --top 3`."""
    rows = [{one["class"]: one["probability"] for one in row["predictions"]} for row in said["pictures"]]
    return np.array([[row[name] for name in ("ape", "bat", "cat")] for row in rows], np.float32)


def asked(bench: Bench, capsys: Capture, *words: object) -> dict[str, Any]:
    capsys.readouterr()
    assert bench(*words, "--json", "--quiet", "--top", 3) == 0
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    return said


def test_a_folder_gets_the_probabilities_of_preprocess_and_eval_to_the_last_bit(bench: Bench, capsys: Capture) -> None:
    expected = bench.scores(bench.runs[0])
    said = asked(bench, capsys, bench.runs[0], bench.pictures)
    names = [Path(row["path"]).relative_to(bench.pictures).as_posix() for row in said["pictures"]]
    assert names == read_scores(bench.tmp / "scores.h5")[1].names
    np.testing.assert_array_equal(probabilities(said), expected)
    assert not [
        path for path in bench.tmp.rglob("*") if path.suffix == ".lmdb" and path.name not in ("val.lmdb", "train.lmdb")
    ]
    for row in said["pictures"]:
        found = [one["probability"] for one in row["predictions"]]
        assert found == sorted(found, reverse=True)


def test_a_tar_a_tar_in_a_tar_a_zip_and_files_get_the_same(bench: Bench, capsys: Capture) -> None:
    expected = probabilities(asked(bench, capsys, bench.runs[0], bench.pictures))
    flat, outer = bench.tmp / "flat.tar", bench.tmp / "outer.tar"
    with tarfile.open(flat, "w") as tar:
        tar.add(bench.pictures, ".")
        hidden = tarfile.TarInfo("@eaDir/x.jpg")
        tar.addfile(hidden, io.BytesIO())
    with tarfile.open(outer, "w") as tar:
        tar.add(flat, "one.tar")
    files = sorted(bench.pictures.rglob("*.*"))
    with zipfile.ZipFile(bench.tmp / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            archive.write(path, path.relative_to(bench.pictures))
        archive.writestr("__MACOSX/ape/._0.jpg", b"")
    for words in ([flat], [outer], [bench.tmp / "all.zip"], files):
        said = asked(bench, capsys, bench.runs[0], *words)
        np.testing.assert_array_equal(probabilities(said), expected)
    assert asked(bench, capsys, bench.runs[0], outer)["pictures"][0]["path"] == f"{outer}/one.tar/ape/0.jpg"


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "zst"])
def test_a_compressed_tar_gets_the_same_in_its_own_order(bench: Bench, capsys: Capture, kind: str) -> None:
    expected = asked(bench, capsys, bench.runs[0], bench.pictures)["pictures"]
    by_name = {str(Path(row["path"]).relative_to(bench.pictures)): row["predictions"] for row in expected}
    names = sorted(by_name, key=lambda name: name[::-1])
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for name in names:
            tar.add(bench.pictures / name, f"./{name}")
        tar.addfile(tarfile.TarInfo("@eaDir/x.jpg"), io.BytesIO())
    packed = bench.tmp / f"all.tar.{kind}"
    if kind == "zst":
        packed.write_bytes(pytest.importorskip("zstandard").compress(plain.getvalue()))
    else:
        packed.write_bytes({"gz": gzip, "bz2": bz2, "xz": lzma}[kind].compress(plain.getvalue()))
    for workers in (1, 4):
        said = asked(bench, capsys, bench.runs[0], packed, "--workers", workers, "--batch-size", 3)["pictures"]
        assert [row["path"] for row in said] == [f"{packed}/{name}" for name in names]
        for name, row in zip(names, said, strict=True):
            assert [one["class"] for one in row["predictions"]] == [one["class"] for one in by_name[name]]
            found = [one["probability"] for one in row["predictions"]]
            # A mini-batch of another size may take another kernel (torch 2.11's does): logits of 20 in float32.
            np.testing.assert_allclose(found, [one["probability"] for one in by_name[name]], rtol=1e-4)
    packed.write_bytes(packed.read_bytes()[:-20])
    assert bench(bench.runs[0], packed, "--quiet") == 3
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"alexnet: {packed}: is ")


def test_neither_bad_pictures_nor_mini_batches_change_what_is_said_of_the_others(bench: Bench, capsys: Capture) -> None:
    expected = probabilities(asked(bench, capsys, bench.runs[0], bench.pictures, "--batch-size", 2, "--workers", 3))
    (bench.pictures / "bat/0-broken.jpg").write_bytes((bench.pictures / "ape/0.jpg").read_bytes()[:600])
    (bench.pictures / "cat/empty.png").write_bytes(b"")
    (bench.pictures / "cat/notes.txt").write_text("no picture by its name")
    (bench.tmp / "small.tar.xz").write_bytes(lzma.compress(b"a tar would be here" * 40))
    capsys.readouterr()
    words = (bench.runs[0], bench.pictures, bench.tmp / "gone.jpg", bench.tmp / "small.tar.xz", "--json", "--quiet")
    assert bench(*words, "--top", 3, "--batch-size", 2) == 3
    printed = capsys.readouterr()
    rows = json.loads(printed.out)["pictures"]
    bad = {row["path"].removeprefix(f"{bench.tmp}/"): row["error"] for row in rows if row["error"]}
    assert bad == {
        "pictures/bat/0-broken.jpg": "is truncated",
        "pictures/cat/empty.png": "is empty",
        "gone.jpg": "can't be read: No such file or directory",
        "small.tar.xz": "is damaged (invalid header): download it again",
    }
    assert all(row["predictions"] == [] for row in rows if row["error"])
    good = {"pictures": [row for row in rows if not row["error"]]}
    np.testing.assert_array_equal(probabilities(good), expected)
    (line,) = printed.err.splitlines()
    assert line.startswith(f"alexnet: {bench.pictures}/bat/0-broken.jpg: is truncated, and 3 more of 12")


def test_an_address_is_told_how_it_becomes_a_picture(bench: Bench, capsys: Capture) -> None:
    assert bench(bench.runs[0], "https://example.org/cat.jpg", "--json", "--quiet") == 3
    (row,) = json.loads(capsys.readouterr().out)["pictures"]
    assert row["error"].startswith("is an address: fetch it first, as in `curl -s ADDRESS | alexnet predict NET -`")


def test_one_view_is_the_centre(bench: Bench, capsys: Capture) -> None:
    bench.scores(bench.runs[0])
    said = asked(bench, capsys, bench.runs[0], bench.pictures, "--views", 1)
    centre = read_scores(bench.tmp / "scores.h5")[1].centre_probabilities
    # eval's mini-batches have another size, and may take another kernel (torch 2.11's do).
    np.testing.assert_allclose(probabilities(said), centre, rtol=0, atol=1e-5)


def test_pictures_are_cut_as_the_nets_training_pictures_were(bench: Bench, capsys: Capture) -> None:
    turned = bench.pictures / "cat/2.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(turned) as image:
        image.save(turned, exif=exif, quality=90)
    usual = bench.scores(bench.runs[0])
    cut = {"filter": "lanczos", "exif_rotation": False}
    expected = bench.scores(bench.runs[0], **cut)
    assert np.abs(usual - expected).max() > 1e-4
    path = bench.nets[0] / "manifest.json"
    manifest = Manifest.from_json(path.read_bytes(), kind="checkpoint", schema=2, path=path)
    details = {**manifest.details, "cutting": {**cut, "a later option": 3}}
    values = {name: getattr(manifest, name) for name in ("kind", "schema", "digest", "parents", "created")}
    path.write_text(Manifest(**values, details=details).to_json())
    np.testing.assert_array_equal(probabilities(asked(bench, capsys, bench.runs[0], bench.pictures)), expected)


def ensemble(bench: Bench, *more: object) -> Path:
    bench.scores(bench.runs[0])
    words = ["ensemble", *bench.runs, "--crops", bench.tmp / "val.lmdb", "--out", bench.tmp / "ens", "--quiet", *more]
    assert main([str(word) for word in (*words, "--devices", "cpu")]) == 0
    return bench.tmp / "ens"


def test_an_ensemble_averages_its_nets_with_its_weights(bench: Bench, capsys: Capture) -> None:
    path = ensemble(bench, "--weights", "1,3")
    said = probabilities(asked(bench, capsys, path, bench.pictures))
    np.testing.assert_array_equal(said, read_scores(path / "scores.h5")[1].probabilities)
    by_hand = sum(
        share * bench.scores(run).astype(np.float64) for share, run in zip((0.25, 0.75), bench.runs, strict=True)
    )
    np.testing.assert_allclose(said, by_hand, rtol=0, atol=1e-7)


def test_an_ensemble_of_scores_files_knows_its_nets_too_and_moves_with_them(bench: Bench, capsys: Capture) -> None:
    bench.scores(bench.runs[0])
    shutil.move(bench.tmp / "scores.h5", bench.tmp / "runs/1.h5")  # beside the run, one folder deeper
    capsys.readouterr()
    words = ["eval", bench.runs[0], bench.tmp / "val.lmdb", "--out", bench.tmp / "runs/1.h5", "--overwrite", "--quiet"]
    assert main([str(word) for word in (*words, "--devices", "cpu")]) == 0
    words = ["ensemble", bench.tmp / "runs/1.h5", "--out", bench.tmp / "out/ens", "--quiet"]
    (bench.tmp / "out").mkdir()
    assert main([str(word) for word in words]) == 0
    expected = asked(bench, capsys, bench.runs[0], bench.pictures)["pictures"]
    (bench.tmp / "elsewhere").mkdir()
    for name in ("runs", "out"):
        shutil.move(bench.tmp / name, bench.tmp / "elsewhere" / name)
    assert asked(bench, capsys, bench.tmp / "elsewhere/out/ens", bench.pictures)["pictures"] == expected


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda bench: bench.runs[1].rename(bench.tmp / "moved"), "the net of member '2' of"),
        (
            lambda bench: shutil.copytree(bench.nets[0], bench.nets[1], dirs_exist_ok=True),
            "is a different net than member '2'",
        ),
        (lambda bench: forget(bench.tmp / "ens/manifest.json"), "was made before ensembles said where"),
        (lambda bench: spoil(bench.tmp / "ens/members.json"), "members.json: is damaged"),
        (lambda bench: (bench.tmp / "ens/members.json").unlink(), "members.json: is missing"),
    ],
    ids=["moved", "replaced", "older", "damaged", "lost"],
)
def test_an_ensemble_whose_nets_are_not_what_they_were_is_refused(
    bench: Bench, capsys: Capture, harm: Callable[[Bench], object], said: str
) -> None:
    path = ensemble(bench)
    harm(bench)
    capsys.readouterr()
    assert bench(path, bench.pictures) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert (
        said in line and "make the ensemble again with `alexnet ensemble … --overwrite`, or give a member's run" in line
    )


def forget(manifest: Path) -> None:
    """As ensembles were before they recorded where their nets are."""
    old = Manifest.from_json(manifest.read_bytes(), kind="ensemble", schema=2, path=manifest)
    details = {name: value for name, value in old.details.items() if name != "members_digest"}
    manifest.write_text(dataclasses.replace(old, details=details).to_json())


def spoil(members: Path) -> None:
    """Another weight, which nobody would notice."""
    members.write_text(members.read_text().replace('"weight": 0.5', '"weight": 0.4'))


def test_people_see_the_best_classes_with_words_percent_and_bars(bench: Bench, capsys: Capture) -> None:
    said = asked(bench, capsys, bench.runs[0], bench.pictures / "ape/0.jpg")["pictures"][0]["predictions"]
    assert bench(bench.runs[0], bench.pictures / "ape/0.jpg", "--quiet", "--top", 2) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(bench.pictures / "ape/0.jpg")
    for line, one in zip(lines[1:3], said, strict=False):
        name, percent, *bar = line.split()
        assert (name, percent) == (one["class"], f"{100 * one['probability']:.1f}%")
        assert len("".join(bar)) == int(np.ceil(round(160 * one["probability"]) / 8))
    assert max(map(len, lines[1:])) <= 80


def test_a_message_names_the_net_once(bench: Bench, capsys: Capture) -> None:
    run = bench.runs[0]
    for net, said in ((bench.nets[0], "checkpoint step-00000006"), (run, f"step-00000006 of {run}")):
        assert bench(net, bench.pictures / "ape/0.jpg") == 0
        assert f"{said}, 1 picture on cpu" in capsys.readouterr().err.splitlines()[0]


@pytest.mark.parametrize("form", ["csv", "jsonl", "json"])
def test_files_hold_the_same_in_every_format(bench: Bench, capsys: Capture, form: str) -> None:
    (bench.pictures / "cat/empty.png").write_bytes(b"")
    out = bench.tmp / f"said.{form}"
    assert bench(bench.runs[0], bench.pictures, "-o", out, "--quiet", "--top", 3, "--json") == 3
    rows = json.loads(capsys.readouterr().out)["pictures"]
    if form == "json":
        assert json.loads(out.read_text())["pictures"] == rows
    elif form == "jsonl":
        assert [json.loads(line) for line in out.read_text().splitlines()] == rows
    else:
        read = list(csv.DictReader(io.StringIO(out.read_text())))
        expected = [
            (row["path"], str(rank), one["class"], float(one["probability"]))
            for row in rows
            for rank, one in enumerate(row["predictions"], 1)
        ]
        assert [(r["path"], r["rank"], r["class"], float(r["probability"])) for r in read if not r["error"]] == expected
        assert [(r["path"], r["error"]) for r in read if r["error"]] == [
            (f"{bench.pictures}/cat/empty.png", "is empty")
        ]
    assert bench(bench.runs[0], bench.pictures, "-o", out, "--quiet") == 2, "it exists"
    assert bench(bench.runs[0], bench.pictures, "-o", out, "--quiet", "--overwrite") == 3
    out.write_text("somebody's notes")
    assert bench(bench.runs[0], bench.pictures, "-o", out, "--quiet", "--overwrite") == 2
    assert out.read_text() == "somebody's notes"


def test_standard_input_is_a_picture(bench: Bench, capsys: Capture) -> None:
    picture = bench.pictures / "ape/0.jpg"
    expected = asked(bench, capsys, bench.runs[0], picture)["pictures"][0]["predictions"]
    words = ["predict", bench.runs[0], "-", "--json", "--quiet", "--top", "3", "--devices", "cpu"]
    with picture.open("rb") as file:
        done = subprocess.run(
            [sys.executable, "-m", "alexnet_cli", *map(str, words)], stdin=file, capture_output=True, check=True
        )
    assert json.loads(done.stdout)["pictures"] == [{"path": "-", "predictions": expected, "error": None}]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["RUN", "PICTURES", "--views", "3"], 2, "--views 3: must be 10"),
        (["RUN", "PICTURES", "-o", "x.txt"], 2, "give --format csv|jsonl|json, or a name that ends in one of them"),
        (["RUN", "PICTURES", "--format", "xml"], 2, "--format xml: must be csv, jsonl or json"),
        (["RUN", "-", "-"], 2, "give - once"),
        (["PICTURES", "PICTURES"], 4, "is neither a run folder nor a checkpoint"),
        (["RUN", "TRAIN"], 3, "is a crop store: score it with `alexnet eval`"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_can_not_be_meant_is_one_line(
    bench: Bench, capsys: Capture, words: list[str], code: int, said: str
) -> None:
    there = {"RUN": bench.runs[0], "PICTURES": bench.pictures, "TRAIN": bench.tmp / "train.lmdb"}
    assert bench(*[there.get(word, word) for word in words], "--quiet") == code
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
