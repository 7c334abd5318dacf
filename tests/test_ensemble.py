"""`alexnet ensemble`: the average against numpy, what is reused and what is evaluated again, and who is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.artifacts.scores import Scores, read_scores, write_scores
from alexnet_cli.class_list import ClassList
from alexnet_cli.cli import main
from alexnet_cli.errors import ArtifactError
from alexnet_stages.ensemble import run as stage
from alexnet_stages.ensemble.fit import fit_weights

MakeStore = Callable[..., CropStore]
Capture = pytest.CaptureFixture[str]
CLASSES = ("ape", "bat", "cat", "dog", "eel", "fox", "gnu")
PICTURES = 40


def random_scores(seed: int, classes: tuple[str, ...] = CLASSES, pictures: int = PICTURES, **given: Any) -> Scores:
    """What a net might say that is right more often than by chance."""
    rng = np.random.default_rng(seed)
    labels = np.arange(pictures) % len(classes)

    def probabilities() -> NDArray[np.float32]:
        logits = rng.normal(0, 1, (pictures, len(classes)))
        logits[np.arange(pictures), labels] += 0.7
        powers = np.exp(logits)
        return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)

    values = {
        "probabilities": probabilities(),
        "centre_probabilities": probabilities(),
        "labels": labels.astype(np.int64),
        "names": [f"val/{index:04d}.JPEG" for index in range(pictures)],
        "classes": ClassList(classes),
        **given,
    }
    return Scores(**values)


def saved(folder: Path, name: str, scores: Scores, crops: str = "c" * 64) -> Path:
    path = folder / f"{name}.h5"
    write_scores(path, scores, parents={"checkpoint": name, "crops": crops}, options={}, overwrite=True)
    return path


def ensemble(out: Path, *words: object) -> int:
    return main([str(word) for word in ("ensemble", "--out", out, "--devices", "cpu", *words)])


def refusal(capsys: Capture) -> str:
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1, printed.err
    return printed.err


def share_wrong(probabilities: NDArray[np.floating[Any]], labels: NDArray[np.int64], k: int) -> float:
    return float(np.mean([y not in np.argsort(-row)[:k] for row, y in zip(probabilities, labels, strict=True)]))


# ------------------------------------------------------------------------------------- the average of scores files


@pytest.mark.parametrize("weights", [None, "1,1,2", "0,0.5,0.5", "3,1,0"])
def test_probabilities_are_averaged_with_equal_weights_or_the_given_ones(tmp_path: Path, weights: str | None) -> None:
    members = [random_scores(seed) for seed in range(3)]
    paths = [saved(tmp_path, f"m{number}", scores) for number, scores in enumerate(members)]
    given = ["--weights", weights] if weights else []
    assert ensemble(tmp_path / "e", *paths, *given, "--quiet") == 0
    shares = np.array([float(word) for word in weights.split(",")]) if weights else np.ones(3)
    shares = shares / shares.sum()
    scores = read_scores(tmp_path / "e" / "scores.h5")[1]
    for ours, name in (
        (scores.probabilities, "probabilities"),
        (scores.centre_probabilities, "centre_probabilities"),
    ):
        stack = np.stack([getattr(member, name).astype(np.float64) for member in members])
        np.testing.assert_allclose(ours, np.tensordot(shares, stack, 1), rtol=1e-6, atol=1e-7)
    assert scores.names == members[0].names and scores.classes.names == CLASSES
    assert np.array_equal(scores.labels, members[0].labels)


def test_the_json_has_evals_keys_for_each_member_and_the_errors_of_the_average(tmp_path: Path, capsys: Capture) -> None:
    members = [random_scores(seed) for seed in range(3)]
    paths = [saved(tmp_path, f"m{number}", scores) for number, scores in enumerate(members)]
    assert ensemble(tmp_path / "e", *paths, "--quiet", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    labels = members[0].labels
    keys = {"pictures", "top1_error", "top5_error", "centre_top1_error", "centre_top5_error"}
    assert len(result["members"]) == 3
    for shown, scores in zip(result["members"], members, strict=True):
        assert keys <= set(shown)
        assert shown["pictures"] == PICTURES
        assert shown["top1_error"] == share_wrong(scores.probabilities, labels, 1)
        assert shown["centre_top5_error"] == share_wrong(scores.centre_probabilities, labels, 5)
    average = np.mean([scores.probabilities.astype(np.float64) for scores in members], axis=0)
    assert result["top1_error"] == share_wrong(average, labels, 1)
    assert result["top5_error"] == share_wrong(average, labels, 5)


def test_the_folder_holds_scores_members_table_and_manifest(tmp_path: Path) -> None:
    paths = [saved(tmp_path, f"m{seed}", random_scores(seed)) for seed in range(2)]
    assert ensemble(tmp_path / "e", *paths, "--weights", "1,3", "--quiet") == 0
    members = json.loads((tmp_path / "e" / "members.json").read_text())
    manifests = [read_scores(path)[0] for path in paths]
    assert [member["name"] for member in members] == ["m0", "m1"]
    assert [member["weight"] for member in members] == [0.25, 0.75]
    assert [member["scores_digest"] for member in members] == [manifest.digest for manifest in manifests]
    assert [member["checkpoint_digest"] for member in members] == ["m0", "m1"]
    manifest = json.loads((tmp_path / "e" / "manifest.json").read_text())
    assert manifest["kind"] == "ensemble"
    assert manifest["parents"]["member 1"] == manifests[0].digest
    assert manifest["parents"]["member 2"] == manifests[1].digest
    assert not list(tmp_path.glob("*.partial")) and not list(tmp_path.glob("*.lock"))


def test_the_table_has_a_line_for_each_net_and_one_for_the_average(tmp_path: Path, capsys: Capture) -> None:
    scores = [random_scores(seed) for seed in range(2)]
    paths = [saved(tmp_path, f"m{number}", each) for number, each in enumerate(scores)]
    assert ensemble(tmp_path / "e", *paths, "--quiet") == 0
    printed = capsys.readouterr().out
    text = (tmp_path / "e" / "table.txt").read_text()
    assert text in printed
    lines = text.splitlines()
    (head,) = [line for line in lines if line.startswith("Model")]
    assert "Top-1" in head and "Top-5" in head
    rows = {name: line for name in ("m0", "m1") for line in lines if f"1 CNN ({name})" in line}
    assert set(rows) == {"m0", "m1"}
    assert f"{100 * share_wrong(scores[0].probabilities, scores[0].labels, 1):.2f}%" in rows["m0"]
    (last,) = [line for line in lines if line.startswith("2 CNNs")]
    average = np.mean([each.probabilities.astype(np.float64) for each in scores], axis=0)
    assert f"{100 * share_wrong(average, scores[0].labels, 1):.2f}%" in last


def test_the_same_member_twice_changes_nothing_and_is_said(tmp_path: Path, capsys: Capture) -> None:
    path = saved(tmp_path, "m", random_scores(0))
    assert ensemble(tmp_path / "e", path, path, "--quiet") == 0
    said = f"warning: {path}: has the same scores as member 1: they count twice, and add nothing\n"
    assert capsys.readouterr().err == said
    assert np.array_equal(read_scores(tmp_path / "e" / "scores.h5")[1].probabilities, random_scores(0).probabilities)


def test_an_ensembles_scores_are_a_member_of_another(tmp_path: Path) -> None:
    """Two of three members averaged first, then with the third at half their weight: the mean of all."""
    members = [random_scores(seed) for seed in range(3)]
    paths = [saved(tmp_path, f"m{number}", scores) for number, scores in enumerate(members)]
    assert ensemble(tmp_path / "two", *paths[:2], "--quiet") == 0
    assert ensemble(tmp_path / "all", tmp_path / "two" / "scores.h5", paths[2], "--weights", "2,1", "--quiet") == 0
    mean = np.mean([scores.probabilities.astype(np.float64) for scores in members], axis=0)
    found = read_scores(tmp_path / "all" / "scores.h5")[1].probabilities
    np.testing.assert_allclose(found, mean, rtol=1e-6, atol=1e-7)


def test_scores_without_labels_are_averaged_without_errors(tmp_path: Path, capsys: Capture) -> None:
    unknown = np.full(PICTURES, -1)
    paths = [saved(tmp_path, f"m{seed}", random_scores(seed, labels=unknown)) for seed in range(2)]
    assert ensemble(tmp_path / "e", *paths, "--quiet", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["top1_error"] is None and result["members"][0]["top1_error"] is None
    assert "–" in (tmp_path / "e" / "table.txt").read_text()


# ------------------------------------------------------------------------------------- who is refused


def names_with(index: int, name: str) -> list[str]:
    names = list(random_scores(0).names)
    names[index] = name
    return names


def labels_with(index: int, label: int) -> NDArray[np.int64]:
    labels = random_scores(0).labels.copy()
    labels[index] = label
    return labels


@pytest.mark.parametrize(
    ("other", "parts"),
    [
        (random_scores(1, pictures=39), ["scores of 39 pictures", "of 40"]),
        (random_scores(1, names=names_with(3, "val/odd.JPEG")), ["'val/odd.JPEG' in place of 'val/0003.JPEG'"]),
        (random_scores(1, labels=labels_with(5, 0)), ["another label for 'val/0005.JPEG'"]),
        (
            random_scores(1, classes=(*CLASSES[:6], "yak")),
            ["a different class list", "1 missing, first 'gnu'", "first 'yak'"],
        ),
        (random_scores(1, classes=tuple(reversed(CLASSES))), ["the same classes in another order"]),
    ],
    ids=["fewer pictures", "another picture", "another label", "another class", "another order"],
)
def test_members_that_disagree_are_refused_with_the_difference(
    tmp_path: Path, capsys: Capture, other: Scores, parts: list[str]
) -> None:
    paths = [saved(tmp_path, "first", random_scores(0)), saved(tmp_path, "other", other)]
    assert ensemble(tmp_path / "e", *paths, "--quiet") == 4
    text = refusal(capsys)
    for part in ("other.h5", "first", *parts):
        assert part in text
    assert not (tmp_path / "e").exists()


@pytest.mark.parametrize("weights", ["1", "1,2,3", "1,x", "1,-1", "0,0", "1,nan", "1,inf"])
def test_weights_that_can_not_be_meant_are_refused(tmp_path: Path, capsys: Capture, weights: str) -> None:
    paths = [saved(tmp_path, f"m{seed}", random_scores(seed)) for seed in range(2)]
    assert ensemble(tmp_path / "e", *paths, "--quiet", "--weights", weights) == 2
    assert f"--weights {weights}: " in refusal(capsys)


def test_a_missing_or_foreign_member_is_refused(tmp_path: Path, capsys: Capture) -> None:
    assert ensemble(tmp_path / "e", tmp_path / "nowhere", "--quiet") == 4
    assert "nowhere: no such" in refusal(capsys)
    (tmp_path / "text.h5").write_text("no scores")
    assert ensemble(tmp_path / "e", tmp_path / "text.h5", "--quiet") == 4
    assert "text.h5: is not a scores file" in refusal(capsys)


def test_no_member_at_all_is_refused(tmp_path: Path, capsys: Capture) -> None:
    assert ensemble(tmp_path / "e", "--quiet") == 2
    assert "MEMBER" in refusal(capsys)


def test_an_existing_ensemble_is_kept_unless_overwriting(tmp_path: Path, capsys: Capture) -> None:
    path = saved(tmp_path, "m", random_scores(0))
    assert ensemble(tmp_path / "e", path, "--quiet") == 0
    digest = read_scores(tmp_path / "e" / "scores.h5")[0].digest
    capsys.readouterr()
    other = saved(tmp_path, "n", random_scores(1))
    assert ensemble(tmp_path / "e", other, "--quiet") == 2
    assert "exists already" in refusal(capsys)
    assert read_scores(tmp_path / "e" / "scores.h5")[0].digest == digest
    assert ensemble(tmp_path / "e", other, "--quiet", "--overwrite") == 0
    assert read_scores(tmp_path / "e" / "scores.h5")[0].digest != digest


# ------------------------------------------------------------------------------------- members to be evaluated


class Bench:
    """A store, and narrow nets of random weights in run folders."""

    def __init__(self, store: CropStore, stats: Path, make_checkpoint: Callable[..., Path], folder: Path) -> None:
        self.store, self.stats, self.make_checkpoint, self.folder = store, stats, make_checkpoint, folder
        self.out = folder / "e"

    def net(self, run: str, step: int = 6, **options: Any) -> Path:
        """Give a run a checkpoint; the run."""
        name = f"{run}/checkpoints/step-{step:08d}"
        self.make_checkpoint(name, self.store, self.stats, step=step, **{"seed": step, **options})
        return self.folder / run

    def __call__(self, *words: object) -> int:
        return ensemble(self.out, "--crops", self.store.path, *words)

    def evaluated(self, net: Path) -> Scores:
        """What `alexnet eval` says of a net."""
        out = self.folder / "by-eval.h5"
        words = ["eval", net, self.store.path, "--out", out, "--quiet", "--overwrite", "--devices", "cpu"]
        assert main([str(word) for word in words]) == 0
        return read_scores(out)[1]


@pytest.fixture
def bench(
    make_store: MakeStore,
    make_statistics: Callable[[CropStore], Path],
    make_checkpoint: Callable[..., Path],
    tmp_path: Path,
) -> Bench:
    store = make_store("val", [0, 1, 2, 3, 4], classes=CLASSES)
    return Bench(store, make_statistics(store), make_checkpoint, tmp_path)


def test_runs_and_checkpoints_are_evaluated_as_eval_does(bench: Bench, capsys: Capture) -> None:
    run, checkpoint = bench.net("a"), bench.net("b", seed=9) / "checkpoints" / "step-00000006"
    assert bench(run, checkpoint) == 0
    assert "the newest checkpoint, step-00000006" in capsys.readouterr().err
    mean = np.mean([bench.evaluated(net).probabilities.astype(np.float64) for net in (run, checkpoint)], axis=0)
    found = read_scores(bench.out / "scores.h5")[1]
    np.testing.assert_allclose(found.probabilities, mean, rtol=1e-6, atol=1e-7)
    assert len(list((bench.out / "members").glob("*.h5"))) == 2, "their scores stay for the next time"


def test_scores_files_and_runs_go_together(bench: Bench) -> None:
    run, other = bench.net("a"), bench.net("b", seed=9)
    scores = bench.evaluated(other)
    path = saved(bench.folder, "scored", scores, crops=bench.store.digest)
    assert bench(run, path, "--quiet") == 0
    mean = np.mean([bench.evaluated(run).probabilities, scores.probabilities], axis=0)
    np.testing.assert_allclose(read_scores(bench.out / "scores.h5")[1].probabilities, mean, rtol=1e-6, atol=1e-7)


def test_scores_that_are_still_true_are_used_again_and_stale_ones_are_not(bench: Bench, capsys: Capture) -> None:
    one, two = bench.net("a"), bench.net("b", seed=9)
    assert bench(one, two) == 0
    assert "scored before" not in capsys.readouterr().err
    first = read_scores(bench.out / "scores.h5")[0].digest

    assert bench(one, two, "--overwrite") == 0
    assert capsys.readouterr().err.count("scored before") == 2
    assert read_scores(bench.out / "scores.h5")[0].digest == first

    bench.net("b", step=12, seed=10)  # the second run trained on: its newest checkpoint is another net
    assert bench(one, two, "--overwrite") == 0
    assert capsys.readouterr().err.count("scored before") == 1
    mean = np.mean([bench.evaluated(net).probabilities.astype(np.float64) for net in (one, two)], axis=0)
    found = read_scores(bench.out / "scores.h5")
    assert found[0].digest != first
    np.testing.assert_allclose(found[1].probabilities, mean, rtol=1e-6, atol=1e-7)


def test_scores_of_one_view_are_no_scores_of_ten(bench: Bench, capsys: Capture) -> None:
    one = bench.net("a")
    assert bench(one, "--views", 1) == 0
    assert bench(one, "--overwrite") == 0
    assert "scored before" not in capsys.readouterr().err
    np.testing.assert_array_equal(
        read_scores(bench.out / "scores.h5")[1].probabilities, bench.evaluated(one).probabilities
    )


def test_damaged_scores_of_an_earlier_call_are_made_again(bench: Bench) -> None:
    one = bench.net("a")
    assert bench(one, "--quiet") == 0
    (member,) = (bench.out / "members").glob("*.h5")
    member.write_bytes(member.read_bytes()[:1000])
    assert bench(one, "--quiet", "--overwrite") == 0
    assert np.array_equal(read_scores(bench.out / "scores.h5")[1].probabilities, bench.evaluated(one).probabilities)


def test_members_in_another_order_are_used_again_too(bench: Bench, capsys: Capture) -> None:
    one, two = bench.net("a"), bench.net("b", seed=9)
    assert bench(one, two, "--quiet") == 0
    assert bench(two, one, "--overwrite") == 0
    assert capsys.readouterr().err.count("scored before") == 2
    members = json.loads((bench.out / "members.json").read_text())
    assert [member["name"] for member in members] == ["b", "a"]


def test_an_interrupted_ensemble_does_not_score_again_what_it_has(
    bench: Bench, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = bench.net("a")
    two = bench.net("b", seed=9)
    score, scored = stage._scores_of, []

    def stopped_at_the_second(*words: Any) -> Any:
        scored.append(words[1])
        if len(scored) == 2:
            raise ArtifactError("stopped")
        return score(*words)

    with monkeypatch.context() as patched:
        patched.setattr(stage, "_scores_of", stopped_at_the_second)
        assert bench(one, two, "--quiet") == 4
    assert refusal(capsys) and not bench.out.exists()
    damaged = two / "checkpoints" / "step-00000006" / "model.safetensors"
    content = damaged.read_bytes()
    damaged.write_bytes(b"damaged")
    assert bench(one, two, "--quiet") == 4
    assert "model.safetensors: is missing or damaged" in refusal(capsys)
    damaged.write_bytes(content)
    assert bench(one, two) == 0
    assert capsys.readouterr().err.count("scored before") == 1


def test_weights_are_fitted_and_pictures_scored_with_the_same_checkpoint_of_a_run_in_training(
    bench: Bench, make_store: MakeStore, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """A better checkpoint comes when the weights are fitted, and before the members are scored on --crops."""
    holdout = make_store("holdout", [0, 1, 2, 3, 4], classes=CLASSES, seed=5)
    run, other = bench.net("a", error=0.5), bench.net("b", seed=9)
    fitted: list[list[NDArray[np.float32]]] = []

    def fit_while_training(scores: list[Scores]) -> Any:
        fitted.append([one.probabilities for one in scores])
        if len(fitted) == 1:
            bench.net("a", step=12, error=0.25)
        return fit_weights(scores)

    monkeypatch.setattr("alexnet_stages.ensemble.run.fit_weights", fit_while_training)
    words = (run, other, "--fit-weights", holdout.path, "--precision", "fp32")
    assert bench(*words) == 0
    said = capsys.readouterr().err
    assert "a member has changed meanwhile" in said
    assert len(fitted) == 2 and not np.array_equal(fitted[0][0], fitted[1][0])
    assert np.array_equal(fitted[0][1], fitted[1][1]) and said.count("scored before") == 3  # b's, and a's on --crops
    best = run / "checkpoints" / "step-00000012"
    digest = json.loads((best / "manifest.json").read_text())["digest"]
    members = json.loads((bench.out / "members.json").read_text())
    assert members[0]["checkpoint_digest"] == digest
    assert (bench.out / members[0]["checkpoint_path"]).resolve() == best.resolve()
    asked = json.loads((bench.out / "manifest.json").read_text())["details"]["made_from"]
    assert asked["members"][0]["checkpoint"] == digest
    assert bench(*words, "--update") == 0
    assert "up to date" in capsys.readouterr().err and len(fitted) == 2


def test_a_run_without_a_store_to_evaluate_it_on_is_refused(bench: Bench, capsys: Capture) -> None:
    assert ensemble(bench.out, bench.net("a"), "--quiet") == 2
    assert "has to be evaluated: give --crops STORE" in refusal(capsys)


def test_scores_of_other_pictures_than_the_store_are_refused_with_the_difference(bench: Bench, capsys: Capture) -> None:
    path = saved(bench.folder, "elsewhere", random_scores(0))
    assert bench(path, "--quiet") == 4
    text = refusal(capsys)
    assert "elsewhere.h5: are scores of different pictures than" in text and "40 pictures against 5" in text
