"""`alexnet sample`: an ImageNet-like tree of real hand-written digits."""

from __future__ import annotations

import hashlib
import json
import signal
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet_cli.artifacts.common.working import mark
from alexnet_cli.cli import main
from alexnet_cli.errors import ResourceError, UsageError
from alexnet_cli.signals import EndedBySignalError
from alexnet_commands.sample import run as sample
from alexnet_commands.sample.config import SampleConfig
from alexnet_commands.sample.run import read_sample, run

sklearn_datasets = pytest.importorskip("sklearn.datasets", reason="needs the extra 'sample'")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole sample, made once."""
    out = tmp_path_factory.mktemp("sample") / "pictures"
    run(SampleConfig(out=out, quiet=True))
    return out


def digests(tree: Path) -> dict[str, str]:
    return {
        str(path.relative_to(tree)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in tree.rglob("*")
        if path.is_file()
    }


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def test_there_are_1437_training_and_360_validation_pictures_in_ten_classes(tree: Path) -> None:
    assert len(list(tree.glob("train/*/*.JPEG"))) == 1437
    assert len(list(tree.glob("val/*/*.JPEG"))) == 360
    for split in ("train", "val"):
        assert sorted(folder.name for folder in (tree / split).iterdir()) == [f"digit-{digit}" for digit in range(10)]


def test_every_digit_of_the_set_is_used_once_under_its_own_class(tree: Path) -> None:
    digits = sklearn_datasets.load_digits().target
    found = {int(path.stem.split("_")[1]): int(path.parent.name[-1]) for path in tree.glob("*/*/*.JPEG")}
    assert found == dict(enumerate(digits.tolist()))


def test_each_class_has_its_share_in_val(tree: Path) -> None:
    for digit in range(10):
        train, val = (len(list(tree.glob(f"{split}/digit-{digit}/*"))) for split in ("train", "val"))
        assert abs(val - (train + val) * 360 / 1797) <= 1


def test_sizes_and_shapes_vary_as_photographs_do(tree: Path) -> None:
    sizes = [size_of(path) for path in tree.glob("val/*/*.JPEG")]
    assert all(200 <= min(size) <= 420 for size in sizes)
    assert len({min(size) for size in sizes}) > 100
    shapes = Counter((width > height) - (width < height) for width, height in sizes)
    assert min(shapes[-1], shapes[0], shapes[1]) > 40


def test_some_are_greyscale_one_is_cmyk_and_one_is_a_png(tree: Path) -> None:
    kinds: Counter[tuple[str | None, str]] = Counter()
    for path in tree.glob("*/*/*.JPEG"):
        with Image.open(path) as picture:
            kinds[picture.format, picture.mode] += 1
    assert kinds == {("JPEG", "RGB"): 1759, ("JPEG", "L"): 36, ("JPEG", "CMYK"): 1, ("PNG", "RGBA"): 1}


def test_the_digit_lies_inside_every_patch_of_the_central_square(tree: Path) -> None:
    """A 224 patch of the 256 crop always sees the central 3/4: outside it there is nothing but paper."""
    for path in sorted(tree.glob("*/*/*.JPEG"))[::30]:
        with Image.open(path) as picture:
            grey = np.asarray(picture.convert("L"), np.int64)
        height, width = grey.shape
        seen = min(height, width) * 0.75
        paper = np.median(grey)
        rows, columns = np.nonzero(np.abs(grey - paper) > 60)
        assert len(rows) > 0, f"{path.name} shows no digit"
        assert np.abs(rows + 0.5 - height / 2).max() <= seen / 2 + 1, path.name
        assert np.abs(columns + 0.5 - width / 2).max() <= seen / 2 + 1, path.name


def test_the_picture_shows_the_digit_of_the_set() -> None:
    """Scaled back to 8×8, the ink lies where scikit-learn has it."""
    images = sklearn_datasets.load_digits().images
    for index in range(0, 1797, 199):
        picture = np.asarray(sample.draw(images[index], index).convert("L"), np.float64)
        dark = picture.max() - picture
        rows, columns = np.nonzero(dark > 0.5 * dark.max())
        box = dark[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        inked = images[index][np.ix_(*(np.flatnonzero((images[index] > 8).any(axis=axis)) for axis in (1, 0)))]
        small = np.asarray(Image.fromarray(box).resize(inked.shape[::-1], Image.Resampling.BOX))
        assert np.corrcoef(small.ravel(), inked.ravel())[0, 1] > 0.8, index


def test_the_colours_vary_in_all_three_directions(tree: Path) -> None:
    colours = []
    for path in sorted(tree.glob("train/*/*.JPEG"))[::10]:
        with Image.open(path) as picture:
            colours.append(np.asarray(picture.convert("RGB").resize((8, 8))).reshape(-1, 3))
    assert np.linalg.eigvalsh(np.cov(np.concatenate(colours).T))[0] > 10


def test_the_bytes_are_the_same_each_time(tree: Path, tmp_path: Path) -> None:
    run(SampleConfig(out=tmp_path / "again", quiet=True))
    made, again = digests(tree), digests(tmp_path / "again")
    del made["manifest.json"], again["manifest.json"]  # they also say when each was made
    assert made == again
    assert read_sample(tree).digest == read_sample(tmp_path / "again").digest


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the first thirty digits, where the pictures don't matter."""
    images, digits = sample.load_digits()
    monkeypatch.setattr(sample, "load_digits", lambda: (images[:30], digits[:30]))


@pytest.mark.usefixtures("few")
def test_the_json_object_counts_pictures_and_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", str(tmp_path / "s"), "--json"]) == 0
    spoken = json.loads(capsys.readouterr().out)
    assert {name: spoken[name] for name in ("train", "val", "classes")} == {"train": 24, "val": 6, "classes": 10}


@pytest.mark.usefixtures("few")
def test_an_existing_folder_is_kept_unless_overwriting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "s"
    assert main(["sample", str(out), "-q"]) == 0
    assert main(["sample", str(out), "-q"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(["sample", str(out), "-q", "--overwrite"]) == 0


@pytest.mark.usefixtures("few")
def test_overwriting_never_replaces_a_folder_of_something_else(tmp_path: Path) -> None:
    precious = tmp_path / "home" / "thesis.txt"
    precious.parent.mkdir()
    precious.write_text("two years of work")
    with pytest.raises(UsageError, match="is not a sample"):
        run(SampleConfig(out=precious.parent, overwrite=True, quiet=True))
    assert precious.read_text() == "two years of work"


@pytest.mark.usefixtures("few")
def test_a_failure_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = []

    def save(picture: Image.Image, path: Path, index: int) -> None:
        done.append(path)
        if len(done) > 10:
            raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(sample, "save", save)
    with pytest.raises(ResourceError, match="the disk is full"):
        run(SampleConfig(out=tmp_path / "s", quiet=True))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("error", [EndedBySignalError(signal.SIGTERM), KeyboardInterrupt()])
def test_a_signal_half_way_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def stop(content: object, path: Path) -> None:
        raise error

    monkeypatch.setattr(sample, "write_verified", stop)
    with pytest.raises(type(error)):
        run(SampleConfig(out=tmp_path / "s", quiet=True))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("few")
def test_what_an_earlier_interruption_left_is_cleared_away(tmp_path: Path) -> None:
    rest = tmp_path / ".s.alexnet-work" / "train" / "digit-0"
    rest.mkdir(parents=True)
    mark(tmp_path / ".s.alexnet-work", "sample", tmp_path / "s")
    (rest / "half.JPEG").touch()
    run(SampleConfig(out=tmp_path / "s", quiet=True))
    assert not list((tmp_path / "s").rglob("half.JPEG"))
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_without_scikit_learn_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    assert main(["sample", str(tmp_path / "s")]) == 2
    assert "pip install 'alexnet[sample]'" in capsys.readouterr().err
