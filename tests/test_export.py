"""`alexnet export`: every format says what the net says, read by an engine that knows nothing of ours."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import NARROW_NET, coloured_crops
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file

from alexnet_cli.artifacts.checkpoint import net_files, read_checkpoint, write_net
from alexnet_cli.class_list import ClassList
from alexnet_cli.cli import main
from alexnet_cli.evaluation import Net
from alexnet_cli.exchange.transforms import transform_of
from alexnet_cli.net.initial import initialise
from alexnet_cli.net.network import Network
from alexnet_cli.recipes.read import load_recipe

onnx = pytest.importorskip("onnx")
CLASSES = ClassList(("ape", "bat", "cat"), words=("a monkey", "flies", "purrs"))

MakeNet = Callable[..., Path]


@pytest.fixture
def make_net(tmp_path: Path) -> MakeNet:
    """make_net("source-2012"): a narrow net's checkpoint, random, of a mean image in which no two pixels are equal."""

    def make(name: str, *, sets: tuple[str, ...] = ()) -> Path:
        recipe = load_recipe(name, sets)
        narrow = {spec.name: NARROW_NET[spec.name] for spec in recipe.net.layers if spec.name in NARROW_NET}
        recipe = recipe.with_options(net={**narrow, "classes": 3})
        network = Network(recipe.net)
        initialise(network, "he", 1)
        rng = np.random.default_rng(1)
        with torch.no_grad():
            for layer in network.layers:
                weights = network.weights(layer.name)
                weights.bias.copy_(torch.from_numpy(rng.normal(0, 0.1, layer.outputs)))
                if layer is network.layers[0] and recipe.input.normalisation == "mean-image":
                    weights.weight.mul_(1 / 64)
        mean = None if recipe.input.normalisation == "channel" else rng.uniform(90, 150, (256, 256, 3))
        path = tmp_path / f"{name}-net"
        write_net(
            path,
            net_files(
                recipe=recipe,
                classes=CLASSES,
                model=dict(network.named_parameters()),
                transform=transform_of(recipe.input, mean),
            ),
            parents={"crops": "c" * 64},
            details={"epoch": 3, "validation_top1_error": 0.25, "validation_top5_error": 0.125},
            overwrite=False,
        )
        return path

    return make


def said_of(path: Path, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What `alexnet eval --views 1` says: probabilities (N, K)."""
    net = Net.from_checkpoint(read_checkpoint(path), torch.device("cpu"), "fp32")
    with torch.no_grad():
        return net.probabilities(torch.from_numpy(crops), net.views(1)[0]).numpy()


def exported(capsys: pytest.CaptureFixture[str], net: Path, format_: str, out: Path, *more: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["export", str(net), "--format", format_, "-o", str(out), "--json", "-q", *more]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["path"] == str(out)
    assert told["format"] == format_
    assert 0 <= told["max_difference"] < 1e-5
    return dict(told)


def refused(capsys: pytest.CaptureFixture[str], *command: str) -> tuple[int, str]:
    capsys.readouterr()
    code = main(["export", *command, "-q"])
    text = capsys.readouterr().err
    assert text.startswith("alexnet: ")
    assert text.count("\n") == 1
    return code, text


@pytest.mark.parametrize("name", ["paper", "source-2012", "no-exchange", "conv6"])
def test_onnxruntime_says_of_any_number_of_pictures_what_eval_says(
    name: str, make_net: MakeNet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    net = make_net(name)
    exported(capsys, net, "onnx", tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession((tmp_path / "net.onnx").read_bytes(), providers=["CPUExecutionProvider"])
    crops = coloured_crops([0, 1, 2, 3])
    for count in (1, 4):
        (said,) = session.run(None, {"pictures": crops[:count, 16:240, 16:240]})
        np.testing.assert_allclose(said, said_of(net, crops[:count]), atol=2e-6)
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["classes"]) == ["ape", "bat", "cat"]
    assert json.loads(about["words"]) == ["a monkey", "flies", "purrs"]
    model = onnx.load(tmp_path / "net.onnx")
    assert [entry.version for entry in model.opset_import] == [17]
    assert all(not tensor.external_data for tensor in model.graph.initializer)


@pytest.mark.parametrize("more", [(), ("--raw",)], ids=["whole", "raw"])
@pytest.mark.parametrize("name", ["paper", "source-2012", "no-exchange", "one-column", "no-norm", "quickstart"])
def test_an_onnx_file_comes_back_as_the_net_that_it_was(
    name: str, more: tuple[str, ...], make_net: MakeNet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Weights, recipe with its dropout, mean image, colour noise, classes: bit for bit, so the digest is the same."""
    net = make_net(name)
    exported(capsys, net, "onnx", tmp_path / "net.onnx", *more)
    assert main(["import", str(tmp_path / "net.onnx"), "--from", "onnx", "-o", str(tmp_path / "back"), "-q"]) == 0
    one, back = read_checkpoint(net), read_checkpoint(tmp_path / "back")
    assert back.recipe == one.recipe
    assert all(torch.equal(back.model[name], tensor) for name, tensor in one.model.items())
    assert back.manifest.digest == one.manifest.digest


@pytest.mark.parametrize("part", ["notes", "layer", "mean", "kept apart"])
def test_an_onnx_file_whose_notes_are_gone_or_untrue_comes_back_as_its_graph(
    part: str, make_net: MakeNet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The centre view's probabilities are the graph's, and what the file does not hold is said."""
    from onnx.reference import ReferenceEvaluator

    net = make_net("no-exchange" if part == "kept apart" else "paper")
    exported(capsys, net, "onnx", tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    if part == "notes":
        (entry,) = [entry for entry in model.metadata_props if entry.key == "config.json"]
        entry.value = '{"recipe": {"net": []}}'
    elif part == "layer":
        (node,) = [node for node in model.graph.node if node.op_type == "LRN" and node.name.startswith("norm2")]
        next(attribute for attribute in node.attribute if attribute.name == "bias").f = 3.0
    else:
        name = "fc7.weight" if part == "kept apart" else "mean"
        (tensor,) = [tensor for tensor in model.graph.initializer if tensor.name == name]
        tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor) + np.float32(1 / 256), name))
    onnx.save(model, tmp_path / "net.onnx")
    capsys.readouterr()
    assert main(["import", str(tmp_path / "net.onnx"), "--from", "onnx", "-o", str(tmp_path / "back")]) == 0
    told = capsys.readouterr().err
    assert ("was changed since alexnet export wrote it" in told) == (part != "notes")
    assert "not in the file: dropout" in told and "the mean image around the centre" in told
    back = read_checkpoint(tmp_path / "back")
    assert back.recipe.name == "imported" and "dropout" not in [spec.kind for spec in back.recipe.net.layers]
    crops = coloured_crops([0, 1])
    evaluator: Any = ReferenceEvaluator(str(tmp_path / "net.onnx"))
    (said,) = evaluator.run(None, {"pictures": crops[:, 16:240, 16:240]})
    np.testing.assert_allclose(said_of(tmp_path / "back", crops), said, atol=1e-5, rtol=0)


def test_norms_that_stay_in_columns_only_here_and_there_are_no_net_of_ours(
    make_net: MakeNet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exported(capsys, make_net("paper"), "onnx", tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    (shape,) = [tensor for tensor in model.graph.initializer if tensor.name == "norm1.apart"]
    shape.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(shape) * [1, 2, 1, 1], "norm1.apart"))
    onnx.save(model, tmp_path / "mixed.onnx")
    assert main(["import", str(tmp_path / "mixed.onnx"), "--from", "onnx", "-o", str(tmp_path / "x"), "-q"]) == 4
    assert "some of its norms stay inside a column" in capsys.readouterr().err


def test_raw_takes_transformed_patches_and_gives_logits(
    make_net: MakeNet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from onnx.reference import ReferenceEvaluator

    net = make_net("paper")
    exported(capsys, net, "onnx", tmp_path / "net.onnx", "--raw")
    crops = coloured_crops([0, 4])
    mean = load_file(net / "input.safetensors")["mean"].numpy()[16:240, 16:240].astype(np.float32)
    patches = (crops[:, 16:240, 16:240].astype(np.float32) - mean).transpose(0, 3, 1, 2)
    (logits,) = ReferenceEvaluator(str(tmp_path / "net.onnx")).run(None, {"patches": patches})
    powers = np.exp(np.float64(logits) - np.float64(logits).max(1, keepdims=True))
    np.testing.assert_allclose(powers / powers.sum(1, keepdims=True), said_of(net, crops), atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")
@pytest.mark.parametrize("format_", ["torch-export", "torchscript"])
def test_torchs_own_files_say_the_same_of_any_number_of_pictures(
    format_: str, make_net: MakeNet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net, out = make_net("source-2012"), tmp_path / "net.file"
    exported(capsys, net, format_, out)
    content = io.BytesIO(out.read_bytes())
    load: Any = torch.jit.load if format_ == "torchscript" else lambda file: torch.export.load(file).module()
    run = load(content)
    crops = coloured_crops([0, 1, 2, 3, 4])
    for count in (1, 5):
        with torch.no_grad():
            said = run(torch.from_numpy(crops[:count, 16:240, 16:240]))
        np.testing.assert_allclose(said.numpy(), said_of(net, crops[:count]), atol=2e-6)
    with zipfile.ZipFile(out) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("extra/alexnet.json")]
        assert json.loads(archive.read(name))["classes"] == ["ape", "bat", "cat"]


def test_torchvisions_state_dict_is_of_its_own_net_alone(
    make_net: MakeNet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """That torchvision loads it is tested beside the import (test_import.py)."""
    for name in ("paper", "torchvision"):  # the latter narrower than torchvision's
        code, text = refused(capsys, str(make_net(name)), "--format", "torchvision", "-o", str(tmp_path / "other"))
        assert (code, "which recipe torchvision has" in text) == (2, True)


def parse_prototxt(text: str) -> dict[str, list[Any]]:
    """Protobuf's text format, as far as a prototxt needs it: name → values, messages as such dicts."""
    tokens = re.findall(r'"[^"]*"|[{}]|[^\s{}:]+', re.sub(r"#.*", "", text))
    place = 0

    def message() -> dict[str, list[Any]]:
        nonlocal place
        found: dict[str, list[Any]] = {}
        while place < len(tokens) and tokens[place] != "}":
            name, place = tokens[place], place + 1
            if tokens[place] == "{":
                place += 1
                value: Any = message()
                assert tokens[place] == "}"
            else:
                value = tokens[place].strip('"')
            place += 1
            found.setdefault(name, []).append(value)
        return found

    return message()


def caffe_in_float64(folder: Path, data: NDArray[np.float64]) -> NDArray[np.float64]:
    """A Caffe net in numpy, by its prototxt; weights by the layers' names, as Caffe finds them."""
    from test_exchange_caffe import blobs_of

    weights = blobs_of((folder / "net.caffemodel").read_bytes())
    there = {"data": data}
    last = "data"
    for layer in parse_prototxt((folder / "deploy.prototxt").read_text())["layer"]:
        name, kind = layer["name"][0], layer["type"][0]
        if kind == "Input":
            continue
        below = [there[bottom] for bottom in layer["bottom"]]
        own = [blob.astype(np.float64) for blob in weights.get(name, [])]
        (table,) = [value[0] for key, value in layer.items() if key.endswith("_param")] or [{}]
        for top, value in zip(layer["top"], caffe_layer(kind, table, below, own), strict=True):
            there[top] = value
        last = layer["top"][0]
    return there[last]


def caffe_layer(kind: str, table: dict[str, list[Any]], below: list[Any], own: list[Any]) -> list[Any]:
    def number(name: str, default: float) -> float:
        return float(table.get(name, [default])[0])

    maps = below[0]
    if kind == "Convolution":
        size, stride, pad, group = (
            int(number(*at)) for at in (("kernel_size", 0), ("stride", 1), ("pad", 0), ("group", 1))
        )
        padded = np.pad(maps, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), (2, 3))[:, :, ::stride, ::stride]
        parts = zip(np.split(windows, group, 1), np.split(own[0], group), strict=True)
        sums = [np.einsum("nchwij,kcij->nkhw", part, kernels, optimize=True) for part, kernels in parts]
        return [np.concatenate(sums, 1) + own[1][None, :, None, None]]
    if kind == "InnerProduct":
        return [maps.reshape(len(maps), -1) @ own[0].T + own[1]]
    if kind == "Pooling":
        size, stride = int(number("kernel_size", 1)), int(number("stride", 1))
        count = -(-(maps.shape[2] - size) // stride) + 1
        out = np.empty((*maps.shape[:2], count, count))
        for y in range(count):
            for x in range(count):
                out[:, :, y, x] = maps[:, :, y * stride : y * stride + size, x * stride : x * stride + size].max((2, 3))
        return [out]
    if kind == "LRN":
        size, alpha, beta, k = int(number("local_size", 5)), number("alpha", 1), number("beta", 0.75), number("k", 1)
        out, half = np.empty_like(maps), size // 2
        if table.get("norm_region", ["ACROSS_CHANNELS"])[0] == "WITHIN_CHANNEL":
            for y in range(maps.shape[2]):
                for x in range(maps.shape[3]):
                    near = maps[:, :, max(0, y - half) : y + half + 1, max(0, x - half) : x + half + 1]
                    out[:, :, y, x] = maps[:, :, y, x] * (1 + alpha * (near**2).sum((2, 3)) / size**2) ** -beta
        else:
            for c in range(maps.shape[1]):
                near = maps[:, max(0, c - half) : c + half + 1]
                out[:, c] = maps[:, c] * (k + alpha / size * (near**2).sum(1)) ** -beta
        return [out]
    if kind == "Softmax":
        powers = np.exp(maps - maps.max(1, keepdims=True))
        return [powers / powers.sum(1, keepdims=True)]
    if kind == "Slice":
        return list(np.split(maps, [int(point) for point in table["slice_point"]], 1))
    return {
        "ReLU": lambda: [np.maximum(maps, 0)],
        "TanH": lambda: [np.tanh(maps)],
        "Power": lambda: [(number("shift", 0) + number("scale", 1) * maps) ** number("power", 1)],
        "Dropout": lambda: [maps],
        "Concat": lambda: [np.concatenate(below, 1)],
        "Bias": lambda: [maps + own[0]],
        "Scale": lambda: [maps * own[0][None, :, None, None]],
    }[kind]()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("name", ["paper", "source-2012", "tanh", "caffenet"])
def test_caffes_layers_in_numpy_say_what_eval_says(
    name: str, make_net: MakeNet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The picture enters as B, G, R, 0-255; all else is in the folder. float64 against float32: 2e-6."""
    net = make_net(name, sets=("net.map_norm2.k=3.0",) if name == "source-2012" else ())
    exported(capsys, net, "caffe", tmp_path / "caffe")
    assert "k:" not in (tmp_path / "caffe" / "deploy.prototxt").read_text()  # OpenCV takes it for 1
    crops = coloured_crops([0, 1])
    patch = read_checkpoint(net).recipe.input.patch
    edge = (256 - patch) // 2
    data = crops[:, edge : edge + patch, edge : edge + patch, ::-1].transpose(0, 3, 1, 2).astype(np.float64)
    np.testing.assert_allclose(caffe_in_float64(tmp_path / "caffe", data), said_of(net, crops), atol=2e-6)
    assert (tmp_path / "caffe" / "synset_words.txt").read_text() == "ape a monkey\nbat flies\ncat purrs\n"


def test_a_net_whose_first_layer_is_linear_sees_caffes_channels_in_their_order(
    make_net: MakeNet, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("flat.toml").write_text(
        '[net]\ncolumns = 1\n[net.fc1]\nkind = "linear"\nneurons = 8\n[net.tanh1]\nkind = "tanh"\n'
        '[net.fc2]\nkind = "linear"\nneurons = "classes"\n[input]\nnormalisation = "channel"\n'
    )
    net = make_net("flat.toml")
    exported(capsys, net, "caffe", tmp_path / "caffe")
    crops = coloured_crops([0, 1, 2])
    data = np.ascontiguousarray(crops[:, 16:240, 16:240, ::-1].transpose(0, 3, 1, 2).astype(np.float64))
    np.testing.assert_allclose(caffe_in_float64(tmp_path / "caffe", data), said_of(net, crops), atol=2e-6)


def test_what_caffe_would_compute_otherwise_is_refused(
    make_net: MakeNet, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, text = refused(capsys, str(make_net("no-overlap-paper")), "--format", "caffe", "-o", str(tmp_path / "c"))
    assert (code, "pool1 leaves out the last rows of its 55×55 maps" in text) == (2, True)
    assert not (tmp_path / "c").exists()
    monkeypatch.chdir(tmp_path)
    Path("gaps.toml").write_text(  # windows at 0, 112 and, for Caffe alone, 224, where no pixel is
        '[net]\ncolumns = 1\n[net.pool1]\nkind = "pool"\nsize = 111\nstride = 112\noverhang = true\n'
        '[net.fc1]\nkind = "linear"\nneurons = "classes"\n[input]\nnormalisation = "channel"\n'
    )
    code, text = refused(capsys, str(make_net("gaps.toml")), "--format", "caffe", "-o", str(tmp_path / "c"))
    assert (code, "Caffe's pooling has one window more" in text) == (2, True)


def test_a_hub_folder_is_a_checkpoint_with_a_model_card(
    make_net: MakeNet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net, out = make_net("paper"), tmp_path / "hub"
    exported(capsys, net, "hub", out)
    with safe_open(out / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
    card = (out / "README.md").read_text()
    for word in (
        "license: other",
        "## Data",
        "## Recipe",
        "25.00%",
        "12.50%",
        "## Licence",
        "## Limits",
        "ape (a monkey)",
    ):
        assert word in card, word
    crops = coloured_crops([0, 1])
    np.testing.assert_array_equal(said_of(out, crops), said_of(net, crops))
    assert main(["export", str(net), "--format", "hub", "-o", str(out), "--overwrite", "-q"]) == 0
    (out / "notes.txt").write_text("mine")
    code, _ = refused(capsys, str(net), "--format", "hub", "-o", str(out), "--overwrite")
    assert code == 2


def test_a_file_that_says_something_else_is_not_written(
    make_net: MakeNet, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from alexnet_commands.export.onnx_file import onnx_model as right

    def wrong(plan: Any) -> bytes:
        plan.steps[0].weight.mul_(1.01)
        return right(plan)

    monkeypatch.setattr("alexnet_commands.export.run.onnx_model", wrong)
    code, text = refused(capsys, str(make_net("paper")), "--format", "onnx", "-o", str(tmp_path / "net.onnx"))
    assert (code, "gives different numbers than the net" in text) == (4, True)
    assert not (tmp_path / "net.onnx").exists()


@pytest.mark.parametrize("format_", ["onnx", "torchscript", "caffe"])
def test_only_an_export_of_the_same_format_is_replaced(
    format_: str, make_net: MakeNet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net, out = make_net("paper"), tmp_path / "out"
    exported(capsys, net, format_, out)
    command = (str(net), "--format", format_, "-o", str(out))
    assert refused(capsys, *command)[0] == 2
    exported(capsys, net, format_, out, "--overwrite")
    for foreign in (b"", b"PK\x03\x04", b"\x08\x08\x12\x07pytorch", b"text"):
        (tmp_path / "mine").write_bytes(foreign)
        assert refused(capsys, str(net), "--format", format_, "-o", str(tmp_path / "mine"), "--overwrite")[0] == 2
        assert (tmp_path / "mine").read_bytes() == foreign


def test_wrong_options_and_nets_are_refused_in_one_line(
    make_net: MakeNet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = str(make_net("paper"))
    assert refused(capsys, net, "--format", "keras", "-o", str(tmp_path / "o"))[0] == 2
    assert refused(capsys, net, "--format", "hub", "--raw", "-o", str(tmp_path / "o"))[0] == 2
    assert refused(capsys, str(tmp_path), "--format", "onnx", "-o", str(tmp_path.parent / "o.onnx"))[0] == 4
    (tmp_path / "weights.pth").write_bytes(b"")
    code, text = refused(capsys, str(tmp_path / "weights.pth"), "--format", "onnx", "-o", str(tmp_path / "o"))
    assert (code, "alexnet import" in text) == (4, True)
