"""The recipe `finetune-last`: only fc8 learns, from features that are computed once per view."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from alexnet_cli.artifacts.checkpoint import Checkpoint, read_checkpoint
from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.artifacts.run import RunFolder
from alexnet_cli.artifacts.statistics import read_statistics
from alexnet_cli.cli import main
from alexnet_cli.errors import UsageError
from alexnet_cli.input.patches import InputTransform
from alexnet_cli.net.initial import initialise
from alexnet_cli.net.network import Network
from alexnet_cli.net.whole import load_whole
from alexnet_cli.randomness import cached_views_of, dropout_masks, order_of
from alexnet_cli.recipes.read import load_recipe
from alexnet_cli.recipes.recipe import Change, Recipe
from alexnet_stages.train.cached_features import CachedTraining, cached_views, split

MakeStore = Callable[..., CropStore]
EPOCHS = 4
FC8 = ("fc8.weight", "fc8.bias")
# The ten test views of a 256 crop: offsets of corners and centre, then the same mirrored.
PLACES = [(16, 16), (0, 0), (0, 32), (32, 0), (32, 32)]


class Workshop:
    """A narrow net trained on apes and bats, and stores of figs, kiwis and limes to fine-tune it on."""

    def __init__(self, path: Path, make_store: MakeStore, make_statistics: Callable[[CropStore], Path]) -> None:
        self.path = path
        animals = make_store("animals", [0, 1] * 4, classes=("ape", "bat"))
        self.store = make_store("fruit", [0, 1, 2] * 4, classes=("fig", "kiwi", "lime"), seed=1)
        self.val = make_store("val", [0, 1, 2] * 2, classes=("fig", "kiwi", "lime"), seed=2)
        self.stats = make_statistics(self.store)
        self.animal_stats = make_statistics(animals)

    def train_origin(self, *sets: str) -> None:
        words = ["train", str(self.path / "animals.lmdb"), "--stats", str(self.animal_stats), "--epochs", "1"]
        words += ["--batch-size", "4", "--out", str(self.path / "origin"), "--quiet", "--devices", "cpu"]
        for text in (*sets, "training.schedule=steps"):
            words += ["--set", text]
        assert main(words) == 0

    def tune(self, out: str = "tuned", *options: str, sets: tuple[str, ...] = (), init: bool = True) -> int:
        words = ["train", str(self.store.path), "--val", str(self.val.path), "--stats", str(self.stats)]
        words += ["--recipe", "finetune-last", "--batch-size", "4", "--epochs", str(EPOCHS), "--rate", "0.02"]
        words += ["--out", str(self.path / out), "--seed", "7", "--devices", "cpu"]
        words += ["--init-from", str(self.path / "origin")] if init else []
        for text in sets:
            words += ["--set", text]
        return main([*words, *options])

    def newest(self, out: str) -> Checkpoint:
        saved = RunFolder(self.path / out).newest()
        assert saved is not None
        return read_checkpoint(saved.path, to_train=True)


@pytest.fixture
def shop(
    tmp_path: Path, narrow: list[str], make_store: MakeStore, make_statistics: Callable[[CropStore], Path]
) -> Workshop:
    shop = Workshop(tmp_path, make_store, make_statistics)
    shop.train_origin(*narrow, "training.initial_values=he", "input.divisor=64.0")
    return shop


def patch_of(crop: NDArray[np.uint8], mean: NDArray[np.float64], which: int, divisor: float) -> NDArray[np.float32]:
    """One of the ten views of a crop, cut by hand: float32 (3, 224, 224)."""
    row, column = PLACES[which % 5]
    square = np.s_[row : row + 224, column : column + 224]
    patch = (crop[square] - mean[square]) / divisor
    patch = patch[:, ::-1] if which >= 5 else patch
    return np.ascontiguousarray(patch.transpose(2, 0, 1), np.float32)


def tuned_without_a_cache(shop: Workshop, recipe: Recipe, seed: int, rate: float) -> dict[str, Tensor]:
    """fc8 trained through the whole net on the same views in the same order; the update rule by hand, in float64."""
    network = Network(recipe.net)
    initialise(network, "paper", seed)
    first = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    origin = shop.newest("origin").model
    load_whole(network, {**origin, **{name: first[name] for name in FC8}})
    mean = read_statistics(shop.stats)[1].mean_image
    parameters = dict(network.named_parameters())
    weights = {name: first[name].double() for name in FC8}
    velocity = {name: torch.zeros_like(weights[name]) for name in FC8}
    step = 0
    for epoch in range(1, EPOCHS + 1):
        order, drawn = order_of(seed, epoch, len(shop.store)), cached_views_of(seed, epoch, len(shop.store), 10)
        for indices in order.reshape(-1, 4):
            views = [patch_of(shop.store.read(i), mean, drawn[i], recipe.input.divisor) for i in indices.tolist()]
            masks = dropout_masks(recipe.net, (0, 1), seed, step, 4, "cpu")
            # dropout6 is part of the frozen net: it stands there as at test time, x (1 - 0.5).
            masks["dropout6"] = torch.full_like(masks["dropout6"], 0.5)
            logits = network(torch.from_numpy(np.stack(views)), masks)
            loss = functional.cross_entropy(logits, torch.from_numpy(shop.store.labels[indices]))
            gradients = torch.autograd.grad(loss, [parameters[name] for name in FC8])
            for name, gradient in zip(FC8, gradients, strict=True):
                decay = 0.0005 if name.endswith("weight") else 0.0
                velocity[name] = 0.9 * velocity[name] - decay * rate * weights[name] - rate * gradient.double()
                weights[name] += velocity[name]
                with torch.no_grad():
                    parameters[name].copy_(weights[name])
            step += 1
    return weights


def test_training_on_cached_features_equals_training_through_the_whole_net_on_the_same_views(shop: Workshop) -> None:
    assert shop.tune() == 0
    tuned = shop.newest("tuned")
    assert tuned.manifest.details["epoch"] == EPOCHS
    expected = tuned_without_a_cache(shop, tuned.recipe, seed=7, rate=0.02)
    moved = (expected["fc8.weight"] - shop_first_fc8(tuned)).abs().max()
    assert float(moved) > 1e-3, "the weights must have moved for the comparison to mean something"
    for name in FC8:
        torch.testing.assert_close(tuned.model[name].double(), expected[name], rtol=1e-5, atol=1e-6, msg=name)


def shop_first_fc8(tuned: Checkpoint) -> Tensor:
    network = Network(tuned.recipe.net)
    initialise(network, "paper", 7)
    return network.weights("fc8").weight.detach()


def test_the_result_is_a_whole_net_whose_other_layers_are_the_origins_bit_for_bit(
    shop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shop.tune("tuned", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    tuned, origin = shop.newest("tuned"), shop.newest("origin")
    for name, tensor in origin.model.items():
        if name not in FC8:
            assert torch.equal(tuned.model[name], tensor), name
    assert tuned.classes.names == ("fig", "kiwi", "lime")
    # What the cached validation features say is what an evaluation of the pictures says.
    out = str(shop.path / "scores.h5")
    assert main(["eval", str(shop.path / "tuned"), str(shop.val.path), "--out", out, "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["centre_top1_error"] == result["top1_error"]
    assert scores["centre_top5_error"] == result["top5_error"]


def test_the_net_and_its_input_are_the_origins_and_the_statistics_the_runs_own(shop: Workshop) -> None:
    assert shop.tune() == 0
    tuned, origin = shop.newest("tuned"), shop.newest("origin")
    assert tuned.recipe.input == origin.recipe.input
    assert tuned.recipe.input.divisor == 64
    assert tuned.recipe.to_dict()["net"]["conv1"]["kernels"] == 4
    mean = read_statistics(shop.stats)[1].mean_image
    torch.testing.assert_close(tuned.transform.mean, torch.from_numpy(mean).float())


def test_the_run_says_what_is_computed_once_and_leaves_no_features_behind(
    shop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shop.tune() == 0
    said = capsys.readouterr().err
    # (12 pictures in 10 views + 6 validation pictures) of 32 float32 numbers
    assert "conv1 … fc7 are frozen to the end: what they give is computed once for 10 views of each picture" in said
    assert "(16.1 kB), without colour noise or dropout" in said
    assert "features of 126 views computed in" in said
    assert not (shop.path / "tuned" / "features").exists()


def stopped_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the next training believe that SIGTERM came after so many steps."""
    original = CachedTraining.after_step

    def step(self: CachedTraining, *arguments: Any) -> None:
        original(self, *arguments)
        if self.progress.step == steps:
            self.stop.signal = signal.SIGTERM

    monkeypatch.setattr(CachedTraining, "after_step", step)


@pytest.mark.parametrize("steps", [2, 3, 7], ids=["within an epoch", "at its end", "within another"])
def test_a_run_that_was_stopped_ends_with_the_weights_of_one_that_never_was(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    assert shop.tune("whole") == 0
    with monkeypatch.context() as patched:
        stopped_after(steps, patched)
        assert shop.tune() == 75
    shutil.rmtree(shop.path / "origin")
    assert shop.tune("tuned", "--resume", init=False) == 0
    whole, tuned = shop.newest("whole"), shop.newest("tuned")
    for name, tensor in whole.model.items():
        assert torch.equal(tuned.model[name], tensor), name
    assert tuned.state["schedule"] == whole.state["schedule"]


def test_a_stop_among_the_features_keeps_the_views_that_are_finished(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shop.tune("whole") == 0
    original, computed = CachedTraining._frozen_outputs, []

    def outputs(self: CachedTraining, *arguments: Any) -> NDArray[np.float32]:
        computed.append(arguments)
        if len(computed) == 4:  # one batch a view
            self.stop.signal = signal.SIGTERM
        return original(self, *arguments)

    monkeypatch.setattr(CachedTraining, "_frozen_outputs", outputs)
    assert shop.tune() == 75
    assert sorted(path.name for path in (shop.path / "tuned" / "features").glob("*.npy")) == [
        f"view-{number}.npy" for number in range(3)
    ]
    assert shop.tune("tuned", "--resume") == 0
    assert len(computed) == 4 + 7 + 1  # the other seven views, and the validation pictures
    for name in FC8:
        assert torch.equal(shop.newest("tuned").model[name], shop.newest("whole").model[name])


def test_features_that_were_damaged_are_computed_again_on_resume(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shop.tune("whole") == 0
    with monkeypatch.context() as patched:
        stopped_after(3, patched)
        assert shop.tune() == 75
    features = shop.path / "tuned" / "features"
    flipped = bytearray((features / "view-4.npy").read_bytes())
    flipped[-2] ^= 0x40  # the exponent of the last number
    (features / "view-4.npy").write_bytes(flipped)
    with (features / "validation.npy").open("rb+") as file:
        file.truncate(300)
    capsys.readouterr()
    assert shop.tune("tuned", "--resume") == 0
    said = capsys.readouterr().err
    assert said.count("is not as it was written, so it is computed again") == 2
    assert f"features of {12 + 6} views computed in" in said
    for name in FC8:
        assert torch.equal(shop.newest("tuned").model[name], shop.newest("whole").model[name])


def test_only_what_matters_is_saved(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint takes longer than an epoch: at the start, at each new best and at the end there is one."""
    saved: list[int] = []
    original = RunFolder.tidy

    def tidy(self: RunFolder) -> None:
        newest = self.newest()
        assert newest is not None
        saved.append(newest.step)
        original(self)

    monkeypatch.setattr(RunFolder, "tidy", tidy)
    assert shop.tune() == 0
    rows = RunFolder(shop.path / "tuned").metrics()
    assert len(rows) == EPOCHS
    best, expected = 2.0, [0]
    for row in rows:
        error = float(row["validation_top1_error"])
        if error < best or row is rows[-1]:
            expected.append(int(row["step"]))
        best = min(best, error)
    assert saved == expected


def recipe_with(**training: Any) -> Recipe:
    return load_recipe("paper").with_options(training={"schedule": "steps", **training})


def test_the_frozen_part_ends_below_the_first_layer_that_is_ever_trained() -> None:
    frozen, rest = split(load_recipe("finetune-last"))
    assert [layer.name for layer in frozen][-1] == "fc7"
    assert [layer.name for layer in rest] == ["fc8"]
    frozen, rest = split(recipe_with(trained=("fc6", "fc8")))
    assert [layer.name for layer in rest] == ["fc6", "fc7", "fc8"]
    assert frozen[-1].name == "conv5"
    # fc7 is frozen by its rate, and thaws in the third epoch.
    cold = {f"conv{number}": 0.0 for number in range(1, 6)} | {"fc6": 0.0, "fc7": 0.0}
    thaw = (Change(epoch=3, layers={"fc7": 0.01}),)
    _, rest = split(recipe_with(layer_rates=cold, changes=thaw))
    assert [layer.name for layer in rest] == ["fc7", "fc8"]


def test_trained_convolutions_or_none_at_all_can_not_be_cached() -> None:
    with pytest.raises(UsageError, match="needs all convolutions frozen to the end, and conv4 is trained"):
        split(recipe_with(trained=("conv4", "fc8")))
    with pytest.raises(UsageError, match="trains no layer"):
        split(recipe_with(trained=("fc8",), layer_rates={"fc8": 0.0}))


@pytest.mark.parametrize(
    ("count", "flip", "expected"),
    [
        (1, True, [(16, 16, False)]),
        (2, True, [(16, 16, False), (16, 16, True)]),
        (2, False, [(16, 16, False)]),
        (5, True, [(*place, False) for place in PLACES]),
        (10, True, [(*place, flip) for flip in (False, True) for place in PLACES]),
        (10, False, [(*place, False) for place in PLACES]),
    ],
)
def test_views_are_the_test_views_without_mirror_images_where_pictures_are_not_mirrored(
    count: int, flip: bool, expected: list[tuple[int, int, bool]]
) -> None:
    recipe = load_recipe("finetune-last").with_options(training={"cached_views": count}, input={"flip": flip})
    transform = InputTransform(torch.zeros(256, 256, 3), torch.ones(3), torch.eye(3))
    assert cached_views(recipe, transform) == expected


def test_features_that_the_disk_can_not_hold_are_refused_before_they_are_computed(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    free = iter([10**9])  # there is room for checkpoints, which is looked at first, and then hardly any
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=next(free, 1000)))
    assert shop.tune("tuned", "--quiet") == 5
    said = capsys.readouterr().err
    assert "the frozen layers' features need 16.1 kB, and 1000 bytes are free" in said.replace("1.0 kB", "1000 bytes")
    assert "--set training.cached_features=false" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("sets", "init", "words"),
    [
        ((), False, "recipe finetune-last starts from a trained net"),
        (("training.cached_views=3",), True, "cached_views is 3: use one of 1, 2, 5, 10"),
        (("training.trained=['conv5']",), True, "conv5 is trained: name the trained layers"),
    ],
)
def test_wrong_use_is_refused_in_one_line(
    shop: Workshop, capsys: pytest.CaptureFixture[str], sets: tuple[str, ...], init: bool, words: str
) -> None:
    assert shop.tune("tuned", "--quiet", sets=sets, init=init) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert not (shop.path / "tuned").exists()


def test_without_the_cache_the_same_recipe_trains_fc8_from_pictures(shop: Workshop) -> None:
    assert shop.tune("tuned", sets=("training.cached_features=false",)) == 0
    tuned, origin = shop.newest("tuned"), shop.newest("origin")
    assert torch.equal(tuned.model["fc7.weight"], origin.model["fc7.weight"])
    assert not torch.equal(tuned.model["fc8.weight"], shop_first_fc8(tuned))
