"""docs/imagenet.md: its figures follow from the recipes and the formats, its commands and variables exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import typer

from alexnet_cli.cli import build
from alexnet_cli.recipes.net import layers
from alexnet_cli.recipes.read import load_recipe
from alexnet_cli.recipes.recipe import Recipe
from alexnet_commands.contest.plan import KEPT_CHECKPOINTS, OFFICIAL, RAW_BYTES

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "imagenet.md").read_text(encoding="utf-8")
JPEG_BYTES = 31_074
"""The page's measured figure."""


def recipe(name: str, classes: int = 1000) -> Recipe:
    return load_recipe(name).with_options(net={"classes": classes})


def parameters(net: Recipe) -> int:
    return sum(layer.parameters for layer in layers(net.net))


def multiply_adds(net: Recipe) -> int:
    return sum(layer.multiply_adds for layer in layers(net.net))


def row(start: str) -> list[str]:
    (found,) = re.findall(rf"^\| {re.escape(start)}.*$", TEXT, flags=re.MULTILINE)
    return [cell.strip() for cell in found.strip("|").split("|")]


@pytest.mark.parametrize(("split", "name"), [("train", "train"), ("val", "val"), ("test", "test")])
def test_the_disk_of_the_crops(split: str, name: str) -> None:
    cells = row(f"{name} | {OFFICIAL[split]:,} ×")
    digits = 0 if split == "train" else 1
    assert cells[2] == f"{OFFICIAL[split] * RAW_BYTES / 1e9:.{digits}f} GB"
    assert cells[3] == f"{OFFICIAL[split] * JPEG_BYTES / 1e9:.{digits}f} GB"


def test_the_disk_of_fall_2011_and_of_the_nets() -> None:
    cells = row("Fall 2011 | 14,197,122")
    assert cells[2] == f"{OFFICIAL['fall2011'] * RAW_BYTES / 1e9:,.0f} GB"
    assert cells[3] == f"{OFFICIAL['fall2011'] * JPEG_BYTES / 1e9:,.0f} GB"
    kept = KEPT_CHECKPOINTS * 2 * 4
    assert f"4 bytes × {parameters(recipe('paper')):,}" in TEXT
    assert row("a net of five convolutions")[2] == f"{kept * parameters(recipe('paper')) / 1e9:.2f} GB"
    assert row("the pre-trained net")[2] == f"{kept * parameters(recipe('conv6-pretrain', 21_841)) / 1e9:.2f} GB"


def test_the_passes_and_their_work() -> None:
    paper, pretrain, finetune = recipe("paper"), recipe("conv6-pretrain", 21_841), recipe("conv6-finetune")
    passes = {
        net.name: net.training.epochs * OFFICIAL["fall2011" if net is pretrain else "train"]
        for net in (paper, pretrain, finetune)
    }
    work = {net.name: multiply_adds(net) / multiply_adds(paper) for net in (pretrain, finetune)}
    assert row("one net of five")[2:] == [f"{paper.training.epochs}", f"{passes['paper'] / 1e6:.0f} million"]
    for start, net in (("the pre-training", pretrain), ("one fine-tuning", finetune)):
        cells = row(f"{start} (`{net.name}`)")
        assert cells[2] == f"{net.training.epochs}"
        assert cells[3] == f"{passes[net.name] / 1e6:.0f} million, each {work[net.name]:.2f} times the work"
    count = {"paper": 5, "conv6-pretrain": 1, "conv6-finetune": 2}
    total = sum(count[name] * number for name, number in passes.items())
    weighed = sum(count[name] * number * work.get(name, 1) for name, number in passes.items())
    assert f"{total / 1e6:.0f} million, as if all were of five convolutions: {weighed / 1e6:.0f} million" in TEXT
    assert f"takes {weighed / 1e6:.0f},000 s = {weighed / 1000 / 3600:.0f} hours" in " ".join(TEXT.split())
    assert f"at 5,000 pictures/s {weighed / 5000 / 3600:.0f} hours" in " ".join(TEXT.split())


def test_every_command_of_the_page_has_the_options_that_it_is_given() -> None:
    group = typer.main.get_command(build())
    assert isinstance(group, typer.core.TyperGroup)
    commands = re.findall(r"^ +alexnet (\w+)((?:.*\\\n)*.*)$", TEXT, flags=re.MULTILINE)
    assert {name for name, _ in commands} == {"preprocess", "pca", "train", "ensemble"}
    for name, words in commands:
        known = {option for parameter in group.commands[name].params for option in parameter.opts}
        assert set(re.findall(r"--[a-z0-9-]+", words)) <= known, f"alexnet {name}{words}"


def test_every_variable_of_the_page_is_one_of_makes() -> None:
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    given = set(re.findall(r"\b([A-Z][A-Z0-9_]+)=", TEXT))
    assert given
    for name in given:
        assert re.search(rf"\b{name}\b", listed), name
