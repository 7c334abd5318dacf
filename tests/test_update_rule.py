"""The update rule against the paper's two lines in float64 numpy, with rates that drop, freeze and thaw."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from alexnet_cli.net.update import UpdateRule

NAMES = ("conv1.weight", "conv1.bias", "fc8.weight", "fc8.bias")
SHAPES = ((4, 3, 2, 2), (4,), (5, 6), (5,))
Rates = dict[str, float]
Values = dict[str, NDArray[np.float64]]


def start() -> Values:
    rng = np.random.default_rng(0)
    return {name: rng.normal(0, 0.1, shape) for name, shape in zip(NAMES, SHAPES, strict=True)}


def gradients(steps: int) -> list[Values]:
    rng = np.random.default_rng(1)
    return [{name: rng.normal(0, 1, s) for name, s in zip(NAMES, SHAPES, strict=True)} for _ in range(steps)]


def by_hand(rates: Sequence[Rates], *, momentum: float = 0.9, decay: float = 0.0005) -> list[Values]:
    """Section 5: v ← 0.9·v − 0.0005·ε·w − ε·g;  w ← w + v. A frozen parameter stays and forgets its velocity."""
    w = start()
    v = {name: np.zeros_like(value) for name, value in w.items()}
    found = []
    for rate, g in zip(rates, gradients(len(rates)), strict=True):
        for name in NAMES:
            epsilon = rate[name]
            if epsilon == 0:
                v[name][...] = 0
                continue
            own = decay if name.endswith(".weight") else 0.0
            v[name] = momentum * v[name] - own * epsilon * w[name] - epsilon * g[name]
            w[name] = w[name] + v[name]
        found.append({name: value.copy() for name, value in w.items()})
    return found


def parameters_in(dtype: torch.dtype) -> dict[str, nn.Parameter]:
    found = {}
    for name, value in start().items():
        tensor = torch.from_numpy(value).to(dtype)
        if tensor.dim() == 4:
            tensor = tensor.contiguous(memory_format=torch.channels_last)
        found[name] = nn.Parameter(tensor)
    return found


def by_rule(
    rates: Sequence[Rates],
    *,
    momentum: float = 0.9,
    decay: float = 0.0005,
    dtype: torch.dtype = torch.float64,
    continued: Sequence[int] = (),
) -> list[Values]:
    """What UpdateRule makes of it. continued: steps after which all goes through `buffers` into a new rule."""
    parameters = parameters_in(dtype)
    rule = UpdateRule(parameters, momentum=momentum, decay=decay)
    found = []
    for step, (rate, g) in enumerate(zip(rates, gradients(len(rates)), strict=True)):
        rule.set_rates(rate)
        for name, parameter in parameters.items():
            if parameter.requires_grad:
                parameter.grad = torch.from_numpy(g[name]).to(dtype)
        rule.step()
        rule.clear()
        found.append({name: p.detach().double().numpy().copy() for name, p in parameters.items()})
        if step + 1 in continued:
            saved = {name: buffer.clone() for name, buffer in rule.buffers().items()}
            rule = UpdateRule(parameters, momentum=momentum, decay=decay)
            rule.set_rates(rate)
            rule.load_buffers(saved)
    return found


def every(rate: float) -> Rates:
    return dict.fromkeys(NAMES, rate)


def require_close(ours: list[Values], theirs: list[Values], tolerance: float) -> None:
    for step, (mine, other) in enumerate(zip(ours, theirs, strict=True), 1):
        for name in NAMES:
            np.testing.assert_allclose(mine[name], other[name], rtol=0, atol=tolerance, err_msg=f"{name}, step {step}")


CONSTANT = [every(0.01)] * 10
DROPS = [every(0.01)] * 5 + [every(0.001)] * 5 + [every(0.0001)] * 5 + [every(0.00001)] * 5
RISES = [every(0.001)] * 4 + [every(0.02)] * 4 + [every(0.005)] * 4
OWN = [
    {"conv1.weight": a, "conv1.bias": 0.02, "fc8.weight": b, "fc8.bias": 0.02}
    for a, b in [(0.01, 0.01)] * 4 + [(0.001, 0.01)] * 4 + [(1e-5, 1e-4)] * 4
]
FROZEN = (
    [every(0.01)] * 4
    + [{**every(0.01), "conv1.weight": 0.0, "conv1.bias": 0.0}] * 4
    + [every(0.001)] * 4
    + [every(0.0)] * 2
    + [every(0.01)] * 4
)
BORN_FROZEN = [{**every(0.01), "conv1.weight": 0.0}] * 3 + [every(0.01)] * 3
PLANS = {
    "one rate": CONSTANT,
    "three drops": DROPS,
    "rises too": RISES,
    "rates of their own": OWN,
    "freezing and thawing": FROZEN,
    "frozen from the start": BORN_FROZEN,
}


@pytest.mark.parametrize("plan", PLANS)
def test_the_weights_move_as_the_papers_two_lines_say(plan: str) -> None:
    require_close(by_rule(PLANS[plan]), by_hand(PLANS[plan]), 1e-13)


@pytest.mark.parametrize("plan", PLANS)
def test_in_float32_they_do_so_to_its_rounding(plan: str) -> None:
    require_close(by_rule(PLANS[plan], dtype=torch.float32), by_hand(PLANS[plan]), 1e-6)


def test_another_momentum_and_decay_are_used() -> None:
    require_close(by_rule(DROPS, momentum=0.5, decay=0.1), by_hand(DROPS, momentum=0.5, decay=0.1), 1e-13)
    require_close(by_rule(DROPS, momentum=0.0, decay=0.0), by_hand(DROPS, momentum=0.0, decay=0.0), 1e-13)


def test_the_rate_is_inside_the_velocity() -> None:
    """After a drop by 10 the old velocity goes on undiminished, as it would not with the rate outside."""
    rates = [every(0.01)] * 3 + [every(0.001)]
    ours, w = by_rule(rates), by_hand(rates)
    moved = ours[3]["fc8.bias"] - ours[2]["fc8.bias"]
    velocity = w[2]["fc8.bias"] - w[1]["fc8.bias"]
    np.testing.assert_allclose(moved, 0.9 * velocity - 0.001 * gradients(4)[3]["fc8.bias"], rtol=0, atol=1e-14)


def test_biases_have_no_decay() -> None:
    parameters = parameters_in(torch.float64)
    rule = UpdateRule(parameters, momentum=0.9, decay=0.5)
    rule.set_rates(every(0.1))
    for parameter in parameters.values():
        parameter.grad = torch.zeros_like(parameter)
    rule.step()
    before = start()
    for name in NAMES:
        factor = 0.95 if name.endswith(".weight") else 1.0
        np.testing.assert_allclose(parameters[name].detach().numpy(), factor * before[name], rtol=1e-14)


def test_a_frozen_parameter_asks_for_no_gradient_and_a_thawed_one_does_again() -> None:
    parameters = parameters_in(torch.float64)
    rule = UpdateRule(parameters, momentum=0.9, decay=0.5)
    rule.set_rates({**every(0.1), "conv1.weight": 0.0})
    assert [name for name, p in parameters.items() if not p.requires_grad] == ["conv1.weight"]
    rule.set_rates(every(0.1))
    assert all(p.requires_grad for p in parameters.values())


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_rule_continued_from_its_buffers_moves_bit_for_bit_as_one_that_was_not(plan: str, dtype: torch.dtype) -> None:
    """Saved after every step: before and after drops, while frozen, and before the first step of a thawed layer."""
    rates = PLANS[plan]
    whole, continued = by_rule(rates, dtype=dtype), by_rule(rates, dtype=dtype, continued=range(1, len(rates) + 1))
    for one, other in zip(whole, continued, strict=True):
        for name in NAMES:
            assert np.array_equal(one[name], other[name])


def test_buffers_are_minus_velocity_over_rate_and_zero_before_the_first_step() -> None:
    parameters = parameters_in(torch.float64)
    rule = UpdateRule(parameters, momentum=0.9, decay=0.0005)
    rule.set_rates(every(0.01))
    assert all(not bool(buffer.any()) for buffer in rule.buffers().values())
    before = {name: p.detach().clone() for name, p in parameters.items()}
    for name, parameter in parameters.items():
        parameter.grad = torch.from_numpy(gradients(1)[0][name])
    rule.step()
    for name, buffer in rule.buffers().items():
        torch.testing.assert_close(-0.01 * buffer, parameters[name].detach() - before[name], rtol=1e-10, atol=1e-15)
