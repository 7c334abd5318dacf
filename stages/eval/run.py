"""The work of `alexnet eval`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet_cli.artifacts.crops import open_crops
from alexnet_cli.artifacts.publish import refuse_existing
from alexnet_cli.artifacts.run_folder import find_checkpoint
from alexnet_cli.artifacts.scores import write_scores
from alexnet_cli.class_list import ClassList
from alexnet_cli.console import Talk
from alexnet_cli.devices import choose_device, prepare
from alexnet_cli.evaluation import score_checkpoint
from stages.eval.config import EvalConfig


@dataclass(frozen=True)
class Result:
    """What the net got wrong."""

    scores: Path
    checkpoint: str
    """Which checkpoint was used, in words."""
    pictures: int
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
            **self.errors,
            "class_errors": self.class_errors,
        }


def run(config: EvalConfig) -> Result:
    """Evaluate and write the scores; raises ArtifactError, ResourceError or UsageError."""
    talk = Talk(quiet=config.quiet)
    refuse_existing(config.out, overwrite=config.overwrite)
    path, which = find_checkpoint(config.run)
    store = open_crops(config.crops)
    device = choose_device(config.devices)
    prepare(device, config.precision)
    talk.say(f"{which} of {config.run}, {len(store):,} pictures, {config.views} views, on {device}")
    scores, parents = score_checkpoint(
        path,
        store,
        device=device,
        precision=config.precision,
        views=config.views,
        batch_size=config.batch_size,
        threads=config.workers,
        talk=talk,
    )
    write_scores(config.out, scores, parents=parents, options=scores_options(config), overwrite=config.overwrite)
    return Result(config.out, which, len(store), scores.errors(), scores.class_errors(), _titles(scores.classes))


def _titles(classes: ClassList) -> dict[str, str]:
    return {name: classes.title(index) for index, name in enumerate(classes.names)}


def scores_options(config: EvalConfig) -> dict[str, Any]:
    """What shaped the scores."""
    return {"views": config.views, "precision": config.precision}
