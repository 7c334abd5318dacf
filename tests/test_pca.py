"""`alexnet pca` against float64 numpy, and its promise that order and threads change nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from crc32c import crc32c
from numpy.typing import NDArray

from alexnet_cli.artifacts.crops.shards import open_crops
from alexnet_cli.artifacts.crops.store import SIDE, Crop, shape_of
from alexnet_cli.artifacts.crops.writer import CropWriter, Record
from alexnet_cli.artifacts.statistics import read_statistics
from alexnet_cli.class_list import ClassList
from alexnet_cli.errors import ArtifactError, ResourceError, UsageError
from alexnet_stages.pca import run as pca
from alexnet_stages.pca.config import PcaConfig
from alexnet_stages.pca.run import Sums, run

Crops = NDArray[np.uint8]
SHAPE = shape_of(SIDE)
MakeStore = Callable[..., Path]


def photographs(count: int, seed: int = 0) -> Crops:
    """uint8 (count, 256, 256, 3): channels that go together, as in photographs, with every value from 0 to 255."""
    rng = np.random.default_rng(seed)
    light = rng.normal(120, 60, (count, 64, 64, 1)).repeat(4, axis=1).repeat(4, axis=2)
    tint = rng.normal(0, 25, (count, 1, 1, 3))
    return np.clip(light + tint + rng.normal(0, 8, (count, *SHAPE)), 0, 255).astype(np.uint8)


@pytest.fixture
def make_store(tmp_path: Path) -> MakeStore:
    def make(crops: Crops, name: str = "train.lmdb") -> Path:
        writer = CropWriter(tmp_path / name, {"test": name})
        values = [crop.tobytes() for crop in crops]
        writer.commit(
            len(values), [Record(f"a/{i}.JPEG", 0, value, crc32c(value)) for i, value in enumerate(values)], []
        )
        writer.finish(ClassList(("a",)), codec="raw", options={}, details={})
        return tmp_path / name

    return make


def test_the_statistics_agree_with_a_float64_numpy_computation(make_store: MakeStore, tmp_path: Path) -> None:
    crops = photographs(70)
    statistics = run(PcaConfig(crops=make_store(crops), out=tmp_path / "s.h5", quiet=True)).statistics
    floats = crops.astype(np.float64)
    pixels = floats.reshape(-1, 3)
    covariance = np.cov(pixels.T, bias=True)

    def same(ours: NDArray[np.floating], theirs: NDArray[np.floating]) -> None:
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=0)

    same(statistics.mean_image, floats.mean(axis=0))
    same(statistics.channel_mean, pixels.mean(axis=0))
    same(statistics.channel_std, pixels.std(axis=0))
    same(statistics.covariance, covariance)
    same(statistics.eigenvalues, np.linalg.eigvalsh(covariance)[::-1])
    same(statistics.standard_deviations, np.sqrt(np.linalg.eigvalsh(covariance)[::-1]))
    assert statistics.pictures == 70


def test_the_eigenvectors_are_orthonormal_columns_that_rebuild_the_covariance(
    make_store: MakeStore, tmp_path: Path
) -> None:
    statistics = run(PcaConfig(crops=make_store(photographs(5)), out=tmp_path / "s.h5", quiet=True)).statistics
    vectors, values = statistics.eigenvectors, statistics.eigenvalues
    assert (np.diff(values) < 0).all()
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(vectors @ np.diag(values) @ vectors.T, statistics.covariance, rtol=1e-9)
    assert (vectors[np.abs(vectors).argmax(axis=0), range(3)] > 0).all(), "the largest component is positive"


def test_neither_threads_nor_order_change_a_single_bit(make_store: MakeStore, tmp_path: Path) -> None:
    crops = photographs(200)
    shuffled = crops[np.random.default_rng(1).permutation(len(crops))]
    stores = [make_store(crops), make_store(shuffled, "shuffled.lmdb")]
    digests = {
        run(PcaConfig(crops=store, out=tmp_path / f"{index}-{workers}.h5", workers=workers, quiet=True)).digest
        for index, store in enumerate(stores)
        for workers in (1, 2, 3)
    }
    assert len(digests) == 1


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_how_many_pictures_a_thread_takes_at_a_time_changes_nothing(
    make_store: MakeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    store = make_store(photographs(20))
    usual = run(PcaConfig(crops=store, out=tmp_path / "usual.h5", quiet=True)).digest
    monkeypatch.setattr(pca, "CHUNK", chunk)
    assert run(PcaConfig(crops=store, out=tmp_path / "other.h5", quiet=True)).digest == usual


def test_sums_of_extreme_crops_are_exact_integers() -> None:
    """White crops, past the number after which 16-bit sums would overflow."""
    sums = Sums()
    white: Crop = np.full(SHAPE, 255, np.uint8)
    for _ in range(600):
        sums.add(white)
    statistics = sums.statistics()
    assert (statistics.mean_image == 255.0).all()
    assert (statistics.covariance == 0.0).all(), "nothing is lost by cancellation"


def test_the_products_of_random_crops_equal_integer_arithmetic() -> None:
    crops = np.random.default_rng(2).integers(0, 256, (9, *SHAPE), dtype=np.uint8)
    sums = Sums()
    for crop in crops:
        sums.add(crop)
    pixels = crops.reshape(-1, 3).astype(np.int64)
    exact, count, totals = pixels.T @ pixels, len(pixels), pixels.sum(axis=0)
    expected = [
        [(count * int(exact[i, j]) - int(totals[i]) * int(totals[j])) / count**2 for j in range(3)] for i in range(3)
    ]
    assert sums.statistics().covariance.tolist() == expected


def test_the_file_can_be_read_with_h5py_alone(make_store: MakeStore, tmp_path: Path) -> None:
    result = run(PcaConfig(crops=make_store(photographs(3)), out=tmp_path / "s.h5", quiet=True))
    shapes = {
        "mean_image": (256, 256, 3),
        "channel_mean": (3,),
        "channel_std": (3,),
        "covariance": (3, 3),
        "eigenvalues": (3,),
        "eigenvectors": (3, 3),
        "standard_deviations": (3,),
        "pictures": (),
    }
    with h5py.File(tmp_path / "s.h5") as file:
        assert {name: file[name].shape for name in file} == shapes
        assert all(file[name].dtype == np.float64 for name in shapes if name != "pictures")
        assert json.loads(file.attrs["manifest"])["digest"] == result.digest


def test_the_statistics_name_the_store_as_their_parent(make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store(photographs(2))
    run(PcaConfig(crops=store, out=tmp_path / "s.h5", quiet=True))
    manifest, statistics = read_statistics(tmp_path / "s.h5")
    assert manifest.parents == {"crops": open_crops(store).digest}
    assert statistics.pictures == 2


def test_the_json_object_has_the_promised_keys(make_store: MakeStore, tmp_path: Path) -> None:
    result = run(PcaConfig(crops=make_store(photographs(2)), out=tmp_path / "s.h5", quiet=True))
    spoken = json.loads(json.dumps(result.as_json()))
    assert {"pictures", "channel_mean", "covariance", "eigenvalues", "eigenvectors"} <= set(spoken)
    assert spoken["pictures"] == 2
    assert np.array(spoken["eigenvectors"]).tolist() == result.statistics.eigenvectors.tolist()


def test_people_see_the_figures_beside_imagenets(
    make_store: MakeStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run(PcaConfig(crops=make_store(photographs(2)), out=tmp_path / "s.h5", quiet=True))
    pca.print_result(result)
    shown = capsys.readouterr().out
    assert "121.8 37.1 19.7" in shown
    assert "0.2175 0.0188 0.0045" in shown
    assert f"{result.statistics.eigenvalues[0]:.1f}" in shown


def test_an_empty_store_is_refused(make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store(np.empty((0, *SHAPE), np.uint8))
    with pytest.raises(ArtifactError, match=r"train\.lmdb: has no pictures"):
        run(PcaConfig(crops=store, out=tmp_path / "s.h5"))
    assert not (tmp_path / "s.h5").exists()


def test_an_existing_output_is_kept_unless_overwriting(make_store: MakeStore, tmp_path: Path) -> None:
    store, out = make_store(photographs(2)), tmp_path / "s.h5"
    run(PcaConfig(crops=store, out=out, quiet=True))
    before = out.read_bytes()
    with pytest.raises(UsageError, match=r"s\.h5: exists already: give --overwrite") as caught:
        run(PcaConfig(crops=store, out=out, quiet=True))
    assert caught.value.exit_code == 2
    assert out.read_bytes() == before
    run(PcaConfig(crops=store, out=out, quiet=True, overwrite=True))
    assert read_statistics(out)[1].pictures == 2


def test_a_damaged_record_ends_the_pass_and_leaves_no_file(make_store: MakeStore, tmp_path: Path) -> None:
    crops = photographs(40)
    store = make_store(crops)
    data = store / "data.mdb"
    stored = bytearray(data.read_bytes())
    at = stored.index(crops[17].tobytes()[:64])
    stored[at] ^= 1
    data.write_bytes(stored)
    with pytest.raises(ArtifactError, match=r"record 17 \(a/17\.JPEG\) fails its checksum"):
        run(PcaConfig(crops=store, out=tmp_path / "s.h5", workers=3, quiet=True))
    assert not list(tmp_path.glob("s.h5*"))


def test_an_unfinished_store_is_refused(make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store(photographs(2))
    (store / "manifest.json").unlink()
    with pytest.raises(ArtifactError, match="is not a finished crop store"):
        run(PcaConfig(crops=store, out=tmp_path / "s.h5"))


def test_an_output_that_is_a_folder_is_refused(make_store: MakeStore, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        PcaConfig(crops=make_store(photographs(2)), out=tmp_path, overwrite=True)


def test_an_output_that_cannot_be_written_is_one_line(make_store: MakeStore, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match=r"s\.h5"):
        run(PcaConfig(crops=make_store(photographs(2)), out=tmp_path / "file" / "s.h5"))
