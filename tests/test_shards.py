"""Shards: made independently, read as one store that no reader can tell from the store in one piece."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from preprocessing import preprocess, save_noise

from alexnet_cli.artifacts.common.working import only_writer
from alexnet_cli.artifacts.crops.copying import WORTH, copier
from alexnet_cli.artifacts.crops.shards import open_crops, shard_folder, shard_range
from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.artifacts.crops.ways import SLOW, Ways
from alexnet_cli.artifacts.crops.writer import CropWriter
from alexnet_cli.cli import main
from alexnet_cli.errors import ArtifactError, UsageError
from alexnet_stages.preprocess import run as run_module
from alexnet_stages.preprocess.cropping import write_crops
from alexnet_stages.preprocess.result import Result
from alexnet_stages.preprocess.sharding import Shard, parse_shard
from alexnet_stages.preprocess.sources import Sources

PICTURES = 11


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Three classes of 4, 4 and 3 pictures; two files are the same, in different classes."""
    root = tmp_path / "pictures"
    for number in range(PICTURES):
        save_noise(root / f"class{number % 3}/{number:02d}.jpg", number)
    shutil.copy(root / "class0/00.jpg", root / "class2/02.jpg")
    return root


def make_shards(source: Path, out: Path, of: int, **options: Any) -> Result:
    """All shards, the last one first: their order is nobody's business."""
    results = [preprocess(source, out, shard=f"{number}/{of}", **options) for number in range(of, 0, -1)]
    return results[-1]


def content(path: Path) -> tuple[Any, ...]:
    store = open_crops(path)
    assert store.facts is not None and store.digests is not None
    arrays = store.labels, store.crcs, store.facts, store.digests
    records = [bytes(store.stored(index)) for index in range(len(store))]
    crops = [store.read(index).tobytes() for index in range(len(store))]
    result = store.names, *[array.tolist() for array in arrays], store.classes, store.digest, records, crops
    store.close()
    return result


def refusal(path: Path) -> str:
    with pytest.raises(ArtifactError) as caught:
        open_crops(path)
    assert caught.value.exit_code == 4
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


# One store


@pytest.mark.parametrize("of", [1, 2, 3, PICTURES])
@pytest.mark.parametrize("codec", ["raw", "jpeg"])
def test_shards_and_one_piece_hold_the_same(tree: Path, tmp_path: Path, of: int, codec: str) -> None:
    preprocess(tree, tmp_path / "one.lmdb", codec=codec)
    make_shards(tree, tmp_path / "many.lmdb", of, codec=codec)
    assert content(tmp_path / "many.lmdb") == content(tmp_path / "one.lmdb")
    one, many = (open_crops(tmp_path / name).manifest for name in ("one.lmdb", "many.lmdb"))
    assert (many.kind, many.digest, many.options) == (one.kind, one.digest, one.options)
    different = {key for key, value in one.details.items() if many.details.get(key) != value}
    assert different == {"source_arrays"}
    assert many.details["shards"] == of


@pytest.fixture
def class_tars(tree: Path, tmp_path: Path) -> Path:
    """The tree's classes as archives, `n00000000.tar` and so on."""
    folder = tmp_path / "tars"
    folder.mkdir()
    for number in range(3):
        with tarfile.open(folder / f"n0000000{number}.tar", "w") as archive:
            for path in sorted((tree / f"class{number}").iterdir()):
                archive.add(path, path.name)
    return folder


def test_shards_of_archives_hold_what_one_piece_holds(class_tars: Path, tmp_path: Path) -> None:
    preprocess(class_tars, tmp_path / "one.lmdb")
    make_shards(class_tars, tmp_path / "many.lmdb", 2)
    assert content(tmp_path / "many.lmdb") == content(tmp_path / "one.lmdb")
    assert open_crops(tmp_path / "many.lmdb").labels.tolist() == [0] * 4 + [1] * 4 + [2] * 3


def test_a_shard_of_archives_goes_on_where_it_was(
    class_tars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped when four of its six pictures are committed, in the middle of an archive."""

    def some(writer: CropWriter, sources: Sources, *more: Any) -> None:
        write_crops(writer, sources.part(slice(4)), *more)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "write_crops", some)
        with pytest.raises(KeyboardInterrupt):
            preprocess(class_tars, tmp_path / "many.lmdb", shard="2/2")
    again = preprocess(class_tars, tmp_path / "many.lmdb", shard="2/2")
    assert (again.continued, again.pictures) == (4, 6)
    preprocess(class_tars, tmp_path / "many.lmdb", shard="1/2")
    preprocess(class_tars, tmp_path / "one.lmdb")
    assert content(tmp_path / "many.lmdb") == content(tmp_path / "one.lmdb")


def test_each_shard_is_a_store_of_its_own(tree: Path, tmp_path: Path) -> None:
    make_shards(tree, tmp_path / "a.lmdb", 3)
    whole = content(tmp_path / "a.lmdb")[0]
    parts = [open_crops(shard_folder(tmp_path / "a.lmdb", number, 3)) for number in (1, 2, 3)]
    assert [part.names for part in parts] == [whole[:3], whole[3:7], whole[7:]]
    assert all(part.classes.names == ("class0", "class1", "class2") for part in parts)
    assert sorted(path.name for path in (tmp_path / "a.lmdb").iterdir()) == [
        "report.json",
        "report.txt",
        "shard-00001-of-00003",
        "shard-00002-of-00003",
        "shard-00003-of-00003",
    ]


@pytest.mark.parametrize(("pictures", "of"), [(1_281_167, 8), (10, 3), (3, 3), (2, 5)])
def test_every_picture_is_in_one_shard_and_shards_are_of_one_size(pictures: int, of: int) -> None:
    ranges = [shard_range(number, of, pictures) for number in range(1, of + 1)]
    assert (ranges[0].start, ranges[-1].stop) == (0, pictures)
    assert all(left.stop == right.start for left, right in pairwise(ranges))
    lengths = {len(part) for part in ranges}
    assert max(lengths) - min(lengths) <= 1


def test_many_threads_read_shards_at_once(tree: Path, tmp_path: Path) -> None:
    make_shards(tree, tmp_path / "a.lmdb", 3)
    preprocess(tree, tmp_path / "one.lmdb")
    expected = [open_crops(tmp_path / "one.lmdb").read(index) for index in range(PICTURES)]
    store = open_crops(tmp_path / "a.lmdb")
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(store.read, list(range(PICTURES)) * 20))
    assert all(np.array_equal(crop, expected[index % PICTURES]) for index, crop in enumerate(read))
    order = np.random.default_rng(0).integers(0, PICTURES, 50)
    for ways in (SLOW, Ways(copy=copier(WORTH))):
        together = np.empty((len(order), *store.shape), np.uint8)
        store.read_many(order, together, ways)
        assert all(np.array_equal(crop, expected[index]) for index, crop in zip(order, together, strict=True))
    store.close()
    assert np.array_equal(store.read(5), expected[5])  # reading opens it again


def description(store: CropStore) -> tuple[Any, ...]:
    sums = [int(store.read(index).sum()) for index in range(len(store))]
    return store.names, store.labels.tolist(), store.digest, store.manifest.details, sums


def test_a_store_of_shards_goes_to_other_processes(tree: Path, tmp_path: Path) -> None:
    make_shards(tree, tmp_path / "a.lmdb", 2)
    store = open_crops(tmp_path / "a.lmdb")
    with get_context("spawn").Pool(1) as pool:
        assert pool.apply(description, (store,)) == description(store)


def test_a_record_that_is_none_is_refused(tree: Path, tmp_path: Path) -> None:
    make_shards(tree, tmp_path / "a.lmdb", 2)
    store = open_crops(tmp_path / "a.lmdb")
    for index in (-1, PICTURES):
        with pytest.raises(ArtifactError, match=f"record {index} is missing"):
            store.stored(index)


def test_bad_pictures_are_left_out_of_shards_as_of_one_piece(tree: Path, tmp_path: Path) -> None:
    (tree / "class0/03.jpg").write_bytes(b"")
    (tree / "class2/08.jpg").write_text("<html>")
    preprocess(tree, tmp_path / "one.lmdb", allow_bad=2)
    make_shards(tree, tmp_path / "many.lmdb", 2, allow_bad=1)
    assert content(tmp_path / "many.lmdb") == content(tmp_path / "one.lmdb")
    details = open_crops(tmp_path / "many.lmdb").manifest.details
    assert (details["rejected"], details["pictures"], details["report"]["rejected"]) == (2, PICTURES - 2, 2)


def test_the_last_shard_brings_the_report_on_all(tree: Path, tmp_path: Path) -> None:
    preprocess(tree, tmp_path / "one.lmdb")
    out = tmp_path / "many.lmdb"
    first = preprocess(tree, out, shard="2/2")
    assert first.shards == {"shard": "2/2", "missing": [1]}
    assert first.as_facts()["shard"] == "2/2; missing still: shard 1"
    last = preprocess(tree, out, shard="1/2")
    one = json.loads((tmp_path / "one.lmdb/report.json").read_text())
    assert json.loads((out / "report.json").read_text()) == one
    assert last.shards["whole"] == one["summary"] and last.shards["digest"] == one["store"]
    assert "class0/00.jpg = class2/02.jpg" in last.as_facts()["all duplicates"]  # in shards 1 and 2
    text = (out / "report.txt").read_text()
    assert text == (tmp_path / "one.lmdb/report.txt").read_text().replace("one.lmdb", "many.lmdb")


def test_pca_of_shards_is_pca_of_one_piece(tree: Path, tmp_path: Path) -> None:
    from alexnet_stages.pca.config import PcaConfig
    from alexnet_stages.pca.run import run as pca

    preprocess(tree, tmp_path / "one.lmdb")
    make_shards(tree, tmp_path / "many.lmdb", 3)
    one, many = (
        pca(PcaConfig(crops=tmp_path / f"{name}.lmdb", out=tmp_path / f"{name}.h5", quiet=True, workers=2))
        for name in ("one", "many")
    )
    assert one.digest == many.digest
    assert np.array_equal(one.statistics.mean_image, many.statistics.mean_image)


@pytest.mark.slow
def test_training_and_evaluation_do_not_see_the_shards(tree: Path, tmp_path: Path, narrow: list[str]) -> None:
    """Statistics of the one-piece store, training on shards; the same run, resumed and evaluated on one piece."""
    from alexnet_cli.artifacts.scores import read_scores
    from alexnet_stages.eval.config import EvalConfig
    from alexnet_stages.eval.run import run as evaluate
    from alexnet_stages.pca.config import PcaConfig
    from alexnet_stages.pca.run import run as pca
    from alexnet_stages.train.config import TrainConfig
    from alexnet_stages.train.run import run as train

    one, many, stats = tmp_path / "one.lmdb", tmp_path / "many.lmdb", tmp_path / "stats.h5"
    preprocess(tree, one)
    make_shards(tree, many, 2)
    pca(PcaConfig(crops=one, out=stats, quiet=True, workers=1))
    shared: dict[str, Any] = {"stats": stats, "recipe": "quickstart", "set": narrow, "batch_size": 4, "quiet": True}
    train(TrainConfig(crops=many, val=one, out=tmp_path / "run-many", epochs=1, devices="cpu", **shared))
    train(TrainConfig(crops=one, val=many, out=tmp_path / "run-one", epochs=1, devices="cpu", **shared))
    probabilities = []
    for run_name, store in (("run-many", one), ("run-one", many)):
        out = tmp_path / f"{run_name}.h5"
        evaluate(EvalConfig(run=tmp_path / run_name, crops=store, out=out, devices="cpu", views=1, quiet=True))
        manifest, scores = read_scores(out)
        assert manifest.parents["crops"] == open_crops(one).digest
        probabilities.append(scores.probabilities)
    assert np.array_equal(probabilities[0], probabilities[1])


def test_shards_give_validation_their_class_list(tree: Path, tmp_path: Path) -> None:
    make_shards(tree, tmp_path / "train.lmdb", 2)
    shutil.rmtree(tree / "class1")
    result = preprocess(tree, tmp_path / "val.lmdb", classes=tmp_path / "train.lmdb", allow_missing=True)
    assert result.classes == 3
    assert result.report["elsewhere"][0]["pictures"] == 7


# Not one store


def test_missing_shards_are_named(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.lmdb"
    preprocess(tree, out, shard="2/4")
    assert refusal(out) == f"{out}: lacks shards 1, 3 and 4 of 4: finish with `alexnet preprocess … --shard 1/4`"
    preprocess(tree, out, shard="1/4")
    preprocess(tree, out, shard="3/4")
    shard_folder(out, 4, 4).with_name(".shard-00004-of-00004.alexnet-work").mkdir()  # being made
    assert refusal(out) == f"{out}: lacks shard 4 of 4: finish with `alexnet preprocess … --shard 4/4`"
    preprocess(tree, tmp_path / "b.lmdb", shard="9/10")
    assert "lacks shards 1, 2, 3, 4, 5 and 4 more of 10" in refusal(tmp_path / "b.lmdb")


@pytest.mark.parametrize("change", [{"filter": "box"}, {"codec": "jpeg"}, {"exif_rotation": False}])
def test_shards_with_other_options_do_not_belong_together(
    tree: Path, tmp_path: Path, change: Mapping[str, Any]
) -> None:
    """Found before the work where the others are there, else by the reader."""
    out = tmp_path / "a.lmdb"
    for number in (1, 3):
        preprocess(tree, out, shard=f"{number}/3")
    with pytest.raises(ArtifactError, match="shard 1 came from other pictures, options or versions than this one will"):
        preprocess(tree, out, shard="2/3", **change)
    preprocess(tree, tmp_path / "b.lmdb", shard="2/3", **change)
    shutil.copytree(shard_folder(tmp_path / "b.lmdb", 2, 3), shard_folder(out, 2, 3))
    assert refusal(out) == (
        f"{out}: shard 2 came from other pictures, options or versions than the rest: "
        "make the one or the other again with --overwrite"
    )
    preprocess(tree, out, shard="2/3", overwrite=True)
    assert len(open_crops(out)) == PICTURES


def test_all_shards_can_be_made_again_with_other_options(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.lmdb"
    make_shards(tree, out, 2)
    first = preprocess(tree, out, shard="1/2", filter="box", overwrite=True)
    assert "whole" not in first.shards
    assert first.as_facts()["shard"] == "1/2; it does not belong to the others"
    assert "came from other pictures, options or versions than the rest" in capsys.readouterr().err
    preprocess(tree, out, shard="2/2", filter="box", overwrite=True)
    preprocess(tree, tmp_path / "one.lmdb", filter="box")
    assert content(out) == content(tmp_path / "one.lmdb")
    assert open_crops(out).manifest.details["report"]["pictures"] == PICTURES


def test_shards_of_other_pictures_do_not_belong_together(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.lmdb"
    preprocess(tree, out, shard="1/2")
    save_noise(tree / "class1/99.jpg", 99)
    code = main(["preprocess", str(tree), "--out", str(out), "--shard", "2/2", "--quiet"])
    assert code == 4
    assert capsys.readouterr().err == (
        f"alexnet: {out}: shard 1 came from other pictures, options or versions than this one will: "
        "use the same, make all again with --overwrite, or choose another --out\n"
    )


def test_copies_of_the_pictures_on_other_machines_are_the_same_pictures(tree: Path, tmp_path: Path) -> None:
    """Other folders, other dates."""
    out = tmp_path / "a.lmdb"
    preprocess(tree, out, shard="1/2")
    copied = shutil.copytree(tree, tmp_path / "elsewhere", copy_function=shutil.copyfile)
    preprocess(copied, out, shard="2/2")
    preprocess(tree, tmp_path / "one.lmdb")
    assert content(out) == content(tmp_path / "one.lmdb")


def test_a_renamed_shard_is_noticed(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.lmdb"
    make_shards(tree, out, 2)
    shutil.rmtree(shard_folder(out, 2, 2))
    shutil.copytree(shard_folder(out, 1, 2), shard_folder(out, 2, 2))
    assert refusal(out) == f"{out}: shard 2 is not what its name says: make it again"


def test_shards_of_two_divisions_are_refused_when_made_and_when_read(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.lmdb"
    preprocess(tree, out, shard="1/2")
    with pytest.raises(UsageError, match="holds shards of 2, not of 3: remove them, or choose another --out"):
        preprocess(tree, out, shard="1/3")
    shutil.copytree(shard_folder(out, 1, 2), shard_folder(out, 1, 3))
    assert "holds shards of stores divided into 2 and 3: keep the shards of one" in refusal(out)


def test_a_damaged_shard_is_named(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.lmdb"
    make_shards(tree, out, 2)
    (shard_folder(out, 2, 2) / "data.mdb").unlink()
    assert str(shard_folder(out, 2, 2)) in refusal(out)


def test_one_piece_and_shards_exclude_each_other(tree: Path, tmp_path: Path) -> None:
    preprocess(tree, tmp_path / "one.lmdb")
    preprocess(tree, tmp_path / "many.lmdb", shard="1/2")
    with pytest.raises(UsageError, match="is a store in one piece: remove it, or choose another --out"):
        preprocess(tree, tmp_path / "one.lmdb", shard="1/2", overwrite=True)
    with pytest.raises(UsageError, match=r"holds shards: remove it, give --shard I/2, or another --out"):
        preprocess(tree, tmp_path / "many.lmdb", overwrite=True)
    with pytest.raises(UsageError, match="exists already: give --overwrite"):
        preprocess(tree, tmp_path / "many.lmdb", shard="1/2")


def test_more_shards_than_pictures_are_refused(tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["preprocess", str(tree), "--out", str(tmp_path / "a.lmdb"), "--shard", "1/20", "--quiet"])
    assert code == 2
    assert capsys.readouterr().err == "alexnet: --shard 1/20: there are only 11 pictures: make fewer shards\n"


def test_the_same_shard_twice_at_once_is_one_too_many_and_another_is_not(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.lmdb"
    with only_writer(shard_folder(out, 1, 2)):
        preprocess(tree, out, shard="2/2")
        code = main(["preprocess", str(tree), "--out", str(out), "--shard", "1/2", "--quiet"])
    assert code == 5
    assert "shard-00001-of-00002: another process (pid" in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_shard_goes_on_where_it_was(tmp_path: Path) -> None:
    save_noise(tmp_path / "large.jpg", 1, side=300)
    for number in range(1300):
        link = tmp_path / "slow" / f"class{number % 3}" / f"{number:03d}.jpg"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(tmp_path / "large.jpg")
    out = tmp_path / "a.lmdb"
    options = ["--shard", "2/2", "--workers", "1", "--quiet"]
    command = [sys.executable, "-m", "alexnet_cli", "preprocess", str(tmp_path / "slow"), "--out", str(out), *options]
    process = subprocess.Popen(command)
    data = shard_folder(out, 2, 2).with_name(".shard-00002-of-00002.alexnet-work") / "data.mdb"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (data.exists() and data.stat().st_size > 60_000_000):
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    result = preprocess(tmp_path / "slow", out, shard="2/2")
    assert result.pictures == 650
    assert result.continued in (256, 512)


# --shard


@pytest.mark.parametrize(
    ("text", "environment", "expected"),
    [
        ("2/8", {}, Shard(2, 8)),
        (" 1 / 1 ", {}, Shard(1, 1)),
        ("torchrun", {"RANK": "0", "WORLD_SIZE": "4"}, Shard(1, 4)),
        (
            "slurm",
            {
                "SLURM_ARRAY_TASK_ID": "14",
                "SLURM_ARRAY_TASK_MIN": "10",
                "SLURM_ARRAY_TASK_MAX": "16",
                "SLURM_ARRAY_TASK_STEP": "2",
                "SLURM_ARRAY_TASK_COUNT": "4",
                "SLURM_PROCID": "0",
                "SLURM_NTASKS": "1",
            },
            Shard(3, 4),
        ),
        ("slurm", {"SLURM_PROCID": "3", "SLURM_NTASKS": "4"}, Shard(4, 4)),
    ],
)
def test_the_shard_comes_from_the_option_or_from_who_it_names(
    text: str, environment: Mapping[str, str], expected: Shard
) -> None:
    assert parse_shard(text, environment) == expected


@pytest.mark.parametrize(
    ("text", "environment", "message"),
    [
        ("0/8", {}, "--shard 0/8: I must lie from 1 to N"),
        ("9/8", {}, "--shard 9/8: I must lie from 1 to N"),
        ("1/0", {}, "--shard 1/0: I must lie from 1 to N"),
        ("1", {}, "--shard 1: must be I/N (such as 2/8), slurm or torchrun"),
        ("-1/8", {}, "--shard -1/8: must be I/N"),
        ("1/" + "9" * 5000, {}, "--shard 1/9999"),
        ("torchrun", {}, "--shard torchrun: RANK is not set to a number: start it with torchrun"),
        ("torchrun", {"RANK": "4", "WORLD_SIZE": "4"}, "--shard torchrun (5/4): I must lie from 1 to N"),
        ("slurm", {}, "--shard slurm: SLURM_PROCID is not set to a number"),
        (
            "slurm",
            {
                "SLURM_ARRAY_TASK_ID": "5",
                "SLURM_ARRAY_TASK_MIN": "3",
                "SLURM_ARRAY_TASK_MAX": "5",
                "SLURM_ARRAY_TASK_STEP": "1",
                "SLURM_ARRAY_TASK_COUNT": "2",
            },
            "--shard slurm: the array has gaps: give --shard I/N",
        ),
    ],
)
def test_a_shard_that_cannot_be_meant_is_refused(text: str, environment: Mapping[str, str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_shard(text, environment)
    assert str(caught.value).startswith(message)


def test_nothing_is_taken_from_the_environment_unless_asked(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert preprocess(tree, tmp_path / "one.lmdb").pictures == PICTURES
    monkeypatch.setenv("RANK", "0")
    assert preprocess(tree, tmp_path / "many.lmdb", shard="torchrun").store.name == "shard-00001-of-00002"


@pytest.mark.slow
def test_torchruns_ranks_make_all_shards_at_once(tree: Path, tmp_path: Path) -> None:
    """Two processes that start and end together; either may be the last."""
    out = tmp_path / "many.lmdb"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    program = [sys.executable, "-m", "alexnet_cli", "preprocess", str(tree), "--out", str(out), "--shard", "torchrun"]
    subprocess.run([*launcher, *program, "--workers", "1", "--quiet"], check=True, capture_output=True)
    preprocess(tree, tmp_path / "one.lmdb")
    assert content(out) == content(tmp_path / "one.lmdb")
    assert open_crops(out).manifest.details["report"]["duplicates"]["groups"] == 1
