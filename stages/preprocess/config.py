"""The options of `alexnet preprocess`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from alexnet_cli.errors import UsageError
from alexnet_cli.options import CODECS, CommonOptions, Out, Workers, require_one_of
from alexnet_stages.preprocess.sharding import parse_shard

FILTER_NAMES = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
SPLITS = ("train", "val", "test")
EXPECTATIONS = ("ilsvrc2012",)
SIDE = 256
"""The paper's (2); artifacts/crops/store.py says the same, and loads numpy."""
LEAST_SIDE, MOST_SIDE = 8, 4096
COLOUR_PROFILES = ("ignore", "convert")
TRUNCATED = ("refuse", "keep")


@dataclass(frozen=True, kw_only=True)
class PreprocessConfig(CommonOptions):
    """Pictures into a crop store."""

    source: Annotated[
        Path,
        Argument(
            metavar="SOURCE",
            help="Class folders, a folder of pictures, ILSVRC's tars or their folder, Kaggle's layout, class tars, or "
            "WebDataset shards such as 'x-{000..099}.tar'.",
        ),
    ]
    out: Out
    """The crop store to write."""
    labels: Annotated[
        Path | None,
        Option(
            "--labels",
            help="The labels: ILSVRC's devkit, or a file of 'name label' lines, CSV, or devkit IDs in file-name order.",
        ),
    ] = None
    label_column: Annotated[
        str | None,
        Option(
            "--label-column",
            help="Title of the column with the labels, in a table or Parquet file; in shards, their key in .json.",
            metavar="TITLE",
        ),
    ] = None
    unlabelled: Annotated[bool, Option("--unlabelled", help="SOURCE is a folder of pictures without labels.")] = False
    classes: Annotated[
        Path | None,
        Option(
            "--classes",
            help="Use the class list of this crop store (train's, for validation), or of a text file: one name a line, "
            "in the order of the indices; synset_words.txt works too.",
        ),
    ] = None
    allow_missing: Annotated[
        bool, Option("--allow-missing", help="Accept classes (of --classes or the devkit) that have no pictures.")
    ] = False
    split: Annotated[
        str | None, Option("--split", help="Which part, if SOURCE holds several.", metavar="|".join(SPLITS))
    ] = None
    expect: Annotated[
        str | None,
        Option(
            "--expect",
            help="Stop unless the numbers of pictures and classes are the published ones.",
            metavar="|".join(EXPECTATIONS),
        ),
    ] = None
    side: Annotated[
        int,
        Option("--side", help="Side of the crops in pixels; pictures that have that size already keep their pixels."),
    ] = SIDE
    filter: Annotated[
        str,
        Option(
            "--filter",
            help=f"How pictures are scaled: {', '.join(FILTER_NAMES)}. All but nearest are antialiased.",
            metavar="NAME",
        ),
    ] = "bilinear"
    codec: Annotated[
        str,
        Option(
            "--codec", help="raw: 197 kB a crop of 256, fastest to read; jpeg: 30 to 40 kB.", metavar="|".join(CODECS)
        ),
    ] = "raw"
    quality: Annotated[int, Option("--quality", help="JPEG quality from 1 to 100, with --codec jpeg.")] = 95
    exif_rotation: Annotated[
        bool,
        Option(
            "--exif-rotation/--ignore-exif-rotation",
            help="Turn pictures upright as their EXIF orientation says; --ignore-exif-rotation does not.",
        ),
    ] = True
    colour_profile: Annotated[
        str,
        Option(
            "--colour-profile",
            help="ignore: take the numbers as they are; convert: make them sRGB by the file's ICC profile.",
            metavar="|".join(COLOUR_PROFILES),
        ),
    ] = "ignore"
    truncated: Annotated[
        str,
        Option(
            "--truncated",
            help="refuse: reject JPEGs that are cut off; keep: store what was decoded, the rest grey, and count them.",
            metavar="|".join(TRUNCATED),
        ),
    ] = "refuse"
    workers: Workers = 0
    allow_bad: Annotated[
        int, Option("--allow-bad", help="Leave out up to N pictures that can't be read.", metavar="N")
    ] = 0
    shard: Annotated[
        str | None,
        Option(
            "--shard",
            help="Make only shard I of N, in its own folder below --out. slurm or torchrun in place of I/N: the "
            "job says which.",
            metavar="I/N",
        ),
    ] = None
    compare: Annotated[
        Path | None,
        Option(
            "--compare",
            help="Report pictures that this crop store holds, too (a store given as --classes is compared anyway).",
        ),
    ] = None
    holdout: Annotated[
        float | None,
        Option(
            "--holdout",
            help="Fraction of each class, such as 0.1, that goes to --holdout-out; the hash of a name decides.",
            metavar="F",
        ),
    ] = None
    holdout_out: Annotated[
        Path | None, Option("--holdout-out", help="Where the crop store of the held-out pictures is written.")
    ] = None

    def __post_init__(self) -> None:
        """Raise UsageError for an invalid value."""
        super().__post_init__()
        if not LEAST_SIDE <= self.side <= MOST_SIDE:
            raise UsageError(f"--side {self.side}: must lie from {LEAST_SIDE} to {MOST_SIDE:,}")
        for option, value, choices in (
            ("--filter", self.filter, FILTER_NAMES),
            ("--codec", self.codec, CODECS),
            ("--colour-profile", self.colour_profile, COLOUR_PROFILES),
            ("--truncated", self.truncated, TRUNCATED),
            ("--split", self.split, SPLITS),
            ("--expect", self.expect, EXPECTATIONS),
        ):
            if value is not None:
                require_one_of(option, value, choices)
        if not 1 <= self.quality <= 100:
            raise UsageError(f"--quality {self.quality}: must lie from 1 to 100")
        if self.workers < 0:
            raise UsageError(f"--workers {self.workers}: must be 0 (one for each core) or more")
        if self.allow_bad < 0:
            raise UsageError(f"--allow-bad {self.allow_bad}: must be 0 or more")
        if self.labels is not None and self.unlabelled:
            raise UsageError(f"--labels {self.labels} and --unlabelled contradict each other: give one of them")
        if self.label_column is not None and self.unlabelled:
            raise UsageError(f"--label-column {self.label_column} and --unlabelled contradict each other: give one")
        if self.shard is not None:
            parse_shard(self.shard)
        self._check_holdout()
        source = self.source.resolve()
        for option, path in (("--out", self.out), ("--holdout-out", self.holdout_out)):
            if path is None:
                continue
            out = path.resolve()
            if out == source or source in out.parents:
                raise UsageError(
                    f"{option} {path}: lies inside the pictures' folder {self.source}: choose another {option}"
                )
            if out in source.parents:
                raise UsageError(f"{option} {path}: holds the pictures' folder {self.source}: choose another {option}")

    def _check_holdout(self) -> None:
        if self.holdout is None and self.holdout_out is None:
            return
        if self.holdout is None or self.holdout_out is None:
            raise UsageError("--holdout F and --holdout-out PATH belong together: give both")
        if not 0 < self.holdout < 1:
            raise UsageError(f"--holdout {self.holdout:g}: must lie between 0 and 1, such as 0.1")
        if self.shard is not None:
            raise UsageError(f"--shard {self.shard}: --holdout makes two whole stores: leave --shard out")
        out, held = self.out.resolve(), self.holdout_out.resolve()
        if out == held or out in held.parents or held in out.parents:
            raise UsageError(f"--holdout-out {self.holdout_out}: lies in --out {self.out}: choose another")
