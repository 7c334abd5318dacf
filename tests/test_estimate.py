"""Before the long work: what `alexnet preprocess` says it will take, it takes; too little room is refused."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from alexnet_cli.cli import main
from alexnet_cli.errors import ResourceError
from alexnet_stages.preprocess import cropping, pool
from alexnet_stages.preprocess import estimate as estimate_module
from alexnet_stages.preprocess import run as run_module
from alexnet_stages.preprocess.config import PreprocessConfig
from alexnet_stages.preprocess.estimate import Estimate, estimate
from alexnet_stages.preprocess.pool import Job
from alexnet_stages.preprocess.run import run
from alexnet_stages.preprocess.sources import Located, Sources, find_sources

PICTURES = 300


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 pictures whose JPEG crops have quite different sizes."""
    root = tmp_path_factory.mktemp("estimate") / "pictures"
    for number in range(PICTURES):
        path = root / f"class{number % 2}" / f"{number:03d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(number)
        pixels = rng.integers(0, 1 + number % 256, (64 + number % 30, 80, 3), np.uint8)
        Image.fromarray(pixels).save(path)
    return root


def sources_of(pictures: Path, **options: Any) -> Sources:
    return find_sources(PreprocessConfig(source=pictures, out=pictures.parent / "none.lmdb", **options))


def job(codec: str) -> Job:
    return Job(filter="bilinear", exif_rotation=True, codec=codec, quality=95)


@pytest.mark.parametrize("codec", ["raw", "jpeg"])
def test_the_estimated_bytes_are_the_stores(pictures: Path, tmp_path: Path, codec: str) -> None:
    expected = estimate(sources_of(pictures), 0, job(codec), workers=1, folder=tmp_path)
    run(PreprocessConfig(source=pictures, out=tmp_path / "a.lmdb", codec=codec, workers=1, quiet=True))
    size = (tmp_path / "a.lmdb/data.mdb").stat().st_size
    assert expected.pictures == PICTURES
    if codec == "raw":
        assert expected.bytes == expected.most_bytes
        assert expected.bytes == pytest.approx(size, rel=0.005)
        assert expected.bytes >= size
    else:
        assert expected.bytes == pytest.approx(size, rel=0.25)
        assert expected.most_bytes > size


def test_the_trial_is_short_and_spread_over_all_pictures(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []
    crop_chunk = pool.crop_chunk

    def note(chosen: Any, *more: Any) -> Any:
        tried.extend(picture.name for picture in chosen)
        return crop_chunk(chosen, *more)

    monkeypatch.setattr(estimate_module, "crop_chunk", note)
    sources = sources_of(pictures)
    expected = estimate(sources, 0, job("raw"), workers=1, folder=pictures)
    places = [list(sources.names).index(name) for name in tried[1:]]
    assert len(places) == estimate_module.TRIAL_LEAST
    assert (places[0], places[-1]) == (0, PICTURES - 1)
    assert max(np.diff(places)) <= PICTURES / (estimate_module.TRIAL_LEAST - 1) + 1
    assert 0 < expected.seconds < 60
    tried.clear()
    monkeypatch.setattr(estimate_module, "TRIAL_SECONDS", 0)
    estimate(sources, 0, job("raw"), workers=1, folder=pictures)
    assert len(tried) == 2  # one untimed, one timed


@pytest.mark.parametrize(("pictures", "tried"), [(1, 1), (7, 7), (300, 8), (1000, 10), (1_281_167, 48)])
def test_the_trial_grows_with_the_set_up_to_a_bound(pictures: int, tried: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate_module, "crop_chunk", lambda *_: [pool.Outcome(5000)])
    sizes, _ = estimate_module._trial([Located("a.jpg", "a.jpg")] * pictures, job("jpeg"))
    assert sizes == [5000] * tried


def test_a_slow_disk_sets_the_time_of_a_large_store(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = sources_of(pictures)
    monkeypatch.setattr(estimate_module, "_disk_rate", lambda _: 1000.0)
    quick = estimate(sources, 0, job("raw"), workers=1, folder=pictures)
    monkeypatch.setattr(estimate_module, "LARGE", 1 << 20)
    slow = estimate(sources, 0, job("raw"), workers=1, folder=pictures)
    assert slow.seconds == pytest.approx(slow.bytes / 1000)
    assert quick.seconds < slow.seconds


def test_bad_pictures_in_the_trial_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for number in range(3):
        (tmp_path / f"pictures/{number}.jpg").write_bytes(b"")
    sources = sources_of(tmp_path / "pictures", unlabelled=True)
    expected = estimate(sources, 0, job("jpeg"), workers=2, folder=tmp_path)
    assert expected.pictures == 3


def test_it_is_said_before_the_work(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["preprocess", str(pictures), "--out", str(tmp_path / "a.lmdb"), "--workers", "1"]) == 0
    first, second = capsys.readouterr().err.splitlines()[:2]
    assert re.fullmatch(
        rf"{tmp_path}/a.lmdb: 300 pictures to crop, about 60\.\d MB \(\S+ [GT]B free\) and \d+ s with 1 worker", first
    )
    assert second.startswith("cropping: ")


def estimated(free: int, needed: float, codec: str) -> str:
    expected = Estimate(pictures=1, bytes=needed, most_bytes=needed, seconds=1, workers=1, free=free)
    with pytest.raises(ResourceError) as caught:
        expected.require_room(Path("a.lmdb"), codec=codec)
    assert caught.value.exit_code == 5
    return str(caught.value)


def test_what_cannot_fit_is_refused_with_what_to_do() -> None:
    assert estimated(5_000_000_000, 257e9, "raw") == (
        "a.lmdb: the disk is too full: 257.0 GB needed, 5.0 GB free: "
        "free some space, choose another --out, or use --codec jpeg"
    )
    assert estimated(5_000_000_000, 51e9, "jpeg") == (
        "a.lmdb: the disk is too full: about 51.0 GB needed, 5.0 GB free: "
        "free some space, choose another --out, or a lower --quality"
    )


@pytest.mark.parametrize("codec", ["raw", "jpeg"])
def test_a_full_disk_is_known_before_the_work(
    pictures: Path, tmp_path: Path, codec: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=2_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(run_module, "write_crops", lambda *_: pytest.fail("the work began"))
    out = tmp_path / "a.lmdb"
    code = main(["preprocess", str(pictures), "--out", str(out), "--workers", "1", "--quiet", "--codec", codec])
    assert code == 5
    assert f"{out}: the disk is too full: " in capsys.readouterr().err


def test_going_on_needs_room_for_the_rest_only(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """256 of 300 pictures are done; there is room for 50 more."""
    out = tmp_path / "a.lmdb"

    def stop(writer: Any, *_: Any) -> None:
        raise KeyboardInterrupt

    write_crops = cropping.write_crops
    with monkeypatch.context() as patch:
        patch.setattr(
            run_module,
            "write_crops",
            lambda writer, sources, *more: write_crops(writer, sources.part(slice(256)), *more),
        )
        patch.setattr(run_module, "_require_good", stop)
        with pytest.raises(KeyboardInterrupt):
            run(PreprocessConfig(source=pictures, out=out, workers=1, quiet=True))
    for free, code in ((8_000_000, 5), (10_000_000, 0)):
        usage = shutil.disk_usage(tmp_path)._replace(free=free)
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "disk_usage", lambda _, usage=usage: usage)
            assert main(["preprocess", str(pictures), "--out", str(out), "--workers", "1"]) == code
        said = capsys.readouterr().err
        assert "continuing after 256 of 300 pictures" in said
        assert "44 pictures to crop, about 8." in said


def test_a_finished_part_needs_no_estimate(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "_finish", stop)
        with pytest.raises(KeyboardInterrupt):
            run(PreprocessConfig(source=pictures, out=tmp_path / "a.lmdb", workers=1, quiet=True))
    assert main(["preprocess", str(pictures), "--out", str(tmp_path / "a.lmdb"), "--workers", "1"]) == 0
    said = capsys.readouterr().err
    assert "continuing after 300 of 300 pictures" in said
    assert "to crop" not in said
