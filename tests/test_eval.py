"""`alexnet eval` against the ten views averaged one by one in float64, from the checkpoint's files alone."""

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

from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.artifacts.scores import read_scores
from alexnet_cli.cli import main
from alexnet_cli.net.network import Network
from alexnet_cli.net.whole import load_whole
from alexnet_cli.recipes.recipe import Recipe
from alexnet_cli.reports.judging import wilson_interval

MakeStore = Callable[..., CropStore]
Capture = pytest.CaptureFixture[str]
CLASSES = ("ape", "bat", "cat", "dog", "eel", "fox", "gnu")


class Bench:
    """A store of seven classes to evaluate on, and a narrow net of random weights."""

    def __init__(
        self,
        make_store: MakeStore,
        make_statistics: Callable[[CropStore], Path],
        make_checkpoint: Callable[..., Path],
        tmp_path: Path,
    ) -> None:
        self.store = make_store("val", [0, 1, 2, 3, 4, 5, 6, 0, 2, 2, 5], classes=CLASSES)
        self.stats = make_statistics(self.store)
        self.make_store, self.make_checkpoint = make_store, make_checkpoint
        self.folder = tmp_path
        self.out = tmp_path / "scores.h5"

    def checkpoint(self, name: str = "step-00000006", **options: Any) -> Path:
        return self.make_checkpoint(name, self.store, self.stats, **options)

    def __call__(self, net: Path, *more: object, crops: Path | None = None) -> int:
        words = ["eval", net, crops or self.store.path, "--out", self.out, "--devices", "cpu", *more]
        return main([str(word) for word in words])


@pytest.fixture
def bench(
    make_store: MakeStore,
    make_statistics: Callable[[CropStore], Path],
    make_checkpoint: Callable[..., Path],
    tmp_path: Path,
) -> Bench:
    return Bench(make_store, make_statistics, make_checkpoint, tmp_path)


def one_by_one(checkpoint: Path, store: CropStore) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Probabilities of the centre view, and the mean over the ten, picture by picture and view by view in float64.

    Of a net trained without mirror images the five others.
    """
    config = json.loads((checkpoint / "config.json").read_text())
    mirrored = config["recipe"]["input"]["flip"]
    network = Network(Recipe.from_dict(config["recipe"]).net).double()
    load_whole(network, load_file(checkpoint / "model.safetensors"))
    given = {name: tensor.double().numpy() for name, tensor in load_file(checkpoint / "input.safetensors").items()}
    centre, mean = [], []
    for index in range(len(store)):
        crop, mean_image = store.read(index).astype(np.float64), given["mean"]
        said = []
        for row, column in ((16, 16), (0, 0), (0, 32), (32, 0), (32, 32)):
            patch = crop[row : row + 224, column : column + 224]
            own = mean_image[row : row + 224, column : column + 224]
            # The source subtracts the mean's centre from whatever it sees, the paper's mean is mirrored with the patch.
            at_centre, centre_mean = config["recipe"]["input"]["mean_at"] == "centre", mean_image[16:240, 16:240]
            views = [patch - (centre_mean if at_centre else own)]
            views += [patch[:, ::-1] - (centre_mean if at_centre else own[:, ::-1])] if mirrored else []
            for seen in (given["scale"] * view for view in views):
                with torch.no_grad():
                    logits = network(torch.from_numpy(seen.transpose(2, 0, 1)[None].copy())).numpy()[0]
                powers = np.exp(logits - logits.max())
                said.append(powers / powers.sum())
        centre.append(said[0])
        mean.append(np.mean(said, axis=0))
    return np.stack(centre), np.stack(mean)


def share_wrong(probabilities: NDArray[np.float64], labels: NDArray[np.int64], k: int) -> float:
    wrong = [label not in np.argsort(-row)[:k] for row, label in zip(probabilities, labels, strict=True)]
    return float(np.mean(wrong))


@pytest.mark.parametrize("recipe", ["quickstart", "source-2012"])
def test_ten_views_are_averaged_in_probability_and_the_centre_stands_beside_them(
    bench: Bench, capsys: Capture, recipe: str
) -> None:
    checkpoint = bench.checkpoint(recipe=recipe)
    centre, mean = one_by_one(checkpoint, bench.store)
    assert np.abs(centre - mean).max() > 0.01, "the views must differ for this to be a test"
    assert bench(checkpoint, "--quiet", "--json") == 0
    scores = read_scores(bench.out)[1]
    np.testing.assert_allclose(scores.centre_probabilities, centre, rtol=0, atol=2e-4)
    np.testing.assert_allclose(scores.probabilities, mean, rtol=0, atol=2e-4)
    result = json.loads(capsys.readouterr().out)
    labels = bench.store.labels
    assert result["pictures"] == 11
    assert result["views"] == (5 if recipe == "quickstart" else 10)
    assert result["top1_error"] == share_wrong(mean, labels, 1)
    assert result["top5_error"] == share_wrong(mean, labels, 5)
    assert result["centre_top1_error"] == share_wrong(centre, labels, 1)
    assert result["centre_top5_error"] == share_wrong(centre, labels, 5)
    for index, name in enumerate(CLASSES):
        assert result["class_errors"][name] == share_wrong(mean[labels == index], labels[labels == index], 1)


def test_the_scores_file_holds_probabilities_labels_names_and_classes(bench: Bench) -> None:
    checkpoint = bench.checkpoint()
    assert bench(checkpoint, "--quiet") == 0
    with h5py.File(bench.out) as file:
        assert file["probabilities"].shape == file["centre_probabilities"].shape == (11, 7)
        assert file["probabilities"].dtype == np.float32
        np.testing.assert_allclose(file["probabilities"][...].sum(axis=1), 1, rtol=1e-5)
        assert file["labels"][...].tolist() == bench.store.labels.tolist()
        assert file["names"].asstr()[...].tolist() == bench.store.names
        assert tuple(file["classes"].asstr()[...]) == CLASSES
        manifest = json.loads(file.attrs["manifest"])
    digest = json.loads((checkpoint / "manifest.json").read_text())["digest"]
    assert manifest["kind"] == "scores"
    assert manifest["parents"] == {"checkpoint": digest, "crops": bench.store.digest}


def test_one_view_is_the_centre_alone(bench: Bench, capsys: Capture) -> None:
    checkpoint = bench.checkpoint()
    assert bench(checkpoint, "--quiet", "--views", 1) == 0
    assert "10 views" not in capsys.readouterr().out
    scores = read_scores(bench.out)[1]
    assert np.array_equal(scores.probabilities, scores.centre_probabilities)
    np.testing.assert_allclose(scores.probabilities, one_by_one(checkpoint, bench.store)[0], rtol=0, atol=2e-4)


@pytest.mark.parametrize("views", [0, 2, 5, 11])
def test_other_numbers_of_views_are_refused(bench: Bench, capsys: Capture, views: int) -> None:
    assert bench(bench.checkpoint(), "--quiet", "--views", views) == 2
    assert f"--views {views}: must be 10" in capsys.readouterr().err
    assert not bench.out.exists()


@pytest.mark.parametrize("words", [["--batch-size", "1"], ["--batch-size", "4", "--workers", "3"]], ids=" ".join)
def test_neither_batches_nor_threads_change_what_is_said(bench: Bench, words: list[str]) -> None:
    checkpoint = bench.checkpoint()
    assert bench(checkpoint, "--quiet") == 0
    usual = read_scores(bench.out)[1]
    assert bench(checkpoint, "--quiet", "--overwrite", *words) == 0
    again = read_scores(bench.out)[1]
    assert again.names == usual.names
    np.testing.assert_allclose(again.probabilities, usual.probabilities, rtol=0, atol=1e-5)


def test_a_run_stands_for_its_best_checkpoint_and_says_so(bench: Bench, capsys: Capture) -> None:
    for step, error in ((6, 0.5), (12, 0.25), (18, 0.75)):
        bench.checkpoint(f"run/checkpoints/step-{step:08d}", seed=step, step=step, error=error)
    assert bench(bench.folder / "run", "--json") == 0
    printed = capsys.readouterr()
    assert "the best checkpoint, step-00000012" in printed.err
    assert json.loads(printed.out)["checkpoint"] == "the best checkpoint, step-00000012"
    best = json.loads((bench.folder / "run/checkpoints/step-00000012/manifest.json").read_text())
    assert read_scores(bench.out)[0].parents["checkpoint"] == best["digest"]


def test_a_run_without_validation_errors_stands_for_its_newest_checkpoint(bench: Bench, capsys: Capture) -> None:
    for step in (6, 12):
        bench.checkpoint(f"run/checkpoints/step-{step:08d}", seed=step, step=step)
    assert bench(bench.folder / "run") == 0
    printed = capsys.readouterr()
    assert "the newest checkpoint, step-00000012" in printed.err
    assert "the newest checkpoint, step-00000012" in printed.out


def test_people_get_percent_and_the_worst_classes(bench: Bench, capsys: Capture) -> None:
    assert bench(bench.checkpoint(), "--quiet") == 0
    text = capsys.readouterr().out
    scores = read_scores(bench.out)[1]
    for part in ("centre view", "5 views, no mirror images", "top-1 error", "top-5 error", "By class", *CLASSES):
        assert part in text
    assert f"{100 * (scores.error(1) or 0):.2f}%" in text
    low, high = wilson_interval(round(11 * (scores.error(1) or 0)), 11)
    assert f"95% intervals: top-1 error {100 * low:.2f}% to {100 * high:.2f}%, top-5 error " in text
    assert f"; loss {scores.loss():.4f}\n" in text


def test_a_store_without_labels_gets_scores_without_errors(bench: Bench, capsys: Capture) -> None:
    checkpoint = bench.checkpoint()
    crops = np.stack([bench.store.read(index) for index in range(4)])
    for name, classes in (("none", ()), ("listed", CLASSES)):
        unlabelled = bench.make_store(name, [-1] * 4, classes=classes, crops=crops)
        assert bench(checkpoint, "--quiet", "--json", "--overwrite", crops=unlabelled.path) == 0
        result = json.loads(capsys.readouterr().out)
        assert result["pictures"] == 4
        for key in ("top1_error", "top5_error", "centre_top1_error", "centre_top5_error"):
            assert result[key] is None
        scores = read_scores(bench.out)[1]
        assert scores.classes.names == CLASSES, "the net's classes, since the store has none"
        assert (scores.labels == -1).all()
    assert bench(checkpoint, "--quiet", "--overwrite", crops=unlabelled.path) == 0
    assert "–" in capsys.readouterr().out
    np.testing.assert_allclose(
        read_scores(bench.out)[1].probabilities, one_by_one(checkpoint, unlabelled)[1], rtol=0, atol=2e-4
    )


def refusal(capsys: Capture) -> str:
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1, printed.err
    return printed.err


def test_a_store_of_other_classes_is_refused_with_the_difference(bench: Bench, capsys: Capture) -> None:
    other = bench.make_store("other", [0, 1], classes=("ape", "bee"))
    assert bench(bench.checkpoint(), "--quiet", crops=other.path) == 4
    text = refusal(capsys)
    for part in (str(other.path), "a different class list", "7 classes against 2", "'bat'", "'bee'"):
        assert part in text


def test_what_is_neither_run_nor_checkpoint_is_refused(bench: Bench, capsys: Capture) -> None:
    assert bench(bench.folder / "nowhere", "--quiet") == 4
    assert "nowhere: no such run or checkpoint" in refusal(capsys)
    assert bench(bench.store.path, "--quiet") == 4
    assert "is neither a run folder nor a checkpoint" in refusal(capsys)
    (bench.folder / "young" / "checkpoints").mkdir(parents=True)
    assert bench(bench.folder / "young", "--quiet") == 4
    assert "has no finished checkpoint yet" in refusal(capsys)
    assert bench(bench.checkpoint(), "--quiet", crops=bench.stats) == 4
    refusal(capsys)


def test_an_existing_output_is_kept_unless_overwriting(bench: Bench, capsys: Capture) -> None:
    bench.out.write_text("precious")
    assert bench(bench.checkpoint(), "--quiet") == 2
    assert "scores.h5: exists already: give --overwrite" in refusal(capsys)
    assert bench(bench.checkpoint("again"), "--quiet", "--overwrite") == 2, "somebody else's file is never replaced"
    assert bench.out.read_text() == "precious"
    bench.out.unlink()
    assert bench(bench.checkpoint("third"), "--quiet") == 0
    assert bench(bench.checkpoint("fourth"), "--quiet") == 2
    assert bench(bench.checkpoint("fifth"), "--quiet", "--overwrite") == 0
    assert len(read_scores(bench.out)[1].names) == 11


def test_an_output_that_can_not_be_written_is_refused(bench: Bench, capsys: Capture) -> None:
    (bench.folder / "file").write_text("")
    bench.out = bench.folder / "file" / "scores.h5"
    assert bench(bench.checkpoint(), "--quiet") == 5
    assert "file/scores.h5" in refusal(capsys)


def test_on_a_full_disk_nothing_is_left_but_a_line(bench: Bench, capsys: Capture) -> None:
    checkpoint = bench.checkpoint()
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, usual[1]))
    try:
        code = bench(checkpoint, "--quiet")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert code == 5
    assert "scores.h5: the disk is full: free some space" in refusal(capsys)
    assert not list(bench.folder.glob("scores.h5*"))


def test_bfloat16_says_nearly_the_same(bench: Bench) -> None:
    checkpoint = bench.checkpoint()
    assert bench(checkpoint, "--quiet", "--precision", "bf16") == 0
    found = read_scores(bench.out)[1]
    np.testing.assert_allclose(found.probabilities, one_by_one(checkpoint, bench.store)[1], rtol=0, atol=0.15)
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, rtol=1e-5)
