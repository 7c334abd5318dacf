"""Compiled loops against torch's own operations in float64."""

from __future__ import annotations

import os
import platform
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import ReLU, functional

from alexnet_cli import compiled
from alexnet_cli.input.kernels.cutting import cut
from alexnet_cli.net import norm as norm_module
from alexnet_cli.net.initial import initialise
from alexnet_cli.net.kernels import products
from alexnet_cli.net.kernels.passes import Pass, apply, average, over_pixels, pass_of
from alexnet_cli.net.network import Network
from alexnet_cli.net.norm import Norm
from alexnet_cli.net.pool import Pool
from alexnet_cli.recipes.layers import MapNorm
from alexnet_cli.recipes.layers import Norm as NormSpec
from alexnet_cli.recipes.layers import Pool as PoolSpec
from alexnet_cli.recipes.read import load_recipe

needs_numba = pytest.mark.skipif(not compiled.available(), reason="numba is not installed, or turned off")
pytestmark = needs_numba


def maps_of(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 100
    return values.to(dtype).contiguous(memory_format=torch.channels_last)


def by_torch(maps: Tensor, work: Pass) -> Tensor:
    """The same with torch's own operations, one after the other."""
    if work.relu:
        maps = functional.relu(maps)
    if work.norm:
        window = 2 * work.half + 1
        parts = maps.chunk(work.groups, 1)
        settings = {"alpha": work.alpha * window, "beta": 0.75, "k": work.k}
        maps = torch.cat([functional.local_response_norm(part, window, **settings) for part in parts], 1)
    if work.size:
        maps = functional.max_pool2d(maps, work.size, work.stride, ceil_mode=work.overhang)
    return functional.relu(maps) if work.relu_after else maps


def with_gradient(function: object, maps: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """What comes out, and the gradient of its product with `weight`."""
    leaf = maps.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    result: Tensor = function(leaf)  # type: ignore[operator]
    if weight is None:
        weight = torch.randn(result.shape, generator=torch.Generator().manual_seed(9))
    (gradient,) = torch.autograd.grad(result, leaf, weight.to(result.dtype))
    return result.detach(), gradient


PAPER = Pass(norm=True, k=2.0, alpha=2e-5)
WORKS = {
    "norm": PAPER,
    "norm of two columns": Pass(norm=True, k=2.0, alpha=2e-5, groups=2),
    "norm over 3": Pass(norm=True, k=1.0, alpha=1e-3, half=1, groups=2),
    "norm over 9": Pass(norm=True, k=1.0, alpha=1e-4, half=4),
    "relu, norm": Pass(relu=True, norm=True, k=2.0, alpha=2e-5, groups=2),
    "relu, norm, pool": Pass(relu=True, norm=True, size=3, stride=2, k=2.0, alpha=2e-5, groups=2),
    "norm, pool, relu": Pass(norm=True, size=3, stride=2, relu_after=True, k=2.0, alpha=2e-5, groups=2),
    "relu, pool": Pass(relu=True, size=3, stride=2),
    "pool, relu": Pass(size=2, stride=2, relu_after=True),
    "pool with gaps": Pass(relu=True, size=2, stride=3),
    "overhanging pool": Pass(relu=True, size=3, stride=2, overhang=True),
}


@pytest.mark.parametrize("shape", [(3, 96, 13, 13), (2, 20, 8, 11), (1, 4, 5, 5)], ids=str)
@pytest.mark.parametrize("work", WORKS.values(), ids=WORKS)
def test_a_pass_and_its_gradient_are_torchs_operations_in_float64(work: Pass, shape: tuple[int, ...]) -> None:
    maps = maps_of(*shape)
    mine, gradient = with_gradient(lambda values: apply(values, work), maps)
    theirs, expected = with_gradient(lambda values: by_torch(values, work), maps.double())
    assert mine.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(mine.double(), theirs, rtol=2e-6, atol=1e-6)
    torch.testing.assert_close(gradient.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("window", [3, 5, 7])
@pytest.mark.parametrize("shape", [(3, 16, 9, 11), (2, 5, 2, 2), (1, 1, 13, 1)], ids=str)
def test_the_same_map_norm_and_its_gradient_are_the_formula_in_float64(shape: tuple[int, ...], window: int) -> None:
    maps = maps_of(*shape)
    mine, gradient = with_gradient(lambda values: over_pixels(values, k=1.0, alpha=1e-3, window=window), maps)
    settings: dict[str, Any] = {"k": 1.0, "alpha": 1e-3, "beta": 0.75, "window": window}
    theirs, expected = with_gradient(lambda values: norm_module.over_pixels(values, **settings), maps.double())
    torch.testing.assert_close(mine.double(), theirs, rtol=2e-6, atol=1e-6)
    torch.testing.assert_close(gradient.double(), expected, rtol=1e-5, atol=2e-6)
    half = over_pixels(maps.bfloat16(), k=1.0, alpha=1e-3, window=window)
    exact = norm_module.over_pixels(maps.bfloat16().double(), **settings)
    torch.testing.assert_close(half.double(), exact, rtol=2**-8, atol=1e-30)


@pytest.mark.parametrize("overhang", [False, True])
@pytest.mark.parametrize("window", [(3, 2), (2, 2), (2, 3), (5, 1)], ids=str)
@pytest.mark.parametrize("shape", [(3, 64, 8, 8), (2, 5, 9, 6)], ids=str)
def test_the_average_of_windows_and_its_gradient_are_torchs_in_float64(
    shape: tuple[int, ...], window: tuple[int, int], overhang: bool
) -> None:
    maps, (size, stride) = maps_of(*shape), window

    def by_torch(maps: Tensor) -> Tensor:
        return functional.avg_pool2d(maps, size, stride, ceil_mode=overhang, count_include_pad=False)

    def mine(maps: Tensor) -> Tensor:
        return average(maps, size=size, stride=stride, overhang=overhang)

    found, gradient = with_gradient(mine, maps)
    theirs, expected = with_gradient(by_torch, maps.double())
    torch.testing.assert_close(found.double(), theirs, rtol=1e-6, atol=3e-5)
    torch.testing.assert_close(gradient.double(), expected, rtol=1e-6, atol=1e-6)
    weight = torch.randn(found.shape, generator=torch.Generator().manual_seed(9)).bfloat16()
    half, gradient = with_gradient(mine, maps.bfloat16(), weight)
    wide, expected = with_gradient(mine, maps.bfloat16().float(), weight.float())
    assert half.dtype == gradient.dtype == torch.bfloat16
    assert torch.equal(half, wide.bfloat16())
    assert torch.equal(gradient, expected.bfloat16())


@pytest.mark.parametrize("name", ["norm of two columns", "relu, norm, pool", "pool, relu"])
def test_bfloat16_is_one_rounding_away_from_float64(name: str) -> None:
    """Positive numbers in another place of each window: a tie between rounded numbers has no one gradient."""
    work, maps = WORKS[name], maps_of(2, 96, 9, 9, dtype=torch.bfloat16)
    mine, gradient = with_gradient(lambda values: apply(values, work), maps)
    weight = torch.randn(mine.shape, generator=torch.Generator().manual_seed(9)).bfloat16()
    theirs, _ = with_gradient(lambda values: by_torch(values, work), maps.double(), weight)
    assert mine.dtype == gradient.dtype == torch.bfloat16
    torch.testing.assert_close(mine.double(), theirs, rtol=2**-8, atol=1e-30)
    wide, in_float32 = with_gradient(lambda values: apply(values, work), maps.float(), weight)
    torch.testing.assert_close(mine.float(), wide, rtol=2**-8, atol=1e-30)
    torch.testing.assert_close(gradient.float(), in_float32, rtol=2**-8, atol=1e-30)


@pytest.mark.parametrize("name", WORKS)
def test_the_number_of_threads_changes_no_bit(name: str) -> None:
    maps, before, found = maps_of(5, 24, 9, 9), torch.get_num_threads(), []
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            found.append(with_gradient(lambda values: apply(values, WORKS[name]), maps))
    finally:
        torch.set_num_threads(before)
    for result, gradient in found[1:]:
        assert torch.equal(result, found[0][0])
        assert torch.equal(gradient, found[0][1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", WORKS)
def test_a_number_that_is_not_finite_is_seen_after_the_pass(name: str, dtype: torch.dtype) -> None:
    maps = maps_of(1, 24, 9, 9, dtype=dtype)
    maps[0, 7, 4, 4] = float("nan")
    assert not torch.isfinite(apply(maps, WORKS[name])).all()
    weight = torch.full_like(apply(maps, WORKS[name]), float("nan"))
    _, gradient = with_gradient(lambda values: apply(values, WORKS[name]), maps.nan_to_num(1.0), weight)
    assert torch.isnan(gradient).any()


def test_of_equal_numbers_in_a_window_the_first_gets_the_gradient() -> None:
    maps = torch.ones(1, 4, 5, 5).contiguous(memory_format=torch.channels_last)
    for work in (Pass(relu=True, size=3, stride=2), Pass(size=3, stride=2, relu_after=True)):
        _, gradient = with_gradient(lambda values, work=work: apply(values, work), maps)
        _, expected = with_gradient(lambda values, work=work: by_torch(values, work), maps)
        torch.testing.assert_close(gradient, expected, rtol=0, atol=0)


def test_layers_are_joined_into_the_passes_of_paper_and_source() -> None:
    norm, pool = Norm(NormSpec(name="n"), 2), Pool(PoolSpec(name="p", size=3, stride=2))
    average = Pool(PoolSpec(name="a", size=3, stride=2, mode="average"))
    within = Norm(MapNorm(name="m"), 1)
    other = Norm(NormSpec(name="o", beta=0.5), 2)
    for modules, count in (
        ([ReLU(), norm, pool, ReLU()], 4),
        ([ReLU(), norm, pool, torch.nn.Flatten()], 3),
        ([norm, pool, ReLU(), ReLU()], 3),
        ([ReLU(), norm, within, pool], 2),
        ([ReLU(), pool], 2),
        ([pool, ReLU()], 2),
        ([ReLU(), norm, average], 2),
        ([ReLU()], 0),
        ([pool], 0),
        ([average, ReLU()], 0),
        ([within, pool], 0),
        ([ReLU(), other, pool], 0),
    ):
        assert pass_of(modules)[1] == count, modules


def test_a_hook_sees_what_comes_out_of_its_layer() -> None:
    norm, pool, seen = Norm(NormSpec(name="n"), 1), Pool(PoolSpec(name="p", size=3, stride=2)), []
    handle = norm.register_forward_hook(lambda *arguments: seen.append(arguments))
    assert pass_of([norm, pool])[1] == 0
    handle.remove()
    assert pass_of([norm, pool])[1] == 2


@pytest.mark.parametrize("recipe", ["paper", "source-2012"])
def test_a_net_in_passes_gives_the_logits_and_gradients_of_its_layers_one_by_one(
    recipe: str, narrow: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Network(load_recipe(recipe, narrow).net)
    initialise(network, "he", 3)
    patches = maps_of(4, 3, 224, 224, seed=4) / 64

    def found() -> list[Tensor]:
        network.zero_grad()
        logits = network(patches)
        logits.square().sum().backward()
        return [logits.detach(), *(parameter.grad for parameter in network.parameters() if parameter.grad is not None)]

    in_passes = found()
    monkeypatch.setattr(compiled, "available", lambda: False)
    monkeypatch.setattr(products, "onednn", lambda: False)
    for mine, theirs in zip(in_passes, found(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4 * float(theirs.abs().max()))


# ------------------------------------------------------------------------------------------------------------ products


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("most", [products._MOST_BYTES, 3000, 1], ids=["whole", "in parts", "one by one"])
def test_the_first_convolution_and_its_gradients_are_torchs_in_float64(
    most: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To a few roundings of the products' sums; in bfloat16, of what each part's sum is rounded to."""
    monkeypatch.setattr(products, "_MOST_BYTES", most)
    maps = maps_of(7, 3, 27, 27, dtype=dtype) / 100
    rng = torch.Generator().manual_seed(1)
    weight, bias = torch.randn(8, 3, 11, 11, generator=rng).to(dtype).float(), torch.randn(8, generator=rng)
    leaves = [weight.requires_grad_(), bias.to(dtype).float().requires_grad_()]
    mine = products.convolve(maps, leaves[0], leaves[1], stride=4, padding=1, overhang=2)
    assert type(mine.grad_fn).__name__ == "_FirstBackward"
    assert mine.dtype == dtype
    doubles = [leaf.detach().double().requires_grad_() for leaf in leaves]
    padded = functional.pad(maps.double(), (1, 3, 1, 3))
    theirs = functional.conv2d(padded, doubles[0], doubles[1], stride=4)
    rtol, atol = (2**-8, 1e-30) if dtype == torch.bfloat16 else (1e-5, 1e-4)
    torch.testing.assert_close(mine.double(), theirs, rtol=rtol, atol=atol)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        assert torch.equal(products.convolve(maps, leaves[0], leaves[1], stride=4, padding=1, overhang=2), mine)
    weights = torch.randn(mine.shape, generator=rng).to(dtype)
    found = torch.autograd.grad(mine, leaves, weights)
    for one, other in zip(found, torch.autograd.grad(theirs, doubles, weights.double()), strict=True):
        assert one.dtype == torch.float32
        atol = (0.02 if dtype == torch.bfloat16 else 1e-5) * float(other.abs().max())
        torch.testing.assert_close(one.double(), other, rtol=0, atol=atol)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("sizes", [(11, 4, 0, 3, 24), (11, 4, 2, 0, 24), (5, 3, 1, 2, 10), (2, 2, 0, 0, 7)], ids=str)
def test_a_convolution_over_folded_maps_is_the_convolution(sizes: tuple[int, ...], dtype: torch.dtype) -> None:
    """Whole numbers, so that every sum is exact in float64; in both widths in which the loop copies them."""
    size, stride, padding, overhang, side = sizes
    rng = torch.Generator().manual_seed(2)
    maps = torch.randint(-9, 9, (3, 3, side, side + 1), generator=rng).to(dtype)
    weight = torch.randint(-9, 9, (4, 3, size, size), generator=rng).double()
    padded = functional.pad(maps.double(), (padding, padding + overhang) * 2)
    folded = products.fold_maps(maps, size, stride, padding, overhang)
    found = functional.conv2d(folded.double(), products.fold_weight(weight, stride))
    assert torch.equal(found, functional.conv2d(padded, weight, stride=stride))
    assert torch.equal(products.unfold_weight(products.fold_weight(weight, stride), size, stride), weight)


def test_the_first_convolution_rounds_as_autocast_says_and_leaves_other_layers_alone() -> None:
    maps, weight, bias = maps_of(2, 3, 9, 9), torch.randn(4, 3, 3, 3, requires_grad=True), torch.zeros(4)
    settings = {"stride": 1, "padding": 0}
    with torch.autocast("cpu", torch.bfloat16):
        mine, theirs = (call(maps, weight, bias, **settings) for call in (products.convolve, functional.conv2d))
    assert torch.equal(mine, theirs)
    (found,) = torch.autograd.grad(mine.float().sum(), weight)
    assert found.dtype == torch.float32
    above = products.convolve(maps.requires_grad_(), weight, bias, **settings)
    assert type(above.grad_fn).__name__ == "ConvolutionBackward0"


@pytest.mark.parametrize("shape", [(128, 300, 70), (1, 9216, 10), (7, 5, 1)], ids=str)
def test_onednns_product_and_its_gradients_are_torchs_in_float64(shape: tuple[int, int, int]) -> None:
    if not products._works():
        pytest.skip("torch has no such operation here")
    pictures, inputs, neurons = shape
    rng = torch.Generator().manual_seed(0)
    tensors = [torch.randn(size, generator=rng) for size in ((pictures, inputs), (neurons, inputs), (neurons,))]
    leaves = [tensor.requires_grad_() for tensor in tensors]
    weight = torch.randn(pictures, neurons, generator=rng)
    mine = products._Linear.apply(*leaves)
    doubles = [leaf.detach().double().requires_grad_() for leaf in leaves]
    theirs = functional.linear(*doubles)
    scale = inputs**0.5
    torch.testing.assert_close(mine.double(), theirs, rtol=0, atol=1e-5 * scale)
    for found, expected in zip(
        torch.autograd.grad(mine, leaves, weight), torch.autograd.grad(theirs, doubles, weight.double()), strict=True
    ):
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5 * max(neurons, pictures) ** 0.5)


@pytest.mark.parametrize("pictures", [1, 2, 7])
def test_a_columns_share_of_the_numbers_is_multiplied_as_its_copy_is(pictures: int) -> None:
    """To the bit: oneDNN has only a slow method, with other roundings, for numbers that lie apart in memory."""
    if not products._works():
        pytest.skip("torch has no such operation here")
    rng = torch.Generator().manual_seed(0)
    numbers, gradients = (torch.randn(pictures, 2 * size, generator=rng).chunk(2, 1)[1] for size in (300, 70))
    weight = torch.randn(70, 600, generator=rng)[:, :300]
    for left, right in ((numbers, weight), (gradients, weight.t()), (gradients.t(), numbers.t())):
        found = products.times(left, right)
        assert torch.equal(found, products.times(left, right.t().contiguous().t()))
        np.testing.assert_allclose(found, left.double().numpy() @ right.double().numpy().T, rtol=0, atol=1e-4)


def test_the_processor_chooses_the_library_and_never_a_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_works", lambda: True)
    monkeypatch.delenv("ALEXNET_PRODUCTS", raising=False)
    for machine, vendor, wish, expected in (
        ("x86_64", "AuthenticAMD", "", True),
        ("x86_64", "GenuineIntel", "", False),
        ("arm64", "AuthenticAMD", "", False),
        ("x86_64", "AuthenticAMD", "mkl", False),
        ("x86_64", "GenuineIntel", "onednn", True),
    ):
        monkeypatch.setattr(platform, "machine", lambda machine=machine: machine)
        monkeypatch.setattr(products, "_vendor", lambda vendor=vendor: vendor)
        monkeypatch.setenv("ALEXNET_PRODUCTS", wish)
        assert products.onednn.__wrapped__() is expected


@pytest.mark.parametrize("fault", [AttributeError, RuntimeError, TypeError])
def test_a_torch_without_the_private_operation_multiplies_as_ever(
    fault: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> Tensor:
        raise fault("no such operation")

    monkeypatch.setattr(products, "times", gone)
    assert not products._works()


def test_a_forked_process_has_threads_of_its_own() -> None:
    before, maps = torch.get_num_threads(), maps_of(4, 8, 5, 5)
    torch.set_num_threads(2)
    expected = apply(maps, PAPER)
    result = torch.zeros_like(expected).share_memory_()  # type: ignore[no-untyped-call]
    child = os.fork()
    if child == 0:
        result.copy_(apply(maps, PAPER))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    torch.set_num_threads(before)
    assert torch.equal(result, expected)


# ---------------------------------------------------------------------------------------------------------- the cutting


@pytest.mark.parametrize("centre", [False, True])
def test_bfloat16_patches_are_the_rounded_float32_ones(centre: bool) -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    crops = torch.from_numpy(rng.integers(0, 256, (5, 40, 40, 3), dtype=np.uint8))
    where = rng.integers(0, 9, (5, 2)), np.arange(5) % 2 == 0
    constants = torch.rand(40, 40, 3) * 255, torch.tensor([1.0, 0.5, 2.0]), torch.randn(5, 3)
    settings = {"side": 32, "centre": centre}
    wide = cut(crops, *where, *constants, dtype=torch.float32, **settings)  # type: ignore[arg-type]
    half = cut(crops, *where, *constants, dtype=torch.bfloat16, **settings)  # type: ignore[arg-type]
    assert torch.equal(half, wide.bfloat16())


def cut_of(crops: Tensor, offsets: list[list[int]], mean: Tensor, scale: Tensor) -> Tensor:
    count = len(offsets)
    where = np.array(offsets), np.zeros(count, bool)
    return cut(crops, *where, mean, scale, torch.zeros(count, 3), side=4, centre=False, dtype=torch.float32)


def test_one_scale_for_all_colours_is_the_same_as_three() -> None:
    crops = torch.randint(0, 256, (2, 6, 6, 3), dtype=torch.uint8)
    mean, offsets = torch.rand(6, 6, 3), [[0, 0], [2, 1]]
    one = cut_of(crops, offsets, mean, torch.tensor(0.5))
    assert torch.equal(one, cut_of(crops, offsets, mean, torch.full((3,), 0.5)))
    torch.testing.assert_close(one[1], (crops[1, 2:6, 1:5].float() - mean[2:6, 1:5]) / 2)


@pytest.mark.parametrize(
    ("offsets", "mean"), [([[0, 0]], (6, 6, 3)), ([[0, 0], [3, 0]], (6, 6, 3)), ([[0, 0], [0, 0]], (5, 6, 3))]
)
def test_loops_that_look_at_no_bounds_are_given_nothing_that_does_not_fit(
    offsets: list[list[int]], mean: tuple[int, int, int]
) -> None:
    with pytest.raises(ValueError, match=r"don't (fit|lie inside)"):
        cut_of(torch.zeros(2, 6, 6, 3, dtype=torch.uint8), offsets, torch.zeros(mean), torch.ones(3))
