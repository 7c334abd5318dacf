"""Weights by name of a .safetensors or .pth file. The one place of the project that reads a pickle.

A .pth is a pickle, and a pickle can run what it likes. `weights_only=True` builds tensors, numbers, texts and lists of
them, and refuses whatever else a file asks for.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from alexnet_cli.errors import ArtifactError
from alexnet_cli.reading import read_regular

MOST_BYTES = 1 << 33
_INSIDE = ("state_dict", "model_state_dict", "model", "net", "state_dict_ema")
"""Names under which trainings save the weights among other things."""
_WRAPPERS = {"module", "_orig_mod"}
"""Parts of names that DataParallel and torch.compile put in."""


def read_weights(path: Path) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    """The tensors of a file by their names, and what a .safetensors file says of itself.

    ArtifactError in one line for whatever is not a file of weights.
    """
    try:
        content = read_regular(path, most=MOST_BYTES)
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file: check the path") from None
    length = int.from_bytes(content[:8], "little")
    if content[8:9] == b"{" and length <= len(content) - 8:
        try:
            return _plain(load(content)), json.loads(content[8 : 8 + length]).get("__metadata__", {})
        except (SafetensorError, ValueError, TypeError, KeyError) as error:
            raise ArtifactError(f"{path}: is not a whole .safetensors file ({error}): get it again") from None
    tensors = _tensors_in(_unpickled(content, path))
    if tensors is None:
        raise ArtifactError(f"{path}: holds no weights by name: save the net's state_dict()")
    return _plain(tensors), {}


def _unpickled(content: bytes, path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it looks like TorchScript, which is refused below
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception:  # whatever a stranger's file makes a reader of pickles do
        raise ArtifactError(
            f"{path}: is damaged, not a file of torch's, or a pickle that holds more than weights, which is refused "
            "since it could run anything: save its state_dict(), best as .safetensors"
        ) from None


def _tensors_in(found: Any) -> Mapping[str, Tensor] | None:
    """A table of tensors by name: the object itself, or one that it holds under a usual name."""
    if not isinstance(found, Mapping):
        return None
    for candidate in (found, *(found[name] for name in _INSIDE if name in found)):
        if isinstance(candidate, Mapping) and candidate:
            tensors = {name: value for name, value in candidate.items() if isinstance(value, Tensor)}
            if len(tensors) == len(candidate) and all(isinstance(name, str) for name in tensors):
                return tensors
    return None


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names without what wrappers put in."""
    kept = {name: [part for part in name.split(".") if part not in _WRAPPERS] for name in tensors}
    return {".".join(kept[name]): value for name, value in tensors.items()}
