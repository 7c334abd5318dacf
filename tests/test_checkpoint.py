"""Checkpoints on disk: whole tensors under the names that others rely on, and one line for whatever is wrong."""

from __future__ import annotations

import hashlib
import json
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import NARROW_NET
from safetensors import safe_open

from alexnet_cli.artifacts.checkpoint import (
    Checkpoint,
    read_checkpoint,
    read_checkpoint_manifest,
    write_checkpoint,
)
from alexnet_cli.artifacts.common.manifest import Manifest
from alexnet_cli.artifacts.common.working import mark
from alexnet_cli.class_list import ClassList
from alexnet_cli.errors import AlexNetError, ArtifactError, ResourceError
from alexnet_cli.input.patches import InputTransform
from alexnet_cli.net.initial import initialise
from alexnet_cli.net.network import Network
from alexnet_cli.recipes.net import layers
from alexnet_cli.recipes.read import load_recipe
from alexnet_cli.recipes.recipe import Recipe

CLASSES = ClassList(("ape", "bat", "cat"))
FILES = ("model.safetensors", "momentum.safetensors", "input.safetensors", "config.json", "state.json")


def recipe_of(name: str = "conv6") -> Recipe:
    return load_recipe(name).with_options(net={**NARROW_NET, "classes": 3})


def write(path: Path, *, seed: int = 1, **changed: Any) -> Manifest:
    recipe = changed.pop("recipe", recipe_of())
    network = Network(recipe.net)
    initialise(network, "he", seed)
    rng = np.random.default_rng(seed)
    parameters = dict(network.named_parameters())
    given: dict[str, Any] = {
        "recipe": recipe,
        "classes": CLASSES,
        "model": parameters,
        "momentum": {name: torch.full_like(value, 0.5) for name, value in parameters.items()},
        "transform": InputTransform(
            torch.from_numpy(rng.normal(0, 1, (256, 256, 3)).astype(np.float32)), torch.ones(3), torch.eye(3)
        ),
        "state": {"progress": {"epoch": 2, "loss_sum": 0.1}, "seed": 7},
        "parents": {"crops": "c" * 64},
        "details": {"step": 6, "epoch": 1, "validation_top1_error": 0.25},
    }
    return write_checkpoint(path, **{**given, **changed})


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "step-00000006"
    write(path)
    return path


@pytest.mark.parametrize("name", ["paper", "conv6", "one-column", "no-exchange"])
def test_the_model_holds_whole_tensors_under_their_names(tmp_path: Path, name: str) -> None:
    recipe = recipe_of(name)
    write(tmp_path / "c", recipe=recipe)
    with safe_open(tmp_path / "c" / "model.safetensors", "pt") as file:
        shapes = {key: tuple(file.get_tensor(key).shape) for key in file.keys()}  # noqa: SIM118
        kinds = {file.get_tensor(key).dtype for key in shapes}
    expected = {f"{layer.name}.weight": layer.weight_shape for layer in layers(recipe.net)}
    expected |= {f"{layer.name}.bias": (layer.outputs,) for layer in layers(recipe.net)}
    assert shapes == expected
    assert kinds == {torch.float32}
    assert ("conv6.weight" in shapes) == (name == "conv6")


def test_the_papers_net_has_the_papers_tensors(tmp_path: Path) -> None:
    """The names and shapes of FACTS 2, from the table that the network is made from."""
    shapes = {layer.name: layer.weight_shape for layer in layers(load_recipe("paper").net)}
    assert shapes["conv1"] == (96, 3, 11, 11)
    assert shapes["fc6"] == (4096, 9216)
    assert list(shapes) == ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"]


def test_what_is_written_comes_back(saved: Path) -> None:
    found = read_checkpoint(saved, to_train=True)
    network = Network(recipe_of().net)
    initialise(network, "he", 1)
    assert set(found.model) == set(dict(network.named_parameters()))
    for name, parameter in network.named_parameters():
        assert torch.equal(found.model[name], parameter.detach()), name
        assert torch.equal(found.momentum[name], torch.full_like(parameter, 0.5)), name
    assert found.recipe == recipe_of()
    assert found.classes == CLASSES
    assert found.state == {"progress": {"epoch": 2, "loss_sum": 0.1}, "seed": 7}
    assert found.transform.mean.shape == (256, 256, 3)
    assert torch.equal(found.transform.noise, torch.eye(3))
    assert found.manifest.parents == {"crops": "c" * 64}


def test_without_training_in_mind_the_momentum_is_left_on_disk(saved: Path) -> None:
    (saved / "momentum.safetensors").unlink()
    assert read_checkpoint(saved).momentum == {}
    with pytest.raises(ArtifactError, match=r"momentum\.safetensors: is missing or damaged"):
        read_checkpoint(saved, to_train=True)


def test_the_files_can_be_read_by_others(saved: Path) -> None:
    """The recipe, the classes and the manifest are JSON, as README beside the artifacts says."""
    assert {path.name for path in saved.iterdir()} == {*FILES, "manifest.json"}
    config = json.loads((saved / "config.json").read_text())
    assert config["classes"] == ["ape", "bat", "cat"]
    assert config["recipe"]["net"]["conv1"]["kernels"] == 4
    assert config["recipe"]["net"]["dropout6"]["convention"] == "2012"
    manifest = json.loads((saved / "manifest.json").read_text())
    assert manifest["kind"] == "checkpoint"
    assert manifest["details"]["step"] == 6
    for name in FILES:
        assert manifest["details"]["files"][name] == hashlib.sha256((saved / name).read_bytes()).hexdigest()


def test_the_digest_is_of_what_the_net_computes(tmp_path: Path) -> None:
    """Not of the training's state, nor of when or where it was written."""
    usual = write(tmp_path / "a").digest
    assert write(tmp_path / "b", state={"seed": 8}, details={"step": 7}, parents={}).digest == usual
    assert write(tmp_path / "c", seed=2).digest != usual
    assert write(tmp_path / "d", classes=ClassList(("ape", "bat", "dog"))).digest != usual
    transform = InputTransform(torch.zeros(256, 256, 3), torch.ones(3), torch.eye(3))
    assert write(tmp_path / "e", transform=transform).digest != usual
    assert read_checkpoint_manifest(tmp_path / "a").digest == usual


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["changed", "cut off", "missing"])
def test_a_damaged_file_is_told_by_its_name(saved: Path, name: str, how: str) -> None:
    content = bytearray((saved / name).read_bytes())
    if how == "missing":
        (saved / name).unlink()
    else:
        content[-2] ^= 1
        (saved / name).write_bytes(content if how == "changed" else content[:-1])
    with pytest.raises(ArtifactError, match=rf"{name}: is missing or damaged: use another checkpoint") as caught:
        read_checkpoint(saved, to_train=True)
    assert caught.value.exit_code == 4


def rewritten(path: Path, **values: Any) -> None:
    file = path / "manifest.json"
    before = json.loads(file.read_text())
    del before["checksum"]
    file.write_text(Manifest(**{**before, **values}).to_json())


def test_an_unfinished_checkpoint_is_refused(saved: Path) -> None:
    (saved / "manifest.json").unlink()
    with pytest.raises(ArtifactError, match="is not a finished checkpoint: it was interrupted"):
        read_checkpoint(saved)


def test_a_missing_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such checkpoint"):
        read_checkpoint(tmp_path / "nowhere")


def test_an_artifact_of_another_kind_is_refused(saved: Path) -> None:
    rewritten(saved, kind="crops")
    with pytest.raises(ArtifactError, match="is a crop store, not a checkpoint"):
        read_checkpoint(saved)


def test_one_of_a_newer_program_is_refused(saved: Path) -> None:
    rewritten(saved, schema=3, tool="alexnet 9.0")
    with pytest.raises(ArtifactError, match=r"was written by a newer alexnet 9\.0 .*update alexnet"):
        read_checkpoint(saved)


@pytest.mark.parametrize("details", [{}, {"files": {}}, {"files": 3}])
def test_a_manifest_without_its_files_digests_is_refused(saved: Path, details: dict[str, Any]) -> None:
    rewritten(saved, details=details)
    with pytest.raises(ArtifactError, match="checkpoint"):
        read_checkpoint(saved)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.json", "{}"),
        ("config.json", "no JSON"),
        ("config.json", '{"recipe": {"training": {"speed": 1}}, "classes": []}'),
        ("config.json", '{"recipe": {"training": {"rate": -1.0}}, "classes": []}'),
        ("state.json", "no JSON"),
        ("model.safetensors", "no tensors"),
        ("input.safetensors", "no tensors"),
    ],
)
def test_a_strangers_checkpoint_with_true_digests_is_refused_all_the_same(saved: Path, name: str, text: str) -> None:
    (saved / name).write_text(text)
    details = json.loads((saved / "manifest.json").read_text())["details"]
    details["files"][name] = hashlib.sha256(text.encode()).hexdigest()
    rewritten(saved, details=details)
    with pytest.raises(AlexNetError) as caught:
        read_checkpoint(saved)
    assert caught.value.exit_code == 4
    assert str(saved) in str(caught.value)


def test_a_checkpoint_replaces_the_one_of_the_same_step_whole(saved: Path) -> None:
    write(saved, seed=2)
    network = Network(recipe_of().net)
    initialise(network, "he", 2)
    assert torch.equal(read_checkpoint(saved).model["conv1.weight"], network.weights("conv1").weight.detach())
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_what_an_interrupted_save_left_is_written_over(tmp_path: Path) -> None:
    path = tmp_path / "step-00000006"
    left = tmp_path / ".step-00000006.alexnet-work"
    left.mkdir()
    mark(left, "checkpoint", path)
    (left / "odd").write_text("half")
    write(path)
    assert not (path / "odd").exists() and not left.exists()
    read_checkpoint(path)


@contextmanager
def files_up_to(count: int) -> Iterator[None]:
    """No file may grow beyond so many bytes while the block lasts: to a program, a full disk."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, usual[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)


def test_on_a_full_disk_the_checkpoint_that_was_there_stays(saved: Path) -> None:
    before = read_checkpoint(saved)
    with pytest.raises(ResourceError, match="disk") as caught, files_up_to(10_000):
        write(saved, seed=2)
    assert caught.value.exit_code == 5
    assert "\n" not in str(caught.value)
    again = read_checkpoint(saved)
    assert all(torch.equal(before.model[name], again.model[name]) for name in before.model)


def test_a_checkpoint_can_be_copied_anywhere(saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved, tmp_path / "elsewhere" / "mine")
    found: Checkpoint = read_checkpoint(tmp_path / "elsewhere" / "mine", to_train=True)
    assert found.manifest.digest == read_checkpoint_manifest(saved).digest
