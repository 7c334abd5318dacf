"""torchvision's alexnet (torchvision/models/alexnet.py): its parameters' names, and ours."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType

from alexnet_cli.errors import UsageError

RECIPE = "torchvision"
"""The recipe of this net."""
NAMES: Mapping[str, str] = {
    "conv1": "features.0",
    "conv2": "features.3",
    "conv3": "features.6",
    "conv4": "features.8",
    "conv5": "features.10",
    "fc6": "classifier.1",
    "fc7": "classifier.4",
    "fc8": "classifier.6",
}
"""Our layer → the module in its state_dict, which has a `.weight` and a `.bias`."""


def load_torchvision() -> ModuleType:
    """The package. UsageError if it does not fit this torch, such as a build for CUDA and a torch for CPUs."""
    try:
        import torchvision
    except (ImportError, RuntimeError, OSError) as error:
        raise UsageError(
            f"torchvision can't be loaded ({error}): install it from the source of your torch (pytorch.org/get-started)"
        ) from None
    return torchvision  # type: ignore[no-any-return]
