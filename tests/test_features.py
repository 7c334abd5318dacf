"""`alexnet features` against a forward pass of torch's own operations, from the checkpoint's files alone."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.artifacts.features import read_features
from alexnet_cli.cli import main
from alexnet_cli.recipes.recipe import Recipe

MakeStore = Callable[..., CropStore]
Capture = pytest.CaptureFixture[str]
PLACES = ((16, 16), (0, 0), (0, 32), (32, 0), (32, 32))


@pytest.fixture
def store(make_store: MakeStore) -> CropStore:
    return make_store("val", [0, 1, 2, 0, 1])


@pytest.fixture
def net(store: CropStore, make_statistics: Callable[..., Path], make_checkpoint: Callable[..., Path]) -> Path:
    return make_checkpoint("net", store, make_statistics(store))


def by_hand(net: Path, store: CropStore, layer: str, places: tuple[tuple[int, int], ...]) -> NDArray[np.float64]:
    """A layer of the quickstart net in float64, layer by layer from its recipe, averaged over places."""
    recipe = Recipe.from_dict(json.loads((net / "config.json").read_text())["recipe"])
    weights = {name: tensor.double() for name, tensor in load_file(net / "model.safetensors").items()}
    given = {name: tensor.double() for name, tensor in load_file(net / "input.safetensors").items()}
    crops = torch.from_numpy(np.stack([store.read(index) for index in range(len(store))])).double()
    total: Tensor | None = None
    for row, column in places:
        here = slice(row, row + 224), slice(column, column + 224)
        x = ((crops[:, here[0], here[1]] - given["mean"][here]) * given["scale"]).permute(0, 3, 1, 2)
        for spec in recipe.net.layers:
            x = applied(x, spec, weights, recipe.net.columns)
            if spec.name == layer:
                break
        total = x if total is None else total + x
    assert total is not None
    return np.asarray((total / len(places)).numpy(), np.float64)


def applied(x: Tensor, spec: Any, weights: dict[str, Tensor], columns: int) -> Tensor:
    if spec.kind == "convolution":
        weight, bias = weights[f"{spec.name}.weight"], weights[f"{spec.name}.bias"]
        if spec.sees == "picture":
            return functional.conv2d(functional.pad(x, (0, 3, 0, 3)), weight, bias, stride=spec.stride)
        groups = columns if spec.sees == "column" else 1
        return functional.conv2d(x, weight, bias, stride=spec.stride, padding=spec.size // 2, groups=groups)
    if spec.kind == "linear":
        return functional.linear(x.flatten(1), weights[f"{spec.name}.weight"], weights[f"{spec.name}.bias"])
    if spec.kind == "relu":
        return functional.relu(x)
    if spec.kind == "pool":
        return functional.max_pool2d(x, spec.size, spec.stride)
    if spec.kind == "dropout":
        return x / 2
    assert spec.kind == "norm"
    parts = x.chunk(columns, 1)
    normed = [functional.local_response_norm(part, spec.window, spec.alpha, spec.beta, spec.k) for part in parts]
    return torch.cat(normed, 1)


@pytest.mark.parametrize("layer", ["conv1", "pool2", "conv4", "relu5", "fc6", "fc7", "relu7", "fc8"])
def test_a_layer_gives_what_torchs_operations_give(net: Path, store: CropStore, layer: str, capsys: Capture) -> None:
    out = net.parent / "features.h5"
    words = ["features", net, store.path, "--layer", layer, "--out", out, "--devices", "cpu", "--json", "--quiet"]
    assert main([str(word) for word in words]) == 0
    result = json.loads(capsys.readouterr().out)
    expected = by_hand(net, store, layer, PLACES[:1])
    with h5py.File(out) as file:
        found = file["features"][...]
        assert found.dtype == np.float32
        assert file["labels"][...].tolist() == store.labels.tolist()
        assert file["names"].asstr()[...].tolist() == store.names
        assert tuple(file["classes"].asstr()[...]) == store.classes.names
    assert (result["layer"], result["pictures"], tuple(result["shape"])) == (layer, 5, expected.shape)
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_ten_views_are_the_mean_of_those_that_the_net_was_trained_on(net: Path, store: CropStore) -> None:
    out = net.parent / "features.h5"
    words = ["features", net, store.path, "--views", 10, "--out", out, "--devices", "cpu", "--quiet"]
    assert main([str(word) for word in words]) == 0
    manifest, found = read_features(out)
    assert manifest.details["views_averaged"] == 5 and manifest.options["layer"] == "fc7"
    expected = by_hand(net, store, "fc7", PLACES)
    np.testing.assert_allclose(found.features, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_two_processes_write_the_same_as_one(net: Path, store: CropStore) -> None:
    found = []
    for devices in ("cpu", "cpu:2"):
        out = net.parent / f"{devices[-1]}.h5"
        words = ["features", net, store.path, "--out", out, "--devices", devices, "--quiet", "--batch-size", 2]
        assert main([str(word) for word in words]) == 0
        found.append(read_features(out)[1].features)
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5, atol=1e-6)


def test_update_makes_them_anew_only_for_another_layer(net: Path, store: CropStore, capsys: Capture) -> None:
    out = net.parent / "features.h5"
    words = [str(word) for word in ("features", net, store.path, "--out", out, "--devices", "cpu", "--json", "--quiet")]
    assert main(words) == 0
    assert main(words) == 2, "it exists"
    capsys.readouterr()
    assert main([*words, "--update"]) == 0
    assert json.loads(capsys.readouterr().out)["up_to_date"] is True
    assert main([*words, "--update", "--layer", "fc6"]) == 0
    assert "up_to_date" not in json.loads(capsys.readouterr().out)


def test_a_layer_that_is_none_is_refused_with_those_there_are(net: Path, store: CropStore, capsys: Capture) -> None:
    words = ["features", net, store.path, "--layer", "fc9", "--out", net.parent / "f.h5"]
    assert main([str(word) for word in words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--layer fc9: the net has no such layer: use one of conv1, " in line and ", relu7, " in line


def test_a_full_disk_is_one_line_and_leaves_nothing(net: Path, store: CropStore, capsys: Capture) -> None:
    out = net.parent / "conv1.h5"  # 97 kB a picture
    words = ["features", net, store.path, "--layer", "conv1", "--out", out, "--devices", "cpu", "--quiet"]
    before, limits = sorted(net.parent.iterdir()), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        assert main([*(str(word) for word in words), "--batch-size", "1"]) == 5
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"alexnet: {out}: ")
    assert sorted(net.parent.iterdir()) == before


def test_mini_batches_change_neither_features_nor_names(net: Path, store: CropStore) -> None:
    found = []
    for size in (5, 2):
        out = net.parent / f"{size}.h5"
        words = [
            "features",
            net,
            store.path,
            "--layer",
            "pool5",
            "--out",
            out,
            "--devices",
            "cpu",
            "--batch-size",
            size,
        ]
        assert main([str(word) for word in (*words, "--quiet")]) == 0
        found.append(read_features(out)[1])
    np.testing.assert_allclose(found[1].features, found[0].features, rtol=1e-5, atol=1e-6)
    assert found[1].names == found[0].names == store.names
