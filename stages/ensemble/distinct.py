"""No picture may be both fitted to and reported on: what two crop stores share, whatever its name there."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.errors import ArtifactError

_SHAPING = ("filter", "codec", "quality", "exif_rotation", "side", "colour_profile", "truncated")
"""Options of `alexnet preprocess` that make other crops of the same picture."""

Pairs = Iterator[tuple[int, int]]
"""The index of a picture in one store, and in the other."""


def require_distinct(holdout: CropStore, crops: CropStore) -> None:
    """ArtifactError that names the overlap if the two stores share a picture, or says that this can't be seen."""
    if holdout.digest == crops.digest:
        raise ArtifactError(
            f"--fit-weights {holdout.path}: holds the pictures of --crops {crops.path}: hold out other pictures"
        )
    shared: dict[int, int] = {}
    known = holdout.digests is not None and crops.digests is not None
    if known:
        shared.update(same_files(holdout, crops))
    options, others = holdout.manifest.options, crops.manifest.options
    different = next((option for option in _SHAPING if options.get(option) != others.get(option)), None)
    if different is None:
        shared.update(same_crops(holdout, crops))
    elif not known:
        raise ArtifactError(
            f"--fit-weights {holdout.path}: was preprocessed with another {different} than --crops {crops.path}, and "
            "one of them has no digests of its pictures: shared ones can't be seen; preprocess it again"
        )
    if shared:
        mine = min(shared)
        raise ArtifactError(
            f"--fit-weights {holdout.path}: shares {len(shared):,} pictures with --crops {crops.path}, first "
            f"'{holdout.names[mine]}' ('{crops.names[shared[mine]]}' there): weights may not be reported on what they "
            "were fitted to, leave these pictures out of one of them"
        )


def same_files(first: CropStore, second: CropStore) -> Pairs:
    """Pictures of `first` whose files' bytes `second` was made from too, by their SHA-256."""
    assert first.digests is not None and second.digests is not None
    theirs = {digest.tobytes(): index for index, digest in reversed(list(enumerate(second.digests)))}
    for index, digest in enumerate(first.digests):
        other = theirs.get(digest.tobytes())
        if other is not None:
            yield index, other


def same_crops(first: CropStore, second: CropStore) -> Pairs:
    """Records of `first` that `second` holds too: equal in checksum, then byte by byte.

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
