"""The options of `alexnet export`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from alexnet_cli.errors import UsageError
from alexnet_cli.options import Out

FORMATS = ("onnx", "torch-export", "torchscript", "torchvision", "caffe", "hub")


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Which net, and in which format."""

    net: Annotated[Path, Argument(help="A run folder or a checkpoint.", metavar="NET", show_default=False)]
    """Run folder (its best checkpoint is used, else its newest) or checkpoint folder."""
    format: Annotated[
        str,
        Option(
            "--format",
            "-f",
            help="onnx, torch-export (.pt2), torchscript (.pt), torchvision (a state_dict in safetensors), caffe or "
            "hub (folders).",
            metavar="FORMAT",
            show_default=False,
        ),
    ]
    """One of FORMATS."""
    out: Out
    """A file; a folder for caffe and hub."""
    raw: Annotated[
        bool, Option("--raw", help="Without input transform and softmax: transformed patches in, logits out.")
    ] = False
    """Leave input transform and softmax out."""
    overwrite: Annotated[bool, Option("--overwrite", help="Replace an output that exists already.")] = False
    """Replace an output that exists already."""
    quiet: Annotated[bool, Option("--quiet", "-q", help="No progress, no messages; warnings and errors stay.")] = False
    """No messages on stderr."""
    json: Annotated[bool, Option("--json", help="Print the result as one JSON object on stdout.")] = False
    """Print the result as one JSON object on stdout, nothing else there."""

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise UsageError(f"--format {self.format}: unknown: use one of {', '.join(FORMATS)}")
        if self.format == "hub" and self.raw:
            raise UsageError("--raw: a hub folder holds the weights and the transform apart: leave it out")
