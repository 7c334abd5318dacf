"""The loader: the order given, every picture once, whatever the threads; and what it does with damage."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from crc32c import crc32c
from numpy.typing import NDArray
from PIL import Image

from alexnet_cli.artifacts.crops.shards import open_crops
from alexnet_cli.artifacts.crops.store import Crop, CropStore
from alexnet_cli.artifacts.crops.writer import CropWriter, Record
from alexnet_cli.class_list import ClassList
from alexnet_cli.errors import ArtifactError
from alexnet_cli.loader import CropLoader, batches_of

MakeStore = Callable[..., CropStore]
PICTURES = 17


@pytest.fixture
def store(make_store: MakeStore) -> CropStore:
    return make_store("some", [index % 3 for index in range(PICTURES)])


def loaded(store: CropStore, batches: list[NDArray[np.int64]], threads: int) -> list[tuple[list[int], Crop]]:
    """What the loader gives, copied while it is valid."""
    with CropLoader(store, batches, threads=threads) as loader:
        return [(batch.indices.tolist(), batch.crops.numpy().copy()) for batch in loader]


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("size", [1, 4, 16, 17, 100])
def test_batches_come_in_the_order_given_with_each_picture_once(store: CropStore, size: int, threads: int) -> None:
    order = np.random.default_rng(size).permutation(PICTURES)
    found = loaded(store, batches_of(order, size), threads)
    assert [index for indices, _ in found for index in indices] == order.tolist()
    for indices, crops in found:
        assert crops.dtype == np.uint8 and crops.shape == (len(indices), 256, 256, 3)
        for index, crop in zip(indices, crops, strict=True):
            assert np.array_equal(crop, store.read(index))


def test_batches_are_consecutive_and_the_last_holds_the_rest() -> None:
    assert [batch.tolist() for batch in batches_of(np.arange(7), 3)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert batches_of(np.arange(0), 3) == []


def test_no_batches_are_no_trouble(store: CropStore) -> None:
    assert loaded(store, [], 2) == []


def test_a_picture_may_come_twice(store: CropStore) -> None:
    ((indices, crops),) = loaded(store, [np.array([3, 3])], 2)
    assert indices == [3, 3] and np.array_equal(crops[0], crops[1])


def test_a_batch_stays_whole_until_the_next_is_asked_for(store: CropStore) -> None:
    """Even when the threads have had time to read far ahead; and then its buffer is used again."""
    batches = batches_of(np.arange(16), 2)
    with CropLoader(store, batches, threads=2) as loader:
        places = set()
        for batch in loader:
            time.sleep(0.02)
            for place, index in enumerate(batch.indices):
                assert np.array_equal(batch.crops[place].numpy(), store.read(int(index)))
            places.add(batch.crops.data_ptr())
    assert len(places) < len(batches), "buffers are reused: memory does not grow with the epoch"


def test_a_damaged_record_is_told_by_name_in_its_turn(store: CropStore) -> None:
    store.crcs[9] ^= 1
    seen: list[int] = []
    with (
        pytest.raises(ArtifactError, match=r"record 9 \(some/0009\.JPEG\) fails its checksum"),
        CropLoader(store, batches_of(np.arange(PICTURES), 3), threads=3) as loader,
    ):
        for batch in loader:
            seen += batch.indices.tolist()
    assert seen == list(range(9)), "what comes before it is delivered"


def test_leaving_early_leaves_no_thread_behind(store: CropStore) -> None:
    import threading

    with CropLoader(store, batches_of(np.arange(PICTURES), 2), threads=3) as loader:
        next(iter(loader))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("loader")]


def test_jpeg_records_are_decoded(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    smooth = [
        np.asarray(Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).resize((256, 256))) for _ in range(5)
    ]
    writer = CropWriter(tmp_path / "jpeg.lmdb", {"test": "jpeg"})
    records = []
    for index, crop in enumerate(smooth):
        file = io.BytesIO()
        Image.fromarray(crop).save(file, "JPEG", quality=95)
        records.append(Record(f"{index}.JPEG", 0, file.getvalue(), crc32c(file.getvalue())))
    writer.commit(len(records), records, [])
    writer.finish(ClassList(("a",)), codec="jpeg", options={}, details={})
    store = open_crops(tmp_path / "jpeg.lmdb")
    for indices, crops in loaded(store, batches_of(np.array([4, 2, 0, 1, 3]), 2), 3):
        for index, crop in zip(indices, crops, strict=True):
            decoded = np.asarray(Image.open(io.BytesIO(records[index].value)).convert("RGB"))
            assert np.array_equal(crop, decoded)
            assert np.abs(crop.astype(int) - smooth[index]).mean() < 3


@pytest.mark.gpu
def test_on_a_cuda_device_every_crop_arrives(store: CropStore) -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    batches = batches_of(np.random.default_rng(0).permutation(PICTURES), 3)
    kept = []
    with CropLoader(store, batches, device=torch.device("cuda"), threads=2) as loader:
        for batch in loader:  # kept beyond the next: device memory is not a shared buffer
            kept.append((batch.indices, batch.crops))
    for indices, crops in kept:
        for index, crop in zip(indices.tolist(), crops.cpu().numpy(), strict=True):
            assert np.array_equal(crop, store.read(index))
