"""`alexnet report RUN`: what the page of a training shows, against the run's own files."""

from __future__ import annotations

import base64
import io
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from alexnet_cli.artifacts.checkpoint import read_checkpoint
from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.artifacts.filters import keep_filters, read_filters
from alexnet_cli.artifacts.run import COLUMNS, RunFolder
from alexnet_cli.cli import main
from alexnet_cli.errors import ArtifactError
from alexnet_cli.reports.charts import Line, line_chart
from alexnet_commands.report.training import filter_pixels

MakeStore = Callable[..., CropStore]
Capture = pytest.CaptureFixture[str]
EPOCHS = [
    (1, 6, 0.01, 2.0, 0.6, 0.2, 40.0, 3.0, 1.9, 0.7),
    (2, 12, 0.01, 1.0, 0.4, 0.1, 42.0, 6.0, 1.2, 0.5),
    (3, 18, 0.001, 0.8, 0.5, 0.1, 41.0, 9.0, 1.3, 0.3),
]


@pytest.fixture
def run(
    make_store: MakeStore,
    make_statistics: Callable[[CropStore], Path],
    make_checkpoint: Callable[..., Path],
    tmp_path: Path,
) -> Path:
    """An unfinished run of three epochs whose second is the best."""
    store = make_store("train", [0, 1, 2])
    stats = make_statistics(store)
    for step, error in ((12, 0.4), (18, 0.5)):
        make_checkpoint(f"run/checkpoints/step-{step:08d}", store, stats, seed=step, step=step, error=error)
    folder = RunFolder(tmp_path / "run")
    folder.write_metrics([dict(zip(COLUMNS, row, strict=True)) for row in EPOCHS])
    machine = {"processor": "Z80", "cores": 1, "memory": 64_000, "devices": ["CPU"], "torch": "2.11"}
    (folder.path / "config.json").write_text(json.dumps({"seed": 5, "precision": "fp32", "machine": machine}))
    return folder.path


def page_of(run: Path, *more: str) -> ElementTree.Element:
    out = run.parent / "run.html"
    assert main(["report", str(run), "--out", str(out), "--quiet", "--json", *more]) == 0
    text = out.read_text()
    assert not re.search(r"https?:|url\(|@import|<script|<link", re.sub('base64,[^"]*', "", text))
    return ElementTree.fromstring(text)


def test_the_page_shows_curves_rates_filters_recipe_and_machine(run: Path, capsys: Capture) -> None:
    first = read_checkpoint(run / "checkpoints/step-00000018")
    keep_filters(run, first.recipe.net, first.model)
    page = page_of(run)
    assert json.loads(capsys.readouterr().out) == {
        "report": str(run.parent / "run.html"),
        "run": str(run),
        "epochs": 3,
        "finished": False,
        "best_epoch": 1,
    }
    words = " ".join(page.itertext())
    for part in (
        "training, 2: 1",
        "validation, 3: 1.3",
        "validation top-1, 2: 40",
        "validation top-5, 1: 20",
        "training top-1, 3: 30",
        "0.01 → 0.001 from epoch 3 on",
        "pictures/s, 2: 42",
        "40.00% (top-5 10.00%), epoch 2, centre view",
        "Z80, 1 cores",
        "the best checkpoint, step-00000012",
        "fc8",
    ):
        assert part in words
    images = [image.attrib["src"].partition("base64,")[2] for image in page.iter("img")]
    read = [read_checkpoint(run / f"checkpoints/step-000000{step}") for step in (18, 12)]
    weights = [checkpoint.model["conv1.weight"].numpy() for checkpoint in read]
    assert len(images) == 2, "the first epoch's, and the best's"
    for image, expected in zip(images, weights, strict=True):
        with Image.open(io.BytesIO(base64.b64decode(image))) as opened:
            np.testing.assert_array_equal(np.asarray(opened), filter_pixels(expected, 2))


def test_filters_that_are_the_same_are_shown_once(run: Path) -> None:
    best = read_checkpoint(run / "checkpoints/step-00000012")
    keep_filters(run, best.recipe.net, best.model)
    assert len(list(page_of(run).iter("img"))) == 1


def test_a_legend_stands_above_its_chart() -> None:
    """Seen in a browser: inside, the lines went through its words."""
    chart = ElementTree.fromstring(
        line_chart([Line("a", [1, 2], [1, 1]), Line("b", [1, 2], [0, 1])], x_name="x", y_name="y")
    )
    top = float(chart.attrib["viewBox"].split()[1])
    words = {text.text: float(text.attrib["y"]) for text in chart.iter("text")}
    curves = [
        float(place.partition(",")[2]) for line in chart.iter("polyline") for place in line.attrib["points"].split()
    ]
    assert all(top < words[name] - 9 < words[name] < min(curves) - 12 for name in ("a", "b"))


def test_filters_are_grey_at_zero_and_stand_in_rows_as_alexnet_plot_has_them() -> None:
    weights = np.zeros((20, 3, 2, 2), np.float32)
    weights[17, 0, 1, 0] = -0.5
    weights[3, 2, 0, 1] = 0.25
    pixels = filter_pixels(weights, 1)
    assert pixels.shape == (2 * 3 - 1, 10 * 3 - 1, 3)
    assert pixels[0, 0].tolist() == [128, 128, 128], "127.5 to the nearest even"
    assert pixels[3 + 1, 7 * 3].tolist() == [0, 128, 128]
    assert pixels[0, 3 * 3 + 1].tolist() == [128, 128, 191]
    assert (pixels[2] == 255).all() and (pixels[:, 2] == 255).all()


def test_a_run_from_before_the_filters_and_the_validation_loss_has_a_page_too(run: Path, capsys: Capture) -> None:
    lines = (run / "metrics.csv").read_text().splitlines()
    (run / "metrics.csv").write_text("\n".join(line.rsplit(",", 2)[0] for line in lines) + "\n")
    (run / "config.json").unlink()
    page = page_of(run)
    assert len(list(page.iter("img"))) == 1
    words = " ".join(page.itertext())
    assert "not recorded" in words and "validation, 3" not in words and "training, 3: 0.8" in words


def test_update_does_nothing_where_the_run_is_the_same(run: Path, capsys: Capture) -> None:
    page_of(run)
    capsys.readouterr()
    page_of(run, "--update")
    assert json.loads(capsys.readouterr().out)["up_to_date"] is True
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in EPOCHS[:2]]
    RunFolder(run).write_metrics(list(rows))
    page_of(run, "--update")
    assert "up_to_date" not in json.loads(capsys.readouterr().out)
    (run.parent / "run.html").write_text("<!DOCTYPE html>\n<p>somebody's page</p>")
    assert main(["report", str(run), "--out", str(run.parent / "run.html"), "--overwrite"]) == 2


def test_damaged_filters_and_a_run_without_an_epoch_are_refused(run: Path, capsys: Capture) -> None:
    (run / "filters").mkdir()
    (run / "filters/first-epoch.safetensors").write_bytes(b"\xff" * 40)
    with pytest.raises(ArtifactError, match=r"first-epoch\.safetensors: is damaged"):
        read_filters(run)
    (run / "metrics.csv").unlink()
    assert main(["report", str(run), "--out", "x.html"]) == 4
    assert "has no finished epoch yet" in capsys.readouterr().err


def test_kept_filters_come_back_as_they_were(run: Path) -> None:
    checkpoint = read_checkpoint(run / "checkpoints/step-00000012")
    keep_filters(run, checkpoint.recipe.net, checkpoint.model)
    found = read_filters(run)
    assert found is not None and torch.equal(torch.from_numpy(found), checkpoint.model["conv1.weight"])
