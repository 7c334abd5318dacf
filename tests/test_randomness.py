"""Randomness is a function of its key: the same for the same key, another for another, and distributed as it should."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from conftest import NARROW_NET
from numpy.typing import NDArray

from alexnet_cli.randomness import Draws, draws_of, dropout_masks, order_of
from alexnet_cli.recipes.net import Net
from alexnet_cli.recipes.read import load_recipe


def net_with(**tables: dict[str, Any]) -> Net:
    wide = {"fc6": {"neurons": 500}, "fc7": {"neurons": 500}}
    return load_recipe("paper").with_options(net={**NARROW_NET, **wide, "classes": 3, **tables}).net


NET = net_with()


def equal(one: Draws, other: Draws) -> bool:
    pairs = ((one.offsets, other.offsets), (one.flips, other.flips), (one.noise, other.noise))
    return all(np.array_equal(mine, theirs) for mine, theirs in pairs)


def correlation(one: NDArray[Any], other: NDArray[Any]) -> float:
    return float(np.corrcoef(one, other).reshape(2, 2)[0, 1])


def test_an_order_holds_every_picture_once() -> None:
    assert sorted(order_of(1, 1, 1000).tolist()) == list(range(1000))


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    usual = order_of(1, 2, 100)
    np.random.default_rng().random(7)  # what others draw meanwhile changes nothing
    assert np.array_equal(usual, order_of(1, 2, 100))
    for other in (order_of(2, 2, 100), order_of(1, 3, 100), order_of(2, 1, 100)):
        assert not np.array_equal(usual, other)


def test_an_order_is_as_mixed_as_chance_would_have_it() -> None:
    """Each picture comes equally often into the first tenth: 300 epochs of 50 pictures, 5 places."""
    counts = np.zeros(50)
    for epoch in range(300):
        counts[order_of(0, epoch, 50)[:5]] += 1
    assert np.abs(counts - 30).max() < 5 * np.sqrt(300 * 0.1 * 0.9)


def test_draws_are_a_function_of_seed_and_epoch_and_not_of_the_order() -> None:
    """A picture keeps its patch, flip and noise wherever in the epoch it comes."""
    usual = draws_of(1, 2, np.arange(50), positions=33, flip=True)
    assert equal(usual, draws_of(1, 2, order_of(1, 2, 50), positions=33, flip=True))
    for seed, epoch in ((2, 2), (1, 3)):
        other = draws_of(seed, epoch, np.arange(50), positions=33, flip=True)
        assert not np.array_equal(usual.offsets, other.offsets)
        assert not np.array_equal(usual.flips, other.flips)
        assert not np.array_equal(usual.noise, other.noise)


def test_draws_of_some_pictures_are_in_their_order() -> None:
    every = draws_of(1, 1, np.arange(50), positions=33, flip=True)
    some = every.of(np.array([7, 3, 7]))
    assert np.array_equal(some.offsets, every.offsets[[7, 3, 7]])
    assert np.array_equal(some.flips, every.flips[[7, 3, 7]])
    assert np.array_equal(some.noise, every.noise[[7, 3, 7]])


def test_patches_take_all_33_positions_each_way_equally_often() -> None:
    count = 33 * 1000
    offsets = draws_of(5, 1, np.arange(count), positions=33, flip=True).offsets
    for axis in range(2):
        found = np.bincount(offsets[:, axis], minlength=33)
        assert len(found) == 33
        assert np.abs(found - 1000).max() < 5 * np.sqrt(1000)
    assert abs(correlation(offsets[:, 0], offsets[:, 1])) < 5 / np.sqrt(count), "rows and columns are independent"


def test_half_the_patches_are_mirrored_and_none_where_flips_are_off() -> None:
    count = 20_000
    draws = draws_of(5, 1, np.arange(count), positions=33, flip=True)
    assert abs(draws.flips.mean() - 0.5) < 5 * 0.5 / np.sqrt(count)
    off = draws_of(5, 1, np.arange(count), positions=33, flip=False)
    assert not off.flips.any()
    assert np.array_equal(off.offsets, draws.offsets) and np.array_equal(off.noise, draws.noise)


def test_the_colour_noise_is_standard_normal_in_three_independent_components() -> None:
    count = 50_000
    noise = draws_of(5, 1, np.arange(count), positions=33, flip=True).noise.astype(np.float64)
    assert noise.shape == (count, 3)
    assert np.abs(noise.mean(axis=0)).max() < 5 / np.sqrt(count)
    assert np.abs(np.cov(noise.T) - np.eye(3)).max() < 5 * np.sqrt(2 / count)
    assert np.abs((noise**3).mean(axis=0)).max() < 5 * np.sqrt(15 / count), "no skew"
    assert np.abs((noise**4).mean(axis=0) - 3).max() < 5 * np.sqrt(96 / count), "a normal distribution's tails"


def test_the_sources_runs_of_32_pictures_share_patch_and_flip_but_not_their_colour() -> None:
    order = order_of(1, 1, 100)
    draws = draws_of(1, 1, order, positions=33, flip=True, run=32).of(order)
    for start in range(0, 100, 32):
        run = slice(start, start + 32)
        assert len({tuple(place) for place in draws.offsets[run].tolist()}) == 1
        assert len(set(draws.flips[run].tolist())) == 1
    assert len({tuple(draws.offsets[start].tolist()) for start in (0, 32, 64, 96)}) == 4, "and each run has its own"
    assert len({tuple(row) for row in draws.noise.tolist()}) == 100


def test_dropout_is_a_function_of_seed_step_layer_and_column() -> None:
    usual = dropout_masks(NET, (0, 1), 1, 5, 8, "cpu")
    again = dropout_masks(NET, (0, 1), 1, 5, 8, "cpu")
    assert list(usual) == ["dropout6", "dropout7"]
    assert all(torch.equal(usual[name], again[name]) for name in usual)
    for seed, step in ((2, 5), (1, 6)):
        other = dropout_masks(NET, (0, 1), seed, step, 8, "cpu")
        assert not any(torch.equal(usual[name], other[name]) for name in usual)
    fc6, fc7 = usual.values()
    assert fc6.shape == fc7.shape == (8, 1000)
    assert not torch.equal(fc6, fc7)
    assert not torch.equal(fc6[:, :500], fc6[:, 500:])


def test_a_column_drops_the_same_neurons_wherever_it_lives() -> None:
    together = dropout_masks(NET, (0, 1), 1, 5, 8, "cpu")
    apart = [dropout_masks(NET, (column,), 1, 5, 8, "cpu") for column in (0, 1)]
    for name in together:
        assert torch.equal(together[name], torch.cat([masks[name] for masks in apart], 1))


@pytest.mark.parametrize(("convention", "kept"), [("2012", 1.0), ("inverted", None)])
@pytest.mark.parametrize("p", [0.5, 0.2])
def test_each_number_is_dropped_with_its_probability(p: float, convention: str, kept: float | None) -> None:
    """2012: masks of 0 and 1; inverted, as older checkpoints were trained: 0 and 1/(1 - p)."""
    both = {name: {"probability": p, "convention": convention} for name in ("dropout6", "dropout7")}
    masks = dropout_masks(net_with(**both), (0, 1), 1, 1, 100, "cpu")
    for mask in masks.values():
        assert sorted(set(mask.flatten().tolist())) == [0.0, pytest.approx(kept or 1 / (1 - p))]
        dropped = float((mask == 0).double().mean())
        assert abs(dropped - p) < 5 * np.sqrt(p * (1 - p) / mask.numel())


def test_without_dropout_layers_there_are_no_masks() -> None:
    assert dropout_masks(load_recipe("quickstart").net, (0, 1), 1, 1, 4, "cpu") == {}


def test_no_two_purposes_share_a_stream() -> None:
    """With seed and epoch the same, order, patches and dropout are not made of the same numbers."""
    count = 1000
    order = order_of(1, 1, count)
    draws = draws_of(1, 1, order, positions=33, flip=True)
    assert abs(correlation(order, draws.noise[:, 0])) < 5 / np.sqrt(count)
    assert abs(correlation(order, draws.offsets[:, 0])) < 5 / np.sqrt(count)
