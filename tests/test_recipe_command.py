"""`alexnet recipe list | show | diff`: what a recipe comes to, and which file and line each value is from."""

from __future__ import annotations

import json
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest

from alexnet_cli.cli import main
from alexnet_cli.recipes.read import load, load_recipe, recipe_files
from alexnet_commands.recipe.run import as_toml, compare

Capture = pytest.CaptureFixture[str]


def test_every_recipe_is_listed_with_what_it_is(capsys: Capture) -> None:
    assert main(["recipe", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["recipes"]
    for name, file in recipe_files().items():
        assert listed[name] == tomllib.loads(file.read_text(encoding="utf-8"))["about"]
    assert main(["recipe", "list"]) == 0
    assert all(name in capsys.readouterr().out for name in ["paper"])


@pytest.mark.parametrize("name", sorted(recipe_files()))
def test_what_is_shown_is_a_recipe_that_says_the_same(tmp_path: Path, name: str) -> None:
    own = tmp_path / f"{name}.toml"
    own.write_text(as_toml(load(name)))
    assert load_recipe(str(own)) == load_recipe(name)


@pytest.mark.parametrize("name", ["paper", "source-2012", "no-overlap", "conv6-finetune"])
def test_the_line_behind_each_value_holds_it(name: str) -> None:
    seen = 0
    for line in as_toml(load(name)).splitlines():
        value, _, place = line.partition("  # ")
        if place.strip() in ("", "default"):
            continue
        file, _, number = place.strip().partition(":")
        text = (files("alexnet_cli.recipes") / file).read_text(encoding="utf-8").splitlines()[int(number) - 1]
        field = value.split(" = ")[0].strip()
        assert text.split("=")[0].strip() == field
        if "[" not in value:
            assert tomllib.loads(text) == tomllib.loads(value)
        seen += 1
    assert seen > 20


def test_json_is_the_resolved_recipe(capsys: Capture) -> None:
    assert main(["recipe", "show", "source-2012", "--set", "net.pool1.size=2", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert set(shown) == {"name", "about", "net", "input", "training"}
    assert shown["net"]["order"][:4] == ["conv1", "norm1", "pool1", "relu1"]
    assert (shown["net"]["pool1"]["size"], shown["net"]["conv1"]["kernels"]) == (2, 48)
    assert shown["training"]["changes"][0]["epoch"] == 25


def test_a_value_that_an_option_gives_says_so(capsys: Capture) -> None:
    assert main(["recipe", "show", "paper", "--set", "training.epochs=3"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epochs")]
    assert line.split("#")[0].strip() == "epochs = 3"
    assert line.endswith("# --set training.epochs=3")


def test_a_file_of_ones_own_is_shown_and_compared(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.toml").write_text('extends = "paper"\nabout = "mine"\n\n[net.conv1]\nkernels = 24\n')
    assert main(["recipe", "show", "own.toml"]) == 0
    assert "own.toml:5" in capsys.readouterr().out
    assert main(["recipe", "diff", "paper", "own.toml"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "net.conv1.kernels",
        "  paper     48  (paper.toml:10)",
        "  own.toml  24  (own.toml:5)",
    ]


def test_two_recipes_differ_in_what_the_second_changes() -> None:
    found = {each.field: (each.a, each.b) for each in compare("source-2012", "no-overlap")}
    assert found == {
        "net.pool1.size": (3, 2),
        "net.pool1.overhang": (False, True),
        "net.conv2.padding": (2, 1),
        "net.pool2.size": (3, 2),
        "net.conv5.padding": (1, 0),
        "net.pool5.size": (3, 2),
        "net.pool5.overhang": (False, True),
    }


def test_layers_that_only_one_has_are_told_whole_and_a_changed_order_as_order() -> None:
    found = {each.field: each for each in compare("paper", "source-2012")}
    assert "net.order" in found and found["net.map_norm2"].a is None
    assert found["net.map_norm2"].a_place == "not there"
    assert not [field for field in found if field.startswith("net.map_norm2.")]
    removed = {each.field: each for each in compare("source-2012", "no-norm")}
    assert "net.order" not in removed, "the layers that are in both stand in the same order"
    assert removed["net.norm1"].b is None


def test_a_recipe_does_not_differ_from_itself(capsys: Capture) -> None:
    assert main(["recipe", "diff", "paper", "paper"]) == 0
    assert capsys.readouterr().out == "paper and paper say the same\n"
    assert main(["recipe", "diff", "paper", "tanh", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["differences"]


def test_a_wrong_name_is_answered_with_the_nearest(capsys: Capture) -> None:
    assert main(["recipe", "show", "papr"]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert "did you mean 'paper'?" in said


def test_recipe_alone_shows_what_it_can_do(capsys: Capture) -> None:
    assert main(["recipe"]) == 0
    assert "diff" in capsys.readouterr().out
