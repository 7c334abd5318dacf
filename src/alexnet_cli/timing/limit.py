"""The limit of a training step: its convolutions and matrix products alone, each by the fastest call that torch has.

Of each layer with weights: forward, the weights' gradient, and the inputs' gradient if a layer below is trained.
Each call is tried in every layout and by every library that is there, and the fastest is kept.

Legend: N pictures, C channels seen, K kernels; of a product N rows, I numbers in, O out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from alexnet_cli.net.convolution import Convolution
from alexnet_cli.net.kernels.products import times, unfold_weight
from alexnet_cli.net.network import Network
from alexnet_cli.net.weights import Weights
from alexnet_cli.timing.clock import Clock
from alexnet_cli.timing.layers import Seen

FORWARD, INPUTS, WEIGHTS = "forward", "inputs' gradient", "weights' gradient"
_HOPELESS = 2.0
"""A call that took that many times as long as the best, the first time, is not tried again."""
_TRIES = 3
_LEAST_SECONDS = 0.01
"""Of one measurement: shorter calls are repeated in it."""

Ways = dict[str, Callable[[], object]]


@dataclass(frozen=True)
class Product:
    """One convolution or matrix product of a step, by its fastest call."""

    layer: str
    part: str
    """FORWARD, INPUTS or WEIGHTS."""
    way: str
    """The fastest call, in words."""
    call: Callable[[], object]
    times: int
    """Calls in one measurement."""

    def milliseconds(self, clock: Clock) -> float:
        """Of one call."""
        return 1e3 * clock.seconds(self.call, self.times)


def products(network: Network, seen: Mapping[str, Seen], clock: Clock, dtype: torch.dtype) -> list[Product]:
    """The products of a step. seen: what each layer sees; a layer that is not trained has only its forward pass."""
    memory = Memory(clock.device, dtype)
    found = []
    with torch.no_grad():
        for layer in network.layers:
            weights = network.weights(layer.name)
            for part, ways in ways_of(weights, seen[layer.name], memory):
                way, call, seconds = _fastest(ways, clock)
                found.append(Product(layer.name, part, way, call, max(1, math.ceil(_LEAST_SECONDS / seconds))))
    return found


def ways_of(weights: Weights, seen: Seen, memory: Memory) -> Iterator[tuple[str, Ways]]:
    """Of each part of a layer that a step computes, the calls by name; each gives the part's own numbers."""
    ways = _convolution(weights, seen, memory) if isinstance(weights, Convolution) else _linear(weights, seen, memory)
    wanted = {FORWARD: True, WEIGHTS: weights.weight.requires_grad, INPUTS: seen.needs_gradient}
    return ((part, ways[part]) for part, wants in wanted.items() if wants)


def _fastest(ways: Ways, clock: Clock) -> tuple[str, Callable[[], object], float]:
    """The fastest of some calls: name, call, seconds. Calls that torch refuses here are left out."""
    seconds: dict[str, float] = {}
    for name, call in ways.items():
        try:
            first = clock.seconds(call)
        except (RuntimeError, NotImplementedError, AttributeError):
            continue
        if first > _HOPELESS * min(seconds.values(), default=math.inf):
            continue  # the first call sets things up, but not for so long
        seconds[name] = min(clock.seconds(call) for _ in range(_TRIES))
    best = min(seconds, key=lambda name: seconds[name])
    return best, ways[best], seconds[best]


class Memory:
    """Random numbers as tensors of any shape. All tensors of one role share memory: only their time matters."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype
        self._roles: dict[str, Tensor] = {}

    def __call__(self, role: str, shape: tuple[int, ...], *, channels_last: bool = False) -> Tensor:
        count = math.prod(shape)
        numbers = self._roles.get(role)
        if numbers is None or len(numbers) < count:
            numbers = self._roles[role] = torch.randn(count, device=self.device, dtype=self.dtype)
        if not channels_last:
            return numbers[:count].view(shape)
        pictures, channels, *sides = shape
        return numbers[:count].view(pictures, *sides, channels).permute(0, 3, 1, 2)


# ----------------------------------------------------------------------------------------------------- convolutions


@dataclass(frozen=True)
class _Form:
    """A convolution as its calls see it."""

    maps: tuple[int, ...]
    """(N, C, H, W), overhang included."""
    kernels: tuple[int, ...]
    """(K, C of its group, size, size)."""
    out: tuple[int, ...]
    """(N, K, H', W')."""
    stride: int
    padding: int
    groups: int

    def folded(self) -> _Form:
        """The same with stride 1: stride×stride pixels are one pixel's channels."""
        stride = self.stride
        count, channels, size, _ = self.kernels
        side, many = -(-size // stride), channels * stride**2
        maps = (self.maps[0], many * self.groups, *(length + side - 1 for length in self.out[2:]))
        return _Form(maps, (count, many, side, side), self.out, 1, 0, self.groups)


def _convolution(layer: Convolution, seen: Seen, memory: Memory) -> dict[str, Ways]:
    """Of each part, the calls: in both layouts, and on a CPU also in oneDNN's own, in parts, and folded."""
    form = _form_of(layer, seen)
    found: dict[str, Ways] = {FORWARD: {}, INPUTS: {}, WEIGHTS: {}}
    for channels_last in (True, False):
        name = "channels_last" if channels_last else "contiguous"
        for part, call in _calls(form, partial(_operands, form, memory, channels_last), memory).items():
            found[part][name] = call
    if memory.device.type == "cpu":
        for part, call in _calls(form, _blocked(form, memory), memory).items():
            found[part]["oneDNN's layout"] = call
        if not seen.needs_gradient:
            found[WEIGHTS]["in two parts"] = lambda: _in_parts(form, *_operands(form, memory, True))
        if form.stride > 1:
            folded = form.folded()  # the folding itself does not count
            calls = _calls(folded, partial(_operands, folded, memory, True), memory)
            found[FORWARD]["folded"] = calls[FORWARD]
            found[WEIGHTS]["folded"] = lambda: unfold_weight(calls[WEIGHTS]()[1], form.kernels[2], form.stride)
    return found


def _form_of(layer: Convolution, seen: Seen) -> _Form:
    spec = layer.spec
    pictures, channels, *sides = seen.shape
    sides = [side + spec.overhang for side in sides]
    out = [(side + 2 * spec.padding - spec.size) // spec.stride + 1 for side in sides]
    kernels = tuple(layer.weight.shape)
    return _Form(
        (pictures, channels, *sides), kernels, (pictures, kernels[0], *out), spec.stride, spec.padding, layer.groups
    )


def _operands(form: _Form, memory: Memory, channels_last: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Maps, gradient of the maps out, kernels."""
    roles = {"inputs": form.maps, "gradients": form.out, "weights": form.kernels}
    maps, gradient, kernels = (memory(role, shape, channels_last=channels_last) for role, shape in roles.items())
    return maps, gradient, kernels


def _blocked(form: _Form, memory: Memory) -> Callable[[], tuple[Tensor, Tensor, Tensor]]:
    """The operands in the layout that oneDNN chooses for itself; made once, before the time counts."""
    made: list[tuple[Tensor, Tensor, Tensor]] = []

    def operands() -> tuple[Tensor, Tensor, Tensor]:
        if not made:
            maps, gradient, kernels = _operands(form, memory, False)
            made.append((maps.to_mkldnn(), gradient.to_mkldnn(), kernels))
        return made[0]

    return operands


def _calls(
    form: _Form, operands: Callable[[], tuple[Tensor, Tensor, Tensor]], memory: Memory
) -> dict[str, Callable[[], Any]]:
    """The call of each part on these operands."""

    def forward() -> object:
        maps, _, kernels = operands()
        bias = memory("bias", form.kernels[:1])
        return functional.conv2d(maps, kernels, bias, form.stride, form.padding, groups=form.groups)

    return {
        FORWARD: forward,
        INPUTS: lambda: _backward(form, *operands(), inputs=True),
        WEIGHTS: lambda: _backward(form, *operands(), inputs=False),
    }


def _backward(form: _Form, maps: Tensor, gradient: Tensor, kernels: Tensor, *, inputs: bool) -> Any:
    """The gradient of the inputs, or of weights and bias."""
    stride, padding, wanted = [form.stride] * 2, [form.padding] * 2, [inputs, not inputs, not inputs]
    return torch.ops.aten.convolution_backward(
        gradient, maps, kernels, [len(kernels)], stride, padding, [1, 1], False, [0, 0], form.groups, wanted
    )


def _in_parts(form: _Form, maps: Tensor, gradient: Tensor, kernels: Tensor) -> list[Tensor]:
    """The weights' gradient of each half of the pictures: some of oneDNN's methods serve only small mini-batches."""
    halves = zip(maps.chunk(2), gradient.chunk(2), strict=True)
    found = [_backward(form, *half, kernels, inputs=False)[1:] for half in halves]
    return [torch.stack(own).sum(0) for own in zip(*found, strict=True)]


# -------------------------------------------------------------------------------------------------- matrix products


def _linear(layer: Weights, seen: Seen, memory: Memory) -> dict[str, Ways]:
    """out (N, O) = in (N, I) · weightᵀ; by BLAS (MKL, cuBLAS), and on a CPU by oneDNN too."""
    outputs, inputs = layer.weight.shape
    pictures = seen.shape[0]
    # A layer whose neurons see their own column is one product for each column that lives here.
    parts = max(1, math.prod(seen.shape[1:]) // inputs)

    def operands() -> tuple[Tensor, Tensor, Tensor, Tensor]:
        part = outputs // parts
        return (
            memory("inputs", (pictures, inputs)),
            memory("gradients", (pictures, part)),
            memory("weights", (part, inputs)),
            memory("bias", (part,)),
        )

    def each(work: Callable[[Tensor, Tensor, Tensor, Tensor], object]) -> Callable[[], object]:
        return lambda: [work(*operands()) for _ in range(parts)]

    found: dict[str, Ways] = {
        FORWARD: {"BLAS": each(lambda x, g, w, b: functional.linear(x, w, b))},
        INPUTS: {"BLAS": each(lambda x, g, w, b: g @ w)},
        WEIGHTS: {
            "BLAS": each(lambda x, g, w, b: g.t() @ x),
            "BLAS, transposed": each(lambda x, g, w, b: x.t() @ g),
        },
    }
    if memory.device.type == "cpu":
        found[FORWARD]["oneDNN"] = each(lambda x, g, w, b: times(x, w, b))
        found[INPUTS]["oneDNN"] = each(lambda x, g, w, b: times(g, w.t()))
        found[WEIGHTS]["oneDNN"] = each(lambda x, g, w, b: times(g.t(), x.t()))
        found[WEIGHTS]["oneDNN, transposed"] = each(lambda x, g, w, b: times(x.t(), g.t()))
    return found
