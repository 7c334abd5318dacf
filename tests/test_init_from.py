"""`alexnet train --init-from`: which layers are taken, why the others are not, and what a continued run asks for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from alexnet_cli.artifacts.checkpoint import Checkpoint, read_checkpoint
from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.artifacts.run import RunFolder
from alexnet_cli.cli import main
from alexnet_cli.net.initial import initialise
from alexnet_cli.net.network import Network

MakeStore = Callable[..., CropStore]
CONVOLUTIONS = ("conv1", "conv2", "conv3", "conv4", "conv5")


SIX = "net.conv6={kind='convolution', kernels=8, size=3, padding=1, sees='all', after='pool5'}"
BOTTLENECK = "net.bottleneck={kind='linear', neurons=6, after='dropout7'}"


@dataclass
class Workshop:
    """Two stores of other classes, and `alexnet train` on them with a narrow net."""

    path: Path
    narrow: list[str]
    make_store: MakeStore
    make_statistics: Callable[[CropStore], Path]

    def pictures(self, name: str, classes: tuple[str, ...]) -> None:
        store = self.make_store(name, [index % len(classes) for index in range(8)], classes=classes)
        self.make_statistics(store)

    def train(self, pictures: str, out: str, *options: str, sets: tuple[str, ...] = (), epochs: int = 1) -> int:
        store = self.path / f"{pictures}.lmdb"
        words = ["train", str(store), "--val", str(store), "--stats", str(self.path / f"{pictures}.h5")]
        words += ["--batch-size", "4", "--epochs", str(epochs), "--devices", "cpu", "--out", str(self.path / out)]
        for text in (*self.narrow, *sets):
            words += ["--set", text]
        return main([*words, *options])

    def newest(self, out: str) -> Checkpoint:
        saved = RunFolder(self.path / out).newest()
        assert saved is not None
        return read_checkpoint(saved.path, to_train=True)

    def fates(self, out: str) -> dict[str, tuple[str, str]]:
        record = json.loads((self.path / out / "config.json").read_text())["init_from"]
        return {entry["layer"]: (entry["fate"], entry["why"]) for entry in record["layers"]}


@pytest.fixture
def shop(
    tmp_path: Path, narrow: list[str], make_store: MakeStore, make_statistics: Callable[[CropStore], Path]
) -> Workshop:
    """A workshop with pictures of apes, bats and cats, and a run `first` of one epoch on them."""
    shop = Workshop(tmp_path, narrow, make_store, make_statistics)
    shop.pictures("animals", ("ape", "bat", "cat"))
    assert shop.train("animals", "first") == 0
    return shop


FROZEN = "training.trained=['fc8']"
"""With it, what was taken is still there after an epoch."""


def taken(checkpoint: Checkpoint, origin: Checkpoint, layer: str) -> bool:
    return all(
        torch.equal(checkpoint.model[f"{layer}.{kind}"], origin.model[f"{layer}.{kind}"]) for kind in ("weight", "bias")
    )


def first_values(checkpoint: Checkpoint, seed: int) -> dict[str, Tensor]:
    network = Network(checkpoint.recipe.net)
    initialise(network, checkpoint.recipe.training.initial_values, seed)
    return {name: parameter.detach() for name, parameter in network.named_parameters()}


def test_other_classes_get_a_new_last_layer_and_the_rest_is_taken(
    shop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.pictures("fruit", ("fig", "kiwi"))
    first = str(shop.path / "first")
    assert shop.train("fruit", "second", "--init-from", first, "--rate", "1e-9", "--seed", "5", sets=(FROZEN,)) == 0
    said = capsys.readouterr().err
    second, origin = shop.newest("second"), shop.newest("first")
    for layer in (*CONVOLUTIONS, "fc6", "fc7"):
        assert taken(second, origin, layer), layer
        assert f"{layer} taken: it fits" in said
    # At a rate of 1e-9 the new layer is still where the paper's scheme put it.
    torch.testing.assert_close(second.model["fc8.weight"], first_values(second, 5)["fc8.weight"], rtol=0, atol=1e-6)
    assert "fc8 new: different classes than the origin's: 3 classes against 2; 3 missing, first 'ape'" in said
    assert "mean image and colour noise are of this run's own statistics" in said
    assert "fc8 new" in (shop.path / "second" / "log.txt").read_text()


def test_the_digest_of_the_origin_is_a_parent_of_everything_that_the_run_writes(shop: Workshop) -> None:
    assert shop.train("animals", "second", "--init-from", str(shop.path / "first")) == 0
    digest = shop.newest("first").manifest.digest
    assert shop.newest("second").manifest.parents["init-from"] == digest
    assert RunFolder(shop.path / "second").manifest().parents["init-from"] == digest
    config = json.loads((shop.path / "second" / "config.json").read_text())
    assert config["parents"]["init-from"] == config["init_from"]["digest"] == digest
    assert config["init_from"]["path"] == str(shop.path / "first")


def test_the_last_layer_is_taken_where_the_classes_are_the_same_in_the_same_order(shop: Workshop) -> None:
    # A checkpoint is as good as a run.
    checkpoint = str(shop.newest("first").path)
    assert shop.train("animals", "second", "--init-from", checkpoint, "--rate", "1e-9") == 0
    assert shop.fates("second")["fc8"] == ("taken", "it fits, and the classes are the same")
    torch.testing.assert_close(
        shop.newest("second").model["fc8.weight"], shop.newest("first").model["fc8.weight"], rtol=0, atol=1e-6
    )


def test_as_many_classes_of_other_names_are_other_classes(shop: Workshop) -> None:
    shop.pictures("others", ("ape", "bat", "dog"))
    assert shop.train("others", "second", "--init-from", str(shop.path / "first")) == 0
    fate, why = shop.fates("second")["fc8"]
    assert fate == "new"
    assert why.endswith("3 classes against 3; 1 missing, first 'cat'; 1 not known before, first 'dog'")


def test_layers_of_another_shape_are_new_and_so_is_what_sees_them(shop: Workshop) -> None:
    wider = ("net.conv3.kernels=12",)
    assert shop.train("animals", "second", "--init-from", str(shop.path / "first"), sets=wider) == 0
    fates = shop.fates("second")
    assert [layer for layer, (fate, _) in fates.items() if fate == "taken"] == ["conv1", "conv2"]
    assert fates["conv3"][1] == "its weights are 16×16×3×3 in the origin and 24×16×3×3 here"
    assert fates["conv5"][1] == "it sees conv4, which is new"


def test_layers_that_this_net_lacks_are_dropped_and_what_saw_them_is_new(shop: Workshop) -> None:
    assert shop.train("animals", "six", sets=(SIX, BOTTLENECK)) == 0
    assert shop.train("animals", "five", "--init-from", str(shop.path / "six")) == 0
    fates = shop.fates("five")
    assert fates["conv6"] == fates["bottleneck"] == ("dropped", "this net has none")
    assert fates["conv5"][0] == "taken"
    assert fates["fc6"] == ("new", "it sees conv5, and in the origin conv6")


def test_a_recipe_says_which_layers_are_taken_and_which_are_new_all_the_same(shop: Workshop) -> None:
    sets = ("training.take=['conv1','conv2','fc6']", "training.fresh=['conv2']")
    assert shop.train("animals", "second", "--init-from", str(shop.path / "first"), sets=sets) == 0
    fates = shop.fates("second")
    assert [layer for layer, (fate, _) in fates.items() if fate == "taken"] == ["conv1", "fc6"]
    assert fates["conv2"][1] == "so the recipe says (fresh)"
    assert fates["conv3"][1] == "the recipe does not take it (take)"


@pytest.mark.parametrize(
    ("sets", "init", "code", "words"),
    [
        (("training.take=['conv1']",), False, 2, "starts from a trained net (training.take): give --init-from RUN"),
        (
            ("training.fresh=['conv9']",),
            True,
            2,
            "[training] fresh names 'conv9', and this net's layers with weights are conv1, conv2",
        ),
        (("training.layer_rates={conv6=0.1}",), True, 2, "[training] layer_rates names 'conv6'"),
        (("training.layer_rates={conv1=-0.1}",), True, 2, "layer_rates.conv1 is -0.1: it must not be negative"),
        (
            ("training.take=['fc8']", "net.fc7.neurons=8"),
            True,
            2,
            "takes fc8 from the origin, and it does not fit: its weights are 3×32 in the origin and 3×16 here",
        ),
        (("net.conv1.kernels=6",), True, 2, "no layer fits: conv1 new: its weights are 8×3×11×11"),
    ],
)
def test_what_can_not_be_is_refused_in_one_line(
    shop: Workshop, capsys: pytest.CaptureFixture[str], sets: tuple[str, ...], init: bool, code: int, words: str
) -> None:
    options = ("--init-from", str(shop.path / "first")) if init else ()
    capsys.readouterr()
    assert shop.train("animals", "second", *options, sets=sets) == code
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert not (shop.path / "second").exists()


def test_an_origin_that_is_not_there_is_refused(shop: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    assert shop.train("animals", "second", "--init-from", str(shop.path / "none")) == 4
    assert "none: no such run or checkpoint" in capsys.readouterr().err
    assert shop.train("animals", "second", "--init-from", str(shop.path / "animals.lmdb")) == 4
    assert "animals.lmdb: is neither a run folder nor a checkpoint" in capsys.readouterr().err


def test_taken_layers_that_compute_something_else_here_are_warned_about(
    shop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = ("net.relu1.after=pool1", "net.norm2.alpha=0.5", "input.divisor=64.0")
    assert shop.train("animals", "second", "--init-from", str(shop.path / "first"), sets=sets) == 0
    said = capsys.readouterr().err
    assert "warning: the taken layers compute something else here than in the origin" in said
    assert "input.divisor is 1.0 there and 64.0 here" in said
    assert "conv1 is followed by relu → norm → pool there and by norm → pool → relu here" in said
    assert "net.norm2.alpha is 0.0001 there and 0.5 here" in said


def test_a_continued_run_needs_its_origin_no_more_and_refuses_another(
    shop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    first, third = str(shop.path / "first"), str(shop.path / "third")
    assert shop.train("animals", "whole", "--init-from", first, epochs=2) == 0
    assert shop.train("animals", "second", "--init-from", first) == 0
    assert shop.train("animals", "third", "--seed", "3") == 0
    (shop.path / "second" / "manifest.json").unlink()  # as a run that was stopped after its first epoch

    def resume(*options: str) -> int:
        return shop.train("animals", "second", "--resume", *options, epochs=2)

    assert resume("--init-from", third) == 4
    assert "second: began from a different checkpoint than" in capsys.readouterr().err
    shutil.rmtree(first)
    assert resume("--init-from", str(shop.path / "nowhere")) == 4
    assert resume() == 0
    assert shop.newest("second").manifest.parents["init-from"] == shop.newest("whole").manifest.parents["init-from"]
    for name, tensor in shop.newest("whole").model.items():
        assert torch.equal(shop.newest("second").model[name], tensor), name
    # The same command line once more: the path that the run recorded is gone, and not needed.
    assert resume("--init-from", first) == 0


def test_a_run_of_its_own_can_not_be_continued_as_if_it_had_an_origin(
    shop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    first = str(shop.path / "first")
    assert shop.train("animals", "first", "--resume", "--init-from", first) == 4
    assert "first: did not begin from another net: leave --init-from out" in capsys.readouterr().err


def test_a_run_without_a_checkpoint_yet_asks_for_its_origin_again(
    shop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    first = str(shop.path / "first")
    assert shop.train("animals", "second", "--init-from", first) == 0
    shutil.rmtree(shop.path / "second" / "checkpoints" / shop.newest("second").path.name)
    assert shop.train("animals", "second", "--resume") == 2
    assert f"second: began from {first} and has no checkpoint yet: give --init-from" in capsys.readouterr().err
    assert shop.train("animals", "second", "--resume", "--init-from", first) == 0


def test_layer_rates_hold_from_the_first_step_and_zero_freezes_biases_too(shop: Workshop) -> None:
    rates = ("training.layer_rates={conv1=0.0, fc7=0.0}", "training.bias_rate=0.02")
    first = str(shop.path / "first")
    assert shop.train("animals", "second", "--init-from", first, sets=rates) == 0
    second, origin = shop.newest("second"), shop.newest("first")
    assert [layer for layer in (*CONVOLUTIONS, "fc6", "fc7", "fc8") if taken(second, origin, layer)] == ["conv1", "fc7"]


def test_a_conv6_net_with_a_bottleneck_starts_from_five_convolutions_and_is_fine_tuned(shop: Workshop) -> None:
    """The contest's way, narrow: source-2012 on one set, conv6-pretrain on another, conv6-finetune on the first."""
    shop.pictures("large", ("fig", "gnu", "hen", "ibis"))
    slow = ("--rate", "1e-9")
    assert shop.train("animals", "five", "--recipe", "source-2012", *slow, sets=("training.bias_rate=1e-9",)) == 0
    six = ("net.conv6.kernels=8",)
    sets = (*six, "net.bottleneck.neurons=6", "training.bias_rate=1e-9", "training.layer_bias_rates={}")
    rest = ("training.layer_rates={}", "training.changes=[]")
    words = ("--recipe", "conv6-pretrain", "--init-from", str(shop.path / "five"), *slow)
    assert shop.train("large", "pretrained", *words, sets=(*sets, *rest)) == 0
    fates = shop.fates("pretrained")
    assert [layer for layer, (fate, _) in fates.items() if fate == "taken"] == list(CONVOLUTIONS)
    assert [layer for layer, (fate, _) in fates.items() if fate == "new"] == [
        "conv6",
        "fc6",
        "fc7",
        "bottleneck",
        "fc8",
    ]
    pretrained, five = shop.newest("pretrained"), shop.newest("five")
    assert pretrained.model["bottleneck.weight"].shape == (12, 32)
    assert pretrained.model["fc8.weight"].shape == (4, 12)
    for layer in CONVOLUTIONS:
        name = f"{layer}.weight"
        torch.testing.assert_close(pretrained.model[name], five.model[name], rtol=0, atol=1e-6)
    # conv6 begins as the source's table says: deviation 0.03, bias 1.
    assert abs(float(pretrained.model["conv6.weight"].std()) - 0.03) < 0.003
    torch.testing.assert_close(pretrained.model["conv6.bias"], torch.ones(16), rtol=0, atol=1e-6)

    tune = ("--recipe", "conv6-finetune", "--init-from", str(shop.path / "pretrained"))
    assert shop.train("animals", "tuned", *tune, sets=six) == 0
    fates = shop.fates("tuned")
    assert [layer for layer, (fate, _) in fates.items() if fate == "taken"] == [*CONVOLUTIONS, "conv6", "fc6", "fc7"]
    assert fates["fc8"] == ("new", "so the recipe says (fresh)")
    assert fates["bottleneck"] == ("dropped", "this net has none")
    assert (
        main(["eval", str(shop.path / "tuned"), str(shop.path / "animals.lmdb"), "--out", str(shop.path / "s.h5")]) == 0
    )
