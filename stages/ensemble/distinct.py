"""No picture may be both fitted to and reported on: what two crop stores share, by the bytes that they hold."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from alexnet_cli.artifacts.crops import CropStore
from alexnet_cli.errors import ArtifactError

_SHAPING = ("filter", "codec", "quality", "exif_rotation")
"""Options of `alexnet preprocess` that make other bytes of the same picture."""


def require_distinct(holdout: CropStore, crops: CropStore) -> None:
    """ArtifactError that names the overlap where the two stores share a picture, or where that can't be seen."""
    if holdout.digest == crops.digest:
        raise ArtifactError(
            f"--fit-weights {holdout.path}: holds the pictures of --crops {crops.path}: hold out other pictures"
        )
    for option in _SHAPING:
        mine, other = (store.manifest.options.get(option) for store in (holdout, crops))
        if mine != other:
            raise ArtifactError(
                f"--fit-weights {holdout.path}: was preprocessed with {option} {mine}, --crops {crops.path} with "
                f"{other}, so that shared pictures can't be seen: preprocess one of them again"
            )
    shared = list(shared_pictures(holdout, crops))
    if shared:
        mine, other = shared[0]
        raise ArtifactError(
            f"--fit-weights {holdout.path}: shares {len(shared):,} pictures with --crops {crops.path}, first "
            f"'{holdout.names[mine]}' ('{crops.names[other]}' there): weights may not be reported on what they were "
            "fitted to, leave these pictures out of one of them"
        )


def shared_pictures(first: CropStore, second: CropStore) -> Iterator[tuple[int, int]]:
    """Records of `first` that `second` holds too, each with one of second's: equal in checksum, then byte by byte.

    The checksums alone do not suffice: among two stores of 50,000 different pictures, a CRC of 32 bits collides with a
    probability of 44%.
    """
    common = np.intersect1d(first.crcs, second.crcs)
    theirs: dict[int, list[int]] = {}
    for index in np.flatnonzero(np.isin(second.crcs, common)):
        theirs.setdefault(int(second.crcs[index]), []).append(int(index))
    for index in np.flatnonzero(np.isin(first.crcs, common)):
        mine = first.stored(int(index))
        for other in theirs[int(first.crcs[index])]:
            if mine == second.stored(other):
                yield int(index), other
                break
