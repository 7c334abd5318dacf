"""How crops get to a device: ahead of the net, in order, decoded there or here; by stand-ins, without a GPU."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from crc32c import crc32c
from PIL import Image
from torch import Tensor

from alexnet_cli.artifacts.crops.shards import open_crops
from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.artifacts.crops.writer import CropWriter, Record
from alexnet_cli.class_list import ClassList
from alexnet_cli.crossing import CudaCrossing, Place
from alexnet_cli.errors import ArtifactError
from alexnet_cli.loader import CropLoader, batches_of
from alexnet_cli.step_graph import CudaRecorder

MakeStore = Callable[..., CropStore]
PICTURES = 14


class StandIn:
    """A device that is the host's memory; moving takes its time."""

    pinned = False

    def __init__(self, *, decodes: bool = False, refuses: Sequence[int] = ()) -> None:
        self.decodes, self.refuses = decodes, refuses
        self.reserved, self.moved, self.decoded = 0, 0, 0
        self.records: list[bytes] = []

    def reserve(self, shape: Sequence[int]) -> Place:
        self.reserved += 1
        return Place(torch.empty(tuple(shape), dtype=torch.uint8), None)

    @torch.inference_mode()
    def move(self, crops: Tensor, to: Place) -> None:
        time.sleep(0.01)
        to.crops.copy_(crops)
        self.moved += 1

    @torch.inference_mode()
    def decode(self, records: Sequence[Tensor], to: Place) -> bool:
        self.decoded += 1
        self.records += [bytes(record.numpy()) for record in records]
        if self.decoded - 1 in self.refuses:
            return False
        for record, out in zip(records, to.crops, strict=True):
            pixels = np.asarray(Image.open(io.BytesIO(bytes(record.numpy()))))
            out.copy_(torch.from_numpy(pixels ^ 1))  # a rounding away from the host's decoder
        return True


@pytest.fixture
def raw(make_store: MakeStore) -> CropStore:
    return make_store("some", [index % 3 for index in range(PICTURES)])


@pytest.fixture
def jpeg(tmp_path: Path) -> CropStore:
    rng = np.random.default_rng(0)
    writer = CropWriter(tmp_path / "jpeg.lmdb", {"test": "jpeg"})
    records = []
    for index in range(PICTURES):
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).resize((256, 256)).save(file, "JPEG")
        records.append(Record(f"{index}.JPEG", 0, file.getvalue(), crc32c(file.getvalue())))
    writer.commit(len(records), records, [])
    writer.finish(ClassList(("a",)), codec="jpeg", options={}, details={})
    return open_crops(tmp_path / "jpeg.lmdb")


def until(there: Callable[[], bool]) -> bool:
    """Whether it comes within some seconds."""
    for _ in range(500):
        if there():
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.enable_grad])
def test_every_crop_arrives_and_stays_although_the_buffers_are_used_again(raw: CropStore, mode: Any) -> None:
    batches = batches_of(np.random.default_rng(0).permutation(PICTURES), 3)
    with mode(), CropLoader(raw, batches, threads=2, crossing=StandIn()) as loader:
        kept = list(loader)
    for batch, indices in zip(kept, batches, strict=True):
        assert batch.indices.tolist() == indices.tolist()
        assert np.array_equal(batch.crops.numpy(), [raw.read(int(index)) for index in indices])


def test_the_next_batches_move_while_one_is_in_use_and_no_more_than_there_are_buffers(raw: CropStore) -> None:
    device = StandIn()
    with CropLoader(raw, batches_of(np.arange(PICTURES), 2), threads=2, crossing=device) as loader:
        batches = iter(loader)
        next(batches)
        assert until(lambda: device.moved == 3), "the two that come next, without being asked for"
        time.sleep(0.05)
        assert (device.moved, device.reserved) == (3, 3)
        next(batches)
        assert until(lambda: device.moved == 4)


def test_leaving_early_waits_for_what_is_under_way(raw: CropStore) -> None:
    import threading

    with CropLoader(raw, batches_of(np.arange(PICTURES), 2), threads=2, crossing=StandIn()) as loader:
        next(iter(loader))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("loader")]


def test_the_device_decodes_the_stored_bytes(jpeg: CropStore) -> None:
    order, device = np.random.default_rng(1).permutation(PICTURES), StandIn(decodes=True)
    with CropLoader(jpeg, batches_of(order, 4), threads=3, jpeg_on_device=True, crossing=device) as loader:
        for batch in loader:
            assert np.array_equal(batch.crops.numpy(), [jpeg.read(int(index)) ^ 1 for index in batch.indices])
    assert device.records == [bytes(jpeg.stored(int(index))) for index in order]
    assert device.moved == 0


def test_a_batch_that_the_device_cant_decode_is_decoded_here(jpeg: CropStore) -> None:
    device = StandIn(decodes=True, refuses=[1])
    batches = batches_of(np.arange(PICTURES), 4)
    with CropLoader(jpeg, batches, threads=2, jpeg_on_device=True, crossing=device) as loader:
        for number, batch in enumerate(loader):
            other = 0 if number == 1 else 1
            assert np.array_equal(batch.crops.numpy(), [jpeg.read(int(index)) ^ other for index in batch.indices])
    assert (device.decoded, device.moved) == (4, 1)


@pytest.mark.parametrize(("asked", "decodes"), [(False, True), (True, False)], ids=["not asked for", "no nvJPEG"])
def test_else_the_host_decodes(jpeg: CropStore, asked: bool, decodes: bool) -> None:
    """Evaluation does not ask for it: its probabilities are the same on every machine's decoder."""
    device = StandIn(decodes=decodes)
    with CropLoader(jpeg, batches_of(np.arange(PICTURES), 4), jpeg_on_device=asked, crossing=device) as loader:
        for batch in loader:
            assert np.array_equal(batch.crops.numpy(), [jpeg.read(int(index)) for index in batch.indices])
    assert device.decoded == 0


def test_a_damaged_record_is_told_before_the_device_sees_it(jpeg: CropStore) -> None:
    jpeg.crcs[9] ^= 1
    device = StandIn(decodes=True)
    seen: list[int] = []
    with (
        pytest.raises(ArtifactError, match=r"record 9 \(9.JPEG\) fails its checksum"),
        CropLoader(jpeg, batches_of(np.arange(PICTURES), 3), jpeg_on_device=True, crossing=device) as loader,
    ):
        for batch in loader:
            seen += batch.indices.tolist()
    assert seen == list(range(9))
    assert bytes(memoryview(jpeg._found(9))) not in device.records


class Fakes:
    """What `torch.cuda` has of streams and events, writing down in which order it is asked for what."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.said: list[str] = []
        self.priorities: list[int] = []
        """Of the streams that were made."""
        fakes, self.current = self, "main"

        class Stream:
            def __init__(self, device: object = None, name: str = "side", priority: int = 0) -> None:
                self.name = name
                fakes.priorities.append(priority)

            def wait_event(self, event: Event) -> None:
                fakes.said.append(f"{self.name} waits for {event.name}")

        class Event:
            def __init__(self, *, blocking: bool = False) -> None:
                self.name = "done" if blocking else "free"

            def record(self, stream: Stream) -> None:
                fakes.said.append(f"{self.name} on {stream.name}")

            def synchronize(self) -> None:
                fakes.said.append(f"the host waits for {self.name}")

        @contextmanager
        def on(stream: Stream) -> Iterator[None]:
            before, fakes.current = fakes.current, stream.name
            yield
            fakes.current = before

        for name, fake in (
            ("Stream", Stream),
            ("Event", Event),
            ("stream", on),
            ("current_device", lambda: 0),
            ("current_stream", lambda device: Stream(name=fakes.current)),
        ):
            monkeypatch.setattr(torch.cuda, name, fake)


def test_a_copy_waits_for_the_memory_and_its_thread_for_the_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    fakes = Fakes(monkeypatch)
    crossing = CudaCrossing(torch.device("cuda"))
    assert crossing.device == torch.device("cuda", 0)
    crossing.device = torch.device("cpu")
    place = crossing.reserve((2, 4, 4, 3))
    assert fakes.said == ["free on main"]
    crops = torch.arange(96, dtype=torch.uint8).view(2, 4, 4, 3)
    crossing.move(crops, place)
    assert fakes.said == ["free on main", "side waits for free", "done on side", "the host waits for done"]
    assert torch.equal(place.crops, crops)


def test_crops_never_travel_on_a_stream_that_records_a_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch gives out 32 streams of each priority in turns, and each epoch's loader takes one."""
    fakes = Fakes(monkeypatch)
    CudaCrossing(torch.device("cuda"))
    CudaRecorder(torch.device("cuda", 0))
    of_crops, of_graph = fakes.priorities
    assert of_crops != of_graph


def test_decoded_pixels_are_laid_as_crops_and_what_does_not_fit_is_left_to_the_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fakes = Fakes(monkeypatch)
    crossing = CudaCrossing(torch.device("cuda"))
    crossing.device = torch.device("cpu")
    pixels = [torch.randint(0, 256, (3, 4, 4), dtype=torch.uint8) for _ in range(2)]
    place, records = crossing.reserve((2, 4, 4, 3)), [torch.zeros(5, dtype=torch.uint8)] * 2

    def fails(_: object) -> list[Tensor]:
        raise RuntimeError("Error while decoding JPEG images")

    for operation in (None, fails, lambda given: [pixels[0], pixels[1][:, :3]]):
        monkeypatch.setattr("alexnet_cli.crossing.nvjpeg", lambda device, operation=operation: operation)
        assert not crossing.decode(records, place)
    monkeypatch.setattr("alexnet_cli.crossing.nvjpeg", lambda device: lambda given: pixels[: len(given)])
    assert crossing.decode(records, place)
    assert torch.equal(place.crops, torch.stack(pixels).permute(0, 2, 3, 1))
    assert fakes.said[1:] == ["side waits for free", "done on side", "the host waits for done"]


def test_the_gpu_benchmark_says_in_one_line_that_there_is_no_gpu() -> None:
    script = Path(__file__).parents[1] / "benchmarks/gpu.py"
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "benchmarks/gpu.py: there is no CUDA device here: nothing was measured\n"
