"""Flips, cuts and replacements while reading: refused with 4, or without effect; never another kind of error."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from alexnet_cli.artifacts.common.manifest import Manifest
from alexnet_cli.artifacts.common.publish import exchange
from alexnet_cli.artifacts.common.steady import steadily
from alexnet_cli.artifacts.common.working import work_of
from alexnet_cli.artifacts.crops import writer as crops_writer
from alexnet_cli.artifacts.crops.shards import open_crops
from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.artifacts.crops.writer import CropWriter
from alexnet_cli.class_list import ClassList
from alexnet_cli.errors import ArtifactError, ResourceError

MakeStore = Callable[..., CropStore]
MANIFEST = Manifest(
    kind="crops",
    schema=2,
    digest="abc",
    options={"codec": "raw", "number": 3},
    parents={"crops": "0123"},
    details={"pictures": 17, "error": 0.25, "list": [1, [2, {"a": None}]], "words": "tench, é"},
    tool="alexnet 1.0",
    created="2026-01-01T00:00:00+00:00",
)


def parse(text: str | bytes) -> Manifest:
    return Manifest.from_json(text, kind="crops", schema=2, path=Path("x"))


def test_every_single_bit_flip_of_a_manifest_is_refused_or_without_effect() -> None:
    whole = MANIFEST.to_json().encode()
    for place in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        try:
            assert parse(bytes(flipped)) == MANIFEST
        except ArtifactError as error:
            assert "\n" not in str(error)


def test_a_manifest_cut_off_anywhere_is_refused() -> None:
    whole = MANIFEST.to_json().rstrip()
    for length in range(len(whole)):
        with pytest.raises(ArtifactError):
            parse(whole[:length])


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "2"},
        {"schema": True},
        {"schema": 0},
        {"schema": 2.0},
        {"schema": None},
        {"kind": 3},
        {"kind": None},
        {"digest": None},
        {"details": None},
        {"details": []},
        {"options": "x"},
        {"parents": {"crops": 3}},
        {"parents": [["a", "b"]]},
        {"tool": 1},
        {"created": {}},
        {"extra": 1},
        {"checksum": None},
        {"checksum": "0"},
    ],
    ids=str,
)
def test_wrong_types_are_refused_in_one_line(change: dict[str, object]) -> None:
    with pytest.raises(ArtifactError, match="x: its manifest is damaged") as caught:
        parse(json.dumps({**json.loads(MANIFEST.to_json()), **change}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "1" * 100_000, "\x00", "\ufeff{}", "NaN"])
def test_hostile_json_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ArtifactError, match="x: its manifest is damaged"):
        parse(text)


def test_a_manifest_from_before_checksums_is_read_and_one_that_should_have_one_is_not() -> None:
    values = json.loads(MANIFEST.to_json())
    del values["checksum"]
    assert parse(json.dumps({**values, "schema": 1})).details == MANIFEST.details
    with pytest.raises(ArtifactError, match="it lacks its checksum"):
        parse(json.dumps(values))


def test_flips_anywhere_in_a_stores_pages_are_refused_or_without_effect(make_store: MakeStore, tmp_path: Path) -> None:
    """LMDB's own errors included; a page number that leads beyond the file would end the process instead."""
    store = make_store("train", [0, 1, 2])
    file = store.path / "data.mdb"
    pixels = [store.read(index).copy() for index in range(3)]
    store.close()
    whole = file.read_bytes()
    refused = 0
    # Of each page the header and what follows it: most of the rest is pixels, which have their own checksums.
    places = [
        page * 4096 + offset for page in range(min(len(whole) // 4096, 60)) for offset in (10, 11, 12, 16, 20, 40)
    ]
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1
        file.unlink()
        file.write_bytes(damaged)
        try:
            again = open_crops(store.path)
            for index in range(3):
                assert (again.read(index) == pixels[index]).all()
            again.close()
        except (ArtifactError, ResourceError) as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 10


PLAN = {"plan": 1}


def half_a_store(out: Path) -> Path:
    """An unfinished store with one step; its data file."""
    writer = CropWriter(out, PLAN)
    writer.commit(1, [crops_writer.Record("a", 0, bytes(196_608), 0)], [])
    writer.close()
    return work_of(out) / "data.mdb"


@pytest.mark.parametrize("damage", ["empty", "one page", "a page and a half", "zeros", "cut off", "no steps' keys"])
def test_an_unfinished_store_that_was_damaged_begins_again_by_itself(tmp_path: Path, damage: str) -> None:
    data = half_a_store(tmp_path / "a.lmdb")
    whole = data.read_bytes()
    data.write_bytes(
        {
            "empty": b"",
            "one page": whole[:4096],
            "a page and a half": whole[:6000],
            "zeros": bytes(len(whole)),
            "cut off": whole[: len(whole) // 2],
            "no steps' keys": whole[:8192],
        }[damage]
    )
    writer = CropWriter(tmp_path / "a.lmdb", PLAN)
    assert writer.sources_done == 0 and writer.records == 0
    writer.commit(1, [crops_writer.Record("a", 0, bytes(196_608), 0)], [])
    writer.close()
    assert CropWriter(tmp_path / "a.lmdb", PLAN).sources_done == 1


def test_a_store_that_reads_back_wrong_gets_no_name(tmp_path: Path) -> None:
    writer = CropWriter(tmp_path / "a.lmdb", PLAN)
    writer.commit(1, [crops_writer.Record("a", 0, bytes(196_608), crc=1)], [])  # not its checksum
    with pytest.raises(ResourceError, match="what was written can't be read back"):
        writer.finish(ClassList(("x",)), codec="raw", options={}, details={})
    assert list(tmp_path.iterdir()) == []


def test_readers_see_the_old_store_or_the_new_one_while_it_is_replaced_over_and_over(
    make_store: MakeStore, tmp_path: Path
) -> None:
    one, other = make_store("one", [0, 1]), make_store("other", [2, 1, 0])
    digests = {one.digest, other.digest}
    if not exchange(one.path, other.path):
        pytest.skip("this file system can't exchange two names")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            exchange(one.path, other.path)

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        for _ in range(200):
            assert open_crops(one.path).digest in digests
    finally:
        stop.set()
        swapping.join()


def test_an_artifact_that_stayed_the_same_is_damaged_at_the_first_attempt(tmp_path: Path) -> None:
    attempts = []

    def read() -> None:
        attempts.append(1)
        raise ArtifactError("damaged")

    with pytest.raises(ArtifactError):
        steadily(tmp_path, read)
    assert len(attempts) == 1


def test_an_artifact_that_was_replaced_meanwhile_is_read_again(tmp_path: Path) -> None:
    path, attempts = tmp_path / "x", []
    path.write_text("old")

    def read() -> str:
        attempts.append(1)
        if len(attempts) < 3:
            (tmp_path / "y").write_text("new")
            (tmp_path / "y").replace(path)
            raise ArtifactError("half of each")
        return path.read_text()

    assert steadily(path, read) == "new"
