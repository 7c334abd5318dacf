"""What an export may replace, and how a folder of files that is no artifact is published."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

from alexnet_cli.artifacts.common.manifest import MANIFEST_FILE, Manifest, digest_of
from alexnet_cli.artifacts.common.ownership import Kind, start_of
from alexnet_cli.artifacts.common.publish import publishing_folder, write_verified
from alexnet_commands.export.caffe_files import CLASSES, MEAN, MODEL, TEXT

MADE_BY = '"made by": "alexnet export"'
"""In the JSON of every file that we write (`Plan.about`)."""
_HEAD = 1 << 16
_MOST_METADATA = 1 << 26
"""Of a state_dict, in bytes: the mean image has a megabyte, the classes' words less."""
_PRODUCER = b"\x12\x07alexnet"
"""At the front of our ONNX models."""


def _is_archive(path: Path) -> bool:
    """Whether it is a .pt2 or .pt with our extra file."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith("extra/alexnet.json")]
            return bool(names) and MADE_BY.encode() in archive.open(names[0]).read(_HEAD)
    except (OSError, ValueError, NotImplementedError, RuntimeError, zipfile.BadZipFile):
        return False


def _is_weights(path: Path) -> bool:
    """Whether its metadata, which is at the front in any order, says that it is our state_dict."""
    length = int.from_bytes(start_of(path, 8), "little")
    return length <= _MOST_METADATA and rb'"made by":"\"alexnet export\""' in start_of(path, 8 + length)


def _named(*names: str) -> str:
    return "|".join(name.replace(".", r"\.") for name in (*names, MANIFEST_FILE))


KINDS: Mapping[str, Kind] = {
    "onnx": Kind(name="onnx", title="ONNX model of alexnet", tell=lambda path: _PRODUCER in start_of(path, 64)),
    "torch-export": Kind(name="torch-export", title="torch.export program of alexnet", tell=_is_archive),
    "torchscript": Kind(name="torchscript", title="TorchScript module of alexnet", tell=_is_archive),
    "torchvision": Kind(name="torchvision", title="state_dict of alexnet", tell=_is_weights),
    "caffe": Kind(name="caffe", title="Caffe net of alexnet", files=_named(MODEL, TEXT, CLASSES, MEAN)),
    "hub": Kind(
        name="checkpoint",
        title="checkpoint",
        files=_named("model.safetensors", "input.safetensors", "config.json", "README.md"),
    ),
}
"""The kind of each format's output."""


def publish_files(
    path: Path,
    files: Mapping[str, bytes],
    kind: Kind,
    *,
    parent: str,
    overwrite: bool,
    inputs: Mapping[str, Path | None],
) -> None:
    """Give a folder its files and its name, whole or not at all. parent: the checkpoint's digest.

    UsageError if the output may not be replaced; ResourceError if the disk fails.
    """
    with publishing_folder(path, kind, overwrite=overwrite, inputs=inputs) as work:
        digests = {name: write_verified(work / name, content) for name, content in files.items()}
        manifest = Manifest(
            kind=kind.name,
            schema=2,
            digest=digest_of(digests.values()),
            parents={"checkpoint": parent},
            details={"files": digests},
        )
        write_verified(work / MANIFEST_FILE, manifest.to_json().encode())
