"""Pictures of another size than the paper's: `preprocess --side`, and all that follows from side and patch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from preprocessing import fails, preprocess
from safetensors.torch import load_file

from alexnet_cli.artifacts.crops.shards import open_crops
from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.artifacts.scores import read_scores
from alexnet_cli.artifacts.statistics import read_statistics
from alexnet_cli.cli import main
from alexnet_cli.errors import ArtifactError
from alexnet_cli.input.patches import InputTransform, training_patches
from alexnet_cli.input.views import view, views_of
from alexnet_cli.net.network import Network
from alexnet_cli.net.whole import load_whole
from alexnet_cli.pictures import Facts, crop_of
from alexnet_cli.randomness import Draws
from alexnet_cli.recipes.read import load_recipe
from alexnet_stages.pca.config import PcaConfig
from alexnet_stages.pca.run import run as pca

Capture = pytest.CaptureFixture[str]
MakeStore = Callable[..., CropStore]

RECIPE = """
about = "a net for crops of {side}, of which it sees {patch}"

[net]
columns = 1
conv = {{ kind = "convolution", kernels = 4, size = 5, padding = 2, sees = "picture" }}
relu = {{ kind = "relu" }}
pool = {{ kind = "pool", size = 3, stride = 2, overhang = true }}
fc = {{ kind = "linear", neurons = "classes" }}

[input]
patch = {patch}
flip = {flip}
colour_noise = 0.0
divisor = 64.0

[training]
initial_values = "he"
batch_size = 4
epochs = 2
schedule = "steps"
"""


def crops_of(count: int, side: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def recipe_file(folder: Path, *, side: int = 32, patch: int = 32, flip: str = "true") -> Path:
    path = folder / f"net-{side}-{patch}-{flip}.toml"
    path.write_text(RECIPE.format(side=side, patch=patch, flip=flip))
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two classes of four PNGs of 32×32, and one of 64×48."""
    for number, pixels in enumerate(crops_of(8, 32)):
        path = tmp_path / "pictures" / f"class{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    Image.fromarray(crops_of(1, 64)[0, :48]).save(tmp_path / "pictures" / "class1" / "z.png")
    return tmp_path / "pictures"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_picture_of_the_crops_size_is_stored_with_its_pixels_unchanged(
    pictures: Path, tmp_path: Path, workers: int
) -> None:
    preprocess(pictures, tmp_path / "a.lmdb", side=32, workers=workers)
    store = open_crops(tmp_path / "a.lmdb")
    assert store.side == 32
    for index, name in enumerate(store.names):
        if name != "class1/z.png":
            assert np.array_equal(store.read(index), np.asarray(Image.open(pictures / name))), name
    small = np.asarray(
        Image.open(pictures / "class1/z.png").resize((32, 32), Image.Resampling.BILINEAR, (8, 0, 56, 48))
    )
    assert np.abs(store.read(store.names.index("class1/z.png")).astype(int) - small).max() <= 1
    store.close()


@pytest.mark.parametrize("filter", ["nearest", "box", "bilinear", "lanczos"])
@pytest.mark.parametrize("side", [8, 32, 75])
def test_no_filter_touches_a_picture_that_has_the_size(side: int, filter: str, tmp_path: Path) -> None:
    pixels = crops_of(1, side)[0]
    Image.fromarray(pixels).save(tmp_path / "a.png")
    crop, facts = crop_of((tmp_path / "a.png").read_bytes(), side=side, filter=filter)
    assert np.array_equal(crop, pixels)
    assert facts == Facts.NONE
    assert crop_of((tmp_path / "a.png").read_bytes(), side=side + 1)[1] == Facts.SMALL


def test_jpeg_crops_smaller_than_their_headers_come_back(pictures: Path, tmp_path: Path) -> None:
    preprocess(pictures, tmp_path / "a.lmdb", side=8, codec="jpeg", workers=2)
    store = open_crops(tmp_path / "a.lmdb")
    assert [store.read(index).shape for index in range(len(store))] == [(8, 8, 3)] * 9
    store.close()


def test_shards_of_small_crops_are_one_store(pictures: Path, tmp_path: Path) -> None:
    whole = preprocess(pictures, tmp_path / "whole.lmdb", side=32)
    for shard in ("1/2", "2/2"):
        preprocess(pictures, tmp_path / "parts.lmdb", side=32, shard=shard)
    parts = open_crops(tmp_path / "parts.lmdb")
    assert (parts.side, parts.digest, parts.manifest.details["side"]) == (32, whole.digest, 32)
    parts.close()


def test_update_makes_a_store_of_another_side_anew(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.lmdb"
    preprocess(pictures, out, side=32)
    assert preprocess(pictures, out, side=32, update=True).up_to_date
    assert not preprocess(pictures, out, side=16, update=True).up_to_date
    assert open_crops(out).side == 16


@pytest.mark.parametrize("side", [7, 5000])
def test_a_side_that_can_not_be_meant_is_refused(pictures: Path, tmp_path: Path, side: int, capsys: Capture) -> None:
    code, text = fails(capsys, pictures, "--out", tmp_path / "a.lmdb", "--side", side)
    assert code == 2
    assert f"--side {side}" in text


@pytest.mark.parametrize("side", [8, 13, 32])
def test_statistics_are_numpys_for_any_side(make_store: MakeStore, tmp_path: Path, side: int) -> None:
    crops = crops_of(300, side)
    store = make_store("a", [0] * 300, crops=crops)
    pca(PcaConfig(crops=store.path, out=tmp_path / "s.h5", quiet=True))
    _, found = read_statistics(tmp_path / "s.h5")
    pixels = crops.reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(found.mean_image, crops.astype(np.float64).mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.covariance, np.cov(pixels.T, bias=True), rtol=1e-9)
    assert found.pixels == len(pixels)


def test_views_follow_from_side_and_patch() -> None:
    assert views_of(10, side=256, patch=224, mirrored=True)[:5] == tuple(
        (row, column, False) for row, column in ((16, 16), (0, 0), (0, 32), (32, 0), (32, 32))
    )
    corners = {(0, 0), (0, 8), (8, 0), (8, 8), (4, 4)}
    assert {view[:2] for view in views_of(10, side=32, patch=24, mirrored=True)} == corners
    assert views_of(10, side=32, patch=32, mirrored=True) == ((0, 0, False), (0, 0, True))
    assert views_of(10, side=32, patch=32, mirrored=False) == ((0, 0, False),)
    assert views_of(1, side=32, patch=32, mirrored=True) == ((0, 0, False),)


@pytest.mark.parametrize("mean_at", ["patch", "centre"])
@pytest.mark.parametrize("patch", [24, 32])
def test_training_patches_of_small_crops_are_those_cut_by_hand(patch: int, mean_at: str) -> None:
    crops, rng = crops_of(6, 32), np.random.default_rng(1)
    mean = rng.uniform(0, 255, (32, 32, 3)).astype(np.float32)
    transform = InputTransform(torch.from_numpy(mean), torch.full((3,), 0.5), torch.eye(3), mean_at, patch)
    far = 32 - patch
    assert transform.positions == far + 1
    noise = rng.normal(0, 1, (6, 3)).astype(np.float32)
    draws = Draws(rng.integers(0, far + 1, (6, 2)), np.arange(6) % 2 == 0, noise)
    found = training_patches(torch.from_numpy(crops), draws, transform, colour_noise=2.0)
    for n in range(6):
        row, column = draws.offsets[n]
        cut = crops[n, row : row + patch, column : column + patch].astype(np.float64)
        own = mean[row : row + patch, column : column + patch]
        if mean_at == "centre":
            own = mean[far // 2 : far // 2 + patch, far // 2 : far // 2 + patch]
            own = own[:, ::-1] if draws.flips[n] else own
        expected = (cut - own + 2.0 * noise[n]) * 0.5
        expected = expected[:, ::-1] if draws.flips[n] else expected
        np.testing.assert_allclose(found[n].permute(1, 2, 0).numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("flip", ["true", "false"])
def test_a_net_of_small_pictures_is_trained_and_evaluated_as_it_would_be_by_hand(
    make_store: MakeStore, make_statistics: Callable[[CropStore], Path], tmp_path: Path, flip: str, capsys: Capture
) -> None:
    """The views are the whole picture, and its mirror image where it was trained on those; in float64."""
    labels = [0, 1, 2] * 4
    store, val = (make_store(name, labels, crops=crops_of(12, 32, seed)) for seed, name in enumerate(("t", "v")))
    words = ["train", store.path, "--val", val.path, "--stats", make_statistics(store), "--quiet", "--devices", "cpu"]
    words += ["--recipe", recipe_file(tmp_path, flip=flip), "--out", tmp_path / "run"]
    assert main([str(word) for word in words]) == 0
    out = tmp_path / "scores.h5"
    assert main(["eval", str(tmp_path / "run"), str(val.path), "--out", str(out), "--quiet", "--devices", "cpu"]) == 0
    manifest, scores = read_scores(out)
    mirrored = [False, True] if flip == "true" else [False]
    assert manifest.details["views_averaged"] == len(mirrored)

    checkpoints = sorted((tmp_path / "run" / "checkpoints").iterdir())
    best = min(
        checkpoints,
        key=lambda path: json.loads((path / "manifest.json").read_text())["details"]["validation_top1_error"],
    )
    network = Network(load_recipe(str(recipe_file(tmp_path, flip=flip))).with_options(net={"classes": 3}).net).double()
    load_whole(network, load_file(best / "model.safetensors"))
    mean = load_file(best / "input.safetensors")["mean"].double().numpy()
    pictures = np.stack([val.read(index) for index in range(12)]).astype(np.float64)
    expected = np.zeros((12, 3))
    for mirror in mirrored:
        seen = (pictures - mean) / 64
        seen = seen[:, :, ::-1] if mirror else seen
        with torch.no_grad():
            logits = network(torch.from_numpy(seen.transpose(0, 3, 1, 2).copy()))
        expected += torch.softmax(logits, 1).numpy() / len(mirrored)
    np.testing.assert_allclose(scores.probabilities, expected, atol=1e-5)

    Image.fromarray(val.read(0)).save(tmp_path / "0.png")
    capsys.readouterr()
    asked = ["predict", str(tmp_path / "run"), str(tmp_path / "0.png"), "--json", "--quiet", "--devices", "cpu"]
    assert main(asked) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["views"] == len(mirrored), "as many as there are, not as many as are asked for"
    found = {one["class"]: one["probability"] for one in said["pictures"][0]["predictions"]}
    np.testing.assert_allclose([found[name] for name in val.classes.names], expected[0], atol=1e-5)


def test_what_does_not_fit_the_crops_side_is_refused_in_one_line_that_names_both(
    make_store: MakeStore, make_statistics: Callable[[CropStore], Path], tmp_path: Path, capsys: Capture
) -> None:
    labels = [0, 1, 2, 0]
    small = make_store("small", labels, crops=crops_of(4, 32))
    large = make_store("large", labels, crops=crops_of(4, 40))
    stats = {store.side: make_statistics(store) for store in (small, large)}
    recipe = recipe_file(tmp_path)

    def refused(*words: object) -> tuple[int, str]:
        code = main([*map(str, words), "--quiet", "--devices", "cpu"])
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1, lines
        return code, lines[0]

    train = ("train", small.path, "--stats", stats[32], "--out", tmp_path / "no")
    code, text = refused(*train, "--recipe", "paper", "--val", small.path)
    assert code == 2
    assert "224×224" in text
    assert "32×32" in text
    code, text = refused(*train, "--recipe", recipe, "--val", large.path)
    assert code == 4
    assert "40×40" in text
    assert "32×32" in text
    code, text = refused(
        "train", small.path, "--stats", stats[40], "--allow-other-stats", "--recipe", recipe, "--out", "no"
    )
    assert code == 4
    assert "40×40" in text
    assert "32×32" in text
    assert main([*map(str, (*train, "--recipe", recipe)), "--quiet", "--devices", "cpu"]) == 0
    code, text = refused("eval", tmp_path / "no", large.path, "--out", tmp_path / "scores.h5")
    assert code == 4
    assert "40×40" in text
    assert "32×32" in text


def test_a_view_of_crops_of_another_side_is_refused_whoever_asks_for_it() -> None:
    transform = InputTransform(torch.zeros(32, 32, 3), torch.ones(3), torch.eye(3), patch=32)
    with pytest.raises(ArtifactError, match=r"40×40.*32×32"):
        view(torch.zeros(1, 40, 40, 3, dtype=torch.uint8), (0, 0, False), transform)


def test_a_store_that_does_not_say_its_side_has_the_papers(make_store: MakeStore) -> None:
    store = make_store("old", [0, 1])
    manifest = json.loads((store.path / "manifest.json").read_text())
    assert manifest["details"].pop("side") == 256
    store.manifest.details.pop("side")  # type: ignore[attr-defined]
    assert CropStore(store.path, store.manifest).side == 256
