"""The crop store on disk: what is written comes back, and what is not whole, ours or readable is refused."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
from crc32c import crc32c
from PIL import Image

from alexnet_cli.artifacts.common.manifest import Manifest
from alexnet_cli.artifacts.crops import writer as crops_writer
from alexnet_cli.artifacts.crops.shards import open_crops
from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.artifacts.crops.writer import CropWriter, Record
from alexnet_cli.class_list import ClassList
from alexnet_cli.errors import ArtifactError

CLASSES = ClassList.sorted(["hat", "dress", "shirt"])
PLAN = {"pictures": "some"}


def crop(number: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(number).integers(0, 256, (256, 256, 3), np.uint8)


def record(number: int, codec: str = "raw") -> Record:
    value = crop(number).tobytes()
    if codec == "jpeg":
        file = io.BytesIO()
        Image.fromarray(crop(number)).save(file, "JPEG", quality=100, subsampling=0)
        value = file.getvalue()
    return Record(f"class/{number:03d}.jpg", number % 3, value, crc32c(value))


def finish(writer: CropWriter, codec: str = "raw") -> Manifest:
    return writer.finish(CLASSES, codec=codec, options={"codec": codec}, details={"rejected": 0})


def write(path: Path, count: int = 6, codec: str = "raw") -> Manifest:
    writer = CropWriter(path, PLAN)
    for start in range(0, count, 2):
        writer.commit(2, [record(start, codec), record(start + 1, codec)], ["note"])
    return finish(writer, codec)


def change_manifest(path: Path, **values: Any) -> None:
    file = path / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def put(path: Path, key: bytes, value: bytes | None) -> None:
    """Change a store behind its back."""
    with (
        lmdb.open(str(path), lock=False, map_size=1 << 30) as environment,
        environment.begin(write=True) as transaction,
    ):
        if value is None:
            transaction.delete(key)
        else:
            transaction.put(key, value)


def refusal(path: Path) -> str:
    with pytest.raises(ArtifactError) as caught:
        open_crops(path)
    assert caught.value.exit_code == 4
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    manifest = write(tmp_path / "a.lmdb")
    store = open_crops(tmp_path / "a.lmdb")
    assert len(store) == 6
    assert store.digest == manifest.digest
    assert store.labelled
    assert store.classes == CLASSES
    assert store.names == [f"class/{number:03d}.jpg" for number in range(6)]
    assert store.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert store.labels.dtype == np.int64
    for number in range(6):
        assert np.array_equal(store.read(number), crop(number))
    store.close()


def test_a_store_can_be_read_with_lmdb_alone(tmp_path: Path) -> None:
    """As the format's description says, without a line of this package."""
    write(tmp_path / "a.lmdb")
    environment = lmdb.open(str(tmp_path / "a.lmdb"), readonly=True, lock=False)
    with environment.begin() as transaction:
        values = {bytes(key): bytes(value) for key, value in transaction.cursor()}
    environment.close()
    value = values[(3).to_bytes(8, "big")]
    crcs = np.frombuffer(values[b"meta/crcs"], "<u4")
    labels = np.frombuffer(values[b"meta/labels"], "<i8")
    names = json.loads(values[b"meta/names"])
    classes = json.loads(values[b"meta/classes"])
    assert np.array_equal(np.frombuffer(value, np.uint8).reshape(256, 256, 3), crop(3))
    assert crcs[3] == crc32c(value)
    assert (labels[3], names[3], classes) == (0, "class/003.jpg", ["dress", "hat", "shirt"])
    assert sorted(values) == sorted(
        [index.to_bytes(8, "big") for index in range(6)]
        + [b"meta/crcs", b"meta/labels", b"meta/names", b"meta/classes"]
    )
    assert sorted(file.name for file in (tmp_path / "a.lmdb").iterdir()) == ["data.mdb", "manifest.json"]


def test_jpeg_records_come_back_as_crops(tmp_path: Path) -> None:
    write(tmp_path / "a.lmdb", codec="jpeg")
    store = open_crops(tmp_path / "a.lmdb")
    assert store.codec == "jpeg"
    apart = np.abs(store.read(4).astype(int) - crop(4))
    assert apart.max() <= 4  # quality 100 without subsampling: rounding alone
    store.close()


def test_the_digest_is_of_the_content_not_of_the_way_there(tmp_path: Path) -> None:
    first, again = write(tmp_path / "a.lmdb"), write(tmp_path / "b.lmdb")
    other = write(tmp_path / "c.lmdb", count=4)
    assert first.digest == again.digest != other.digest


def test_an_interrupted_store_continues_and_ends_the_same(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.lmdb")
    first = CropWriter(tmp_path / "parts.lmdb", PLAN)
    assert first.sources_done == 0
    first.commit(2, [record(0), record(1)], ["note"])
    first.close()
    second = CropWriter(tmp_path / "parts.lmdb", PLAN)
    assert (second.sources_done, second.records, second.started_again) == (2, 2, False)
    assert next(second.steps()).notes == ["note"]
    for start in (2, 4):
        second.commit(2, [record(start), record(start + 1)], ["note"])
    manifest = finish(second)
    assert manifest.digest == whole.digest
    assert (tmp_path / "parts.lmdb/data.mdb").stat().st_size == (tmp_path / "whole.lmdb/data.mdb").stat().st_size
    assert not (tmp_path / ".parts.lmdb.alexnet-work").exists()


def test_an_unfinished_store_of_another_plan_is_begun_again(tmp_path: Path) -> None:
    first = CropWriter(tmp_path / "a.lmdb", PLAN)
    first.commit(1, [record(0)], [])
    first.close()
    second = CropWriter(tmp_path / "a.lmdb", {"pictures": "others"})
    assert second.started_again
    assert second.sources_done == 0
    second.close()


def test_the_map_grows_with_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crops_writer, "_MAP_STEP", 1 << 20)  # five crops
    write(tmp_path / "a.lmdb", count=30)
    store = open_crops(tmp_path / "a.lmdb")
    assert all(np.array_equal(store.read(number), crop(number)) for number in range(30))
    store.close()


def test_the_writers_memory_does_not_grow_with_the_records(tmp_path: Path) -> None:
    """12,800 records with names of 60 characters: a list of the names alone would take over a megabyte."""
    writer = CropWriter(tmp_path / "a.lmdb", PLAN)

    def commit(step: int) -> None:
        names = [f"class/{step:06d}{number:06d}{'x' * 42}.jpg" for number in range(256)]
        writer.commit(256, [Record(name, 0, b"tiny", 7, 3, bytes(16)) for name in names], [])

    commit(0)
    tracemalloc.start()
    try:
        commit(1)
        before = tracemalloc.get_traced_memory()[0]
        for step in range(2, 50):
            commit(step)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 50_000
    arrays = writer.arrays()
    assert len(json.loads(arrays.names)) == len(arrays.labels) == 12_800
    assert arrays.digests is not None
    assert (arrays.digests.shape, arrays.facts.sum(), set(arrays.crcs.tolist())) == ((12_800, 16), 38_400, {7})
    writer.close()


def test_threads_read_one_store_at_once(tmp_path: Path) -> None:
    write(tmp_path / "a.lmdb", count=20)
    store = open_crops(tmp_path / "a.lmdb")
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(store.read, list(range(20)) * 10))
    assert all(np.array_equal(found, crop(number % 20)) for number, found in enumerate(read))
    store.close()


def total(store: CropStore) -> int:
    return int(store.read(2).sum())


def test_a_store_travels_to_another_process_as_its_path(tmp_path: Path) -> None:
    write(tmp_path / "a.lmdb")
    store = open_crops(tmp_path / "a.lmdb")
    with get_context("spawn").Pool(1) as pool:
        assert pool.apply(total, (store,)) == int(crop(2).sum())
    store.close()


def test_one_process_opens_a_store_twice(tmp_path: Path) -> None:
    write(tmp_path / "a.lmdb")
    first, second = open_crops(tmp_path / "a.lmdb"), open_crops(tmp_path / "a.lmdb")
    assert np.array_equal(first.read(0), second.read(0))
    first.close()
    assert np.array_equal(second.read(1), crop(1))
    second.close()


def test_a_store_stays_readable_while_another_replaces_it(tmp_path: Path) -> None:
    write(tmp_path / "a.lmdb", count=6)
    old = open_crops(tmp_path / "a.lmdb")
    write(tmp_path / "a.lmdb", count=2)
    new = open_crops(tmp_path / "a.lmdb")
    assert (len(old), len(new)) == (6, 2)
    assert np.array_equal(old.read(5), crop(5))
    for store in (old, new):
        store.close()


def test_a_closed_store_opens_again_when_read(tmp_path: Path) -> None:
    write(tmp_path / "a.lmdb")
    store = open_crops(tmp_path / "a.lmdb")
    store.read(0)
    store.close()
    assert np.array_equal(store.read(1), crop(1))
    store.close()


def test_a_forked_process_reads_for_itself(tmp_path: Path) -> None:
    write(tmp_path / "a.lmdb")
    script = (
        "import os, sys; from pathlib import Path; from alexnet_cli.artifacts.crops.shards import open_crops\n"
        "store = open_crops(Path(sys.argv[1])); first = store.read(0).sum(); child = os.fork()\n"
        "if child == 0: os._exit(0 if store.read(0).sum() == first else 9)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"
    )
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path / "a.lmdb")], check=False).returncode == 0


def test_a_store_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.lmdb") == f"{tmp_path}/none.lmdb: no such crop store: check the path"


def test_an_unfinished_store_is_never_taken_for_a_finished_one(tmp_path: Path) -> None:
    writer = CropWriter(tmp_path / "a.lmdb", PLAN)
    writer.commit(1, [record(0)], [])
    writer.close()
    assert "no such crop store" in refusal(tmp_path / "a.lmdb")
    assert "is not a finished crop store: run the same `alexnet preprocess` again" in refusal(
        tmp_path / ".a.lmdb.alexnet-work"
    )


def test_a_strangers_database_is_refused(tmp_path: Path) -> None:
    lmdb.open(str(tmp_path / "a.lmdb")).close()
    assert "is not a finished crop store" in refusal(tmp_path / "a.lmdb")
    (tmp_path / "file.lmdb").write_text("hello")
    assert "is a file, not a finished crop store" in refusal(tmp_path / "file.lmdb")


def test_an_artifact_of_another_kind_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.lmdb")
    change_manifest(tmp_path / "a.lmdb", kind="ensemble")
    assert "is an ensemble, not a crop store: check the order of the arguments" in refusal(tmp_path / "a.lmdb")


def test_a_store_of_a_newer_program_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.lmdb")
    change_manifest(tmp_path / "a.lmdb", schema=3, tool="alexnet 9.0")
    assert "was written by a newer alexnet 9.0 (format 3, this program reads up to 2)" in refusal(tmp_path / "a.lmdb")


def lose_manifest(path: Path) -> None:
    (path / "manifest.json").unlink()


def garble_manifest(path: Path) -> None:
    (path / "manifest.json").write_text("{")


def lose_data(path: Path) -> None:
    (path / "data.mdb").unlink()


def garble_data(path: Path) -> None:
    (path / "data.mdb").write_bytes(b"hello" * 2000)


def lose_labels(path: Path) -> None:
    put(path, b"meta/labels", None)


def change_labels(path: Path) -> None:
    put(path, b"meta/labels", bytes(6 * 8))


def break_labels(path: Path) -> None:
    put(path, b"meta/labels", bytes(13))


def garble_names(path: Path) -> None:
    put(path, b"meta/names", b"[")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lose_manifest, "is not a finished crop store"),
        (garble_manifest, "its manifest is damaged"),
        (lose_data, "preprocess it again"),
        (garble_data, "preprocess it again"),
        (lose_labels, "lacks meta/labels, it is damaged: preprocess it again"),
        (change_labels, "its content does not fit its digest, it is damaged: preprocess it again"),
        (break_labels, "its content does not fit its digest"),
        (garble_names, "its content does not fit its digest"),
    ],
)
def test_a_damaged_store_is_refused(tmp_path: Path, damage: Callable[[Path], None], message: str) -> None:
    write(tmp_path / "a.lmdb")
    damage(tmp_path / "a.lmdb")
    assert message in refusal(tmp_path / "a.lmdb")


def test_a_file_in_a_stores_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.h5").touch()
    assert "a.h5: is a file, not a finished crop store: check the order of the arguments" in refusal(tmp_path / "a.h5")


def test_a_shortened_store_is_refused(tmp_path: Path) -> None:
    """The end of the file is lost, as after a copy that was cut off: a page beyond it would be a bus error."""
    write(tmp_path / "a.lmdb", count=20)
    data = tmp_path / "a.lmdb/data.mdb"
    os.truncate(data, data.stat().st_size // 2)
    script = (
        "import sys; from pathlib import Path; from alexnet_cli.artifacts.crops.shards import open_crops\n"
        "from alexnet_cli.errors import ArtifactError\n"
        "try: open_crops(Path(sys.argv[1]))\n"
        "except ArtifactError as error: print(error); sys.exit(4)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "a.lmdb")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (4, "")
    assert "preprocess it again" in done.stdout


@pytest.mark.parametrize("changed", [None, b"short", bytes(196608)])
def test_a_damaged_record_is_refused_by_name(tmp_path: Path, changed: bytes | None) -> None:
    write(tmp_path / "a.lmdb")
    put(tmp_path / "a.lmdb", (2).to_bytes(8, "big"), changed)
    store = open_crops(tmp_path / "a.lmdb")
    with pytest.raises(ArtifactError, match=r"record 2 .*preprocess it again"):
        store.read(2)
    assert np.array_equal(store.read(3), crop(3))
    store.close()


def test_publishing_over_an_old_store_replaces_it_whole(tmp_path: Path) -> None:
    write(tmp_path / "a.lmdb", count=6)
    (tmp_path / "a.lmdb/rejects.tsv").write_text("old")
    write(tmp_path / "a.lmdb", count=2)
    assert [file.name for file in tmp_path.iterdir()] == ["a.lmdb"]
    assert not (tmp_path / "a.lmdb/rejects.tsv").exists()
    store = open_crops(tmp_path / "a.lmdb")
    assert len(store) == 2
    store.close()
