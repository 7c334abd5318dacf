"""The work of `alexnet eval`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet_cli.artifacts.checkpoint import read_checkpoint_manifest
from alexnet_cli.artifacts.common.freshness import Request, is_current
from alexnet_cli.artifacts.common.manifest import Manifest
from alexnet_cli.artifacts.common.ownership import REPORT, SCORES, require_output
from alexnet_cli.artifacts.common.working import prepare_parent
from alexnet_cli.artifacts.crops.shards import open_crops
from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.artifacts.run import in_words, read_found
from alexnet_cli.artifacts.scores import KIND, SCHEMA, Scores, read_scores
from alexnet_cli.console import Talk
from alexnet_cli.errors import ArtifactError
from alexnet_cli.reports.evaluation import PAGE, intervals, is_current_report, publish_report
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
    loss: float | None
    """Mean cross-entropy of the averaged views; None without labels."""
    intervals: dict[str, list[float] | None]
    """95% confidence intervals of the averaged views' errors."""
    class_errors: dict[str, float]
    """Top-1 error by class name; empty without labels."""
    titles: dict[str, str]
    """What to call each class in a report, by its name: `n01440764 (tench)`."""
    report: Path | None = None
    """The requested report."""
    up_to_date: bool = False
    """Nothing was done: the scores there are of this checkpoint on this store (--update)."""

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "scores": str(self.scores),
            "checkpoint": self.checkpoint,
            "pictures": self.pictures,
            "views": self.views,
            **self.errors,
            **self.intervals,
            "loss": self.loss,
            "class_errors": self.class_errors,
            **({} if self.report is None else {"report": str(self.report)}),
            **({"up_to_date": True} if self.up_to_date else {}),
        }


def run(config: EvalConfig) -> Result:
    """Evaluate and write the scores; raises ArtifactError, ResourceError or UsageError."""
    talk = Talk(quiet=config.quiet)
    inputs = {"RUN": config.run, "CROPS": config.crops}
    require_output(config.out, SCORES, overwrite=config.replaces, inputs=inputs)
    if config.report is not None:
        require_output(config.report, REPORT, overwrite=config.replaces, inputs={**inputs, "--out": config.out})
    checkpoint, which = read_found(config.run, read_checkpoint_manifest)
    store = open_crops(config.crops)
    if config.report is not None and not store.labelled:
        raise ArtifactError(f"{store.path}: has no labels, and --report is about errors: give a labelled store")
    current = config.update and _up_to_date(config, checkpoint, store, talk)
    if not current:
        prepare_parent(config.out)
        which = _score(config, which, store, talk)
    manifest, scores = read_scores(config.out)
    reported = config.report is not None and _report(config, config.report, manifest, scores, store, talk)
    return _result(config, which, manifest, scores, up_to_date=current and not reported)


def _report(config: EvalConfig, path: Path, manifest: Manifest, scores: Scores, store: CropStore, talk: Talk) -> bool:
    """Write the report; whether there was anything to do."""
    if config.update and is_current_report(path, manifest, store, talk):
        return False
    publish_report(path, manifest, scores, store, title=str(config.run), overwrite=config.replaces)
    talk.say(f"{path / PAGE}: the report")
    return True


def _up_to_date(config: EvalConfig, checkpoint: Manifest, store: CropStore, talk: Talk) -> bool:
    """Whether the scores there are of this checkpoint on this store. The precision counts: it changes the numbers."""
    asked = Request(
        kind=KIND,
        schema=SCHEMA,
        options=config.shaping,
        parents={"checkpoint": checkpoint.digest, "crops": store.digest},
    )
    return is_current(config.out, asked, talk, verify=read_scores) is not None


def _score(config: EvalConfig, which: str, store: CropStore, talk: Talk) -> str:
    """Score and write; which checkpoint it was, in words: a run in training may have a better one meanwhile."""
    # torch is loaded here, and not where there is nothing to do.
    from alexnet_cli.evaluation import Scoring, score_to_file
    from alexnet_cli.parallel.launch import run_ranks
    from alexnet_cli.parallel.team import find_team

    team = find_team(config.devices, timeout=config.timeout)
    where = team.devices[0] if team.world == 1 else f"{team.world} devices, each a share of the pictures"
    talk.say(f"{in_words(config.run, which)}, {len(store):,} pictures, on {where}")
    scoring = Scoring(net=config.run, crops=config.crops, out=config.out, options=config, overwrite=config.replaces)
    used: str = run_ranks(score_to_file, scoring, team)
    return used


def _result(config: EvalConfig, which: str, manifest: Manifest, scores: Scores, *, up_to_date: bool) -> Result:
    return Result(
        scores=config.out,
        checkpoint=which,
        pictures=len(scores.names),
        views=manifest.details["views_averaged"],
        errors=scores.errors(),
        loss=scores.loss(),
        intervals=intervals(scores),
        class_errors=scores.class_errors(),
        titles={name: scores.classes.title(index) for index, name in enumerate(scores.classes.names)},
        report=config.report,
        up_to_date=up_to_date,
    )
