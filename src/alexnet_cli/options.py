"""Options that several commands share, defined once: same name, same meaning, same help everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from alexnet_cli.errors import UsageError

PRECISIONS = ("fp32", "tf32", "bf16", "fp64")
"""fp64 is for checks: sums in another order agree to 1e-12 in it."""

PARALLEL = ("auto", "columns", "data", "hybrid")
"""What `--parallel` takes."""

CODECS = ("raw", "jpeg")
"""How crops are stored."""

Net = Annotated[Path, Argument(help="A run folder (its best checkpoint) or a checkpoint.", metavar="NET")]
Crops = Annotated[Path, Argument(help="The pictures: a crop store.", metavar="CROPS")]
Out = Annotated[Path, Option("--out", "-o", help="Where the result is written.")]
Set = Annotated[
    list[str],
    Option(
        "--set",
        help="Replace any field of the recipe, such as net.pool1.size=2. Repeatable.",
        metavar="FIELD=VALUE",
        show_default="none",
    ),
]
"""Values are in TOML's notation."""
Devices = Annotated[
    str,
    Option(
        "--devices",
        help="auto, cpu, cpu:2 (two processes), cuda, cuda:4 (the first four), cuda:0,1 (these two).",
        metavar="DEVICES",
    ),
]
Parallel = Annotated[
    str,
    Option(
        "--parallel",
        help="columns: one column on each device (the paper's way); data: shares of the mini-batch; hybrid: "
        "convolutions by shares, fully-connected layers by neurons; auto: columns if they divide the devices.",
        metavar="MODE",
    ),
]
Timeout = Annotated[
    float, Option("--timeout", help="Seconds without a sign of life after which a process counts as lost.", min=1.0)
]
BatchSize = Annotated[int, Option("--batch-size", help="Pictures in a mini-batch.", min=1)]
Workers = Annotated[int, Option("--workers", help="Parallel workers; 0: one for each core.", min=0)]
Seed = Annotated[int, Option("--seed", help="Seed of every random choice.", min=0)]
Precision = Annotated[
    str,
    Option(
        "--precision",
        help="fp32; tf32 (NVIDIA's 19-bit products, CUDA only); bf16 (bfloat16 maps and products, fp32 weights); "
        "fp64 (for checks).",
        metavar="TYPE",
    ),
]
Compile = Annotated[bool, Option("--compile", help="Compile the network with torch.compile.")]
CudaGraph = Annotated[
    bool,
    Option(
        "--cuda-graph",
        help="Record a step as a CUDA graph and replay it: one CUDA device, not tried on a GPU so far.",
    ),
]
Views = Annotated[
    int, Option("--views", help="10: four corners, centre, and their mirror images; 1: the centre.", metavar="1|10")
]

Overwrite = Annotated[bool, Option("--overwrite", help="Replace an output that already exists.")]
Quiet = Annotated[bool, Option("--quiet", "-q", help="No progress, no messages; warnings and errors stay.")]
Json = Annotated[bool, Option("--json", help="Print the result as one JSON object on stdout.")]


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """Options of every command that writes something."""

    overwrite: Overwrite = False
    quiet: Quiet = False
    json: Json = False


@dataclass(frozen=True, kw_only=True)
class CommonOptions(OutputOptions):
    """Options of every command that can tell whether its output is up to date."""

    update: Annotated[
        bool,
        Option(
            "--update",
            help="Do nothing if the output exists and was made from the same input and options; otherwise make it.",
        ),
    ] = False

    def __post_init__(self) -> None:
        if self.update and self.overwrite:
            raise UsageError("--update and --overwrite exclude each other: make what is out of date, or make it anyway")

    @property
    def replaces(self) -> bool:
        """Whether an output that exists already may be replaced. A stage with --update has compared it by then."""
        return self.overwrite or self.update


@dataclass(frozen=True, kw_only=True)
class NetOptions(CommonOptions):
    """Options of every command that runs a net on the views of a store's crops."""

    views: Views = 10
    batch_size: BatchSize = 128
    devices: Devices = "auto"
    timeout: Timeout = 300.0
    precision: Precision = "fp32"
    workers: Workers = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_views(self.views)

    @property
    def shaping(self) -> dict[str, Any]:
        """Those that change the numbers that come out."""
        return {"views": self.views, "precision": self.precision}


def require_one_of(option: str, value: str, choices: Sequence[str]) -> None:
    """UsageError if an option's value is none of the choices."""
    if value not in choices:
        words = " or ".join([", ".join(choices[:-1]), choices[-1]]) if len(choices) > 1 else choices[0]
        raise UsageError(f"{option} {value}: must be {words}")


def require_precision(precision: str, device: str) -> None:
    """UsageError for an unknown precision, or one that a kind of device (cpu, cuda) does not have."""
    if precision not in PRECISIONS:
        raise UsageError(f"--precision {precision}: unknown: use one of {', '.join(PRECISIONS)}")
    if precision == "tf32" and device != "cuda":
        raise UsageError("--precision tf32: NVIDIA's GPUs alone have it: use fp32 or bf16 on a CPU")


def require_views(views: int) -> None:
    """UsageError for a number of views other than 1 and 10."""
    if views not in (1, 10):
        raise UsageError(f"--views {views}: must be 10 (corners, centre, mirror images) or 1 (centre)")
