"""The options of `alexnet import`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from alexnet_cli.errors import UsageError
from alexnet_cli.options import Out, OutputOptions, require_one_of

SOURCES = ("torchvision", "caffe", "onnx", "timm")
CHANNELS = ("rgb", "bgr")


@dataclass(frozen=True, kw_only=True)
class ImportConfig(OutputOptions):
    """Which file, of which program, and what it does not say itself."""

    file: Annotated[Path, Argument(help="The weights: .pth, .safetensors, .caffemodel or .onnx.", metavar="FILE")]
    source: Annotated[str, Option("--from", help="torchvision, caffe, onnx or timm.", metavar="PROGRAM")]
    out: Out
    """The checkpoint: a folder."""
    classes: Annotated[
        Path | None,
        Option(
            "--classes",
            help="Use the class list of this crop store, or of a text file: one name a line; synset_words.txt works "
            "too. Without it, classes are called by their numbers; 1,000 classes also get torchvision's words.",
        ),
    ] = None
    mean: Annotated[
        str | None,
        Option(
            "--mean",
            help="What is subtracted from the values 0 to 255: a .binaryproto file; three numbers in the order of the "
            "net's channels, such as 104,117,123; or torchvision for its own. Caffe's nets need it.",
            metavar="FILE|A,B,C|torchvision",
        ),
    ] = None
    channels: Annotated[
        str | None,
        Option(
            "--channels",
            help="The order of the net's channels.",
            metavar="rgb|bgr",
            show_default="bgr for caffe, else rgb",
        ),
    ] = None
    patch: Annotated[
        int | None,
        Option(
            "--patch",
            help="Side of the net's input.",
            min=1,
            show_default="what the file says, else 227 for caffe and 224",
        ),
    ] = None

    def __post_init__(self) -> None:
        require_one_of("--from", self.source, SOURCES)
        if self.channels is not None:
            require_one_of("--channels", self.channels, CHANNELS)
        if self.source in ("torchvision", "timm"):
            for option, value in (("--mean", self.mean), ("--channels", self.channels), ("--patch", self.patch)):
                if value is not None:
                    raise UsageError(f"{option}: torchvision's input is known: leave it out")

    @property
    def bgr(self) -> bool:
        """Whether the net's channels are B, G, R."""
        return self.channels == "bgr" if self.channels else self.source == "caffe"
