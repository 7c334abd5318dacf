"""Numbers that are not finite: which parameter holds one, and which layer gave the first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


def not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor that holds a NaN or an infinity; None if all numbers are finite."""
    return next((name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())), None)


def not_finite_layer(parameters: Iterable[tuple[str, Tensor]], forward: Callable[[], object]) -> str | None:
    """The layer that gives the first number that is not finite in a forward pass; None if none does.

    parameters: the net's, by name (`conv1.weight`), which tell one layer from the next. forward: runs the pass, not
    compiled.
    """
    watch = _Watch({id(parameter): name.rpartition(".")[0] for name, parameter in parameters})
    with torch.no_grad(), watch:
        forward()
    return watch.found


_UNSET = (torch.empty, torch.empty_like, Tensor.new_empty)
"""What returns memory as it was: any numbers may stand there."""


class _Watch(TorchFunctionMode):
    """Looks at what each torch function returns. The layer is the one whose parameter was used last."""

    def __init__(self, layers: Mapping[int, str]) -> None:
        super().__init__()
        self._layers = layers
        self._layer = "the input"
        self.found: str | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in args:
            self._layer = self._layers.get(id(value), self._layer)
        if self.found is None and func not in _UNSET and isinstance(result, Tensor) and result.is_floating_point():
            with torch._C.DisableTorchFunction():
                if not bool(torch.isfinite(result).all()):
                    self.found = self._layer
        return result
