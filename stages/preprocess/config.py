"""The options of `alexnet preprocess`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from alexnet_cli.errors import UsageError
from alexnet_cli.options import CommonOptions, Out, Workers
from alexnet_stages.preprocess.sharding import parse_shard

FILTER_NAMES = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
CODECS = ("raw", "jpeg")
SPLITS = ("train", "val", "test")
EXPECTATIONS = ("ilsvrc2012",)
SIDE = 256
"""The paper's (2); artifacts/crops/store.py says the same, and loads numpy."""
LEAST_SIDE, MOST_SIDE = 8, 4096
COLOUR_PROFILES = ("ignore", "convert")
TRUNCATED = ("refuse", "keep")

Source = Annotated[
    Path,
    Argument(
        help="Class folders, a folder of pictures, ILSVRC's tars or their folder, Kaggle's layout, class tars, or "
        "WebDataset shards such as 'x-{000..099}.tar'.",
        show_default=False,
    ),
]
Labels = Annotated[
    Path | None,
    Option(
        "--labels",
        help="ILSVRC's devkit, or a file: 'name label' lines, CSV, or devkit IDs in file-name order.",
        show_default=False,
    ),
]
LabelColumn = Annotated[
    str | None,
    Option(
        "--label-column",
        help="The title of the column of labels in a table or Parquet, or their key in shards' .json.",
        metavar="TITLE",
        show_default=False,
    ),
]
Unlabelled = Annotated[bool, Option("--unlabelled", help="SOURCE is a folder of pictures without labels.")]
Classes = Annotated[
    Path | None,
    Option(
        "--classes",
        help="Take the class list of this crop store (train's, for validation), or text file: one name a line, whose "
        "order is the order; synset_words.txt is understood.",
        show_default=False,
    ),
]
AllowMissing = Annotated[
    bool, Option("--allow-missing", help="Classes of --classes or of the devkit may be without pictures.")
]
Split = Annotated[
    str | None,
    Option(
        "--split",
        help="Which part, where SOURCE holds several.",
        metavar="|".join(SPLITS),
        show_default=False,
    ),
]
Expect = Annotated[
    str | None,
    Option(
        "--expect",
        help="Demand the published numbers of pictures and classes.",
        metavar="|".join(EXPECTATIONS),
        show_default=False,
    ),
]
Filter = Annotated[
    str,
    Option("--filter", help="How pictures are scaled; all antialiased but nearest.", metavar="|".join(FILTER_NAMES)),
]
Side = Annotated[
    int,
    Option("--side", help="Side of the crops in pixels; pictures that have that size already keep their pixels."),
]
Codec = Annotated[
    str,
    Option("--codec", help="raw: 197 kB a crop of 256, fastest to read; jpeg: about 40 kB.", metavar="|".join(CODECS)),
]
Quality = Annotated[int, Option("--quality", help="JPEG quality from 1 to 100, with --codec jpeg.")]
ExifRotation = Annotated[
    bool,
    Option("--exif-rotation/--ignore-exif-rotation", help="Turn pictures upright as their EXIF orientation says."),
]
ColourProfile = Annotated[
    str,
    Option(
        "--colour-profile",
        help="ignore: take the numbers as they are; convert: make them sRGB by the file's ICC profile.",
        metavar="|".join(COLOUR_PROFILES),
    ),
]
Truncated = Annotated[
    str,
    Option(
        "--truncated",
        help="refuse: reject JPEGs that are cut off; keep: take what is there, with grey for the rest, and count them.",
        metavar="|".join(TRUNCATED),
    ),
]
ShardOption = Annotated[
    str | None,
    Option(
        "--shard",
        help="Make shard I of N only, in a folder of its own below --out; slurm or torchrun: ask those which.",
        metavar="I/N|slurm|torchrun",
        show_default=False,
    ),
]
Compare = Annotated[
    Path | None,
    Option(
        "--compare",
        help="Report pictures that this crop store holds too (a store given as --classes is compared anyway).",
        show_default=False,
    ),
]
Holdout = Annotated[
    float | None,
    Option(
        "--holdout",
        help="Hold out about this fraction of each class, such as 0.1, for --holdout-out; by the hash of the names.",
        metavar="F",
        show_default=False,
    ),
]
HoldoutOut = Annotated[
    Path | None,
    Option("--holdout-out", help="Where the store of the pictures held out is written.", show_default=False),
]
AllowBad = Annotated[int, Option("--allow-bad", help="Leave out up to N pictures that can't be read.", metavar="N")]


@dataclass(frozen=True, kw_only=True)
class PreprocessConfig(CommonOptions):
    """Pictures into a crop store."""

    source: Source
    """Folder, archive, shard list or pattern; what it is is recognised by looking."""
    out: Out
    """The crop store to write."""
    labels: Labels = None
    """A file that gives each picture of a flat source its class, or ILSVRC's devkit."""
    label_column: LabelColumn = None
    """Which column of a table, or key of shards' .json, are the labels, where several may be."""
    unlabelled: Unlabelled = False
    """The pictures have no labels; every label is -1."""
    classes: Classes = None
    """A crop store, a devkit, or a text file with one name a line in their order, to which the indices refer."""
    allow_missing: AllowMissing = False
    """Classes of `classes` or of the devkit may be without pictures."""
    split: Split = None
    """One of SPLITS: which part of a source that holds several."""
    expect: Expect = None
    """One of EXPECTATIONS: demand the published counts."""
    side: Side = SIDE
    """Side of the crops in pixels."""
    filter: Filter = "bilinear"
    """One of FILTER_NAMES."""
    codec: Codec = "raw"
    """One of CODECS."""
    quality: Quality = 95
    """JPEG quality, 1 to 100, where the codec is jpeg."""
    exif_rotation: ExifRotation = True
    """Turn pictures upright as their EXIF orientation says."""
    colour_profile: ColourProfile = "ignore"
    """One of COLOUR_PROFILES."""
    truncated: Truncated = "refuse"
    """One of TRUNCATED: what becomes of a JPEG that is cut off."""
    workers: Workers = 0
    """Processes that decode; 0 means one for each core. The stored bytes do not depend on it."""
    allow_bad: AllowBad = 0
    """How many pictures that can't be read may be left out; of each shard with `shard`."""
    shard: ShardOption = None
    """`I/N`, `slurm` or `torchrun`: make one shard of the store."""
    compare: Compare = None
    """A crop store in which duplicates of this one's pictures are looked for."""
    holdout: Holdout = None
    """The fraction of each class that becomes a second store, for validation."""
    holdout_out: HoldoutOut = None
    """The second store."""

    def __post_init__(self) -> None:
        """Raise UsageError for what can't be meant."""
        super().__post_init__()
        if not LEAST_SIDE <= self.side <= MOST_SIDE:
            raise UsageError(f"--side {self.side}: must lie from {LEAST_SIDE} to {MOST_SIDE:,}")
        if self.filter not in FILTER_NAMES:
            raise UsageError(f"--filter {self.filter}: is none of {', '.join(FILTER_NAMES)}")
        if self.codec not in CODECS:
            raise UsageError(f"--codec {self.codec}: is none of {', '.join(CODECS)}")
        if self.colour_profile not in COLOUR_PROFILES:
            raise UsageError(f"--colour-profile {self.colour_profile}: is none of {', '.join(COLOUR_PROFILES)}")
        if self.truncated not in TRUNCATED:
            raise UsageError(f"--truncated {self.truncated}: is none of {', '.join(TRUNCATED)}")
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
        if self.split is not None and self.split not in SPLITS:
            raise UsageError(f"--split {self.split}: is none of {', '.join(SPLITS)}")
        if self.expect is not None and self.expect not in EXPECTATIONS:
            raise UsageError(f"--expect {self.expect}: is none of {', '.join(EXPECTATIONS)}")
        self._check_holdout()
        outs = {"--out": self.out} | ({"--holdout-out": self.holdout_out} if self.holdout_out else {})
        for option, path in outs.items():
            source, out = self.source.resolve(), path.resolve()
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
