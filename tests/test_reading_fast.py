"""The fast ways from a record to a crop: the same bytes, checksums and refusals as by numpy and Pillow."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import MakeStore
from crc32c import crc32c
from PIL import Image

from alexnet_cli.artifacts.crops import copying
from alexnet_cli.artifacts.crops.shards import open_crops
from alexnet_cli.artifacts.crops.store import DATA_FILE, CropStore
from alexnet_cli.artifacts.crops.ways import SLOW, Ways, fast_ways
from alexnet_cli.artifacts.crops.writer import CropWriter, Record
from alexnet_cli.class_list import ClassList
from alexnet_cli.errors import ArtifactError
from alexnet_cli.loader import CropLoader, batches_of

numba = pytest.importorskip("numba")


@pytest.fixture(scope="module")
def copy() -> copying.Copy:
    found = copying.copier(copying.WORTH)
    if found is None:
        pytest.skip("this processor has no carry-less product")
    return found


@pytest.mark.parametrize("nbytes", [512, 520, 768, 1016, 3072, 8000, 196608])
def test_the_copy_gives_the_bytes_and_their_checksums(copy: copying.Copy, nbytes: int) -> None:
    source = np.random.default_rng(nbytes).integers(0, 256, (5, nbytes + 24), dtype=np.uint8)
    order = np.array([3, 0, 0, 4])
    target = np.zeros((5, nbytes), np.uint8)
    sums = copy(source.ctypes.data + order.astype(np.uint64) * np.uint64(nbytes + 24), target[:4])
    assert sums.tolist() == [crc32c(source[row, :nbytes].tobytes()) for row in order]
    assert np.array_equal(target[:4], source[order, :nbytes]) and not target[4].any()


@pytest.mark.parametrize("lanes", [2, 4, 8])
def test_every_width_of_register_gives_the_same_checksum(
    lanes: int, copy: copying.Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    from alexnet_cli import compiled
    from alexnet_cli.artifacts.crops.kernels import folding

    if lanes > folding.lanes_here():
        pytest.skip("this processor has no registers so wide")
    monkeypatch.setattr(folding, "fold", folding.fold_by(lanes))
    monkeypatch.setattr(folding, "_WORDS", lanes * folding.REGISTERS)
    monkeypatch.setattr(compiled, "_cache_folder", lambda: None)
    narrower = compiled.Kernel(folding.copy_records.function)
    source, sums = np.random.default_rng(lanes).integers(0, 256, 7992, dtype=np.uint8), np.zeros(1, np.uint32)
    target = np.zeros((1, 7992), np.uint8)
    narrower(np.array([source.ctypes.data], np.uint64), sums, target, 0, 1)
    assert sums[0] == crc32c(source.tobytes()) and np.array_equal(target[0], source)


def test_the_factor_is_that_of_the_published_tables() -> None:
    """Intel's and zlib's CRC-32C fold 512 bits by these two constants."""
    from alexnet_cli.artifacts.crops.kernels.folding import factor

    assert (factor(512 + 32), factor(512 - 32)) == (0x740EEF02, 0x9E4ADDF8)


def test_records_of_odd_sizes_are_left_to_the_slow_way() -> None:
    assert copying.fits(256 * 256 * 3) and copying.fits(40 * 40 * 3)
    assert not copying.fits(255 * 255 * 3) and not copying.fits(8 * 8 * 3)


def test_a_damaged_record_is_refused_by_the_fast_way_too(make_store: MakeStore, copy: copying.Copy) -> None:
    store = make_store("train", [0, 1, 2])
    offset = bytes((store.path / DATA_FILE).read_bytes()).index(bytes(store.stored(1))[:64])
    with (store.path / DATA_FILE).open("r+b") as file:
        file.seek(offset + 1000)
        byte = file.read(1)
        file.seek(offset + 1000)
        file.write(bytes([byte[0] ^ 1]))
    out = np.empty((2, 256, 256, 3), np.uint8)
    for ways in (SLOW, Ways(copy=copy)):
        open_crops(store.path).read_many(np.array([2, 0]), out, ways)
        with pytest.raises(ArtifactError, match=r"record 1 \(.*\) fails its checksum"):
            open_crops(store.path).read_many(np.array([0, 1]), out, ways)


def test_the_fast_way_refuses_a_record_of_another_length_and_one_that_is_not_there(
    tmp_path: Path, make_store: MakeStore, copy: copying.Copy
) -> None:
    values = [bytes(256 * 256 * 3), bytes(256 * 256 * 3 - 8)]
    writer = CropWriter(tmp_path / "short.lmdb", {})
    writer.commit(2, [Record(f"{number}", 0, value, crc32c(value)) for number, value in enumerate(values)], [])
    writer.finish(ClassList(("one", "other")), codec="raw", options={}, details={})
    store, out = open_crops(tmp_path / "short.lmdb"), np.empty((1, 256, 256, 3), np.uint8)
    for ways in (SLOW, Ways(copy=copy)):
        with pytest.raises(ArtifactError, match=r"record 1 \(1\) is not a crop"):
            store.read_many(np.array([1]), out, ways)
    for index in (2, -1):
        with pytest.raises(ArtifactError, match=f"record {index} is missing"):
            store.read_many(np.array([index]), out, Ways(copy=copy))


def test_a_store_that_was_let_go_of_is_read_anew_by_the_fast_way(make_store: MakeStore, copy: copying.Copy) -> None:
    """Its memory map may lie elsewhere then."""
    store, out = make_store("train", [0, 1, 2]), np.empty((3, 256, 256, 3), np.uint8)
    wanted = np.stack([store.read(index) for index in (2, 1, 0)])
    for _ in range(2):
        store.read_many(np.array([2, 1, 0]), out, Ways(copy=copy))
        assert np.array_equal(out, wanted)
        store.close()
        out[:] = 0


@pytest.fixture
def jpegs(tmp_path: Path) -> Iterator[CropStore]:
    rng = np.random.default_rng(0)
    records = []
    for index, size in enumerate([256, 256, 200]):
        file = io.BytesIO()
        coarse = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
        coarse.resize((size, size), Image.Resampling.BICUBIC).save(file, "JPEG", quality=95)
        value = file.getvalue()
        records.append(Record(f"{index}.JPEG", 0, value, crc32c(value)))
    records.append(Record("broken.JPEG", 0, b"no JPEG", crc32c(b"no JPEG")))
    writer = CropWriter(tmp_path / "jpeg.lmdb", {})
    writer.commit(len(records), records, [])
    writer.finish(ClassList(("one", "other")), codec="jpeg", options={}, details={})
    writer.close()
    yield open_crops(tmp_path / "jpeg.lmdb")


def test_both_decoders_give_the_same_pixels_and_refuse_the_same(jpegs: CropStore) -> None:
    fast = fast_ways("jpeg", crops=1, nbytes=256 * 256 * 3)
    slow_out, fast_out = np.empty((2, 256, 256, 3), np.uint8)
    for index in (0, 1):
        jpegs.read_into(index, slow_out)
        jpegs.read_into(index, fast_out, fast)
        assert np.abs(slow_out.astype(int) - fast_out).max() <= 1  # two builds of libjpeg-turbo
    for ways in (SLOW, fast):
        with pytest.raises(ArtifactError, match=r"record 2 .*200×200 pixels"):
            jpegs.read_into(2, fast_out, ways)
        with pytest.raises(ArtifactError, match=r"record 3 .*is not a crop"):
            jpegs.read_into(3, fast_out, ways)


def test_a_loader_gives_what_the_store_reads(make_store: MakeStore) -> None:
    store = make_store("train", [0, 1, 2, 0, 1])
    with CropLoader(store, batches_of(np.array([4, 2, 0, 1]), 3), threads=2) as loader:
        for batch in loader:
            for index, crop in zip(batch.indices, batch.crops.numpy(), strict=True):
                assert np.array_equal(crop, store.read(int(index)))
