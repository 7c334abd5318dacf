"""The options of `alexnet export`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from typer import Option

from alexnet_cli.errors import UsageError
from alexnet_cli.options import Net, Out, OutputOptions, require_one_of

FORMATS = ("onnx", "torch-export", "torchscript", "torchvision", "caffe", "hub")


@dataclass(frozen=True, kw_only=True)
class ExportConfig(OutputOptions):
    """Which net, and in which format."""

    net: Net
    format: Annotated[
        str,
        Option(
            "--format",
            "-f",
            help="onnx, torch-export (.pt2), torchscript (.pt), torchvision (a state_dict in safetensors), caffe or "
            "hub (folders).",
            metavar="FORMAT",
        ),
    ]
    out: Out
    """A file; a folder for caffe and hub."""
    raw: Annotated[
        bool, Option("--raw", help="Without input transform and softmax: transformed patches in, logits out.")
    ] = False

    def __post_init__(self) -> None:
        require_one_of("--format", self.format, FORMATS)
        if self.format == "hub" and self.raw:
            raise UsageError("--raw: a hub folder holds the weights and the transform apart: leave it out")
