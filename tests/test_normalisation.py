"""Local response normalisation against torch's own in float64, and against loops over the paper's formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from alexnet_cli.net.kernels import blocks
from alexnet_cli.net.kernels.blocks import local_response_norm, same_map_norm
from alexnet_cli.net.norm import over_maps, over_pixels


def maps_of(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    values = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 30
    return values.to(dtype).contiguous(memory_format=torch.channels_last)


def reference(maps: Tensor, groups: int) -> Tensor:
    """torch's own, applied to each column."""
    parts = maps.chunk(groups, 1)
    return torch.cat([functional.local_response_norm(part, 5, alpha=1e-4, beta=0.75, k=2.0) for part in parts], 1)


def ours(maps: Tensor, groups: int) -> Tensor:
    return local_response_norm(maps, groups=groups, k=2.0, alpha=1e-4, beta=0.75, window=5)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("block", [1000, 1 << 19])
def test_forward_and_gradient_equal_torchs_in_float64(groups: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_BLOCK_FLOATS", block)
    maps = maps_of(3, 96, 7, 5).requires_grad_()
    weight = maps_of(3, 96, 7, 5, seed=1)
    mine, theirs = ours(maps, groups), reference(maps, groups)
    torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)
    (gradient,) = torch.autograd.grad(mine, maps, weight)
    (expected,) = torch.autograd.grad(theirs, maps, weight)
    torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-10)


def test_the_gradient_equals_finite_differences() -> None:
    maps = maps_of(1, 12, 2, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda values: ours(values, 2), (maps,), eps=1e-5, atol=1e-7)
    assert torch.autograd.gradcheck(
        lambda values: same_map_norm(values, k=1.0, alpha=1e-3, beta=0.75, window=5),
        (maps_of(1, 2, 6, 6).requires_grad_(),),
    )


def test_float32_agrees_with_float64_to_its_rounding() -> None:
    maps = maps_of(2, 96, 9, 9)
    torch.testing.assert_close(ours(maps.float(), 2).double(), ours(maps, 2), rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("autocast", [False, True])
def test_bfloat16_maps_are_normalised_in_float32(autocast: bool) -> None:
    maps = maps_of(2, 96, 9, 9, dtype=torch.bfloat16)
    exact = ours(maps.double(), 2)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = ours(maps, 2)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), exact, rtol=2**-8, atol=0)


def test_the_window_stays_inside_its_column() -> None:
    maps = torch.zeros(1, 96, 1, 1, dtype=torch.float64)
    maps[0, 47], maps[0, 48] = 100.0, 50.0
    result = ours(maps, 2)
    assert result[0, 47].item() == pytest.approx(100 / (2 + 2e-5 * 100**2) ** 0.75, rel=1e-12)
    assert result[0, 48].item() == pytest.approx(50 / (2 + 2e-5 * 50**2) ** 0.75, rel=1e-12)


def test_at_a_columns_edge_the_divisor_stays_five() -> None:
    maps = torch.full((1, 6, 1, 1), 10.0, dtype=torch.float64)
    # Map 0 has two neighbours inside: three squares, each times 1e-4 / 5.
    assert ours(maps, 1)[0, 0].item() == pytest.approx(10 / (2 + 1e-4 / 5 * 300) ** 0.75, rel=1e-12)


def test_another_exponent_uses_the_general_power() -> None:
    maps = maps_of(2, 10, 3, 3)
    mine = local_response_norm(maps, groups=1, k=1.0, alpha=5e-4, beta=0.6, window=3)
    theirs = functional.local_response_norm(maps, 3, alpha=5e-4, beta=0.6, k=1.0)
    torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


def test_the_same_map_norm_equals_loops_over_its_formula() -> None:
    maps = maps_of(2, 3, 6, 7)
    values = maps.numpy()
    expected = np.empty_like(values)
    for n, c, y, x in np.ndindex(*values.shape):
        window = values[n, c, max(0, y - 2) : y + 3, max(0, x - 2) : x + 3]
        expected[n, c, y, x] = values[n, c, y, x] / (1 + 1e-3 / 25 * (window**2).sum()) ** 0.75
    mine = same_map_norm(maps, k=1.0, alpha=1e-3, beta=0.75, window=5)
    np.testing.assert_allclose(mine.numpy(), expected, rtol=1e-12)


def test_the_formula_as_written_is_what_training_computes() -> None:
    maps = maps_of(2, 24, 6, 7).requires_grad_()
    pixels = {"k": 1.0, "alpha": 1e-3, "beta": 0.75, "window": 5}
    for plain, fast in (
        (over_maps(maps, groups=2, k=2.0, alpha=1e-4, beta=0.75, window=5), ours(maps, 2)),
        (over_pixels(maps, **pixels), same_map_norm(maps, **pixels)),  # type: ignore[arg-type]
    ):
        torch.testing.assert_close(plain, fast, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(
            *(torch.autograd.grad(result.square().sum(), maps)[0] for result in (plain, fast)), rtol=1e-10, atol=1e-10
        )
