"""The work of `alexnet eval`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet_cli.artifacts.crops import open_crops
from alexnet_cli.artifacts.ownership import SCORES, require_output
from alexnet_cli.artifacts.run_folder import find_checkpoint
from alexnet_cli.artifacts.scores import read_scores
from alexnet_cli.artifacts.working import prepare_parent
from alexnet_cli.class_list import ClassList
from alexnet_cli.console import Talk
from alexnet_cli.devices import choose_devices
from alexnet_cli.evaluation import Scoring, score_to_file
from alexnet_cli.parallel.launch import devices_of_ranks, run_ranks
from alexnet_cli.parallel.layout import Layout
from alexnet_stages.eval.config import EvalConfig


@dataclass(frozen=True)
class Result:
    """What the net got wrong."""

    scores: Path
    checkpoint: str
    """Which checkpoint was used, in words."""
    pictures: int
    views: int
    """How many were averaged: 10, 5 where the net was trained without mirror images, or 1."""
    errors: dict[str, float | None]
    class_errors: dict[str, float]
    """Top-1 error by class name; empty without labels."""
    titles: dict[str, str]
    """What to call each class in a report, by its name: `n01440764 (tench)`."""

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "scores": str(self.scores),
            "checkpoint": self.checkpoint,
            "pictures": self.pictures,
            "views": self.views,
            **self.errors,
            "class_errors": self.class_errors,
        }


def run(config: EvalConfig) -> Result:
    """Evaluate and write the scores; raises ArtifactError, ResourceError or UsageError."""
    talk = Talk(quiet=config.quiet)
    inputs = {"RUN": config.run, "CROPS": config.crops}
    require_output(config.out, SCORES, overwrite=config.overwrite, inputs=inputs)
    prepare_parent(config.out)
    path, which = find_checkpoint(config.run)
    store = open_crops(config.crops)
    devices, world = devices_of_ranks(choose_devices(config.devices))
    where = str(devices[0]) if world == 1 else f"{world} devices, each a share of the pictures"
    talk.say(f"{which} of {config.run}, {len(store):,} pictures, on {where}")
    scoring = Scoring(
        checkpoint=path,
        crops=config.crops,
        out=config.out,
        views=config.views,
        precision=config.precision,
        batch_size=config.batch_size,
        threads=config.workers,
        overwrite=config.overwrite,
        quiet=config.quiet,
    )
    run_ranks(score_to_file, scoring, devices, Layout("data", world), timeout=config.timeout)
    manifest, scores = read_scores(config.out)
    return Result(
        scores=config.out,
        checkpoint=which,
        pictures=len(store),
        views=manifest.details["views_averaged"],
        errors=scores.errors(),
        class_errors=scores.class_errors(),
        titles=_titles(scores.classes),
    )


def _titles(classes: ClassList) -> dict[str, str]:
    return {name: classes.title(index) for index, name in enumerate(classes.names)}
