"""`alexnet plot`: what is drawn, against numpy and torch; and the files, which are what their names say."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from conftest import NARROW_NET, MakeStore
from PIL import Image

from alexnet_cli.artifacts.checkpoint import read_checkpoint
from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.artifacts.run import COLUMNS, RunFolder
from alexnet_cli.artifacts.scores import Scores, write_scores
from alexnet_cli.artifacts.statistics import read_statistics
from alexnet_cli.class_list import ClassList
from alexnet_cli.cli import main
from alexnet_cli.errors import ArtifactError, UsageError
from alexnet_cli.evaluation import Net, evaluate
from alexnet_cli.recipes.read import load_recipe
from alexnet_cli.reports.judging import confusion
from alexnet_cli.tiles import COLUMN_GAP, GAP, filter_tiles, kernel_colours, shape_of, tile
from alexnet_commands.plot import run as plot
from alexnet_commands.plot.colours import bands
from alexnet_commands.plot.config import (
    ActivationsConfig,
    ConfusionConfig,
    CurvesConfig,
    FiltersConfig,
    MeanConfig,
    NeighboursConfig,
    PredictionsConfig,
)
from alexnet_commands.plot.confusion import confusions
from alexnet_commands.plot.curves import Group, Run, grouped
from alexnet_commands.plot.figure import Page, shortened
from alexnet_commands.plot.maps import colours

CPU = torch.device("cpu")


@pytest.fixture
def store(make_store: MakeStore) -> CropStore:
    return make_store("train", labels=[0, 1, 2] * 4)


@pytest.fixture
def net(store: CropStore, make_checkpoint: Callable[..., Path], make_statistics: Callable[[CropStore], Path]) -> Path:
    return make_checkpoint("net", store, make_statistics(store))


def kernels(count: int, size: int = 11, seed: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(seed).normal(size=(count, 3, size, size)).astype(np.float32)


# ------------------------------------------------------------------------------------------------------------- squares


def test_a_weight_of_zero_is_grey_and_the_largest_of_all_kernels_is_full_colour() -> None:
    weights = kernels(4)
    weights[2] = 0
    found = kernel_colours(weights)
    largest = np.abs(weights).max()
    for kernel, channel, row, column in np.ndindex(*weights.shape):
        expected = 0.5 + weights[kernel, channel, row, column] / (2 * largest)
        assert found[kernel, row, column, channel] == pytest.approx(expected, abs=1e-7)
    assert (found[2] == 0.5).all()
    assert found.max() == 1 or found.min() == 0


def test_each_kernel_may_have_its_own_scale() -> None:
    weights = kernels(3) * np.array([1, 10, 0.1], np.float32)[:, None, None, None]
    found = np.abs(kernel_colours(weights, each=True) - 0.5).max(axis=(1, 2, 3))
    assert found == pytest.approx([0.5] * 3, abs=1e-12)


def test_96_kernels_in_two_columns_are_six_rows_of_16_column_a_above_column_b() -> None:
    weights = kernels(96)
    picture = filter_tiles(weights, columns=2)
    step = 11 + GAP
    assert picture.shape == (6 * step - 2 * GAP + GAP + COLUMN_GAP, 16 * step - GAP, 3)
    expected = kernel_colours(weights)
    for kernel in range(96):
        row, column = divmod(kernel, 16)
        top = row * step + (kernel >= 48) * COLUMN_GAP
        assert np.array_equal(picture[top : top + 11, column * step : column * step + 11], expected[kernel])
    assert (picture[11] == 1).all() and (picture[3 * step : 3 * step + COLUMN_GAP] == 1).all()


@pytest.mark.parametrize("count", [1, 2, 5, 7, 32, 48, 64, 97, 128, 192])
def test_every_square_has_a_place_whatever_their_number(count: int) -> None:
    rows, across = shape_of(count)
    assert (rows - 1) * across < count <= rows * across
    marked = np.linspace(0, 0.9, count)[:, None, None, None] * np.ones((count, 2, 2, 3))
    assert np.unique(tile(marked)).size == count + (rows * across > 1)  # and white


def test_maps_without_negative_numbers_are_grey_and_others_have_a_colour_for_each_sign() -> None:
    values = np.array([[[0.0, 1.0], [4.0, 2.0]]], np.float32)
    assert colours(values)[0, :, :, 0] == pytest.approx(np.sqrt([[0, 0.25], [1, 0.5]]), abs=1e-12)
    assert np.ptp(colours(values), axis=3).max() == 0
    signed = colours(np.array([[[-1.0, 1.0]]], np.float32))[0, 0]
    assert signed[0, 2] == signed[1, 0] == 1 and signed[0, 0] < 0.5 and signed[1, 2] < 0.5


# --------------------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("ending", ["png", "svg", "pdf", "PNG"])
def test_the_names_ending_is_the_format(net: Path, tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"new/filters.{ending}"
    drawn = plot.filters(FiltersConfig(net=net, out=out, dpi=100))
    content = out.read_bytes()
    assert drawn.path == out and drawn.numbers["kernels"] == 8
    if ending.lower() == "png":
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            assert image.format == "PNG" and image.width > 150 and image.height > 50
    elif ending == "svg":
        assert ElementTree.fromstring(content).tag.endswith("svg")
        assert b">a</text>" in content, "text is text"
    else:
        assert content.startswith(b"%PDF-") and content.rstrip().endswith(b"%%EOF")
    again = tmp_path / f"again.{ending}"
    plot.filters(FiltersConfig(net=net, out=again, dpi=100))
    assert again.read_bytes() == content, "the same figure gives the same bytes"


def test_a_figure_has_the_pixels_that_its_inches_and_dpi_say(tmp_path: Path, store: CropStore) -> None:
    out = tmp_path / "page.png"
    Page(4, 2).publish(MeanConfig(stats=Path("x"), out=out, dpi=75), {}, {})
    with Image.open(out) as image:
        assert image.size == (300, 150)


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_a_figure_of_ours_is_replaced_only_with_overwrite_and_another_file_never(
    net: Path, tmp_path: Path, ending: str
) -> None:
    out = tmp_path / f"filters.{ending}"
    plot.filters(FiltersConfig(net=net, out=out))
    with pytest.raises(UsageError, match="exists already"):
        plot.filters(FiltersConfig(net=net, out=out))
    plot.filters(FiltersConfig(net=net, out=out, overwrite=True, scale="each"))
    photograph = tmp_path / "holiday.png"
    Image.new("RGB", (8, 8)).save(photograph)
    before = photograph.read_bytes()
    with pytest.raises(UsageError, match="is not a figure made by `alexnet plot`"):
        plot.filters(FiltersConfig(net=net, out=photograph, overwrite=True))
    assert photograph.read_bytes() == before
    with pytest.raises(UsageError, match="lies inside NET"):
        plot.filters(FiltersConfig(net=net, out=net / "filters.png"))


def test_without_a_name_the_figure_lies_in_the_working_folder_and_its_path_is_printed(
    net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["plot", "filters", str(net), "-q"]) == 0
    assert capsys.readouterr().out == "filters.png\n"
    assert main(["plot", "filters", str(net), "--overwrite", "--json", "-q"]) == 0
    told = json.loads(capsys.readouterr().out)
    model = read_checkpoint(net).model["conv1.weight"].numpy()
    assert told["path"] == "filters.png" and told["columns"] == 2
    assert told["largest_weights"] == pytest.approx(np.abs(model).max(axis=(1, 2, 3)).tolist())


@pytest.mark.parametrize("out", ["figure.jpg", "figure", ".png/x"])
def test_another_ending_is_refused_before_anything_is_opened(out: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", "mean", "nowhere.h5", "-o", out]) == 2
    assert "end it in .png, .svg or .pdf" in capsys.readouterr().err


def test_no_display_is_needed_and_no_backend_is_chosen_for_a_notebook(
    store: CropStore, make_statistics: Callable[[CropStore], Path], tmp_path: Path
) -> None:
    code = (
        "import sys; from alexnet_cli.cli import main; code = main(sys.argv[1:]);"
        "assert 'matplotlib.pyplot' not in sys.modules and 'tkinter' not in sys.modules; sys.exit(code)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "DISPLAY"} | {"MPLBACKEND": "tkagg"}
    words = ["plot", "mean", str(make_statistics(store)), "-o", str(tmp_path / "mean.pdf")]
    done = subprocess.run([sys.executable, "-c", code, *words], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not done.stderr


def test_long_names_are_shortened_in_the_middle() -> None:
    assert shortened("cat", 5) == "cat"
    assert shortened("abcdefghij", 5) == "ab…ij"
    assert len(shortened("x" * 100, 24)) == 24
    assert shortened("a\x1bb", 9) == "a\\x1bb"


# ------------------------------------------------------------------------------------------------------------- pictures


def test_predictions_are_those_of_the_evaluation(net: Path, store: CropStore, tmp_path: Path) -> None:
    drawn = plot.predictions(
        PredictionsConfig(
            net=net, crops=store.path, out=tmp_path / "p.png", picture=["5", store.names[2]], devices="cpu"
        )
    )
    scores = evaluate(Net.from_checkpoint(read_checkpoint(net), CPU, "fp32"), store)
    assert [told["name"] for told in drawn.numbers["pictures"]] == [store.names[5], store.names[2]]
    for told, index in zip(drawn.numbers["pictures"], (5, 2), strict=True):
        assert told["label"] == store.classes.names[store.labels[index]]
        expected = sorted(zip(-scores.probabilities[index], store.classes.names, strict=True))
        assert [one["class"] for one in told["predictions"]] == [name for _, name in expected]
        assert [one["probability"] for one in told["predictions"]] == pytest.approx(
            [-value for value, _ in expected], abs=1e-6
        )


def test_without_names_eight_pictures_of_as_many_classes_as_there_are_are_chosen(store: CropStore) -> None:
    from alexnet_commands.plot.opened import chosen

    found = chosen(store, [], 8, seed=0)
    assert len(set(found)) == 8
    assert sorted(store.labels[found[:3]].tolist()) == sorted(store.labels[found[3:6]].tolist()) == [0, 1, 2]
    assert found == chosen(store, [], 8, seed=0) != chosen(store, [], 8, seed=1)
    assert chosen(store, ["0003.JPEG", "7"], 8, seed=0) == [3, 7]
    for wrong in ("12", "-1", "cat.jpg", "9" * 5000):
        with pytest.raises(UsageError, match="is not a picture of"):
            chosen(store, [wrong], 8, seed=0)


@pytest.mark.parametrize("layer", [None, "fc6", "pool5"])
def test_neighbours_are_the_nearest_in_float64(net: Path, store: CropStore, tmp_path: Path, layer: str | None) -> None:
    drawn = plot.neighbours(
        NeighboursConfig(
            net=net,
            crops=store.path,
            out=tmp_path / "n.png",
            query=["4"],
            layer=layer,
            batch_size=5,
            count=4,
            devices="cpu",
        )
    )
    opened = Net.from_checkpoint(read_checkpoint(net), CPU, "fp32")
    crops = torch.from_numpy(np.stack([store.read(index) for index in range(len(store))])).double()
    mean = opened.transform.mean.double()
    patches = ((crops - mean) * opened.transform.scale.double())[:, 16:240, 16:240].permute(0, 3, 1, 2)
    last = {None: "relu7", "fc6": "relu6", "pool5": "pool5"}[layer]
    steps = opened.network.steps
    with torch.inference_mode():
        numbers = opened.network.double().run(patches, None, steps[: steps.index(last) + 1]).flatten(1).numpy()
    distances = np.sqrt(((numbers - numbers[4]) ** 2).sum(axis=1))
    order = [index for index in np.argsort(distances, kind="stable") if index != 4][:4]
    (query,) = drawn.numbers["queries"]
    assert drawn.numbers["layer"] == (layer or "fc7") and query["class"] == store.classes.names[store.labels[4]]
    assert [told["name"] for told in query["neighbours"]] == [store.names[index] for index in order]
    assert [told["distance"] for told in query["neighbours"]] == pytest.approx(distances[order].tolist(), rel=1e-4)


def test_queries_may_come_from_another_store_and_then_nothing_is_left_out(
    net: Path, store: CropStore, make_store: MakeStore, tmp_path: Path
) -> None:
    first = np.stack([store.read(7), store.read(1)])
    other = make_store("other", labels=[1, 1], crops=first)
    drawn = plot.neighbours(
        NeighboursConfig(
            net=net,
            crops=store.path,
            query_crops=other.path,
            query=["0"],
            count=1,
            out=tmp_path / "n.png",
            devices="cpu",
        )
    )
    (query,) = drawn.numbers["queries"]
    assert query["neighbours"] == [{"name": store.names[7], "class": "bat", "distance": pytest.approx(0, abs=1e-4)}]


def test_a_layer_that_the_net_has_not_is_refused_with_those_that_it_has(
    net: Path, store: CropStore, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["plot", "neighbours", str(net), str(store.path), "--layer", "fc9", "-o", str(tmp_path / "n.png")]
    assert main(words) == 2
    assert "use one of conv1, relu1," in capsys.readouterr().err


def test_activations_are_each_convolutions_maps_after_its_relu(net: Path, tmp_path: Path) -> None:
    picture = tmp_path / "p.png"
    Image.fromarray(np.random.default_rng(3).integers(0, 256, (256, 256, 3), np.uint8)).save(picture)
    drawn = plot.activations(ActivationsConfig(net=net, picture=picture, out=tmp_path / "a.png", devices="cpu"))
    told = {layer["name"]: layer for layer in drawn.numbers["layers"]}
    assert [(name, layer["maps"], layer["side"]) for name, layer in told.items()] == [
        ("conv1", 8, 55), ("conv2", 16, 27), ("conv3", 16, 13), ("conv4", 16, 13), ("conv5", 16, 13)
    ]  # fmt: skip
    checkpoint = read_checkpoint(net)
    mean, scale = checkpoint.transform.mean.double(), checkpoint.transform.scale.double()
    crop = torch.from_numpy(np.array(Image.open(picture)))
    patch = ((crop.double() - mean) * scale)[16:240, 16:240].permute(2, 0, 1)
    padded = torch.nn.functional.pad(patch, (0, 3, 0, 3))[None]
    maps = torch.nn.functional.conv2d(
        padded, checkpoint.model["conv1.weight"].double(), checkpoint.model["conv1.bias"].double(), stride=4
    ).relu()
    assert told["conv1"]["highest"] == pytest.approx(float(maps.max()), rel=1e-5)
    assert told["conv1"]["lowest"] == 0


@pytest.mark.parametrize("recipe", ["one-column", "tanh", "no-norm", "source-2012"])
def test_every_figure_of_a_net_is_drawn_of_other_nets_too(
    recipe: str,
    store: CropStore,
    make_checkpoint: Callable[..., Path],
    make_statistics: Callable[[CropStore], Path],
    tmp_path: Path,
) -> None:
    net = make_checkpoint("other", store, make_statistics(store), recipe=recipe)
    grey = tmp_path / "grey.png"
    Image.new("L", (300, 280), 90).save(grey)
    assert plot.filters(FiltersConfig(net=net, out=tmp_path / "f.png")).path.stat().st_size
    plot.activations(ActivationsConfig(net=net, picture=grey, out=tmp_path / "a.png", devices="cpu"))
    plot.predictions(PredictionsConfig(net=net, crops=store.path, out=tmp_path / "p.svg", views=1, devices="cpu"))
    told = plot.neighbours(NeighboursConfig(net=net, crops=store.path, out=tmp_path / "n.png", devices="cpu"))
    assert told.numbers["layer"] == "fc7"


def test_a_net_without_a_hidden_layer_compares_what_its_last_layer_sees() -> None:
    from alexnet_cli.net.network import Network
    from alexnet_cli.recipes.recipe import Recipe
    from alexnet_commands.plot.opened import steps_to

    values = load_recipe("one-column").with_options(net={**NARROW_NET, "classes": 3}).to_dict()
    for name in ("fc6", "relu6", "dropout6", "fc7", "relu7", "dropout7"):
        values["net"].pop(name, None)
    values["net"]["order"] = [name for name in values["net"]["order"] if name in values["net"]]
    values["training"] = {}
    network = Network(Recipe.from_dict(values).net)
    name, steps = steps_to(network, None)
    assert name == "relu5" and steps[-1] == "relu5"


def test_pictures_without_labels_have_bars_of_one_colour(net: Path, make_store: MakeStore, tmp_path: Path) -> None:
    unlabelled = make_store("unlabelled", labels=[-1, -1, -1], crops=np.zeros((3, 256, 256, 3), np.uint8))
    told = plot.predictions(
        PredictionsConfig(net=net, crops=unlabelled.path, out=tmp_path / "p.svg", views=1, devices="cpu")
    ).numbers["pictures"]
    assert [one["label"] for one in told] == [None] * 3
    assert "#c8423b" not in (tmp_path / "p.svg").read_text()


# ------------------------------------------------------------------------------------------------------ runs and scores


def run_of(folder: Path, seed: int, errors: list[float], **training: object) -> Path:
    """A run folder with metrics of so many epochs."""
    recipe = load_recipe("quickstart").with_options(training=dict(training)).to_dict()
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"recipe": recipe, "seed": seed}))
    rows = []
    for epoch, error in enumerate(errors, 1):
        row = dict.fromkeys(COLUMNS, "")
        row |= {"epoch": str(epoch), "step": str(10 * epoch), "rate": str(0.01 if epoch < 3 else 0.001)}
        rows.append(row | {"train_loss": str(3 * error), "validation_top1_error": str(error)})
    RunFolder(folder).write_metrics(list(rows))
    return folder


def test_runs_that_differ_only_in_the_seed_are_one_band_of_mean_and_range(tmp_path: Path) -> None:
    errors = [[0.9, 0.5, 0.2, 0.1], [0.8, 0.6, 0.3], [0.7, 0.4]]
    runs = [run_of(tmp_path / str(seed), seed, values) for seed, values in enumerate(errors)]
    other = run_of(tmp_path / "other", 0, [0.9, 0.9], rate=0.02)
    told = plot.curves(CurvesConfig(runs=[*runs, other], out=tmp_path / "c.svg")).numbers["groups"]
    assert [group["runs"] for group in told] == [["0", "1", "2"], ["other"]]
    assert told[0]["title"] == "quickstart (3 runs)" and told[1]["title"] == "other: quickstart, training.rate = 0.02"
    band = told[0]["series"]["validation_top1_error"]
    assert band["epochs"] == [1, 2, 3, 4] and band["runs"] == [3, 3, 2, 1]
    for place in range(4):
        here = np.array([values[place] for values in errors if len(values) > place])
        assert band["mean"][place] == pytest.approx(here.mean())
        assert (band["lowest"][place], band["highest"][place]) == (here.min(), here.max())
    apart = plot.curves(CurvesConfig(runs=runs, separate=True, out=tmp_path / "d.png")).numbers["groups"]
    assert [group["runs"] for group in apart] == [["0"], ["1"], ["2"]]


def test_a_drop_of_the_rate_is_marked_where_it_is(tmp_path: Path) -> None:
    rows = [{"epoch": str(epoch), "rate": rate} for epoch, rate in enumerate(["0.01", "0.01", "0.001", "0.001"], 1)]
    assert Group("", [Run("a", {}, rows)]).drops() == [3]


def test_validation_loss_is_drawn_where_the_metrics_have_it() -> None:
    rows = [{"epoch": "1", "validation_loss": "2.5"}, {"epoch": "2", "validation_loss": ""}]
    (group,) = grouped([Run("a", {"name": "paper"}, rows)], separate=False)
    assert group.band("validation_loss").epochs == [1] and group.band("validation_loss").mean.tolist() == [2.5]


def test_what_is_no_run_and_a_run_before_its_first_epoch_are_told(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is not a run folder"):
        plot.curves(CurvesConfig(runs=[tmp_path], out=tmp_path.parent / "c.png"))
    with pytest.raises(ArtifactError, match="has not ended an epoch"):
        plot.curves(CurvesConfig(runs=[run_of(tmp_path / "r", 1, [])], out=tmp_path / "c.png"))


def scores_of(classes: int, pictures: int, *, words: bool = False) -> Scores:
    rng = np.random.default_rng(classes)
    values = rng.random((pictures, classes)).astype(np.float32)
    values /= values.sum(1, keepdims=True)
    names = tuple(f"class {number} $_{{x}}$ with a name that never ends" for number in range(classes))
    labels = rng.integers(0, classes, pictures)
    explained = tuple(f"thing {number}, other" for number in range(classes)) if words else ()
    listed = ClassList(names, words=explained)
    return Scores(values, values, labels.astype(np.int64), [f"{index}.jpg" for index in range(pictures)], listed)


def test_the_confusion_matrix_counts_each_picture_once() -> None:
    scores = scores_of(5, 200)
    expected = np.zeros((5, 5), int)
    for label, row in zip(scores.labels, scores.probabilities, strict=True):
        expected[label, int(np.argmax(row))] += 1
    counts = confusion(scores.labels, scores.probabilities.argmax(axis=1), len(scores.classes))
    assert np.array_equal(counts, expected) and counts.sum() == 200
    assert 1 - np.trace(counts) / 200 == pytest.approx(scores.error(1))
    found = confusions(counts)
    assert found == sorted(found, key=lambda one: -one[2])
    assert sum(count for _, _, count in found) == 200 - np.trace(counts)


@pytest.mark.parametrize(("classes", "words"), [(2, False), (3, True), (40, False), (1000, True)])
def test_the_confusion_of_few_and_of_many_classes_is_drawn(classes: int, words: bool, tmp_path: Path) -> None:
    scores = scores_of(classes, 3 * classes, words=words)
    path = tmp_path / "s.h5"
    write_scores(path, scores, parents={}, options={}, overwrite=True)
    told = plot.confusion(ConfusionConfig(scores=path, out=tmp_path / "c.png", dpi=60)).numbers
    assert sum(count for _, _, count in told["counts"]) == 3 * classes
    with Image.open(tmp_path / "c.png") as image:
        assert max(image.size) < 60 * 16


def test_scores_without_labels_have_no_confusion(tmp_path: Path) -> None:
    scores = scores_of(3, 4)
    blank = Scores(scores.probabilities, scores.probabilities, np.full(4, -1, np.int64), scores.names, scores.classes)
    write_scores(tmp_path / "s.h5", blank, parents={}, options={}, overwrite=True)
    with pytest.raises(ArtifactError, match="have no labels"):
        plot.confusion(ConfusionConfig(scores=tmp_path / "s.h5", out=tmp_path / "c.png"))


def test_the_strips_of_colours_go_along_the_eigenvectors(
    store: CropStore, make_statistics: Callable[[CropStore], Path], tmp_path: Path
) -> None:
    path = make_statistics(store)
    _, statistics = read_statistics(path)
    found = bands(statistics, steps=5)
    for number in range(3):
        vector, length = statistics.eigenvectors[:, number], np.sqrt(statistics.eigenvalues[number])
        for step, times in enumerate((-2, -1, 0, 1, 2)):
            assert found[number, step] == pytest.approx(statistics.channel_mean + times * length * vector)
    told = plot.mean(MeanConfig(stats=path, out=tmp_path / "m.png")).numbers
    assert told["standard_deviations"] == pytest.approx(statistics.standard_deviations.tolist())


def test_the_readmes_pictures_are_small_figures_of_ours() -> None:
    from alexnet_commands.plot.figure import is_ours

    root = Path(__file__).parent.parent
    pictures = sorted((root / "docs/pictures").iterdir())
    text = (root / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in pictures] == ["filters.png", "predictions.png"]
    for path in pictures:
        assert is_ours(path) and path.stat().st_size < 150_000 and f"docs/pictures/{path.name}" in text
