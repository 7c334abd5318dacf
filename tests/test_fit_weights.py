"""`alexnet ensemble --fit-weights`: the search itself, and that it never reports on what it was fitted to."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import NARROW_NET, MakeStore, coloured_crops
from crc32c import crc32c
from miniature import jpeg
from numpy.typing import NDArray

from alexnet_cli.artifacts.checkpoint import write_checkpoint
from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.artifacts.scores import Scores, top_k_error, write_scores
from alexnet_cli.class_list import ClassList
from alexnet_cli.cli import main
from alexnet_cli.errors import ArtifactError
from alexnet_cli.input.patches import InputTransform
from alexnet_cli.net.initial import initialise
from alexnet_cli.net.network import Network
from alexnet_cli.recipes.read import load_recipe
from alexnet_stages.ensemble.distinct import require_distinct
from alexnet_stages.ensemble.fit import Fit, fit_weights

Probabilities = NDArray[np.float32]


def scores_of(probabilities: Probabilities, labels: Sequence[int]) -> Scores:
    names = [f"{index:04d}.JPEG" for index in range(len(labels))]
    classes = ClassList(tuple(f"c{index:02d}" for index in range(probabilities.shape[1])))
    return Scores(probabilities, probabilities, np.array(labels, np.int64), names, classes)


def noisy_members(strengths: Sequence[float], pictures: int = 120, classes: int = 12) -> list[Scores]:
    """Members whose probability of the label rises with their strength; all else is noise."""
    rng = np.random.default_rng(7)
    labels = rng.integers(0, classes, pictures).tolist()
    members = []
    for strength in strengths:
        logits = rng.normal(size=(pictures, classes))
        logits[np.arange(pictures), labels] += strength
        values = np.exp(logits)
        members.append(scores_of((values / values.sum(1, keepdims=True)).astype(np.float32), labels))
    return members


def wrong(members: Sequence[Scores], weights: Sequence[float], k: int) -> NDArray[np.bool_]:
    """Independent: average, sort, look for the label."""
    stack = np.stack([member.probabilities.astype(float) for member in members])
    best = np.argsort(-np.tensordot(np.array(weights), stack, 1), axis=1, kind="stable")[:, :k]
    missing: NDArray[np.bool_] = ~(best == members[0].labels[:, None]).any(axis=1)
    return missing


@pytest.mark.parametrize("strengths", [(0.4, 1.2), (0.3, 1.0, 0.6)])
def test_up_to_three_members_get_the_best_of_all_weights_in_twentieths(strengths: tuple[float, ...]) -> None:
    members = noisy_members(strengths)
    equal = (1 / len(members),) * len(members)
    grid = [
        tuple(part / 20 for part in parts)
        for parts in itertools.product(range(21), repeat=len(members))
        if sum(parts) == 20
    ]

    def objective(weights: tuple[float, ...]) -> tuple[int, int, float]:
        distance = round(sum((weight - 1 / len(members)) ** 2 for weight in weights), 12)
        return int(wrong(members, weights, 5).sum()), int(wrong(members, weights, 1).sum()), distance

    fit = fit_weights(members)
    assert objective(fit.weights) == min(objective(weights) for weights in [equal, *grid])
    assert fit.tried == len(grid) + 1
    assert fit.fitted == (wrong(members, fit.weights, 1).mean(), wrong(members, fit.weights, 5).mean())
    assert fit.equal == (wrong(members, equal, 1).mean(), wrong(members, equal, 5).mean())
    assert fit.fitted[1] < fit.equal[1]


def test_a_hand_worked_case_takes_the_weights_nearest_to_equal_ones() -> None:
    """The label is the sixth of seven with a weight of the second member below 3/5, and the fifth above it."""
    first = np.array([[0.15, 0.15, 0.15, 0.15, 0.15, 0.0, 0.25]], np.float32)
    second = np.array([[0.2, 0.2, 0.2, 0.2, 0.0, 0.1, 0.1]], np.float32)
    # Class 4 against the label 5: 0.15 (1 − w) < 0.1 w, so w > 0.6; at 0.6 itself the smaller index wins the tie.
    fit = fit_weights([scores_of(first[:, :6], [5]), scores_of(second[:, :6], [5])])
    assert fit.weights == (0.35, 0.65)
    assert (fit.equal[1], fit.fitted[1]) == (1.0, 0.0)


def test_members_of_the_same_worth_keep_equal_weights() -> None:
    member = noisy_members([1.0])[0]
    for count in (2, 3, 5):
        assert fit_weights([member] * count).weights == (1 / count,) * count


def test_more_members_lean_on_the_good_one_and_do_better_than_equal_weights() -> None:
    members = noisy_members([0.0, 0.0, 2.0, 0.0, 0.2], pictures=300)
    fit = fit_weights(members)
    assert int(np.argmax(fit.weights)) == 2
    assert sum(fit.weights) == pytest.approx(1)
    assert fit.fitted[1] < fit.equal[1]
    assert fit.fitted[1] == wrong(members, fit.weights, 5).mean()
    assert fit_weights(members) == fit, "the search is deterministic"


def test_one_member_after_another_comes_close_to_the_best_of_all_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    members = noisy_members([0.1, 0.6, 0.9], pictures=200)
    best = fit_weights(members)
    monkeypatch.setattr("alexnet_stages.ensemble.fit.EXHAUSTIVE", 0)
    climbed = fit_weights(members)
    assert climbed.tried != best.tried
    assert climbed.fitted[1] <= best.fitted[1] + 0.01
    assert climbed.fitted[1] <= climbed.equal[1]


def test_ties_count_as_the_reported_errors_count_them() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 9, 200)
    members = [scores_of((rng.integers(0, 3, (200, 9)) / 8).astype(np.float32), labels.tolist()) for _ in range(2)]
    fit = fit_weights(members)
    mean = ((members[0].probabilities + members[1].probabilities) / 2).astype(np.float32)
    assert fit.equal == (top_k_error(mean, labels, 1), top_k_error(mean, labels, 5))


def test_the_standard_error_is_that_of_the_paired_differences() -> None:
    members = noisy_members([0.2, 1.5], pictures=400)
    fit = fit_weights(members)
    pairs = wrong(members, (0.5, 0.5), 5).astype(float) - wrong(members, fit.weights, 5)
    assert fit.gain == pytest.approx(pairs.mean())
    assert fit.standard_error == pytest.approx(pairs.std() / np.sqrt(400))


def fit_with(pictures: int, gain: float, standard_error: float) -> Fit:
    return Fit(
        weights=(0.4, 0.6),
        pictures=pictures,
        equal=(0.4, 0.2 + gain),
        fitted=(0.4, 0.2),
        standard_error=standard_error,
        tried=1,
    )


def test_few_pictures_and_gains_within_noise_are_warned_of() -> None:
    assert list(fit_with(5000, 0.02, 0.005).warnings()) == []
    (few,) = fit_with(400, 0.1, 0.02).warnings()
    assert "fitted on 400 pictures only: their top-5 error has a standard error of 2.00 points" in few
    (noise,) = fit_with(5000, 0.004, 0.003).warnings()
    assert "gain 0.40 points" in noise
    assert "standard error of 0.30: that is within noise" in noise
    assert len(list(fit_with(5000, 0.0, 0.0).warnings())) == 1


# ---------------------------------------------------------------------------------------------- on the command line


def make_checkpoint(path: Path, store: CropStore, seed: int) -> Path:
    """An untrained narrow net that calls itself trained on a store."""
    recipe = load_recipe("paper").with_options(net={**NARROW_NET, "classes": len(store.classes)})
    network = Network(recipe.net)
    initialise(network, "he", seed)
    write_checkpoint(
        path,
        recipe=recipe,
        classes=store.classes,
        model=network.state_dict(),
        momentum={},
        transform=InputTransform(mean=torch.full((256, 256, 3), 90.0), noise=torch.zeros(3, 3), scale=torch.ones(())),
        state={},
        parents={"crops": store.digest},
        details={"step": 0, "epoch": 0},
    )
    return path


LETTERS = tuple("abcdefg")


@pytest.fixture
def nets(tmp_path: Path, make_store: MakeStore) -> list[str]:
    train = make_store("train", range(7), LETTERS, seed=9)
    return [str(make_checkpoint(tmp_path / f"net{seed}", train, seed)) for seed in (1, 2)]


def test_fitted_weights_are_reported_beside_equal_ones_on_other_pictures(
    tmp_path: Path, nets: list[str], make_store: MakeStore, capsys: pytest.CaptureFixture[str]
) -> None:
    holdout = make_store("holdout", [0, 1, 2, 3, 4, 5, 6, 0], LETTERS, seed=1)
    val = make_store("val", [3, 2, 1, 0, 6, 5], LETTERS, seed=2)
    out = tmp_path / "ensemble"
    words = ["ensemble", *nets, "--crops", str(val.path), "--fit-weights", str(holdout.path), "--out", str(out)]
    assert main([*words, "--json"]) == 0
    shown = capsys.readouterr()
    result = json.loads(shown.out)
    assert result["fit"]["pictures"] == 8
    assert result["pictures"] == 6
    assert result["fit"]["weights"] == [member["weight"] for member in result["members"]]
    assert set(result["equal_weights"]) == {"top1_error", "top5_error", "centre_top1_error", "centre_top5_error"}
    assert "warning: the weights were fitted on 8 pictures only" in shown.err
    table = (out / "table.txt").read_text()
    assert "2 CNNs, equal weights" in table
    assert "2 CNNs, fitted weights" in table
    assert "Fitted on 8 held-out pictures, none of the above" in table
    assert json.loads((out / "fit.json").read_text()) == result["fit"]
    assert main([*words, "--overwrite"]) == 0
    again = capsys.readouterr().err
    assert again.count(f"scored before on {holdout.path}") == 2
    assert again.count(f"scored before on {val.path}") == 2
    assert main([*words[:-4], "--out", str(out), "--overwrite"]) == 0
    assert not (out / "fit.json").exists()


def refused(words: Sequence[str], code: int, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["ensemble", *words]) == code
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1, error
    return error


def test_pictures_in_both_stores_are_refused_by_name(
    tmp_path: Path, nets: list[str], make_store: MakeStore, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = coloured_crops([0, 1, 2, 3], seed=4)
    holdout = make_store("holdout", [0, 1, 2], LETTERS, crops=pictures[:3])
    val = make_store("val", [3, 2, 1], LETTERS, crops=pictures[::-1][:3])
    words = [*nets, "--crops", str(val.path), "--fit-weights", str(holdout.path), "--out", str(tmp_path / "e")]
    message = refused(words, 4, capsys)
    assert f"--fit-weights {holdout.path}: shares 2 pictures with --crops {val.path}" in message
    assert "first 'holdout/0001.JPEG' ('val/0002.JPEG' there)" in message
    words[words.index("--fit-weights") + 1] = str(val.path)
    assert "holds the pictures of --crops" in refused(words, 4, capsys)


def test_equal_checksums_of_different_pictures_are_no_overlap(
    tmp_path: Path, nets: list[str], make_store: MakeStore
) -> None:
    """CRC-32C stays the same where its own polynomial is added to the message."""
    picture = coloured_crops([0], seed=4)
    other = picture.copy()
    polynomial = ((0x82F63B78 << 1) | 1).to_bytes(5, "little")
    other.reshape(-1)[100:105] ^= np.frombuffer(polynomial, np.uint8)
    assert crc32c(picture.tobytes()) == crc32c(other.tobytes())
    holdout, val = make_store("holdout", [0], LETTERS, crops=picture), make_store("val", [0], LETTERS, crops=other)
    words = ["--crops", str(val.path), "--fit-weights", str(holdout.path), "--out", str(tmp_path / "e"), "--quiet"]
    assert main(["ensemble", *nets, *words]) == 0


def test_one_picture_is_seen_in_two_stores_whatever_its_name_or_codec(
    tmp_path: Path, nets: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    stores = {}
    for name, numbers, codec in (("holdout", (1, 2, 3), "jpeg"), ("val", (9, 3, 8), "raw")):
        folder = tmp_path / name
        folder.mkdir()
        for number in numbers:
            (folder / f"{name}{number}.JPEG").write_bytes(jpeg(number))
        labels = "".join(f"{name}{number}.JPEG a\n" for number in numbers)
        (tmp_path / f"{name}.txt").write_text(labels)
        (tmp_path / "classes.txt").write_text("".join(f"{letter}\n" for letter in LETTERS))
        stores[name] = tmp_path / f"{name}.lmdb"
        words = [
            "--labels",
            str(tmp_path / f"{name}.txt"),
            "--classes",
            str(tmp_path / "classes.txt"),
            "--codec",
            codec,
        ]
        assert main(["preprocess", str(folder), "--out", str(stores[name]), *words, "--allow-missing", "--quiet"]) == 0
    capsys.readouterr()
    words = ["--crops", str(stores["val"]), "--fit-weights", str(stores["holdout"]), "--out", str(tmp_path / "e")]
    message = refused([*nets, *words], 4, capsys)
    assert "shares 1 pictures with" in message
    assert "first 'holdout3.JPEG' ('val3.JPEG' there)" in message


def test_stores_that_cannot_be_compared_are_refused(make_store: MakeStore) -> None:
    holdout, val = make_store("holdout", [0], LETTERS, seed=1), make_store("val", [0], LETTERS, seed=2)
    assert holdout.digests is None
    require_distinct(holdout, val)
    holdout.manifest = replace(holdout.manifest, options={"filter": "box"})
    with pytest.raises(ArtifactError, match=r"was preprocessed with another filter than --crops .*can't be seen"):
        require_distinct(holdout, val)


def test_the_training_pictures_are_no_holdout(
    tmp_path: Path, nets: list[str], make_store: MakeStore, capsys: pytest.CaptureFixture[str]
) -> None:
    val = make_store("val", [3, 2, 1], LETTERS, seed=2)
    words = ["--crops", str(val.path), "--fit-weights", str(tmp_path / "train.lmdb"), "--out", str(tmp_path / "e")]
    assert f"is what {nets[0]} was trained on" in refused([*nets, *words], 4, capsys)


def test_a_holdout_without_labels_is_refused(
    tmp_path: Path, nets: list[str], make_store: MakeStore, capsys: pytest.CaptureFixture[str]
) -> None:
    val, holdout = make_store("val", [3, 2, 1], LETTERS, seed=2), make_store("holdout", [-1, -1], LETTERS, seed=3)
    words = ["--crops", str(val.path), "--fit-weights", str(holdout.path), "--out", str(tmp_path / "e")]
    assert "has no labels" in refused([*nets, *words], 4, capsys)


def test_a_scores_file_cannot_be_scored_on_the_holdout(
    tmp_path: Path, nets: list[str], make_store: MakeStore, capsys: pytest.CaptureFixture[str]
) -> None:
    val, holdout = make_store("val", [3, 2, 1], LETTERS, seed=2), make_store("holdout", [0, 1], LETTERS, seed=3)
    file = tmp_path / "scores.h5"
    scores = scores_of(np.full((3, 7), 1 / 7, np.float32), [3, 2, 1])
    write_scores(file, scores, parents={"crops": val.digest}, options={}, overwrite=False)
    words = ["--crops", str(val.path), "--fit-weights", str(holdout.path), "--out", str(tmp_path / "e")]
    assert f"{file}: is a scores file" in refused([nets[0], str(file), *words], 2, capsys)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a", "b", "--crops", "c", "--weights", "1,1"], "--weights and --fit-weights exclude each other"),
        (["a", "--crops", "c"], "one member has no weights to fit"),
        (["a", "b"], "needs --crops STORE"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused([*words, "--fit-weights", "h", "--out", str(tmp_path / "e")], 2, capsys)
