"""The work of `alexnet report`: find out what it is about, and write the page."""

from __future__ import annotations

from typing import Any

from alexnet_cli.artifacts.common.ownership import PAGE, REPORT, require_output
from alexnet_cli.artifacts.common.publish import publish_file
from alexnet_cli.artifacts.common.working import prepare_parent
from alexnet_cli.artifacts.crops.shards import open_crops
from alexnet_cli.artifacts.run import CHECKPOINTS
from alexnet_cli.artifacts.scores import read_scores
from alexnet_cli.console import Talk
from alexnet_cli.errors import ArtifactError, UsageError
from alexnet_cli.reports.evaluation import PAGE as REPORT_PAGE
from alexnet_cli.reports.evaluation import is_current_report, publish_report, require_reportable
from alexnet_commands.report.config import ReportConfig
from alexnet_commands.report.training import training_page


def run(config: ReportConfig) -> dict[str, Any]:
    """Write the report; what `--json` shows. Raises ArtifactError, ResourceError or UsageError."""
    if config.of.is_file():
        return _of_scores(config)
    if not (config.of / CHECKPOINTS).is_dir():
        raise ArtifactError(f"{config.of}: is neither a run folder nor a scores file: check the path")
    if config.crops is not None:
        raise UsageError(f"{config.crops}: a run's report needs no crop store: leave it out")
    return _of_run(config)


def _of_run(config: ReportConfig) -> dict[str, Any]:
    inputs = {"RUN": config.of}
    require_output(config.out, PAGE, overwrite=config.replaces, inputs=inputs)
    prepare_parent(config.out)
    page, facts = training_page(config.of)
    if config.update and config.out.exists() and config.out.read_bytes() == page.encode():
        Talk(quiet=config.quiet).say(f"{config.out}: up to date")
        return {"report": str(config.out), **facts, "up_to_date": True}
    publish_file(config.out, page.encode(), PAGE, overwrite=config.replaces, inputs=inputs)
    return {"report": str(config.out), **facts}


def _of_scores(config: ReportConfig) -> dict[str, Any]:
    if config.crops is None:
        raise UsageError(f"{config.of}: a report on scores shows pictures: give the crop store that they are of, too")
    inputs = {"SCORES": config.of, "CROPS": config.crops}
    require_output(config.out, REPORT, overwrite=config.replaces, inputs=inputs)
    manifest, scores = read_scores(config.of)
    store = open_crops(config.crops)
    require_reportable(scores, manifest, store, config.of)
    facts = {"report": str(config.out / REPORT_PAGE), "pictures": len(scores.names), **scores.errors()}
    if config.update and is_current_report(config.out, manifest, store, Talk(quiet=config.quiet)):
        return {**facts, "up_to_date": True}
    publish_report(config.out, manifest, scores, store, title=str(config.of), overwrite=config.replaces)
    return facts
