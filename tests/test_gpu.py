"""What needs CUDA devices: run by `make test-gpu`, skipped with the reason elsewhere."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from crc32c import crc32c
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load_file

from alexnet_cli.artifacts.crops.shards import open_crops
from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.artifacts.crops.ways import nvjpeg
from alexnet_cli.artifacts.crops.writer import CropWriter, Record
from alexnet_cli.class_list import ClassList
from alexnet_cli.cli import main
from alexnet_cli.crossing import CudaCrossing
from alexnet_cli.input.kernels.cutting import cut
from alexnet_cli.loader import CropLoader, batches_of
from alexnet_cli.net.kernels.blocks import local_response_norm
from alexnet_cli.step_graph import WARM_UP, CudaRecorder, StepGraph
from alexnet_stages.eval.config import EvalConfig
from alexnet_stages.eval.run import run as evaluate
from alexnet_stages.train.config import TrainConfig
from alexnet_stages.train.run import run as train

DEVICES = torch.cuda.device_count()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(DEVICES < 1, reason="no CUDA device here")]
two = pytest.mark.skipif(DEVICES < 2, reason=f"needs two CUDA devices, here are {DEVICES}")

MakeConfig = Callable[..., TrainConfig]


@pytest.fixture
def make_config(
    tmp_path: Path,
    make_store: Callable[..., CropStore],
    make_statistics: Callable[[CropStore], Path],
    narrow: list[str],
) -> MakeConfig:
    """make_config(name, **options): 20 steps of a narrow net."""
    classes = ("ape", "bat", "cat", "dog")
    store = make_store("train", [index % 3 for index in range(80)], classes)
    val = make_store("val", [index % 3 for index in range(7)], classes, seed=1)
    config = TrainConfig(
        crops=store.path,
        val=val.path,
        stats=make_statistics(store),
        out=tmp_path / "run",
        set=[*narrow, "training.schedule=steps", "training.initial_values=he", "input.divisor=64.0"],
        epochs=1,
        batch_size=4,
        rate=0.002,
        precision="fp64",
        devices="cuda:0",
        quiet=True,
    )

    def make(name: str, **options: object) -> TrainConfig:
        return replace(config, out=tmp_path / name, **options)  # type: ignore[arg-type]

    return make


def weights(run: Path) -> dict[str, NDArray[np.float64]]:
    newest = sorted((run / "checkpoints").glob("step-*"))[-1]
    return {name: values.astype(np.float64) for name, values in load_file(newest / "model.safetensors").items()}


def distance(first: Path, second: Path) -> float:
    mine, others = weights(first), weights(second)
    return max(float(np.abs(mine[name] - others[name]).max() / np.abs(mine[name]).max()) for name in mine)


def test_a_training_without_dropout_is_the_cpus_in_float64(make_config: MakeConfig) -> None:
    """Without noise: it is made in float32, and one rounding of it makes the weights differ by 2e-8."""
    # Masks are drawn by the device.
    options = [*make_config("any").set, "net.remove=['dropout6', 'dropout7']", "input.colour_noise=0.0"]
    on_cuda, on_cpu = make_config("cuda", set=options), make_config("cpu", set=options, devices="cpu")
    train(on_cuda)
    train(on_cpu)
    assert distance(on_cpu.out, on_cuda.out) < 1e-9


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_every_precision_trains_and_evaluates_near_the_cpu(make_config: MakeConfig, precision: str) -> None:
    config = make_config(precision, precision=precision)
    train(config)
    found = {}
    for device, wanted in (("cuda:0", precision), ("cpu", "fp32")):
        out = config.out.with_name(f"{device.partition(':')[0]}-{precision}.h5")
        evaluate(EvalConfig(run=config.out, crops=config.val or out, out=out, devices=device, precision=wanted))
        import h5py

        with h5py.File(out) as file:
            found[device] = np.asarray(file["probabilities"])
    tolerance = 1e-4 if precision == "fp32" else 3e-2
    np.testing.assert_allclose(found["cuda:0"], found["cpu"], atol=tolerance)


def test_the_loader_brings_the_same_crops_to_the_device(make_store: Callable[..., CropStore]) -> None:
    store = make_store("crops", [0, 1, 2] * 20)
    order = np.random.default_rng(0).permutation(60)
    with CropLoader(store, batches_of(order, 7), device=torch.device("cuda:0"), threads=3) as loader:
        for batch in loader:
            expected = np.stack([store.read(int(index)) for index in batch.indices])
            np.testing.assert_array_equal(batch.crops.cpu().numpy(), expected)


def test_crops_never_travel_on_the_stream_that_records_a_graph() -> None:
    """torch gives out 32 streams of each priority in turns, and each epoch's loader takes one."""
    device = torch.device("cuda", 0)
    recorder = CudaRecorder(device)
    assert all(CudaCrossing(device)._stream != recorder._stream for _ in range(70))


def test_the_norm_on_the_device_is_the_cpus() -> None:
    maps = torch.randn(2, 96, 9, 9, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    settings = {"groups": 2, "k": 2.0, "alpha": 1e-4, "beta": 0.75, "window": 5}
    here = local_response_norm(maps, **settings)  # type: ignore[arg-type]
    there = local_response_norm(maps.cuda(), **settings)  # type: ignore[arg-type]
    torch.testing.assert_close(there.cpu(), here, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("window", [3, 5])
def test_tritons_norm_and_its_gradient_are_the_plain_ones_in_float64(dtype: torch.dtype, window: int) -> None:
    triton_norm = pytest.importorskip("alexnet_cli.net.kernels.norm_triton")
    settings = {"groups": 2, "k": 2.0, "alpha": 1e-4, "beta": 0.75, "window": window}
    maps = (torch.randn(4, 96, 27, 27) * 50).to(dtype).contiguous(memory_format=torch.channels_last)
    there, here = maps.cuda().requires_grad_(), maps.double().requires_grad_()
    mine, exact = triton_norm.normalise(there, **settings), local_response_norm(here, **settings)  # type: ignore[arg-type]
    tolerance = {torch.float32: 5e-6, torch.bfloat16: 2**-8, torch.float16: 2**-10}[dtype]
    torch.testing.assert_close(mine.double().cpu(), exact, rtol=tolerance, atol=1e-6)
    weight = torch.randn_like(mine)
    (gradient,) = torch.autograd.grad(mine, there, weight)
    (expected,) = torch.autograd.grad(exact, here, weight.double().cpu())
    torch.testing.assert_close(gradient.double().cpu(), expected, rtol=tolerance, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("centre", [False, True])
def test_tritons_input_kernel_gives_what_the_compiled_loops_give(dtype: torch.dtype, centre: bool) -> None:
    triton_cut = pytest.importorskip("alexnet_cli.input.kernels.cutting_triton")
    rng = np.random.default_rng(0)
    crops = torch.from_numpy(rng.integers(0, 256, (7, 256, 256, 3), dtype=np.uint8))
    where = rng.integers(0, 33, (7, 2)), np.arange(7) % 2 == 0
    constants = torch.rand(256, 256, 3) * 255, torch.tensor([1.0, 0.5, 2.0]), torch.randn(7, 3)
    here = cut(crops, *where, *constants, side=224, centre=centre, dtype=dtype)
    moved = [tensor.cuda() for tensor in constants]
    there = triton_cut.cut(crops.cuda(), *where, *moved, side=224, centre=centre, dtype=dtype)
    # bfloat16's neighbours are up to 2⁻⁷ apart, and the two may round a float32 to either side.
    torch.testing.assert_close(there.cpu(), here, rtol=1e-6 if dtype == torch.float32 else 2**-7, atol=1e-4)


@pytest.mark.parametrize("options", [{}, {"precision": "bf16"}, {"batch_size": 7}], ids=["fp64", "bf16", "partial"])
def test_a_training_by_a_cuda_graph_is_the_plain_one(make_config: MakeConfig, options: dict[str, object]) -> None:
    """The rate drops in the second epoch and conv1 freezes in the third: each is recorded anew."""
    changes = "[{epoch = 2, rate = 0.001}, {epoch = 3, layers = {conv1 = 0.0}}]"
    more = [f"training.changes={changes}", f"training.partial_batch={'true' if 'batch_size' in options else 'false'}"]
    given = {"set": [*make_config("any").set, *more], "epochs": 3, **options}
    plain, graph = make_config("plain", **given), make_config("graph", **given, cuda_graph=True)
    train(plain)
    train(graph)
    assert "CUDA graph" not in (graph.out / "log.txt").read_text(encoding="utf-8"), "it was recorded"
    assert distance(plain.out, graph.out) < (1e-9 if graph.precision == "fp64" else 2e-2)


def test_a_compiled_training_is_recorded_too(make_config: MakeConfig) -> None:
    config = make_config("compiled", precision="bf16", compile=True, cuda_graph=True)
    train(config)
    assert "CUDA graph" not in (config.out / "log.txt").read_text(encoding="utf-8")


def test_a_recording_that_fails_leaves_the_device_and_its_memory_usable() -> None:
    """The step asks for a number on the host, which no graph can hold. Memory that two streams use still comes back."""
    device = torch.device("cuda", 0)
    told: list[str] = []
    graph = StepGraph(CudaRecorder(device), tell=told.append, undo=lambda: None)
    before, made = torch.cuda.current_stream(device), WARM_UP + 3
    for number in range(made):
        values = torch.full((4,), float(number), device=device)
        result = graph(lambda given: given * given.sum().item(), "state", values)
        assert result.tolist() == [4.0 * number**2] * 4
    assert len(told) == 1 and torch.cuda.current_stream(device) == before
    side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    torch.cuda.synchronize(device)
    reserved = torch.cuda.memory_reserved(device)
    for _ in range(20):
        torch.zeros(1 << 24, device=device).record_stream(side)
        torch.cuda.synchronize(device)
    assert torch.cuda.memory_reserved(device) <= reserved + (1 << 28)


def test_nvjpegs_pixels_are_near_those_of_the_cpu(tmp_path: Path) -> None:
    """To 2 of 255 on average, as torchvision asks of it; crops hold colour at half their size (4:2:0)."""
    device, rng = torch.device("cuda", 0), np.random.default_rng(0)
    if nvjpeg(device) is None:
        pytest.skip("this torchvision has no nvJPEG")
    writer, records = CropWriter(tmp_path / "jpeg.lmdb", {"test": "jpeg"}), []
    for index in range(20):
        file = io.BytesIO()
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
        coarse.resize((256, 256), Image.Resampling.BICUBIC).save(file, "JPEG", quality=95)
        records.append(Record(f"{index}.JPEG", 0, file.getvalue(), crc32c(file.getvalue())))
    writer.commit(len(records), records, [])
    writer.finish(ClassList(("a",)), codec="jpeg", options={}, details={})
    store = open_crops(tmp_path / "jpeg.lmdb")
    with CropLoader(store, batches_of(np.arange(20), 6), device=device, jpeg_on_device=True) as loader:
        for batch in loader:
            exact = np.stack([store.read(int(index)) for index in batch.indices]).astype(np.int64)
            assert np.abs(batch.crops.cpu().numpy() - exact).mean() < 2
    with CropLoader(store, batches_of(np.arange(20), 6), device=device) as loader:
        for batch in loader:
            exact = np.stack([store.read(int(index)) for index in batch.indices])
            np.testing.assert_array_equal(batch.crops.cpu().numpy(), exact)


@two
@pytest.mark.parametrize("parallel", ["columns", "data", "hybrid"])
def test_two_gpus_train_the_same_net_as_one(make_config: MakeConfig, parallel: str) -> None:
    """Without noise: cuBLAS may round that of half a mini-batch in another way, as above."""
    options = [*make_config("any").set, "input.colour_noise=0.0"]
    one = make_config("one", set=options)
    both = make_config("two", set=options, devices="cuda:0,1", parallel=parallel)
    train(one)
    train(both)
    assert distance(one.out, both.out) < 1e-9


@two
def test_eval_over_two_gpus_counts_each_picture_once(
    make_config: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_config("run")
    train(config)
    errors = []
    for devices in ("cuda:0", "cuda:0,1"):
        out = str(config.out.with_name(f"{len(devices)}.h5"))
        words = ["eval", str(config.out), str(config.val), "--out", out, "--batch-size", "2", "--devices", devices]
        assert main([*words, "--json", "--quiet"]) == 0
        errors.append(capsys.readouterr().out.partition('"pictures"')[2].partition("class_errors")[0])
    assert errors[0] == errors[1]
