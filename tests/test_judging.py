"""Intervals, classes, confusions and calibration against counting picture by picture."""

from __future__ import annotations

import itertools
import math
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from alexnet_cli.artifacts.scores import mean_loss, ranks_of_labels
from alexnet_cli.reports.charts import Line, line_chart, powers, ticks
from alexnet_cli.reports.judging import by_class, calibration, confusion, wilson_interval

CLASSES = 7


@pytest.fixture
def said() -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (300, 7) float32, some of them equal, and labels of six of the classes."""
    rng = np.random.default_rng(5)
    probabilities = rng.dirichlet([0.4] * CLASSES, 300).astype(np.float32)
    probabilities[:20] = np.float32(1 / CLASSES)
    return probabilities, rng.integers(0, CLASSES - 1, 300)


@pytest.mark.parametrize(("wrong", "count"), [(0, 10), (10, 10), (3, 10), (18_210, 100_000), (1, 1)])
def test_the_interval_ends_where_a_share_is_just_credible(wrong: int, count: int) -> None:
    """Wilson's bounds are the shares p at which |observed − p| = 1.96 standard deviations of p."""
    for bound in wilson_interval(wrong, count):
        if 0 < bound < 1:
            distance = abs(wrong / count - bound) / math.sqrt(bound * (1 - bound) / count)
            assert distance == pytest.approx(1.959963985, rel=1e-7)
    low, high = wilson_interval(wrong, count)
    assert 0 <= low <= wrong / count <= high <= 1


def test_the_interval_is_that_of_the_literature() -> None:
    """Newcombe (1998), table I, method 3."""
    assert wilson_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_ranks_are_places_in_a_stable_sort(said: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, labels = said
    expected = [
        np.argsort(-row, kind="stable").tolist().index(label) + 1
        for row, label in zip(probabilities, labels, strict=True)
    ]
    assert ranks_of_labels(probabilities, labels).tolist() == expected


def test_classes_and_confusions_are_counted(said: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, labels = said
    found = by_class(probabilities, labels)
    counts = np.zeros((CLASSES, CLASSES), int)
    in_five = np.zeros(CLASSES, int)
    for row, label in zip(probabilities, labels, strict=True):
        order = np.argsort(-row, kind="stable")
        counts[label, order[0]] += 1
        in_five[label] += label in order[:5]
    assert (confusion(labels, probabilities.argmax(axis=1), CLASSES) == counts).all()
    assert (found.in_five == in_five).all()
    for index in range(CLASSES):
        own, taken = counts[index].sum(), counts[:, index].sum()
        assert (found.pictures[index], found.predicted[index], found.right[index]) == (own, taken, counts[index, index])
        if own:
            assert found.recall[index] == pytest.approx(counts[index, index] / own)
        assert found.precision[index] == pytest.approx(counts[index, index] / taken)
    assert math.isnan(found.recall[CLASSES - 1]), "a class without pictures"


def test_calibration_is_accuracy_against_confidence_bin_by_bin(said: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, labels = said
    found = calibration(probabilities, labels, bins=10)
    error = 0.0
    for place in range(10):
        inside = [
            (float(row.max()), int(row.argmax() == label))
            for row, label in zip(probabilities, labels, strict=True)
            if place / 10 < float(row.max()) <= (place + 1) / 10
        ]
        assert found.pictures[place] == len(inside)
        if not inside:
            assert math.isnan(found.accuracy[place])
            continue
        confidence, accuracy = np.mean(inside, axis=0)
        assert found.confidence[place] == pytest.approx(confidence)
        assert found.accuracy[place] == pytest.approx(accuracy)
        error += abs(accuracy - confidence) * len(inside) / len(labels)
    assert found.expected_error == pytest.approx(error)


def test_a_net_that_is_always_sure_and_right_is_calibrated() -> None:
    found = calibration(np.eye(3, dtype=np.float32), np.arange(3))
    assert found.expected_error == 0 and found.pictures[-1] == 3


def test_the_loss_is_the_mean_cross_entropy_and_stays_finite(said: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, labels = said
    by_hand = [-math.log(float(row[label])) for row, label in zip(probabilities, labels, strict=True)]
    assert mean_loss(probabilities, labels) == pytest.approx(np.mean(by_hand), rel=1e-12)
    assert mean_loss(np.array([[1, 0]], np.float32), np.array([1])) == pytest.approx(126 * math.log(2))


@pytest.mark.parametrize(("low", "high"), [(0, 1), (1, 90), (1, 3), (0, 6.9078), (1e-5, 3e-5), (12_000, 47_000)])
def test_ticks_are_a_few_round_numbers_inside(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 3 <= len(found) <= 9 and low - 1e-12 <= found[0] and found[-1] <= high * (1 + 1e-12)
    steps = {
        f"{(b - a) / 10 ** math.floor(math.log10((b - a) * (1 + 1e-9))):.3f}" for a, b in itertools.pairwise(found)
    }
    assert len(steps) == 1 and steps <= {"1.000", "2.000", "5.000"}


def test_powers_of_ten_are_the_ticks_of_a_rate() -> None:
    assert powers(1e-5, 0.01) == pytest.approx([1e-5, 1e-4, 1e-3, 1e-2])
    assert powers(0.02, 0.05) == [0.02, 0.05]


def test_a_chart_has_its_points_where_the_values_are() -> None:
    chart = ElementTree.fromstring(
        line_chart([Line("a<b", [1, 2, 3], [4.0, None, 2.0])], x_name="epoch", y_name="loss")
    )
    circles = [(float(c.attrib["cx"]), float(c.attrib["cy"])) for c in chart.iter("circle")]
    (left, top), (right, below) = circles
    frame = next(chart.iter("rect")).attrib
    assert left == pytest.approx(float(frame["x"])) and right == pytest.approx(
        float(frame["x"]) + float(frame["width"])
    )
    bottom = float(frame["y"]) + float(frame["height"])
    assert (bottom - below) / (bottom - top) == pytest.approx(0.5), "from zero: 2 is half as high as 4"
    assert line_chart([Line("none", [1], [None])], x_name="epoch", y_name="loss") == "<p>No values were recorded.</p>"
