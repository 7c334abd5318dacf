"""`alexnet ensemble --submission`: the five best devkit IDs of each picture, in the contest's format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from miniature import IDS, WNIDS, Miniature

from alexnet_cli.artifacts.scores import Scores, best_classes, top_k_error, write_scores
from alexnet_cli.class_list import ClassList
from alexnet_cli.cli import main
from alexnet_stages.ensemble.submission import devkit_ids, file_order, submission_text

SIX = IDS[:6]


def scores_of(probabilities: Sequence[Sequence[float]], names: Sequence[str], ids: tuple[int, ...] = SIX) -> Scores:
    values = np.array(probabilities, np.float32)
    values /= values.sum(axis=1, keepdims=True)
    classes = ClassList(WNIDS[: values.shape[1]], ids=ids)
    return Scores(values, values, np.full(len(values), -1, np.int64), list(names), classes)


def write(path: Path, scores: Scores) -> str:
    write_scores(path, scores, parents={"crops": "test"}, options={}, overwrite=False)
    return str(path)


NAMES = ("b/ILSVRC2012_test_00000002.JPEG", "a/ILSVRC2012_test_00000010.JPEG", "c/ILSVRC2012_test_00000001.JPEG")
FIRST = ([0.1, 0.3, 0.2, 0.0, 0.4, 0.0], [0.5, 0.1, 0.1, 0.1, 0.1, 0.1], [0.0, 0.0, 0.1, 0.2, 0.3, 0.4])
SECOND = ([0.3, 0.1, 0.2, 0.0, 0.4, 0.0], [0.1, 0.1, 0.1, 0.1, 0.1, 0.5], [0.0, 0.0, 0.5, 0.2, 0.2, 0.1])
# Averages by hand: (.2 .2 .2 0 .4 0), (.3 .1 .1 .1 .1 .3), (0 0 .3 .2 .25 .25).
LINES = "8 6 3 1 4\n6 4 7 8 1\n4 3 7 8 1\n"


@pytest.fixture
def devkit(tmp_path: Path) -> str:
    return str(Miniature(tmp_path).devkit())


def test_a_hand_worked_average_in_order_of_the_file_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    members = [write(tmp_path / f"{name}.h5", scores_of(rows, NAMES)) for name, rows in (("1", FIRST), ("2", SECOND))]
    file = tmp_path / "out" / "submission.txt"
    words = ["ensemble", *members, "--out", str(tmp_path / "ensemble"), "--submission", str(file)]
    assert main(words) == 0
    assert file.read_text() == LINES
    assert "3 lines, five devkit IDs each" in capsys.readouterr().err
    assert main([*words, "--out", str(tmp_path / "other")]) == 2
    assert f"{file}: exists already" in capsys.readouterr().err
    assert main([*words, "--overwrite"]) == 0


def test_the_ids_of_a_class_list_without_them_come_from_the_devkit_given(tmp_path: Path, devkit: str) -> None:
    members = [
        write(tmp_path / f"{index}.h5", scores_of(rows, NAMES, ())) for index, rows in enumerate((FIRST, SECOND))
    ]
    file = tmp_path / "submission.txt"
    words = ["ensemble", *members, "--out", str(tmp_path / "e"), "--submission", str(file), "--devkit", devkit]
    assert main(words) == 0
    assert file.read_text() == LINES


def test_ties_go_to_the_smaller_class_index_as_in_the_top_5_error() -> None:
    rng = np.random.default_rng(3)
    values = (rng.integers(0, 4, (500, 12)) / 16).astype(np.float32)
    labels = rng.integers(0, 12, 500)
    missed = ~(best_classes(values, 5) == labels[:, None]).any(axis=1)
    assert missed.mean() == top_k_error(values, labels, 5)


def test_each_line_has_five_different_ids_of_the_contest() -> None:
    rng = np.random.default_rng(5)
    ids = tuple((rng.permutation(1000) + 1).tolist())
    values = rng.random((7, 1000)).astype(np.float32)
    names = [f"ILSVRC2012_test_{number:08d}.JPEG" for number in range(1, 8)]
    classes = ClassList(tuple(f"n{index:08d}" for index in range(1000)), ids=ids)
    scores = Scores(values, values, np.full(7, -1, np.int64), names, classes)
    lines = submission_text(scores, ids).splitlines()
    for line, row in zip(lines, values, strict=True):
        written = [int(word) for word in line.split(" ")]
        best = sorted(range(1000), key=lambda index, row=row: -row[index])[:5]  # type: ignore[misc]
        assert written == [ids[index] for index in best]


def test_file_names_are_compared_without_their_folders() -> None:
    assert file_order(["z/1.JPEG", "a/3.JPEG", "2.JPEG"]) == [0, 2, 1]


def refused(tmp_path: Path, scores: Scores, code: int, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    member = write(tmp_path / "member.h5", scores)
    file = tmp_path / "submission.txt"
    assert main(["ensemble", member, "--out", str(tmp_path / "e"), "--submission", str(file), *words]) == code
    assert not file.exists()
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1, error
    return error


def test_two_pictures_of_one_file_name_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = scores_of(FIRST, ["a/1.JPEG", "b/2.JPEG", "c/1.JPEG"])
    message = refused(tmp_path, scores, 4, capsys)
    assert "'a/1.JPEG' and 'c/1.JPEG' have the same file name" in message


def test_fewer_than_five_classes_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = scores_of([row[:4] for row in FIRST], NAMES, SIX[:4])
    assert "has 4 classes, and the contest's format wants the 5 best" in refused(tmp_path, scores, 4, capsys)


def test_without_devkit_ids_there_is_no_submission(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(tmp_path, scores_of(FIRST, NAMES, ()), 2, capsys)
    assert "has no devkit IDs: give --devkit" in message


def test_the_ids_are_those_of_the_class_list_or_of_the_devkit_given(devkit: str) -> None:
    known, unknown = ClassList(WNIDS, ids=tuple(range(8))), ClassList(WNIDS[:5])
    assert devkit_ids(known, None, "here") == tuple(range(8))
    assert devkit_ids(known, Path(devkit), "here") == IDS
    assert devkit_ids(unknown, Path(devkit), "here") == IDS[:5]


def test_classes_that_the_devkit_does_not_know_are_refused(
    tmp_path: Path, devkit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    values = np.full((1, 6), 1 / 6, np.float32)
    classes = ClassList((*WNIDS[:4], "x1", "x2"))
    message = refused(
        tmp_path, Scores(values, values, np.array([-1]), ["1.JPEG"], classes), 4, capsys, "--devkit", devkit
    )
    assert "2 of its 6 classes are not in" in message
    assert "first 'x1'" in message
    assert "no such devkit" in refused(
        tmp_path / "more", scores_of(FIRST, NAMES), 3, capsys, "--devkit", str(tmp_path / "none.tar.gz")
    )


def test_a_devkit_without_a_submission_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ensemble", "x.h5", "--out", str(tmp_path / "e"), "--devkit", "devkit.tar.gz"]) == 2
    assert "is read for --submission FILE only" in capsys.readouterr().err
