"""What people call the classes comes along: crop store -> checkpoint -> scores -> eval's report."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from conftest import NARROW_NET, MakeStore
from miniature import IDS, WNIDS, WORDS

from alexnet_cli.artifacts.checkpoint import read_checkpoint, write_checkpoint
from alexnet_cli.artifacts.crops.shards import open_crops
from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.artifacts.crops.writer import CropWriter, Record
from alexnet_cli.artifacts.scores import Scores, read_scores, write_scores
from alexnet_cli.class_list import ClassList
from alexnet_cli.cli import main
from alexnet_cli.input.patches import InputTransform
from alexnet_cli.net.network import Network
from alexnet_cli.recipes.read import load_recipe

EXPLAINED = ClassList(WNIDS, words=WORDS, ids=IDS)
PLAIN = ClassList(WNIDS)


def scores_of(classes: ClassList) -> Scores:
    probabilities = np.eye(len(classes), dtype=np.float32)
    names = [f"{index}.JPEG" for index in range(len(classes))]
    return Scores(probabilities, probabilities, np.arange(len(classes)), names, classes)


def narrow_checkpoint(path: Path, classes: ClassList) -> Path:
    recipe = load_recipe("paper").with_options(net={**NARROW_NET, "classes": len(classes)})
    torch.manual_seed(1)
    model = dict(Network(recipe.net).named_parameters())
    with torch.no_grad():
        for tensor in model.values():
            tensor.normal_(0, 0.01)
    transform = InputTransform(torch.zeros(256, 256, 3), torch.ones(3), torch.zeros(3, 3))
    write_checkpoint(
        path,
        recipe=recipe,
        classes=classes,
        model=model,
        momentum={},
        transform=transform,
        state={},
        parents={},
        details={"step": 1, "epoch": 1},
    )
    return path


def test_scores_keep_words_and_ids_outside_their_digest(tmp_path: Path) -> None:
    manifests = []
    for name, classes in (("explained", EXPLAINED), ("plain", PLAIN)):
        path = tmp_path / f"{name}.h5"
        write_scores(path, scores_of(classes), parents={}, options={}, overwrite=False)
        manifest, scores = read_scores(path)
        manifests.append(manifest)
        assert (scores.classes.words, scores.classes.ids) == (classes.words, classes.ids)
    assert manifests[0].digest == manifests[1].digest
    with h5py.File(tmp_path / "explained.h5") as file:
        assert file["words"].asstr()[...].tolist() == list(WORDS)
        assert (file["ids"].dtype, file["ids"][...].tolist()) == (np.int64, list(IDS))
    with h5py.File(tmp_path / "plain.h5") as file:
        assert "words" not in file


def test_a_checkpoint_keeps_words_and_ids(tmp_path: Path) -> None:
    explained = read_checkpoint(narrow_checkpoint(tmp_path / "a", EXPLAINED)).classes
    assert (explained.words, explained.ids) == (WORDS, IDS)
    config = json.loads((tmp_path / "a/config.json").read_text())
    assert (config["words"], config["ids"]) == (list(WORDS), list(IDS))
    plain = read_checkpoint(narrow_checkpoint(tmp_path / "b", PLAIN)).classes
    assert (plain.words, plain.ids, plain) == ((), (), explained)


@pytest.mark.parametrize("explained_by", ["the checkpoint", "the store"])
def test_eval_shows_words_in_its_report_and_keeps_them_in_the_scores(
    make_store: MakeStore, tmp_path: Path, capsys: pytest.CaptureFixture[str], explained_by: str
) -> None:
    store: CropStore = make_store("val", list(range(8)), WNIDS)
    classes = EXPLAINED if explained_by == "the checkpoint" else PLAIN
    if explained_by == "the store":
        store = with_words(store, tmp_path / "words.lmdb")
    checkpoint = narrow_checkpoint(tmp_path / "checkpoint", classes)
    out = tmp_path / "scores.h5"
    assert main(["eval", str(checkpoint), str(store.path), "--out", str(out), "--views", "1", "--devices", "cpu"]) == 0
    shown = capsys.readouterr().out
    for title in ("n01440764 (tench)", "n07753592 (banana)"):
        assert title in shown
    assert read_scores(out)[1].classes.words == WORDS


def with_words(store: CropStore, path: Path) -> CropStore:
    """The same store with explained classes."""
    writer = CropWriter(path, {})
    records = [
        Record(store.names[index], int(store.labels[index]), bytes(store.stored(index)), int(store.crcs[index]))
        for index in range(len(store))
    ]
    writer.commit(len(records), records, [])
    writer.finish(EXPLAINED, codec="raw", options={}, details={})
    explained = open_crops(path)
    assert explained.digest == store.digest
    assert explained.classes.words == WORDS
    return explained
