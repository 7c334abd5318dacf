"""Recipes: files that extend one another, from any installed package, and values that must be what they look like."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from alexnet_cli.errors import UsageError
from alexnet_cli.recipes.net import layers
from alexnet_cli.recipes.read import load_recipe, recipe_files
from alexnet_cli.recipes.recipe import Recipe
from alexnet_stages.train.config import TrainConfig
from alexnet_stages.train.run import resolve_recipe


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A third party's installed package of recipes, found before ours on the path."""
    folder = tmp_path / "strangers_recipes"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    information = tmp_path / "strangers-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: strangers\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[alexnet.recipes]\nstranger = strangers_recipes\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "strangers_recipes", raising=False)
    return folder


def flat(values: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Nested values under dotted names."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= flat(value, f"{before}{name}.") if isinstance(value, dict) else {before + name: value}
    return found


def differences(name: str, base: str) -> dict[str, Any]:
    """The fields in which a recipe differs from another, with its own values."""
    mine, other = flat(load_recipe(name).to_dict()), flat(load_recipe(base).to_dict())
    return {field: value for field, value in mine.items() if "." in field and value != other.get(field)}


def test_the_built_in_recipes_are_there() -> None:
    names = {"paper", "source-2012", "quickstart", "small", "conv6", "no-norm", "no-overlap", "no-exchange"}
    assert names | {"one-column", "tanh"} <= set(recipe_files())


@pytest.mark.parametrize("name", recipe_files())
def test_every_recipe_can_be_read_makes_a_net_and_says_what_it_is(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.about
    assert layers(recipe.net)[-1].name == "fc8"


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("conv6", {"architecture.conv6": True}),
        ("no-norm", {"architecture.normalisation": False}),
        ("no-overlap", {"architecture.overlapping_pooling": False}),
        ("no-exchange", {"architecture.exchange": False}),
        ("tanh", {"architecture.activation": "tanh"}),
        (
            "one-column",
            {"architecture.columns": 1, "architecture.kernels": (48, 128, 192, 192, 256), "architecture.hidden": 4096},
        ),
    ],
)
def test_an_ablation_is_the_papers_net_but_for_what_it_takes_away(name: str, fields: dict[str, Any]) -> None:
    assert fields.items() <= differences(name, "paper").items()


@pytest.mark.parametrize("name", [name for name in recipe_files() if name != "paper"])
def test_a_recipe_changes_only_what_its_own_lines_name(name: str) -> None:
    own = tomllib.loads(recipe_files()[name].read_text(encoding="utf-8"))
    assert set(differences(name, own.pop("extends"))) <= set(flat(own))


def test_the_papers_numbers_are_the_papers() -> None:
    recipe = load_recipe("paper")
    net, training = recipe.net, recipe.training
    assert sum(layer.parameters for layer in layers(net)) == 60_965_224
    assert (net.norm_k, net.norm_alpha, net.norm_beta, net.norm_window, net.dropout) == (2.0, 1e-4, 0.75, 5, 0.5)
    assert (training.batch_size, training.rate, training.momentum, training.weight_decay) == (128, 0.01, 0.9, 0.0005)
    assert (recipe.input.flip, recipe.input.colour_noise, recipe.input.patch_run) == (True, 0.1, 1)


def test_the_source_differs_where_facts_say_so() -> None:
    found = differences("source-2012", "paper")
    assert found.pop("training.changes")
    assert found == {
        "architecture.order": "source-2012",
        "input.patch_run": 32,
        "input.noise_divides": True,
        "training.initial_values": "source-2012",
        "training.bias_rate": 0.02,
        "training.schedule": "steps",
    }


# ------------------------------------------------------------------------------------- a third party's own


def test_a_third_partys_package_adds_recipes_that_extend_ours(package: Path) -> None:
    (package / "tiny.toml").write_text('extends = "conv6"\nabout = "smaller"\n[architecture]\nhidden = 64\n')
    (package / "tinier.toml").write_text('extends = "tiny"\n[architecture]\nhidden = 32\n[training]\nepochs = 3\n')
    recipe = load_recipe("tinier")
    assert recipe.name == "tinier"
    assert (recipe.net.hidden, recipe.net.conv6, recipe.training.epochs) == (32, True, 3)
    assert recipe.training.momentum == 0.9
    assert "tiny" in recipe_files()


def test_a_third_partys_recipe_does_not_replace_a_built_in_one(package: Path) -> None:
    (package / "paper.toml").write_text("[training]\nrate = 7.0\n")
    assert load_recipe("paper").training.rate == 0.01


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('extends = "nowhere"', "there is no recipe 'nowhere': use one of .*paper"),
        ('extends = "odd"', "recipe 'odd' extends itself through odd"),
        ("[training]\nspeed = 1", r"a recipe's \[training\] has no field 'speed'"),
        ("[magic]\nwand = 1", "a recipe has no field 'magic'"),
        ("[training\n", "recipe 'odd' is no TOML"),
        ('[training]\nschedule = "daily"', "schedule 'daily' is unknown: use one of plateau, steps"),
        ('[training]\nrate = "fast"', r"\[training\] rate is a number, not 'fast'"),
        ("[training]\nepochs = 1.5", r"\[training\] epochs is a whole number, not 1.5"),
        ("[training]\nepochs = true", r"\[training\] epochs is a whole number, not True"),
        ("[input]\nflip = 1", r"\[input\] flip is true or false, not 1"),
        ("[architecture]\nkernels = 4", r"\[architecture\] kernels is a list in brackets, not 4"),
        ("[architecture]\nkernels = [4, 8]", "kernels names conv1 … conv5: five numbers, not 2"),
        ("[architecture]\nkernels = [4, 8, 8, 8, 'x']", r"\[architecture\] kernels is a whole number, not 'x'"),
        ("[training]\nchanges = [{ epoch = 'x' }]", r"\[training.changes\] epoch is a whole number, not 'x'"),
        ("[training]\nchanges = [{ epoch = 2, when = 1 }]", r"\[training.changes\] has no field 'when'"),
        (
            "[training]\nchanges = [{ epoch = 2, layers = { conv1 = 'off' } }]",
            r"\[training.changes\] layers.conv1 is a number, not 'off'",
        ),
        ("training = 3", r"\[training\] is a table of fields, not 3"),
        ("[training]\nchanges = 3", r"\[training\] changes is a list in brackets, not 3"),
        ("[training]\nchanges = [3]", r"\[training.changes\] is a table of fields, not 3"),
    ],
)
def test_a_recipe_that_can_not_be_meant_is_refused(package: Path, text: str, message: str) -> None:
    (package / "odd.toml").write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        load_recipe("odd")
    assert caught.value.exit_code == 2


def test_two_recipes_that_extend_each_other_are_refused(package: Path) -> None:
    (package / "hen.toml").write_text('extends = "egg"')
    (package / "egg.toml").write_text('extends = "hen"')
    with pytest.raises(UsageError, match="extends itself through hen → egg → hen"):
        load_recipe("hen")


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"there is no recipe 'papr': use one of .*paper.*source-2012"):
        load_recipe("papr")


@pytest.mark.parametrize("name", recipe_files())
def test_a_recipe_comes_back_from_json_as_it_was(name: str) -> None:
    recipe = load_recipe(name)
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


# ------------------------------------------------------------------------------------- --set


def resolved(*sets: str, **options: Any) -> Recipe:
    return resolve_recipe(TrainConfig(crops=Path("c"), out=Path("o"), set=list(sets), **options), 10)


def test_set_takes_tomls_notation() -> None:
    recipe = resolved(
        "architecture.conv6=true",
        "architecture.kernels=[4, 8, 8, 8, 8]",
        "training.rate=1e-3",
        "training.patience = 7",
        "training.weight_decay=0",
        "training.schedule='steps'",
        "training.changes=[{epoch=2, layers={conv1=0.0}}]",
    )
    assert recipe.net.conv6 is True
    assert recipe.net.kernels == (4, 8, 8, 8, 8)
    assert (recipe.training.rate, recipe.training.patience) == (0.001, 7)
    assert recipe.training.weight_decay == 0.0 and isinstance(recipe.training.weight_decay, float)
    assert recipe.training.changes[0].layers == {"conv1": 0.0}


def test_set_takes_a_word_without_quotes_as_text() -> None:
    assert resolved("architecture.activation=tanh").net.activation == "tanh"


def test_options_win_over_set_and_the_stores_classes_over_both() -> None:
    recipe = resolved("training.rate=0.5", "architecture.classes=99", rate=0.25, epochs=3, batch_size=7)
    assert (recipe.training.rate, recipe.training.epochs, recipe.training.batch_size) == (0.25, 3, 7)
    assert recipe.net.classes == 10


@pytest.mark.parametrize("value", ["False", "no", "0", '"false"'])
def test_what_looks_like_false_is_never_taken_for_true(value: str) -> None:
    with pytest.raises(UsageError, match=r"\[input\] flip is true or false, not "):
        resolved(f"input.flip={value}")
