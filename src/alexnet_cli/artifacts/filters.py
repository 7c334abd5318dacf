"""The first convolution's kernels after a run's first epoch, whose checkpoint is tidied away: `RUN/filters/`.

keep_filters(run, net, model)             # as the first epoch ends
read_filters(run)                         # float32 (96, 3, 11, 11); None if a run has none
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.artifacts.common.publish import replacing_inside
from alexnet_cli.errors import ArtifactError, ResourceError, describe_os_error
from alexnet_cli.reading import read_regular
from alexnet_cli.recipes.net import Net, layers

if TYPE_CHECKING:
    from torch import Tensor

FILTERS = "filters"
FIRST_EPOCH = "first-epoch.safetensors"
_MOST_BYTES = 1 << 28


def first_convolution(net: Net) -> str | None:
    """The name of the convolution that sees the picture; None for a net that begins otherwise."""
    found = next(iter(layers(net)), None)
    return found.name if found is not None and found.kind == "convolution" else None


def keep_filters(run: Path, net: Net, model: Mapping[str, Tensor]) -> None:
    """Write the first convolution's kernels of a whole model into a run folder. ResourceError if the disk fails."""
    from safetensors.numpy import save

    name = first_convolution(net)
    if name is None:
        return
    weights = model[f"{name}.weight"].detach().float().cpu().contiguous().numpy()
    try:
        (run / FILTERS).mkdir(exist_ok=True)
        with replacing_inside(run / FILTERS / FIRST_EPOCH) as work:
            work.write_bytes(save({f"{name}.weight": weights}))
    except OSError as error:
        raise ResourceError(describe_os_error(error, run / FILTERS)) from error


def read_filters(run: Path) -> NDArray[np.float32] | None:
    """The kernels of the first epoch, (kernels, channels, height, width); None if the run kept none.

    ArtifactError if the file is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = run / FILTERS / FIRST_EPOCH
    if not path.exists():
        return None
    try:
        tensors: dict[str, NDArray[Any]] = load(read_regular(path, most=_MOST_BYTES))
        (weights,) = tensors.values()
    except (SafetensorError, ValueError) as error:
        raise ArtifactError(f"{path}: is damaged ({' '.join(str(error).split())}): remove it") from None
    if weights.ndim != 4 or not np.isfinite(weights).all():
        raise ArtifactError(f"{path}: holds no kernels, it is damaged: remove it")
    return weights.astype(np.float32)
