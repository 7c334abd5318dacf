"""`alexnet strip`: the same net in half the bytes, which can be used and not trained on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import MakeStore

from alexnet_cli.artifacts.checkpoint import read_checkpoint, read_checkpoint_record
from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.cli import main
from alexnet_cli.errors import ArtifactError


@pytest.fixture
def net(
    make_store: MakeStore, make_statistics: Callable[[CropStore], Path], make_checkpoint: Callable[..., Path]
) -> Path:
    store = make_store("train", labels=[0, 1, 2, 0, 1, 2])
    return make_checkpoint("step-00000006", store, make_statistics(store), error=0.25)


def said(capsys: pytest.CaptureFixture[str]) -> str:
    text = capsys.readouterr().err
    assert text.startswith("alexnet: ")
    assert text.count("\n") == 1
    return text


def test_a_stripped_net_is_the_same_net_in_half_the_bytes(
    net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "net"
    assert main(["strip", str(net), "-o", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {path.name for path in out.iterdir()} == {
        "model.safetensors", "input.safetensors", "config.json", "manifest.json"
    }  # fmt: skip
    assert told["bytes"] == sum(path.stat().st_size for path in out.iterdir())
    before, after = read_checkpoint(net, to_train=True), read_checkpoint(out)
    weights = sum(4 * tensor.numel() for tensor in before.model.values())
    assert abs(told["bytes_before"] - told["bytes"] - weights) < 5000  # the momentum, and the state's few lines
    assert after.manifest.digest == before.manifest.digest
    assert after.classes == before.classes
    assert after.recipe == before.recipe
    assert all(torch.equal(after.model[name], tensor) for name, tensor in before.model.items())
    assert all(
        torch.equal(tensor, before.transform.tensors()[name]) for name, tensor in after.transform.tensors().items()
    )
    assert read_checkpoint_record(out).state == {}


def test_eval_scores_a_stripped_net_as_the_whole_one(
    net: Path, tmp_path: Path, make_store: MakeStore, capsys: pytest.CaptureFixture[str]
) -> None:
    make_store("val", labels=[0, 1, 2], seed=5)
    assert main(["strip", str(net), "-o", str(tmp_path / "net")]) == 0
    capsys.readouterr()
    errors = []
    for number, path in enumerate((net, tmp_path / "net")):
        out = str(tmp_path / f"{number}.h5")
        assert main(["eval", str(path), str(tmp_path / "val.lmdb"), "-o", out, "--views", "1", "--json", "-q"]) == 0
        told = json.loads(capsys.readouterr().out)
        errors.append({name: value for name, value in told.items() if name not in ("scores", "checkpoint")})
    assert errors[0] == errors[1]


def test_a_training_does_not_go_on_from_a_stripped_net_and_may_begin_from_it(
    net: Path, tmp_path: Path, narrow: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "net"
    assert main(["strip", str(net), "-o", str(out), "-q"]) == 0
    capsys.readouterr()
    train = [
        "train",
        str(tmp_path / "train.lmdb"),
        "--stats",
        str(tmp_path / "train.h5"),
        "--recipe",
        "quickstart",
        "-q",
    ]
    for value in [
        *narrow,
        "training.schedule=steps",
        "training.epochs=1",
        "training.batch_size=3",
        "training.changes=[]",
    ]:
        train += ["--set", value]
    assert main([*train, "--out", str(out), "--resume"]) == 2
    assert "net" in said(capsys)
    assert main([*train, "--out", str(tmp_path / "run"), "--init-from", str(out)]) == 0
    with pytest.raises(ArtifactError, match="without the state of its training: give it to --init-from"):
        read_checkpoint(out, to_train=True)


def test_update_leaves_what_is_made_from_the_same_checkpoint(
    net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["strip", str(net), "-o", str(tmp_path / "net"), "--json", "--update"]
    assert main(command) == 0
    assert "up_to_date" not in json.loads(capsys.readouterr().out)
    stamp = (tmp_path / "net" / "manifest.json").stat().st_mtime_ns
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["up_to_date"] is True
    assert (tmp_path / "net" / "manifest.json").stat().st_mtime_ns == stamp
    (tmp_path / "net" / "model.safetensors").write_bytes(b"damaged")
    assert main(command) == 0
    assert "up_to_date" not in json.loads(capsys.readouterr().out)


def test_what_is_no_whole_checkpoint_is_refused_in_one_line(
    net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"nothing")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    for name, code in (("folder", 4), ("file", 4), ("fifo", 4), ("absent", 4)):
        assert main(["strip", str(tmp_path / name), "-o", str(tmp_path / "out")]) == code
        said(capsys)
    for out in ("mine", "file"):
        assert main(["strip", str(net), "-o", str(tmp_path / out), "--overwrite"]) == 2
        said(capsys)
    with (net / "model.safetensors").open("r+b") as file:
        file.truncate(100)
    assert main(["strip", str(net), "-o", str(tmp_path / "out")]) == 4
    assert "model.safetensors: is missing or damaged" in said(capsys)
    assert not (tmp_path / "out").exists()
