"""Statistics and scores on disk, and top-k error."""

from __future__ import annotations

import hashlib
import resource
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from alexnet_cli.artifacts.common import seal
from alexnet_cli.artifacts.common.manifest import ATTRIBUTE, Manifest
from alexnet_cli.artifacts.scores import Scores, read_scores, read_scores_manifest, top_k_error, write_scores
from alexnet_cli.artifacts.statistics import Statistics, read_statistics, write_statistics
from alexnet_cli.class_list import ClassList
from alexnet_cli.errors import ArtifactError, ResourceError, UsageError

CROPS = Manifest(kind="crops", schema=1, digest="the crops' digest")
CLASSES = ClassList(("ähnlich", "b", "c c", "d", "e", "f"))


def some_statistics() -> Statistics:
    crops = np.random.default_rng(0).integers(0, 256, (4, 256, 256, 3))
    pixels = crops.reshape(-1, 3)
    return Statistics.from_sums(crops.sum(axis=0), pixels.T @ pixels, 4)


def some_scores(count: int = 20, *, labelled: bool = True) -> Scores:
    rng = np.random.default_rng(1)
    return Scores(
        probabilities=rng.dirichlet(np.ones(len(CLASSES)), count).astype(np.float32),
        centre_probabilities=rng.dirichlet(np.ones(len(CLASSES)), count).astype(np.float32),
        labels=rng.integers(0, len(CLASSES), count) if labelled else np.full(count, -1),
        names=[f"ähnlich/bild {index}.JPEG" for index in range(count)],
        classes=CLASSES,
    )


def write_some_statistics(path: Path) -> Manifest:
    return write_statistics(path, some_statistics(), crops=CROPS, classes=CLASSES, overwrite=False)


def write_some_scores(path: Path) -> Manifest:
    return write_scores(
        path, some_scores(), parents={"crops": "c", "checkpoint": "d"}, options={"views": 10}, overwrite=False
    )


Write = Callable[[Path], Manifest]
Read = Callable[[Path], object]
KINDS = [(write_some_statistics, read_statistics), (write_some_scores, read_scores)]
both_kinds = pytest.mark.parametrize(("write", "read"), KINDS, ids=["statistics", "scores"])


def test_statistics_come_back_bit_for_bit(tmp_path: Path) -> None:
    written, statistics = write_some_statistics(tmp_path / "s.h5"), some_statistics()
    manifest, again = read_statistics(tmp_path / "s.h5")
    assert manifest == written
    assert manifest.parents == {"crops": "the crops' digest"}
    for field in fields(Statistics):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(statistics, field.name))
    assert again.pixels == 4 * 256 * 256


def test_scores_come_back_bit_for_bit(tmp_path: Path) -> None:
    written, scores = write_some_scores(tmp_path / "s.h5"), some_scores()
    manifest, again = read_scores(tmp_path / "s.h5")
    assert manifest == written == read_scores_manifest(tmp_path / "s.h5")
    np.testing.assert_array_equal(again.probabilities, scores.probabilities)
    np.testing.assert_array_equal(again.centre_probabilities, scores.centre_probabilities)
    np.testing.assert_array_equal(again.labels, scores.labels)
    assert again.names == scores.names
    assert again.classes == scores.classes
    assert again.errors() == scores.errors()
    assert manifest.details["top1_error"] == scores.error(1)


def test_scores_can_be_read_with_h5py_alone(tmp_path: Path) -> None:
    write_some_scores(tmp_path / "s.h5")
    with h5py.File(tmp_path / "s.h5") as file:
        assert file["probabilities"].shape == (20, 6)
        assert file["probabilities"].dtype == np.float32
        assert file["labels"].dtype == np.int64
        assert file["classes"].asstr()[0] == "ähnlich"
        assert file["names"].asstr()[3] == "ähnlich/bild 3.JPEG"


def test_scores_without_labels_have_no_errors(tmp_path: Path) -> None:
    write_scores(tmp_path / "s.h5", some_scores(labelled=False), parents={}, options={}, overwrite=False)
    again = read_scores(tmp_path / "s.h5")[1]
    assert not again.labelled
    assert set(again.errors().values()) == {None}


@both_kinds
def test_equal_content_has_an_equal_digest_and_other_content_another(tmp_path: Path, write: Write, read: Read) -> None:
    first, second = write(tmp_path / "1.h5"), write(tmp_path / "2.h5")
    assert first.digest == second.digest
    assert len(first.digest) == 64
    other = replace(some_scores(), names=["x"] * 20)
    assert write_scores(tmp_path / "3.h5", other, parents={}, options={}, overwrite=False).digest != first.digest


@both_kinds
def test_an_existing_file_is_kept_unless_overwriting(tmp_path: Path, write: Write, read: Read) -> None:
    write(tmp_path / "s.h5")
    before = (tmp_path / "s.h5").read_bytes()
    with pytest.raises(UsageError, match="exists already"):
        write(tmp_path / "s.h5")
    assert (tmp_path / "s.h5").read_bytes() == before


@both_kinds
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.6, 0.9, 0.999])
def test_a_disk_that_fills_up_anywhere_is_one_line_and_leaves_nothing(
    tmp_path: Path, write: Write, read: Read, share: float
) -> None:
    """HDF5 itself can't close a file then, and took the whole process down."""
    write(tmp_path / "whole.h5")
    room = int(share * (tmp_path / "whole.h5").stat().st_size)
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, usual[1]))
    try:
        with pytest.raises(ResourceError, match=r"s\.h5: the disk is full: free some space"):
            write(tmp_path / "s.h5")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert [path.name for path in tmp_path.iterdir()] == ["whole.h5"]


@both_kinds
def test_a_missing_file_is_refused(tmp_path: Path, write: Write, read: Read) -> None:
    with pytest.raises(ArtifactError, match="no such"):
        read(tmp_path / "s.h5")


@both_kinds
@pytest.mark.parametrize("keep", [0, 7, 0.3, 0.9])
def test_a_file_that_was_cut_off_is_refused(tmp_path: Path, write: Write, read: Read, keep: float) -> None:
    write(tmp_path / "s.h5")
    whole = (tmp_path / "s.h5").read_bytes()
    (tmp_path / "s.h5").write_bytes(whole[: int(keep if keep >= 1 else keep * len(whole))])
    with pytest.raises(ArtifactError, match=r"s\.h5: is .* damaged"):
        read(tmp_path / "s.h5")


@both_kinds
def test_one_changed_bit_of_the_content_is_noticed(tmp_path: Path, write: Write, read: Read) -> None:
    write(tmp_path / "s.h5")
    with h5py.File(tmp_path / "s.h5", "r+") as file:
        name = "mean_image" if "mean_image" in file else "probabilities"
        values = file[name][...]
        values.view(np.uint8).reshape(-1)[0] ^= 1
        file[name][...] = values
    with pytest.raises(ArtifactError, match="its content does not fit its digest, it is damaged: make it again"):
        read(tmp_path / "s.h5")


@both_kinds
def test_a_missing_array_is_noticed(tmp_path: Path, write: Write, read: Read) -> None:
    write(tmp_path / "s.h5")
    with h5py.File(tmp_path / "s.h5", "r+") as file:
        del file["covariance" if "covariance" in file else "labels"]
    with pytest.raises(ArtifactError, match="is damaged") as caught:
        read(tmp_path / "s.h5")
    assert "\n" not in str(caught.value)


@both_kinds
def test_a_strangers_hdf5_file_is_refused(tmp_path: Path, write: Write, read: Read) -> None:
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["labels"] = [1, 2, 3]
    with pytest.raises(ArtifactError, match="but not one of alexnet's"):
        read(tmp_path / "s.h5")


@both_kinds
def test_a_file_that_is_no_hdf5_is_refused(tmp_path: Path, write: Write, read: Read) -> None:
    (tmp_path / "s.h5").write_text("epoch,loss\n1,6.9\n")
    with pytest.raises(ArtifactError, match=r"s\.h5: is not a .* file, or a damaged one"):
        read(tmp_path / "s.h5")


@both_kinds
def test_a_folder_in_a_files_place_is_refused(tmp_path: Path, write: Write, read: Read) -> None:
    (tmp_path / "s.h5").mkdir()
    with pytest.raises(ArtifactError, match=r"s\.h5: is a folder, not a .* file: check the order"):
        read(tmp_path / "s.h5")


@both_kinds
def test_a_newer_format_is_refused_with_the_advice_to_update(tmp_path: Path, write: Write, read: Read) -> None:
    written = write(tmp_path / "s.h5")
    with h5py.File(tmp_path / "s.h5", "r+") as file:
        file.attrs[ATTRIBUTE] = replace(written, schema=written.schema + 1).to_json()
    with pytest.raises(ArtifactError, match="was written by a newer"):
        read(tmp_path / "s.h5")


def test_scores_given_as_statistics_are_named_as_what_they_are(tmp_path: Path) -> None:
    write_some_scores(tmp_path / "s.h5")
    with pytest.raises(
        ArtifactError, match="is a scores file, not a statistics file: check the order of the arguments"
    ):
        read_statistics(tmp_path / "s.h5")


def rank_by_sorting(probabilities: NDArray[np.float32], labels: NDArray[np.int64], k: int) -> float:
    """Top-k error the slow way: sort each picture's classes, most probable first, equal ones by index."""
    wrong = 0
    for row, label in zip(probabilities.tolist(), labels.tolist(), strict=True):
        best = sorted(range(len(row)), key=lambda index: (-row[index], index))[:k]
        wrong += label not in best
    return wrong / len(labels)


@pytest.mark.parametrize("k", [1, 2, 5, 6, 7])
def test_top_k_error_equals_sorting_with_many_ties(k: int) -> None:
    rng = np.random.default_rng(3)
    probabilities = (rng.integers(0, 4, (500, 6)) / 4).astype(np.float32)
    labels = rng.integers(0, 6, 500)
    assert top_k_error(probabilities, labels, k) == pytest.approx(rank_by_sorting(probabilities, labels, k), abs=1e-12)


def test_a_net_that_says_the_same_of_every_class_is_right_only_by_its_first_classes() -> None:
    same = np.full((10, 10), 0.1, np.float32)
    labels = np.arange(10)
    assert top_k_error(same, labels, 1) == pytest.approx(0.9)
    assert top_k_error(same, labels, 5) == pytest.approx(0.5)


def test_with_five_classes_or_fewer_top_5_error_is_zero() -> None:
    rng = np.random.default_rng(4)
    assert top_k_error(rng.random((50, 5), np.float32), rng.integers(0, 5, 50), 5) == 0.0


def test_a_flipped_bit_anywhere_is_seen_before_hdf5_parses_it(tmp_path: Path) -> None:
    """Zeros for the size of an empty object of a global heap make HDF5 2.0 loop forever, for one."""
    write_some_scores(tmp_path / "s.h5")
    whole = (tmp_path / "s.h5").read_bytes()
    heap = whole.index(b"GCOL")
    places = [*range(0, len(whole), 37), *range(heap, heap + 4096)]
    draws = np.random.default_rng(3).integers(0, 8, len(places))
    for place, bit in zip(places, draws.tolist(), strict=True):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << bit
        (tmp_path / "d.h5").write_bytes(damaged)
        if 0 <= place - len(whole) + seal._LENGTH < len(seal._MARK):  # no seal any more, and nothing else amiss
            read_scores(tmp_path / "d.h5")
            continue
        with pytest.raises(ArtifactError, match="damaged"):
            read_scores(tmp_path / "d.h5")


def test_a_seal_is_the_sha256_of_what_is_before_it(tmp_path: Path) -> None:
    write_some_scores(tmp_path / "s.h5")
    content, _, told = (tmp_path / "s.h5").read_bytes().rpartition(b"\nalexnet: SHA-256 of all before this line: ")
    assert told.decode() == hashlib.sha256(content).hexdigest() + "\n"
    (tmp_path / "old.h5").write_bytes(content)  # as files were before they had one
    assert read_scores(tmp_path / "old.h5")[0] == read_scores(tmp_path / "s.h5")[0]
    with h5py.File(tmp_path / "s.h5", "r+") as file:  # HDF5 cuts off what is behind its end
        file["note"] = 1
    assert not seal.is_damaged(tmp_path / "s.h5")
