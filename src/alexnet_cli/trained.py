"""A trained net, whatever the user names: a run, a checkpoint, or an ensemble of several.

trained = find_trained(Path("out/ensemble"))                    # where the weights lie; no torch
trained, (nets,) = open_nets(trained, [device], "fp32")         # loaded and verified
centre, mean = nets.probabilities(crops, views=10)              # crops: uint8 (N, side, side, 3) on the device
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alexnet_cli.artifacts.checkpoint import Checkpoint, read_checkpoint, read_checkpoint_manifest
from alexnet_cli.artifacts.common.manifest import digest_of_file, read_folder_manifest
from alexnet_cli.artifacts.common.steady import read_newest, steadily
from alexnet_cli.artifacts.common.working import manifest_kind
from alexnet_cli.artifacts.ensemble import KIND, MEMBERS_DIGEST, MEMBERS_FILE, SCHEMA
from alexnet_cli.artifacts.run import read_found
from alexnet_cli.class_list import ClassList
from alexnet_cli.cutting import cutting_for
from alexnet_cli.errors import ArtifactError, ResourceError, describe_os_error
from alexnet_cli.reading import read_json

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from alexnet_cli.evaluation import Net

_ANEW = "make the ensemble anew with `alexnet ensemble … --overwrite`, or give a member's run"


@dataclass(frozen=True)
class Member:
    """One net and its share of the average."""

    name: str
    checkpoint: Path
    weight: float


@dataclass(frozen=True)
class Trained:
    """What NET names: one net, or the members of an ensemble."""

    path: Path
    which: str
    """In words: `the best checkpoint, step-00001269`, `the average of 3 nets`."""
    members: tuple[Member, ...]
    """Their weights sum to 1."""
    digest: str
    """Of the checkpoint, or of the ensemble."""


@dataclass(frozen=True, eq=False)
class Nets:
    """Nets on one device whose probabilities are averaged."""

    nets: tuple[Net, ...]
    weights: tuple[float, ...]
    classes: ClassList
    cutting: dict[str, Any]
    """How the pictures that they see must be cut: arguments of `crop_of`."""
    uniform: bool = True
    """Whether all members' training pictures were cut in the same way; if not, `cutting` is the first one's."""

    def probabilities(self, crops: Tensor, views: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Of the centre view, and the mean over the views, (N, classes) each; of several nets their weighted mean.

        The same numbers as from `alexnet eval` and `alexnet ensemble`: members are summed in float64, in their order.
        """
        import numpy as np

        from alexnet_cli.evaluation import average_views

        said = [[part.numpy() for part in average_views(net, crops, views)] for net in self.nets]
        if len(said) == 1:
            return said[0][0], said[0][1]
        sums = [np.zeros(part.shape) for part in said[0]]
        for weight, parts in zip(self.weights, said, strict=True):
            for total, part in zip(sums, parts, strict=True):
                total += weight * part
        return sums[0].astype(np.float32), sums[1].astype(np.float32)


def find_trained(path: Path) -> Trained:
    """What a run, a checkpoint or an ensemble stands for; ArtifactError in one line where it is none of them."""
    if manifest_kind(path) == KIND:
        return steadily(path, lambda: _find_members(path))
    (checkpoint, manifest), which = read_found(path, lambda found: (found, read_checkpoint_manifest(found)))
    return Trained(path, which, (Member(path.name, checkpoint, 1.0),), manifest.digest)


def open_nets(trained: Trained, devices: Sequence[torch.device], precision: str) -> tuple[Trained, list[Nets]]:
    """Load the nets on each device; what they are, which is newer than `trained` where a run was trained further.

    ArtifactError where one is damaged, or knows different classes than the first.
    """
    trained, checkpoints = read_newest(
        trained,
        lambda: find_trained(trained.path),
        lambda found: [read_checkpoint(member.checkpoint) for member in found.members],
    )
    return trained, [_on(device, trained, checkpoints, precision) for device in devices]


def _on(device: torch.device, trained: Trained, checkpoints: Sequence[Checkpoint], precision: str) -> Nets:
    from alexnet_cli.evaluation import Net

    first = checkpoints[0]
    for other in checkpoints[1:]:
        first.classes.require_same(other.classes, str(first.path), str(other.path))
    nets = tuple(Net.from_checkpoint(checkpoint, device, precision) for checkpoint in checkpoints)
    # The crops have the side of the mean image that is subtracted from them.
    cuttings = [cutting_for(checkpoint) for checkpoint in checkpoints]
    classes = first.classes
    for net in nets[1:]:
        classes = classes.explained_by(net.classes)
    weights = tuple(member.weight for member in trained.members)
    return Nets(nets, weights, classes, cuttings[0], all(cutting == cuttings[0] for cutting in cuttings))


def _find_members(path: Path) -> Trained:
    manifest = read_folder_manifest(path, kind=KIND, schema=SCHEMA, unfinished="run `alexnet ensemble` again")
    digest = manifest.details.get(MEMBERS_DIGEST)
    if digest is None:
        raise ArtifactError(f"{path}: was made before ensembles said where their members' nets are: {_ANEW}")
    file = path / MEMBERS_FILE
    try:
        if digest_of_file(file) != digest:
            raise ArtifactError(f"{file}: is damaged: {_ANEW}")
        listed = read_json(file)
    except FileNotFoundError:
        raise ArtifactError(f"{file}: is missing: {_ANEW}") from None
    except OSError as error:
        raise ResourceError(describe_os_error(error, file)) from error
    members = tuple(_member(path, entry) for entry in listed)
    count = f"the average of {len(members)} nets" if len(members) > 1 else "one net"
    return Trained(path, count, members, manifest.digest)


def _member(path: Path, entry: dict[str, Any]) -> Member:
    """One member's checkpoint, which must be where it was, and what it was."""
    name, weight = str(entry.get("name")), entry.get("weight")
    place, digest = entry.get("checkpoint_path"), entry.get("checkpoint_digest")
    if not isinstance(weight, (int, float)) or not isinstance(place, str) or not isinstance(digest, str):
        raise ArtifactError(
            f"{path}: does not know the net of its member '{name}', whose scores do not say where it lies: {_ANEW}"
        )
    checkpoint = Path(os.path.normpath(Path(os.path.realpath(path)) / place))
    if not checkpoint.exists():
        raise ArtifactError(
            f"{checkpoint}: the net of member '{name}' of {path} is missing (its run was moved, removed or trained "
            f"further): move it back, or {_ANEW}"
        )
    if read_checkpoint_manifest(checkpoint).digest != digest:
        raise ArtifactError(f"{checkpoint}: is a different net than member '{name}' of {path} was: {_ANEW}")
    return Member(name, checkpoint, float(weight))
