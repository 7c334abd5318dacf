"""`alexnet import`: nets of other programs say here what they say there; whatever is none is refused in one line."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from conftest import MakeStore, coloured_crops
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from test_export import caffe_layer
from torch import Tensor, nn

from alexnet_cli.artifacts.checkpoint import read_checkpoint
from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.cli import main
from alexnet_cli.evaluation import Net
from alexnet_cli.exchange.caffe import CaffeLayer, write_caffemodel, write_mean
from alexnet_cli.recipes.net import layers
from alexnet_cli.recipes.read import load_recipe

IMAGENET = torchvision.transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def pickled(value: Any) -> bytes:
    """As torch.save writes it."""
    buffer = io.BytesIO()
    getattr(torch, "save")(value, buffer)  # noqa: B009 (the house's rule is about the program)
    return buffer.getvalue()


def shaken(model: nn.Module) -> nn.Module:
    """With weights so large that it says different things of different pictures."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                module.weight.mul_(2)
    return model.eval()


@pytest.fixture(scope="module")
def alexnet() -> nn.Module:
    """torchvision's, random, of 7 classes, and a tenth as wide."""
    torch.manual_seed(0)
    model = torchvision.models.alexnet(weights=None, num_classes=7)
    widths = [3, 8, 12, 16, 16, 12]
    for number, place in enumerate((0, 3, 6, 8, 10)):
        old = model.features[place]
        wide, size = widths[number], old.kernel_size
        model.features[place] = nn.Conv2d(wide, widths[number + 1], size, old.stride, old.padding)
    for place, (seen, neurons) in {1: (12 * 36, 24), 4: (24, 24), 6: (24, 7)}.items():
        model.classifier[place] = nn.Linear(seen, neurons)
    return shaken(model)


def imported(capsys: pytest.CaptureFixture[str], file: Path, source: str, out: Path, *more: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["import", str(file), "--from", source, "-o", str(out), "--json", "-q", *more]) == 0
    return dict(json.loads(capsys.readouterr().out))


def refused(capsys: pytest.CaptureFixture[str], *command: str) -> tuple[int, str]:
    capsys.readouterr()
    code = main(["import", *command, "-q"])
    text = capsys.readouterr().err
    assert text.startswith("alexnet: ")
    assert text.count("\n") == 1
    return code, text


def logits_of(path: Path, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The imported net's logits of the centre view."""
    from alexnet_cli.input.views import view

    net = Net.from_checkpoint(read_checkpoint(path), torch.device("cpu"), "fp32")
    with torch.no_grad():
        logits: Tensor = net.network(view(torch.from_numpy(crops), net.views(1)[0], net.transform))
        return logits.numpy()


def theirs(alexnet: nn.Module, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    with torch.no_grad():
        patches = torch.from_numpy(crops[:, 16:240, 16:240]).permute(0, 3, 1, 2) / 255
        logits: Tensor = alexnet(IMAGENET(patches))
        return logits.numpy()


@pytest.mark.parametrize("form", ["pth", "nested", "safetensors"])
def test_torchvisions_alexnet_says_here_what_it_says_there(
    form: str, alexnet: nn.Module, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state, file = alexnet.state_dict(), tmp_path / f"weights.{form}"
    if form == "safetensors":
        save_file(state, file)
    elif form == "nested":  # as pytorch/examples/imagenet saves one under DataParallel
        wrapped = {name.replace("features.", "features.module."): value for name, value in state.items()}
        file.write_bytes(pickled({"epoch": 3, "arch": "alexnet", "state_dict": wrapped}))
    else:
        file.write_bytes(pickled(state))
    told = imported(capsys, file, "torchvision", tmp_path / "net")
    assert told["recipe"] == "imported"  # narrower than torchvision's
    assert told["layers"] == ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"]
    assert told["parameters"] == sum(tensor.numel() for tensor in state.values())
    crops = coloured_crops([0, 1, 2])
    expected = theirs(alexnet, crops)
    assert expected.std(0).max() > 0.01
    np.testing.assert_allclose(logits_of(tmp_path / "net", crops), expected, atol=1e-5 * abs(expected).max())


def test_torchvisions_alexnet_of_full_width_is_its_recipe_and_goes_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    model = shaken(torchvision.models.alexnet(weights=None, num_classes=7))
    (tmp_path / "a.pth").write_bytes(pickled(model.state_dict()))
    told = imported(capsys, tmp_path / "a.pth", "torchvision", tmp_path / "net")
    assert told["recipe"] == "torchvision"
    crops = coloured_crops([0, 1])
    expected = theirs(model, crops)
    np.testing.assert_allclose(logits_of(tmp_path / "net", crops), expected, atol=1e-5 * abs(expected).max())
    back = tmp_path / "back.safetensors"
    command = ["export", str(tmp_path / "net"), "--format", "torchvision", "-o", str(back), "-q", "--json"]
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["max_difference"] <= 1e-5 * abs(expected).max()
    again = load_file(back)
    assert all(torch.equal(again[name], value) for name, value in model.state_dict().items())
    assert len(again) == len(model.state_dict())
    with safe_open(back, "pt") as file:
        assert file.metadata()["format"] == "pt"
        assert json.loads(file.metadata()["classes"]) == [str(number) for number in range(7)]
    assert main(command) == 2
    assert main([*command, "--overwrite"]) == 0
    for path in (tmp_path / "a.pth", back, tmp_path / "net" / "model.safetensors"):
        path.unlink()  # half a gigabyte


def test_an_imported_net_is_evaluated_and_its_last_layer_trained(
    alexnet: nn.Module,
    tmp_path: Path,
    make_store: MakeStore,
    make_statistics: Callable[[CropStore], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "a.pth").write_bytes(pickled(alexnet.state_dict()))
    store = make_store("train", labels=[0, 1, 2, 0, 1, 2, 0, 1])
    stats = make_statistics(store)
    names = [f"class {number}" for number in range(7)]
    (tmp_path / "names.txt").write_text("\n".join(names))
    imported(capsys, tmp_path / "a.pth", "torchvision", tmp_path / "net", "--classes", str(tmp_path / "names.txt"))
    make_store("seven", labels=[0, 6], classes=names)
    scores = ["eval", str(tmp_path / "net"), str(tmp_path / "seven.lmdb"), "-o", str(tmp_path / "s.h5"), "--views", "1"]
    assert main([*scores, "-q"]) == 0
    begin = ["train", str(store.path), "--val", str(store.path), "--stats", str(stats), "-q", "--epochs", "2"]
    options = ["--recipe", "finetune-last", "--set", "training.cached_views=1"]
    assert main([*begin, *options, "--init-from", str(tmp_path / "net"), "--out", str(tmp_path / "run")]) == 0
    before = read_checkpoint(tmp_path / "net").model
    newest = max((tmp_path / "run" / "checkpoints").iterdir())
    after = read_checkpoint(newest)
    assert after.recipe.input.normalisation == "channel"
    assert after.model["fc8.weight"].shape == (3, 24)
    assert all(torch.equal(after.model[name], before[name]) for name in before if not name.startswith("fc8"))


def caffe_net(name: str, *, classes: int = 5) -> list[CaffeLayer]:
    """A Caffe net of a recipe's layers, random and a tenth as wide, as Caffe's train_val.prototxt has it."""
    recipe = load_recipe(name).with_options(
        net={
            **{f"conv{number}": {"kernels": kernels} for number, kernels in enumerate((12, 8, 12, 12, 8), 1)},
            **{f"fc{number}": {"neurons": 20} for number in (6, 7)},
            "classes": classes,
        }
    )
    rng = np.random.default_rng(3)
    weights = {layer.name: layer for layer in layers(recipe.net)}
    found = [CaffeLayer(name="data", type="Data", tops=("data", "label"))]
    last = "data"
    for spec in recipe.net.layers:
        fields: dict[str, Any] = {}
        blobs: tuple[NDArray[np.float32], ...] = ()
        kind = {"relu": "ReLU", "norm": "LRN", "dropout": "Dropout", "pool": "Pooling"}.get(spec.kind, "")
        if spec.name in weights:
            layer = weights[spec.name]
            size = np.prod(layer.weight_shape[1:])
            blobs = (
                rng.normal(0, np.sqrt(2 / size) / (100 if spec.name == "conv1" else 1), layer.weight_shape).astype(
                    np.float32
                ),
                rng.normal(0, 0.1, layer.outputs).astype(np.float32),
            )
            kind, fields = "InnerProduct", {"num_output": layer.outputs}
        if spec.kind == "convolution":
            kind = "Convolution"
            pad = {"conv1": 0, "conv2": 2}.get(spec.name, 1)
            fields |= {"pad": [pad], "kernel_size": [layer.size], "stride": [layer.stride]}
            fields |= {"group": 2} if spec.name in ("conv2", "conv4", "conv5") else {}
        elif spec.kind == "norm":
            fields = {"local_size": 5, "alpha": 1e-4, "beta": 0.75}
        elif spec.kind == "pool":
            fields = {"pool": "MAX", "kernel_size": [3], "stride": [2]}
        top = last if kind in ("ReLU", "Dropout") else spec.name  # in place, as Caffe's own are
        found.append(CaffeLayer(name=spec.name, type=kind, bottoms=(last,), tops=(top,), numbers=fields, blobs=blobs))
        last = top
    found.append(CaffeLayer(name="split", type="Split", bottoms=(last,), tops=("fc8_0", "fc8_1")))
    found.append(CaffeLayer(name="accuracy", type="Accuracy", bottoms=("fc8_0", "label"), tops=("accuracy",)))
    return [*found, CaffeLayer(name="loss", type="SoftmaxWithLoss", bottoms=("fc8_1", "label"), tops=("loss",))]


def caffe_says(net: list[CaffeLayer], data: NDArray[np.float64]) -> NDArray[np.float64]:
    """The logits in numpy and float64."""
    there = data
    for layer in net[1:-3]:
        table = {name: value if isinstance(value, list) else [value] for name, value in layer.numbers.items()}
        (there,) = caffe_layer(layer.type, table, [there], [blob.astype(np.float64) for blob in layer.blobs])
    return there


@pytest.mark.parametrize("name", ["caffe-alexnet", "caffenet"])
@pytest.mark.parametrize("mean", ["numbers", "file"])
def test_caffes_nets_say_here_what_caffe_says(
    name: str, mean: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Caffe gets 227×227 of the crop as B, G, R, the mean of the same place subtracted."""
    net, file = caffe_net(name), tmp_path / "net.caffemodel"
    file.write_bytes(write_caffemodel(name, net))
    image = np.random.default_rng(0).uniform(80, 140, (3, 256, 256)).astype(np.float32)
    (tmp_path / "mean.binaryproto").write_bytes(write_mean(image))
    if mean == "numbers":
        image = np.broadcast_to(np.array([104, 117, 123], np.float32)[:, None, None], image.shape)
    given = "104,117,123" if mean == "numbers" else str(tmp_path / "mean.binaryproto")
    told = imported(capsys, file, "caffe", tmp_path / "net", "--mean", given)
    assert told["recipe"] == "imported"  # narrow
    crops = coloured_crops([0, 1, 2])
    data = (crops[..., ::-1].transpose(0, 3, 1, 2).astype(np.float64) - image)[:, :, 14:241, 14:241]
    expected = caffe_says(net, data)
    assert expected.std(0).max() > 0.01
    np.testing.assert_allclose(logits_of(tmp_path / "net", crops), expected, atol=1e-5 * abs(expected).max())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["caffe-alexnet", "caffenet"])
def test_caffes_nets_of_full_width_are_their_recipes(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = load_recipe(name)
    by_name = {layer.name: layer for layer in layers(whole.net)}
    net = [
        CaffeLayer(
            name=layer.name,
            type=layer.type,
            bottoms=layer.bottoms,
            tops=layer.tops,
            numbers=layer.numbers,
            blobs=tuple(
                np.zeros(shape, np.float32)
                for shape in (by_name[layer.name].weight_shape, (by_name[layer.name].outputs,))
            )
            if layer.blobs
            else (),
        )
        for layer in caffe_net(name)
    ]
    (tmp_path / "net.caffemodel").write_bytes(write_caffemodel(name, net))
    told = imported(capsys, tmp_path / "net.caffemodel", "caffe", tmp_path / "net", "--mean", "104,117,123")
    assert (told["recipe"], told["classes"], told["parameters"]) == (name, 1000, 60_965_224)
    assert read_checkpoint(tmp_path / "net").recipe == whole


@pytest.mark.slow
def test_an_onnx_file_of_torchs_own_exporter_is_read(
    alexnet: nn.Module, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxscript")
    batch = torch.export.Dim("N")
    with torch.no_grad():
        torch.onnx.export(
            alexnet, (torch.zeros(2, 3, 224, 224),), tmp_path / "a.onnx", dynamo=True, verbose=False,
            dynamic_shapes=({0: batch},), external_data=False,
        )  # fmt: skip
    told = imported(capsys, tmp_path / "a.onnx", "onnx", tmp_path / "net", "--mean", "torchvision")
    assert told["recipe"] == "imported"
    crops = coloured_crops([0, 1])
    expected = theirs(alexnet, crops)
    np.testing.assert_allclose(logits_of(tmp_path / "net", crops), expected, atol=1e-5 * abs(expected).max())


def test_an_exported_net_comes_back_with_its_transform(
    alexnet: nn.Module, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnx")
    (tmp_path / "a.pth").write_bytes(pickled(alexnet.state_dict()))
    imported(capsys, tmp_path / "a.pth", "torchvision", tmp_path / "net")
    assert main(["export", str(tmp_path / "net"), "-f", "onnx", "-o", str(tmp_path / "a.onnx"), "-q"]) == 0
    imported(capsys, tmp_path / "a.onnx", "onnx", tmp_path / "again")
    crops = coloured_crops([0, 1])
    np.testing.assert_allclose(logits_of(tmp_path / "again", crops), logits_of(tmp_path / "net", crops), atol=1e-6)


@pytest.mark.filterwarnings("default")
def test_a_torchscript_file_is_refused_without_a_warning_of_torchs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), tmp_path / "a.pt")  # type: ignore[no-untyped-call]
    code, text = refused(capsys, str(tmp_path / "a.pt"), "--from", "torchvision", "-o", str(tmp_path / "net"))
    assert (code, "save its state_dict()" in text) == (4, True)
    assert not recwarn.list


def test_a_torchvision_of_another_build_than_torch_is_one_line(tmp_path: Path) -> None:
    """As in a container with torch for CPUs and PyPI's torchvision: its import ends with a RuntimeError."""
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision/__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from alexnet_cli.exchange.torchvision import load_torchvision\n"
        "from alexnet_cli.errors import UsageError\n"
        "try: load_torchvision()\n"
        "except UsageError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("torchvision can't be loaded (operator torchvision::nms does not exist): install it ")


class Opens:
    """Unpickled, it would open a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (open, (str(self.path), "w"))


def test_a_pickle_that_wants_more_than_weights_is_refused_and_runs_nothing(
    alexnet: nn.Module, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trap = tmp_path / "opened"
    for name, value in (("trap", {"features.0.weight": Opens(trap)}), ("whole", alexnet.features), ("list", [1, 2])):
        (tmp_path / f"{name}.pth").write_bytes(pickled(value))
        code, _ = refused(capsys, str(tmp_path / f"{name}.pth"), "--from", "torchvision", "-o", str(tmp_path / "net"))
        assert code == 4, name
    assert not trap.exists()


def test_damaged_and_foreign_files_are_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    small = pickled({"features.0.weight": torch.zeros(3)})
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("archive/data.pkl", b"\x80\x02.")
    contents = {
        "empty": b"",
        "text": b"hello\n" * 40,
        "zeros": bytes(4000),
        "cut": small[:-200],
        "other": small,
        "zip": archive.getvalue(),
        "header": (1 << 40).to_bytes(8, "little") + b'{"a":1}',
        "safetensors": (2).to_bytes(8, "little") + b"{}",
        "field": b"\x0a\xff\xff\xff\xff\x0f",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    for name in (*contents, "fifo", "folder", "absent"):
        for source in ("torchvision", "timm", "caffe", "onnx"):
            more = ["--mean", "1,2,3"] if source in ("caffe", "onnx") else []
            out = str(tmp_path / "net")
            code, text = refused(capsys, str(tmp_path / name), "--from", source, "-o", out, *more)
            assert code == 4, (name, source, text)
            assert name in text
    assert not (tmp_path / "net").exists()


def test_nets_that_are_no_alexnet_are_refused_by_name(
    alexnet: nn.Module, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = alexnet.state_dict()
    odd: dict[str, dict[str, Tensor]] = {
        "lacks 'classifier.6.bias'": {name: value for name, value in state.items() if name != "classifier.6.bias"},
        "also holds 'features.1.weight'": {**state, "features.1.weight": torch.zeros(64)},
        "is not finite": {**state, "classifier.6.bias": torch.full((7,), torch.nan)},
        "and 24×432": {**state, "classifier.1.weight": torch.zeros(24, 433)},
    }
    for what, weights in odd.items():
        save_file(weights, tmp_path / "a.safetensors")
        code, text = refused(
            capsys, str(tmp_path / "a.safetensors"), "--from", "torchvision", "-o", str(tmp_path / "n")
        )
        assert (code, what in text) == (4, True), text
    net = caffe_net("caffenet")
    strange = {
        "reads 'data', not 'norm2'": [layer if layer.name != "conv3" else _moved(layer, "data") for layer in net],
        "of type Concat": [layer if layer.name != "relu2" else _typed(layer, "Concat") for layer in net],
    }
    for what, changed in strange.items():
        (tmp_path / "c").write_bytes(write_caffemodel("net", changed))
        code, text = refused(
            capsys, str(tmp_path / "c"), "--from", "caffe", "--mean", "1,2,3", "-o", str(tmp_path / "n")
        )
        assert (code, what in text) == (4, True), text


def _moved(layer: CaffeLayer, bottom: str) -> CaffeLayer:
    return CaffeLayer(
        name=layer.name, type=layer.type, bottoms=(bottom,), tops=layer.tops, numbers=layer.numbers, blobs=layer.blobs
    )


def _typed(layer: CaffeLayer, kind: str) -> CaffeLayer:
    return CaffeLayer(name=layer.name, type=kind, bottoms=layer.bottoms, tops=layer.tops)


def test_options_that_are_missing_or_wrong_are_told(
    alexnet: nn.Module, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c").write_bytes(write_caffemodel("net", caffe_net("caffenet")))
    save_file(alexnet.state_dict(), tmp_path / "a.safetensors")
    (tmp_path / "names").write_text("one\ntwo\n")
    caffe, torch_ = (str(tmp_path / "c"), "--from", "caffe"), (str(tmp_path / "a.safetensors"), "--from", "torchvision")
    out = ("-o", str(tmp_path / "net"))
    for command, code, what in (
        ((*caffe, *out), 2, "give --mean"),
        ((*caffe, *out, "--mean", "1,2,x"), 2, "three numbers"),
        ((*caffe, *out, "--mean", str(tmp_path / "nowhere")), 4, "no such file"),
        ((*caffe, *out, "--mean", "1,2,3", "--patch", "300"), 2, "smaller than the patches"),
        ((*caffe, *out, "--mean", "1,2,3", "--patch", "120"), 4, "at patches of 120"),
        ((*caffe, *out, "--mean", "1,2,3", "--channels", "cmyk"), 2, "rgb or bgr"),
        ((*torch_, *out, "--mean", "1,2,3"), 2, "leave it out"),
        ((*torch_, *out, "--classes", str(tmp_path / "names")), 4, "has 2 classes, and the net 7"),
        ((str(tmp_path / "c"), "--from", "keras", *out), 2, "must be torchvision, caffe, onnx or timm"),
    ):
        assert (found := refused(capsys, *command))[0] == code, found
        assert what in found[1], found
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "mine.txt").write_text("mine")
    assert refused(capsys, *torch_, *out, "--overwrite")[0] == 2


def test_train_from_a_pth_is_told_to_import_it(
    tmp_path: Path,
    make_store: MakeStore,
    make_statistics: Callable[[CropStore], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = make_store("train", labels=[0, 1, 2])
    stats = make_statistics(store)
    (tmp_path / "alexnet.pth").write_bytes(b"PK")
    command = [
        "train",
        str(store.path),
        "--stats",
        str(stats),
        "--recipe",
        "source-2012",
        "--out",
        str(tmp_path / "run"),
    ]
    assert main([*command, "--init-from", str(tmp_path / "alexnet.pth")]) == 4
    text = capsys.readouterr().err
    assert f"alexnet import {tmp_path / 'alexnet.pth'} --from torchvision" in text
    assert text.count("\n") == 1


def test_the_classes_of_a_thousand_have_torchvisions_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c").write_bytes(write_caffemodel("net", caffe_net("caffe-alexnet", classes=1000)))
    imported(capsys, tmp_path / "c", "caffe", tmp_path / "net", "--mean", "104,117,123")
    classes = read_checkpoint(tmp_path / "net").classes
    assert (classes.names[:2], classes.words[:2]) == (("0", "1"), ("tench", "goldfish"))
