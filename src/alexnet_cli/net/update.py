"""The paper's update rule (section 5), with the rate inside the velocity.

    v ← 0.9·v − 0.0005·ε·w − ε·g ;  w ← w + v

torch's fused SGD keeps the rate outside: m ← 0.9·m + (g + 0.0005·w), w ← w − ε·m. Both are the same function with
v = −ε·m, as long as ε stays; when a rate changes, m is multiplied by ε_old/ε_new to keep v.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

_BUFFER = "momentum_buffer"


class UpdateRule:
    """Momentum with weight decay over named parameters, each with a rate of its own.

    decay: weight decay of `….weight` parameters; biases have none. decays: by layer, in place of it. A rate of 0
    freezes a parameter: it keeps its value, and its velocity is dropped.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        *,
        momentum: float,
        decay: float,
        decays: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        self.parameters = dict(parameters)
        self.momentum = momentum
        fused = all(parameter.device.type in ("cpu", "cuda") for parameter in self.parameters.values())
        named = [(name.rpartition("."), parameter) for name, parameter in self.parameters.items()]
        groups: list[dict[str, Any]] = [
            {"params": [parameter], "weight_decay": decays.get(layer, decay) if kind == "weight" else 0.0}
            for (layer, _, kind), parameter in named
        ]
        self._optimizer = torch.optim.SGD(groups, lr=1.0, momentum=momentum, fused=fused)
        self.rates: dict[str, float] = {}

    def set_rates(self, rates: Mapping[str, float]) -> None:
        """Set ε of every parameter by name; velocities stay as they are."""
        for group, (name, parameter) in zip(self._optimizer.param_groups, self.parameters.items(), strict=True):
            old, new = self.rates.get(name), rates[name]
            parameter.requires_grad_(new > 0)
            state = self._optimizer.state.get(parameter)
            if state and old != new:
                if new == 0:
                    parameter.grad = None
                    self._optimizer.state.pop(parameter)
                elif old:
                    state[_BUFFER].mul_(old / new)
            group["lr"] = new
        self.rates = dict(rates)

    def step(self) -> None:
        """Move every parameter that has a gradient."""
        for parameter in self.parameters.values():
            gradient = parameter.grad
            # torch's fused step walks memory: autograd's gradients have the parameter's strides, others may not.
            if gradient is not None and gradient.stride() != parameter.stride():
                parameter.grad = torch.empty_like(parameter).copy_(gradient)
        self._optimizer.step()

    def clear(self) -> None:
        """Forget the gradients."""
        self._optimizer.zero_grad(set_to_none=True)

    def buffers(self) -> dict[str, Tensor]:
        """m by parameter name: the velocity is −rate·m. Zero if no step was made."""
        found = {}
        for name, parameter in self.parameters.items():
            state = self._optimizer.state.get(parameter)
            found[name] = state[_BUFFER] if state else torch.zeros_like(parameter.detach())
        return found

    def load_buffers(self, buffers: Mapping[str, Tensor]) -> None:
        """Set m by parameter name, from what `buffers` returned."""
        for name, parameter in self.parameters.items():
            # torch's fused step walks memory: the buffer needs the parameter's own strides.
            buffer = torch.empty_like(parameter.detach()).copy_(buffers[name])
            self._optimizer.state[parameter] = {_BUFFER: buffer}
