"""`alexnet eval --report` and `alexnet report SCORES CROPS`: tables and page against the scores."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.artifacts.scores import Scores, read_scores, write_scores
from alexnet_cli.class_list import ClassList
from alexnet_cli.cli import main

MakeStore = Callable[..., CropStore]
Capture = pytest.CaptureFixture[str]
CLASSES = ("ape", "b<a>t", "cat")


@pytest.fixture
def store(make_store: MakeStore) -> CropStore:
    return make_store("val", [0, 1, 2, 0, 1, 2, 2, 2], classes=CLASSES)


@pytest.fixture
def scored(store: CropStore, tmp_path: Path) -> Path:
    """Scores of the store: five right, three wrong."""
    tenths = [[8, 1, 1], [1, 7, 2], [2, 2, 6], [1, 8, 1], [2, 4, 4], [9, 0, 1], [3, 3, 4], [0, 5, 5]]
    said = (np.array(tenths) / 10).astype(np.float32)
    classes = ClassList(CLASSES, words=("great ape", "bat", "house cat"))
    centre = np.roll(said, 1, axis=1)
    write_scores(
        tmp_path / "s.h5",
        Scores(said, centre, store.labels, store.names, classes),
        parents={"checkpoint": "c", "crops": store.digest},
        options={"views": 10},
        overwrite=False,
        views_averaged=10,
    )
    return tmp_path / "s.h5"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_tables_hold_what_the_scores_say(scored: Path, store: CropStore, capsys: Capture) -> None:
    out = scored.parent / "report"
    assert main(["report", str(scored), str(store.path), "--out", str(out), "--json", "--quiet"]) == 0
    scores = read_scores(scored)[1]
    assert json.loads(capsys.readouterr().out)["top1_error"] == scores.error(1) == 3 / 8
    errors = rows(out / "errors.csv")
    assert [(row["views"], row["measure"], row["wrong"], row["pictures"]) for row in errors] == [
        ("averaged", "top-1", "3", "8"),
        ("averaged", "top-5", "0", "8"),
        ("centre", "top-1", str(round(8 * (scores.error(1, centre=True) or 0))), "8"),
        ("centre", "top-5", "0", "8"),
    ]
    counts = {(row["class"], row["predicted"]): int(row["pictures"]) for row in rows(out / "confusion.csv")}
    assert counts == {
        ("ape", "ape"): 1,
        ("ape", "b<a>t"): 1,
        ("b<a>t", "b<a>t"): 2,
        ("cat", "cat"): 2,
        ("cat", "ape"): 1,
        ("cat", "b<a>t"): 1,
    }
    by_class = {row["class"]: row for row in rows(out / "classes.csv")}
    cat = by_class["cat"]
    assert (cat["recall"], cat["top1_error"], cat["precision"]) == ("0.5", "0.5", "1.0")
    assert float(by_class["b<a>t"]["precision"]) == 0.5 and by_class["ape"]["words"] == "great ape"
    listed = rows(out / "pictures.csv")
    assert [row["name"] for row in listed] == store.names
    assert [int(row["rank_of_class"]) for row in listed] == [1, 1, 1, 2, 1, 2, 1, 2]
    assert sum(int(row["pictures"]) for row in rows(out / "calibration.csv")) == 8


def test_the_page_needs_nothing_from_elsewhere_and_shows_the_pictures(scored: Path, store: CropStore) -> None:
    out = scored.parent / "report"
    assert main(["report", str(scored), str(store.path), "--out", str(out), "--quiet"]) == 0
    text = (out / "report.html").read_text()
    page = ElementTree.fromstring(text)
    assert not re.search(r"https?:|//|url\(|@import|<script|<link", re.sub('base64,[^"]*', "", text))
    assert [heading.text for heading in page.iter("h2")] == [
        "Errors",
        "Calibration",
        "Classes",
        "Confusions",
        "The most confident mistakes",
        "The most doubtful right ones",
    ]
    assert len(list(page.iter("svg"))) == 2
    shown = [(image.attrib["alt"], image.attrib["src"]) for image in page.iter("img")]
    mistakes = [store.names[at] for at in (5, 3, 7)]
    right = [store.names[at] for at in (4, 6, 2, 1, 0)]
    assert [name for name, _ in shown] == mistakes + right, "surest mistake first, most doubtful right one first"
    with Image.open(io.BytesIO(base64.b64decode(shown[0][1].partition("base64,")[2]))) as image:
        mean = np.asarray(image.convert("RGB"), np.float64).mean(axis=(0, 1))
    np.testing.assert_allclose(mean, store.read(5).mean(axis=(0, 1)), atol=2)
    captions = [" | ".join(part for part in caption.itertext()) for caption in page.iter("figcaption")]
    assert captions[0] == f"ape (great ape) 90.0% | is cat (house cat) 10.0% | {store.names[5]}"


def test_eval_writes_the_report_and_its_json_has_intervals_and_loss(
    make_store: MakeStore,
    make_statistics: Callable[[CropStore], Path],
    make_checkpoint: Callable[..., Path],
    tmp_path: Path,
    capsys: Capture,
) -> None:
    store = make_store("val", [0, 1, 2] * 3)
    net = make_checkpoint("net", store, make_statistics(store))
    words = ["eval", net, store.path, "--out", tmp_path / "s.h5", "--report", tmp_path / "report", "--devices", "cpu"]
    command = [*map(str, words), "--json", "--quiet", "--update"]
    assert main(command) == 0
    result = json.loads(capsys.readouterr().out)
    scores = read_scores(tmp_path / "s.h5")[1]
    own = scores.probabilities[np.arange(9), scores.labels].astype(np.float64)
    assert result["loss"] == pytest.approx(-np.log(own).mean())
    first = rows(tmp_path / "report/errors.csv")[0]
    assert result["top1_interval"] == [float(first["low"]), float(first["high"])]
    assert result["top5_interval"][0] == 0
    before = (tmp_path / "report/report.html").stat().st_ino
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["up_to_date"] is True
    assert (tmp_path / "report/report.html").stat().st_ino == before
    (tmp_path / "report/notes.txt").write_text("somebody's")
    assert main([*map(str, words), "--overwrite", "--quiet"]) == 2
    assert (tmp_path / "report/notes.txt").exists()


def test_a_report_on_the_wrong_pictures_or_without_labels_is_refused(
    scored: Path, make_store: MakeStore, capsys: Capture
) -> None:
    other = make_store("other", [0, 1], classes=CLASSES)
    none = make_store("none", [-1, -1], classes=())
    for store, said in (
        (other, "are scores of different pictures than"),
        (None, "give the crop store that they are of"),
    ):
        words = ["report", str(scored), *([str(store.path)] if store else []), "--out", str(scored.parent / "r")]
        assert main(words) == (4 if store else 2)
        assert said in capsys.readouterr().err
    words = ["eval", "net", str(none.path), "--out", "s2.h5", "--report", str(scored.parent / "r")]
    assert main(words) == 4
    capsys.readouterr()
    assert main(["report", str(none.path), "--out", "r.html"]) == 4
    assert "is neither a run folder nor a scores file" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["report.html", "pictures.csv"])
@pytest.mark.parametrize("damage", ["a byte more", "missing"])
def test_a_report_that_is_damaged_is_no_longer_up_to_date(
    scored: Path, store: CropStore, tmp_path: Path, name: str, damage: str, capsys: Capture
) -> None:
    words = [*map(str, ("report", scored, store.path, "--out", tmp_path / "r")), "--update"]
    assert main(words) == 0
    whole = (tmp_path / "r" / name).read_bytes()
    capsys.readouterr()
    assert main(words) == 0
    assert "up to date" in capsys.readouterr().err
    if damage == "missing":
        (tmp_path / "r" / name).unlink()
    else:
        (tmp_path / "r" / name).write_bytes(whole + b" ")
    assert main(words) == 0
    assert "is made again" in capsys.readouterr().err
    assert (tmp_path / "r" / name).read_bytes() == whole
