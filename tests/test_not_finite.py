"""Not finite means wrong: in validation, eval and ensemble, and when scores are read."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from alexnet_cli.artifacts.common import hdf5
from alexnet_cli.artifacts.common.manifest import Manifest, digest_of, digest_of_file
from alexnet_cli.artifacts.common.ownership import SCORES, STATISTICS
from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.artifacts.run import RunFolder
from alexnet_cli.artifacts.scores import Scores, read_scores, top_k_error, write_scores
from alexnet_cli.class_list import ClassList
from alexnet_cli.cli import main
from alexnet_cli.errors import ArtifactError
from alexnet_cli.finite import not_finite, not_finite_layer

MakeStore = Callable[..., CropStore]
Capture = pytest.CaptureFixture[str]
BAD = (math.nan, math.inf, -math.inf)


def poison(checkpoint: Path, file: str, name: str, value: float) -> None:
    """Put a number into a tensor of a checkpoint, and make all its digests true again."""
    tensors = load_file(checkpoint / file)
    tensors[name].view(-1)[-1] = value
    save_file(tensors, checkpoint / file)
    manifest = Manifest.from_json(
        (checkpoint / "manifest.json").read_bytes(), kind="checkpoint", schema=99, path=checkpoint
    )
    files = {each: digest_of_file(checkpoint / each) for each in manifest.details["files"]}
    parts = [files[each] for each in ("model.safetensors", "input.safetensors", "config.json")]
    honest = replace(manifest, digest=digest_of(parts), details={**manifest.details, "files": files})
    (checkpoint / "manifest.json").write_text(honest.to_json())


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_a_picture_whose_probabilities_are_not_finite_is_wrong(value: float, k: int) -> None:
    right = np.eye(3, dtype=np.float32)
    bad = right.copy()
    bad[1, 2] = value
    labels = np.arange(3)
    assert top_k_error(right, labels, k) == 0
    assert top_k_error(bad, labels, k) == pytest.approx(1 / 3)
    assert top_k_error(np.full((4, 3), value, np.float32), np.zeros(4, np.int64), k) == 1


@pytest.mark.parametrize(
    ("file", "name"),
    [("model.safetensors", "conv3.bias"), ("model.safetensors", "fc8.weight"), ("input.safetensors", "mean")],
)
def test_a_checkpoint_with_a_number_that_is_not_finite_is_refused_by_eval_and_ensemble(
    make_store: MakeStore,
    make_statistics: Callable[[CropStore], Path],
    make_checkpoint: Callable[..., Path],
    tmp_path: Path,
    capsys: Capture,
    file: str,
    name: str,
) -> None:
    store = make_store("val", [0, 1, 2, 0])
    net = make_checkpoint("net", store, make_statistics(store))
    poison(net, file, name, math.nan)
    for words in (
        ["eval", net, store.path, "--out", tmp_path / "s.h5"],
        ["ensemble", net, "--crops", store.path, "--out", tmp_path / "e"],
    ):
        assert main([*map(str, words), "--devices", "cpu", "--quiet"]) == 4
        line = capsys.readouterr().err
        assert line.startswith(f"alexnet: {net}: its {name} is not finite: ") and line.count("\n") == 1
    assert not (tmp_path / "s.h5").exists() and not (tmp_path / "e").exists()


def test_finite_weights_whose_outputs_overflow_are_refused_by_eval_with_the_picture(
    make_store: MakeStore,
    make_statistics: Callable[[CropStore], Path],
    make_checkpoint: Callable[..., Path],
    tmp_path: Path,
    capsys: Capture,
) -> None:
    store = make_store("val", [0, 1, 2, 0])
    net = make_checkpoint("net", store, make_statistics(store))
    tensors = load_file(net / "model.safetensors")
    save_file({key: torch.full_like(value, 3e38) for key, value in tensors.items()}, net / "model.safetensors")
    poison(net, "model.safetensors", "fc8.bias", 0.0)
    assert main(["eval", str(net), str(store.path), "--out", str(tmp_path / "s.h5"), "--quiet"]) == 4
    assert "the net's output for val/0000.JPEG is not finite" in capsys.readouterr().err
    assert not (tmp_path / "s.h5").exists()


@pytest.mark.parametrize("validated", [True, False], ids=["with validation", "without"])
def test_an_absurd_rate_ends_the_training_with_6_and_no_best_checkpoint(
    make_store: MakeStore,
    make_statistics: Callable[[CropStore], Path],
    narrow: list[str],
    tmp_path: Path,
    capsys: Capture,
    validated: bool,
) -> None:
    train, val = make_store("train", [0, 1, 2] * 4), make_store("val", [0, 1, 2], seed=1)
    words = ["train", train.path, "--stats", make_statistics(train), "--out", tmp_path / "run", "--devices", "cpu"]
    words += ["--val", val.path] if validated else []
    words += ["--recipe", "quickstart", "--epochs", "3", "--batch-size", "4", "--rate", "1e30", "--quiet"]
    words += [word for text in narrow for word in ("--set", text)]
    assert main([str(word) for word in words]) == 6
    line = capsys.readouterr().err
    assert line.startswith("alexnet: the loss is not finite at step 2 (epoch 1); the first to be so is ")
    assert line.count("\n") == 1
    assert RunFolder(tmp_path / "run").best() is None


def test_the_layer_that_gives_the_first_number_that_is_not_finite_is_found() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 2))
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            parameter.fill_(3e38 if name == "2.weight" else 1.0)
    assert not_finite(dict(net.named_parameters())) is None
    assert not_finite_layer(net.named_parameters(), lambda: net(torch.ones(1, 4))) == "2"
    assert not_finite_layer(net.named_parameters(), lambda: net(torch.full((1, 4), math.nan))) == "the input"
    with torch.no_grad():
        dict(net.named_parameters())["2.weight"].fill_(1.0)
    assert not_finite_layer(net.named_parameters(), lambda: net(torch.ones(1, 4))) is None


def write_absurd(path: Path, change: Callable[[dict[str, np.ndarray]], None]) -> None:
    """Scores with true digests that a stranger has made."""
    rng = np.random.default_rng(0)
    arrays = {
        "probabilities": rng.dirichlet(np.ones(3), 4).astype(np.float32),
        "centre_probabilities": rng.dirichlet(np.ones(3), 4).astype(np.float32),
        "labels": np.array([0, 1, 2, 0]),
        "names": np.array([f"{index}.JPEG" for index in range(4)], object),
        "classes": np.array(["a", "b", "c"], object),
    }
    change(arrays)
    hdf5.write_arrays(path, arrays, Manifest(kind="scores", schema=2, digest=""), SCORES, overwrite=False)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: a["labels"].put(1, 99), "1.JPEG has label 99 of 3 classes"),
        (lambda a: a["labels"].put(1, -2), "1.JPEG has label -2 of 3 classes"),
        (lambda a: a["classes"].put(2, "a"), "has the class 'a' twice"),
        (lambda a: a["probabilities"].put(7, math.nan), "the probabilities of 2.JPEG are not finite"),
        (lambda a: a["centre_probabilities"].put(0, math.inf), "the probabilities of 0.JPEG are not finite"),
        (lambda a: a["probabilities"].__setitem__(3, [1, 1, 1]), "the probabilities of 3.JPEG do not sum to 1"),
        (lambda a: a["probabilities"].__setitem__(3, [2, -1, 0]), "the probabilities of 3.JPEG do not sum to 1"),
        (lambda a: a.update(names=a["names"][:3]), "its probabilities is float32 4×3, not float32 3×3"),
        (lambda a: a.update(labels=a["labels"][:3]), "its labels is int64 3, not int64 4"),
        (lambda a: a.update(labels=a["labels"].astype(np.float64)), "its labels is float64 4, not int64 4"),
        (lambda a: a.update(probabilities=a["probabilities"][:, :2]), "its probabilities is float32 4×2"),
        (lambda a: a.update(classes=np.arange(3)), "its classes is int64 3, not object 3"),
    ],
)
def test_absurd_scores_are_refused_when_they_are_read(
    tmp_path: Path, change: Callable[[dict[str, np.ndarray]], None], said: str
) -> None:
    write_absurd(tmp_path / "s.h5", change)
    with pytest.raises(ArtifactError) as caught:
        read_scores(tmp_path / "s.h5")
    assert said in str(caught.value) and str(caught.value).startswith(f"{tmp_path / 's.h5'}: ")


def test_sound_scores_are_read(tmp_path: Path) -> None:
    write_absurd(tmp_path / "s.h5", lambda arrays: None)
    assert read_scores(tmp_path / "s.h5")[1].names == ["0.JPEG", "1.JPEG", "2.JPEG", "3.JPEG"]


def test_scores_that_are_not_finite_are_never_written(tmp_path: Path) -> None:
    values = np.full((2, 2), 0.5, np.float32)
    values[1, 1] = math.nan
    scores = Scores(values, values, np.zeros(2, np.int64), ["x", "y"], ClassList(("a", "b")))
    with pytest.raises(ArtifactError, match="output for y is not finite"):
        write_scores(tmp_path / "s.h5", scores, parents={}, options={}, overwrite=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("covariance", np.full((3, 3), math.nan), "its covariance is not finite"),
        ("eigenvalues", np.zeros(4), "its eigenvalues is float64 4, not float64 3"),
        ("mean_image", np.zeros((256, 256)), "its mean_image is float64 256×256"),
        ("pictures", np.array(0), "is over 0 pictures"),
        ("pictures", np.array(1.5), "its pictures is float64 one number, not int64 one number"),
        ("channel_std", np.zeros(3, np.float32), "its channel_std is float32 3, not float64 3"),
    ],
)
def test_absurd_statistics_are_refused_when_they_are_read(
    tmp_path: Path,
    make_store: MakeStore,
    make_statistics: Callable[[CropStore], Path],
    name: str,
    value: np.ndarray,
    said: str,
) -> None:
    from alexnet_cli.artifacts.statistics import read_statistics

    good = make_statistics(make_store("train", [0, 1, 2]))
    with h5py.File(good) as file:
        arrays = {key: np.asarray(file[key][...]) for key in file}
        manifest = json.loads(file.attrs["manifest"])
    arrays[name] = value
    fields = {key: manifest[key] for key in ("kind", "schema", "parents", "details")}
    hdf5.write_arrays(tmp_path / "s.h5", arrays, Manifest(digest="", **fields), STATISTICS, overwrite=False)
    with pytest.raises(ArtifactError) as caught:
        read_statistics(tmp_path / "s.h5")
    assert said in str(caught.value)
