"""Patches against plain numpy in float64, pixel for pixel; the statistics of the colour noise; the ten views."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet_cli.artifacts.statistics import Statistics
from alexnet_cli.input import patches as patches_module
from alexnet_cli.input.normalisation import input_transform
from alexnet_cli.input.patches import InputTransform, training_patches
from alexnet_cli.input.views import view, views_of
from alexnet_cli.randomness import Draws, draws_of
from alexnet_cli.recipes.read import load_recipe
from alexnet_cli.recipes.recipe import Input

Floats = NDArray[np.float64]

VIEWS = views_of(10, side=256, patch=224, mirrored=True)


def some_crops(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, 256, 256, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def statistics() -> Statistics:
    """Of pictures whose channels go together, differently at each place."""
    rng = np.random.default_rng(5)
    light = rng.normal(120, 60, (4, 256, 256, 1))
    crops = np.clip(light + rng.normal(0, 20, (4, 256, 256, 3)) + [0, 10, 30], 0, 255).astype(np.int64)
    pixels = crops.reshape(-1, 3)
    return Statistics.from_sums(crops.sum(axis=0), pixels.T @ pixels, len(crops))


def some_draws(count: int) -> Draws:
    """Both flips, both extreme corners, and positions between."""
    rng = np.random.default_rng(2)
    offsets = rng.integers(0, 33, (count, 2))
    offsets[0], offsets[1], offsets[2] = (0, 0), (32, 32), (0, 32)
    flips = np.arange(count) % 2 == 0
    return Draws(offsets, flips, rng.normal(0, 1, (count, 3)).astype(np.float32))


def by_hand(
    crops: NDArray[np.uint8],
    draws: Draws,
    *,
    mean: Floats,
    deviation: Floats | float = 1.0,
    noise: Floats | None = None,
    colour_noise: float = 0.0,
    divided_by: float = 1.0,
) -> Floats:
    """Sections 2 and 4.1, in the order in which the paper tells it: subtract the mean, cut, add colour, mirror."""
    found = np.empty((len(crops), 3, 224, 224))
    for n, crop in enumerate(crops):
        row, column = draws.offsets[n]
        patch = (crop.astype(np.float64) - mean)[row : row + 224, column : column + 224]
        if noise is not None:
            alpha = colour_noise * draws.noise[n].astype(np.float64)
            # p1·α1·s1 + p2·α2·s2 + p3·α3·s3, p the eigenvectors
            patch = patch + sum(noise[:, k] * alpha[k] for k in range(3))
        if draws.flips[n]:
            patch = patch[:, ::-1]
        found[n] = (patch / deviation / divided_by).transpose(2, 0, 1)
    return found


def patches_of(
    crops: NDArray[np.uint8], draws: Draws, transform: InputTransform, *, strength: float, divides: bool = False
) -> Tensor:
    return training_patches(torch.from_numpy(crops), draws, transform, colour_noise=strength, noise_divides=divides)


def same(ours: Tensor, theirs: Floats, tolerance: float = 1e-6) -> None:
    """tolerance: of the largest value."""
    assert ours.dtype == torch.float32 and tuple(ours.shape) == theirs.shape
    np.testing.assert_allclose(ours.double().numpy(), theirs, rtol=0, atol=tolerance * float(np.abs(theirs).max()))


def test_a_patch_is_cut_mirrored_and_freed_of_the_mean_at_its_own_place(statistics: Statistics) -> None:
    crops, draws = some_crops(6), some_draws(6)
    ours = patches_of(crops, draws, input_transform(statistics, Input()), strength=0.0)
    same(ours, by_hand(crops, draws, mean=statistics.mean_image))


def test_colour_noise_adds_each_eigenvector_times_its_standard_deviation(statistics: Statistics) -> None:
    crops, draws = some_crops(6), some_draws(6)
    noise = statistics.eigenvectors * np.sqrt(statistics.eigenvalues)
    ours = patches_of(crops, draws, input_transform(statistics, Input()), strength=0.1)
    same(ours, by_hand(crops, draws, mean=statistics.mean_image, noise=noise, colour_noise=0.1))


def test_the_papers_word_eigenvalue_is_an_option(statistics: Statistics) -> None:
    crops, draws = some_crops(3), some_draws(3)
    noise = statistics.eigenvectors * statistics.eigenvalues
    ours = patches_of(crops, draws, input_transform(statistics, Input(noise_scale="eigenvalue")), strength=0.1)
    same(ours, by_hand(crops, draws, mean=statistics.mean_image, noise=noise, colour_noise=0.1))


def test_the_source_divides_picture_and_noise_by_1_1_while_there_is_noise(statistics: Statistics) -> None:
    crops, draws = some_crops(3), some_draws(3)
    noise = statistics.eigenvectors * np.sqrt(statistics.eigenvalues)
    transform = input_transform(statistics, Input(noise_divides=True))
    same(
        patches_of(crops, draws, transform, strength=0.1, divides=True),
        by_hand(crops, draws, mean=statistics.mean_image, noise=noise, colour_noise=0.1, divided_by=1.1),
    )
    same(
        patches_of(crops, draws, transform, strength=0.0, divides=True),
        by_hand(crops, draws, mean=statistics.mean_image),
    )


def test_a_divisor_divides_everything(statistics: Statistics) -> None:
    crops, draws = some_crops(3), some_draws(3)
    noise = statistics.eigenvectors * np.sqrt(statistics.eigenvalues)
    ours = patches_of(crops, draws, input_transform(statistics, Input(divisor=64.0)), strength=0.1)
    same(ours, by_hand(crops, draws, mean=statistics.mean_image, noise=noise, colour_noise=0.1, divided_by=64.0))


def test_channel_normalisation_is_that_of_pictures_from_0_to_1(statistics: Statistics) -> None:
    """(x/255 − .485 …) / .229 …, with the colour noise in x's own units."""
    crops, draws = some_crops(3), some_draws(3)
    noise = statistics.eigenvectors * np.sqrt(statistics.eigenvalues) / 255
    ours = patches_of(crops, draws, input_transform(statistics, Input(normalisation="channel")), strength=0.1)
    deviation = np.array([0.229, 0.224, 0.225])
    theirs = []
    for n, crop in enumerate(crops):
        colour = noise @ (0.1 * draws.noise[n].astype(np.float64))
        zeros = Draws(draws.offsets[n : n + 1], draws.flips[n : n + 1], draws.noise[n : n + 1])
        scaled = by_hand(crop[None], zeros, mean=np.zeros(3)) / 255
        theirs.append((scaled[0].transpose(1, 2, 0) + colour - [0.485, 0.456, 0.406]) / deviation)
    same(ours, np.stack(theirs).transpose(0, 3, 1, 2))


def test_patches_are_channels_last_as_the_crops_are(statistics: Statistics) -> None:
    ours = patches_of(some_crops(3), some_draws(3), input_transform(statistics, Input()), strength=0.1)
    assert ours.is_contiguous(memory_format=torch.channels_last)
    for which in VIEWS:
        patch = view(torch.from_numpy(some_crops(2)), which, input_transform(statistics, Input()))
        assert patch.stride(1) == 1, "channels lie side by side"


@pytest.mark.parametrize("divisor", [1.0, 64.0])
def test_the_compiled_loop_cuts_what_indices_cut(
    statistics: Statistics, divisor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    crops, draws = some_crops(5), some_draws(5)
    transform = input_transform(statistics, Input(divisor=divisor))
    in_one_pass = patches_of(crops, draws, transform, strength=0.1)
    monkeypatch.setattr(patches_module, "serves", lambda tensor: False)
    by_index = patches_of(crops, draws, transform, strength=0.1)
    torch.testing.assert_close(in_one_pass, by_index, rtol=0, atol=2e-5 / divisor)


@pytest.mark.gpu
def test_on_a_cuda_device_patches_are_those_of_the_cpu(statistics: Statistics) -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    crops, draws = some_crops(6), some_draws(6)
    transform = input_transform(statistics, Input())
    here = patches_of(crops, draws, transform, strength=0.1)
    there = training_patches(torch.from_numpy(crops).cuda(), draws, transform.to("cuda"), colour_noise=0.1)
    torch.testing.assert_close(there.cpu(), here, rtol=0, atol=5e-5)


def test_over_many_pictures_the_noise_has_a_hundredth_of_the_pixels_covariance(statistics: Statistics) -> None:
    """α ~ N(0, 0.1²) along the principal components: covariance 0.1² times that of the pixels, mean zero."""
    count = 40_000
    draws = draws_of(3, 1, np.arange(count), positions=33, flip=True)
    noise = input_transform(statistics, Input()).noise.double().numpy()
    colours = 0.1 * draws.noise.astype(np.float64) @ noise.T
    expected = 0.01 * statistics.covariance
    largest = float(np.sqrt(np.diag(expected)).max())
    assert np.abs(colours.mean(axis=0)).max() < 5 * largest / np.sqrt(count)
    # The error of an estimated covariance is about √(2/N) of the variances; five of them.
    np.testing.assert_allclose(
        np.cov(colours.T), expected, rtol=0, atol=5 * np.sqrt(2 / count) * float(np.diag(expected).max())
    )


def test_a_pictures_noise_is_one_colour_over_the_whole_patch(statistics: Statistics) -> None:
    crops, draws = some_crops(4), some_draws(4)
    transform = input_transform(statistics, Input())
    difference = patches_of(crops, draws, transform, strength=0.1) - patches_of(crops, draws, transform, strength=0.0)
    spread = difference.amax(dim=(2, 3)) - difference.amin(dim=(2, 3))
    assert float(spread.max()) < 1e-4
    assert len(set(difference[:, 0, 0, 0].tolist())) == 4, "and each picture has its own"


# --------------------------------------------------------------------------------------------------------- test views


def test_the_ten_views_are_four_corners_the_centre_and_their_mirror_images() -> None:
    places = {(16, 16), (0, 0), (0, 32), (32, 0), (32, 32)}
    assert len(VIEWS) == 10
    assert set(VIEWS) == {(*place, flip) for place in places for flip in (False, True)}
    assert VIEWS[0] == (16, 16, False), "the centre view comes first"


@pytest.mark.parametrize("which", VIEWS, ids=str)
def test_a_view_is_cut_where_it_says_and_mirrored_after_the_mean(
    statistics: Statistics, which: tuple[int, int, bool]
) -> None:
    crops = some_crops(2)
    row, column, flip = which
    place = Draws(np.array([[row, column]] * 2), np.array([flip] * 2), np.zeros((2, 3), np.float32))
    ours = view(torch.from_numpy(crops), which, input_transform(statistics, Input(divisor=2.0)))
    same(ours, by_hand(crops, place, mean=statistics.mean_image, divided_by=2.0))


def test_views_have_no_noise_and_are_not_divided_for_it(statistics: Statistics) -> None:
    crops = torch.from_numpy(some_crops(1))
    plain = view(crops, VIEWS[0], input_transform(statistics, Input(colour_noise=0.0)))
    source = view(crops, VIEWS[0], input_transform(statistics, Input(colour_noise=0.1, noise_divides=True)))
    assert torch.equal(plain, source)


def test_a_transform_comes_back_from_its_tensors(statistics: Statistics) -> None:
    transform = input_transform(statistics, Input(normalisation="channel"))
    tensors = transform.tensors()
    again = InputTransform(tensors["mean"], tensors["scale"], tensors["noise"], mean_at="patch")
    crops, draws = some_crops(3), some_draws(3)
    assert torch.equal(patches_of(crops, draws, transform, strength=0.1), patches_of(crops, draws, again, strength=0.1))


@pytest.mark.parametrize("compiled", [True, False])
def test_the_source_subtracts_the_means_centre_unmirrored_after_cutting_and_mirroring(
    statistics: Statistics, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """convdata_jpeg.py:95,210: in training and in every view."""
    if not compiled:
        monkeypatch.setattr(patches_module, "serves", lambda tensor: False)
    transform = input_transform(statistics, Input(mean_at="centre"))
    crops, draws = some_crops(6), some_draws(6)
    centre = statistics.mean_image[16:240, 16:240]
    found = training_patches(torch.from_numpy(crops), draws, transform, colour_noise=0.0)
    for n, crop in enumerate(crops):
        row, column = draws.offsets[n]
        patch = crop[row : row + 224, column : column + 224].astype(np.float64)
        patch = patch[:, ::-1] if draws.flips[n] else patch
        np.testing.assert_allclose(found[n].permute(1, 2, 0).numpy(), patch - centre, atol=1e-3)
    for row, column, flip in VIEWS:
        seen = view(torch.from_numpy(crops), (row, column, flip), transform)
        patches = crops[:, row : row + 224, column : column + 224].astype(np.float64)
        patches = patches[:, :, ::-1] if flip else patches
        np.testing.assert_allclose(seen.permute(0, 2, 3, 1).numpy(), patches - centre, atol=1e-3)


def test_paper_keeps_the_mean_at_the_patchs_place_and_the_source_does_not() -> None:
    assert load_recipe("paper").input.mean_at == "patch"
    for name in ("source-2012", "conv6-finetune", "no-overlap"):
        assert load_recipe(name).input.mean_at == "centre"
