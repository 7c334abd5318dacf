"""The work of `alexnet ensemble`: gather the members' scores, fit weights, average, write the table."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet_cli.artifacts.checkpoint import read_checkpoint_manifest
from alexnet_cli.artifacts.common.freshness import Request, is_current, read_any_manifest
from alexnet_cli.artifacts.common.manifest import MANIFEST_FILE, Manifest, digest_of
from alexnet_cli.artifacts.common.ownership import ENSEMBLE, SUBMISSION, require_apart, require_output
from alexnet_cli.artifacts.common.publish import publish_file, publish_folder, write_verified
from alexnet_cli.artifacts.common.working import begin_work, only_writer, prepare_parent
from alexnet_cli.artifacts.crops.shards import open_crops
from alexnet_cli.artifacts.crops.store import CropStore
from alexnet_cli.artifacts.ensemble import (
    FIT,
    HOLDOUT,
    KIND,
    MEMBERS,
    MEMBERS_DIGEST,
    MEMBERS_FILE,
    SCHEMA,
    SCORES,
    TABLE,
)
from alexnet_cli.artifacts.run import read_found
from alexnet_cli.artifacts.scores import (
    CHECKPOINT_PATH,
    ERRORS,
    Scores,
    path_from,
    read_scores,
    read_scores_manifest,
    write_scores,
)
from alexnet_cli.console import Talk, printable_lines
from alexnet_cli.errors import ArtifactError, UsageError
from alexnet_stages.ensemble.config import EnsembleConfig
from alexnet_stages.ensemble.distinct import require_distinct
from alexnet_stages.ensemble.fit import Fit, fit_weights
from alexnet_stages.ensemble.members import Member, average_of, require_same_pictures, store_difference
from alexnet_stages.ensemble.submission import devkit_ids, file_order, submission_text
from alexnet_stages.ensemble.table import table_of


@dataclass(frozen=True)
class Result:
    """The average, and what it is made of."""

    ensemble: Path
    pictures: int
    members: list[dict[str, Any]]
    errors: dict[str, float | None]
    table: str
    fit: dict[str, Any] | None = None
    """How the weights were found, with --fit-weights: what fit.json says."""
    equal_errors: dict[str, float | None] | None = None
    """The errors of equal weights on the same pictures, with --fit-weights."""
    submission: Path | None = None
    up_to_date: bool = False
    """Nothing was done: the ensemble there is of these members and options (--update)."""

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        result: dict[str, Any] = {
            "ensemble": str(self.ensemble),
            "pictures": self.pictures,
            "members": self.members,
            **self.errors,
        }
        if self.fit is not None:
            result |= {"fit": self.fit, "equal_weights": self.equal_errors}
        if self.submission is not None:
            result["submission"] = str(self.submission)
        if self.up_to_date:
            result["up_to_date"] = True
        return result


def run(config: EnsembleConfig) -> Result:
    """Average and publish; raises ArtifactError where members don't belong together."""
    talk = Talk(quiet=config.quiet)
    _refuse_outputs(config)
    store = None if config.crops is None else open_crops(config.crops)
    asked = made_from(config, store)
    if config.update and (earlier := _up_to_date(config, asked, talk)):
        return earlier
    holdout = None if config.fit_weights is None else _holdout(config, store)
    if config.submission is not None and store is not None:  # before hours of evaluation
        file_order(store.names)
        if len(store.classes):
            devkit_ids(store.classes, config.devkit, str(store.path))
    with only_writer(config.out):
        work = begin_work(config.out, KIND, keep=True)
        (work / MEMBERS).mkdir(exist_ok=True)
        asked, fit, members = _score_members(config, asked, holdout, store, work, talk)
        average = average_of(members, [member.weight for member in members])
        equal = average_of(members, [1 / len(members)] * len(members)) if fit else None
        lines = None
        if config.submission is not None:
            known = average.classes if store is None or not len(store.classes) else store.classes
            ids = devkit_ids(known, config.devkit, str(config.crops or config.members[0]))
            lines = submission_text(average, ids)
        table = table_of(members, average, equal, fit)
        written: dict[str, Any] = {"made_from": asked}
        if lines is not None:
            written["submission"] = digest_of([lines])
        if equal is not None:
            written["equal_weights"] = equal.errors()
        details = _publish(config, work, members, average, table, fit, written)
        if config.submission is not None and lines is not None:
            publish_file(config.submission, lines.encode(), SUBMISSION, overwrite=config.replaces)
            talk.say(f"{config.submission}: {len(average.names):,} lines, five devkit IDs each")
        return _result(config, details)


def made_from(config: EnsembleConfig, store: CropStore | None) -> dict[str, Any]:
    """What shapes an ensemble, for `--update`: each member's digest, the pictures, the weights, the submission's IDs.

    A scores file counts by its own digest. A run counts by its checkpoint's, with the views and the precision that it
    is evaluated in; the precision changes the numbers.
    """
    evaluated: dict[str, Any] = {}
    members = []
    for path in config.members:
        if path.is_file():
            members.append({"name": path.stem, "scores": read_scores_manifest(path).digest})
        else:
            evaluated = config.shaping
            digest = read_found(path, read_checkpoint_manifest)[0].digest
            members.append({"name": path.name, "checkpoint": digest})
    holdout = None if config.fit_weights is None else open_crops(config.fit_weights).digest
    devkit = None if config.devkit is None else str(config.devkit)
    ids = digest_of([json.dumps(store.classes.ids if store else [])])
    return {
        "members": members,
        **evaluated,
        "crops": None if store is None else store.digest,
        "weights": config.normalised_weights() if holdout is None else "fitted",
        "holdout": holdout,
        "submission": None if config.submission is None else {"devkit": devkit, "ids": ids},
    }


def _up_to_date(config: EnsembleConfig, asked: dict[str, Any], talk: Talk) -> Result | None:
    """The ensemble that is there, where it was made from the same; else None."""

    def verify(path: Path) -> None:
        manifest, _ = read_scores(path / SCORES)
        text = None if config.submission is None else config.submission.read_text(encoding="utf-8")
        if not all((path / name).is_file() for name in (TABLE, MEMBERS_FILE)):
            raise ArtifactError(f"{path}: lacks {TABLE} or {MEMBERS_FILE}")
        own = read_any_manifest(path, kind=KIND, schema=SCHEMA)
        if own.digest != manifest.digest or (text is not None and own.details.get("submission") != digest_of([text])):
            raise ArtifactError(f"{path}: its scores or its submission are not those that it was made with")

    request = Request(kind=KIND, schema=SCHEMA, details={"made_from": asked})
    if config.submission is not None and not config.submission.is_file():
        return None
    manifest = is_current(config.out, request, talk, verify=verify)
    return None if manifest is None else _result(config, manifest.details, up_to_date=True)


def _result(config: EnsembleConfig, details: Mapping[str, Any], *, up_to_date: bool = False) -> Result:
    """What the ensemble's files say. details: its manifest's."""
    texts = {name: config.out / name for name in (MEMBERS_FILE, TABLE, FIT)}
    said = {name: file.read_text(encoding="utf-8") for name, file in texts.items() if file.exists()}
    return Result(
        ensemble=config.out,
        pictures=details["pictures"],
        members=json.loads(said[MEMBERS_FILE]),
        errors={name: details[name] for name in ERRORS},
        table=said[TABLE],
        fit=json.loads(said[FIT]) if FIT in said else None,
        equal_errors=details.get("equal_weights"),
        submission=config.submission,
        up_to_date=up_to_date,
    )


def _refuse_outputs(config: EnsembleConfig) -> None:
    """UsageError where an output may not be written."""
    inputs: dict[str, Path | None] = {f"member {number}": path for number, path in enumerate(config.members, 1)}
    inputs |= {"--crops": config.crops, "--fit-weights": config.fit_weights, "--devkit": config.devkit}
    require_output(config.out, ENSEMBLE, overwrite=config.replaces, inputs=inputs)
    if config.submission is not None:
        require_output(config.submission, SUBMISSION, overwrite=config.replaces, inputs=inputs)
        require_apart(config.submission, {"the ensemble": config.out})
        if not config.update:
            prepare_parent(config.submission)


def _publish(
    config: EnsembleConfig,
    work: Path,
    members: list[Member],
    average: Scores,
    table: str,
    fit: Fit | None,
    details: dict[str, Any],
) -> Mapping[str, Any]:
    """Write the ensemble's files, its manifest last, and give the folder its name. The manifest's details."""
    parents = {f"member {number}": member.manifest.digest for number, member in enumerate(members, 1)}
    crops = members[0].manifest.parents.get("crops")
    if crops:
        parents["crops"] = crops
    options: dict[str, Any] = {"weights": [member.weight for member in members]}
    written = write_scores(work / SCORES, average, parents=parents, options=options, overwrite=True)
    listed = _write_json(work / MEMBERS_FILE, [member.as_json() for member in members])
    write_verified(work / TABLE, printable_lines(table).encode())
    if fit is not None:
        _write_json(work / FIT, fit.as_json())
    else:
        (work / FIT).unlink(missing_ok=True)
        shutil.rmtree(work / HOLDOUT, ignore_errors=True)
    manifest = Manifest(
        kind=KIND,
        schema=SCHEMA,
        digest=written.digest,
        options=options,
        parents=parents,
        details={"pictures": len(average.names), MEMBERS_DIGEST: listed, **average.errors(), **details},
    )
    write_verified(work / MANIFEST_FILE, manifest.to_json().encode())
    publish_folder(work, config.out, ENSEMBLE)
    return manifest.details


def _write_json(path: Path, content: Any) -> str:
    """Write it; its SHA-256."""
    return write_verified(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def _holdout(config: EnsembleConfig, store: CropStore | None) -> CropStore:
    """The store that weights are fitted on, checked before anything is evaluated."""
    assert config.fit_weights is not None and store is not None, "the config asks for both"
    holdout = open_crops(config.fit_weights)
    if not holdout.labelled:
        raise ArtifactError(f"--fit-weights {holdout.path}: has no labels (or no pictures), and fitting needs them")
    require_distinct(holdout, store)
    for path in config.members:
        if path.is_file():
            raise UsageError(
                f"{path}: is a scores file, and a member is scored on --fit-weights {holdout.path} too: give its run"
            )
        if read_found(path, read_checkpoint_manifest)[0].parents.get("crops") == holdout.digest:
            raise ArtifactError(
                f"--fit-weights {holdout.path}: is what {path} was trained on: hold out pictures that it never saw"
            )
    return holdout


def _score_members(
    config: EnsembleConfig,
    asked: dict[str, Any],
    holdout: CropStore | None,
    store: CropStore | None,
    work: Path,
    talk: Talk,
) -> tuple[dict[str, Any], Fit | None, list[Member]]:
    """Every member's scores, the fit of their weights, and what both were made from.

    A run that is still in training may get a better checkpoint, and scores may be made anew, at any moment. What is
    returned is of the same nets throughout.
    """
    while True:
        fit, fitted = (None, None) if holdout is None else _fit(config, holdout, work, talk)
        members = _gather(config, fit.weights if fit else config.normalised_weights(), store, work, talk)
        wanted = [entry.get("checkpoint", entry.get("scores")) for entry in asked["members"]]
        used = [
            member.manifest.parents.get("checkpoint") if "checkpoint" in entry else member.manifest.digest
            for entry, member in zip(asked["members"], members, strict=True)
        ]
        if used == wanted and fitted in (None, wanted):
            return asked, fit, members
        talk.say("a member has changed meanwhile, and is taken as it is now")
        asked = made_from(config, store)


def _fit(config: EnsembleConfig, holdout: CropStore, work: Path, talk: Talk) -> tuple[Fit, list[str]]:
    """Weights that are best on the held-out pictures; and the digest of each member's checkpoint."""
    (work / HOLDOUT).mkdir(exist_ok=True)
    scored = [
        _scores_of(config, path, holdout, work / HOLDOUT / f"{number}.h5", talk)
        for number, path in enumerate(config.members, 1)
    ]
    fit = fit_weights([scores for _, scores, _ in scored])
    for warning in fit.warnings():
        talk.warn(warning)
    return fit, [manifest.parents["checkpoint"] for manifest, _, _ in scored]


def _gather(
    config: EnsembleConfig, weights: Sequence[float], store: CropStore | None, work: Path, talk: Talk
) -> list[Member]:
    """Every member's scores, checked against one another."""
    members: list[Member] = []
    for number, (path, weight) in enumerate(zip(config.members, weights, strict=True), 1):
        if path.is_file():
            manifest, scores = read_scores(path)
            name, told = path.stem, manifest.details.get(CHECKPOINT_PATH)
            net = path.parent / told if isinstance(told, str) else None
        else:
            manifest, scores, net = _scores_of(config, path, store, work / MEMBERS / f"{number}.h5", talk)
            name = path.name
        if store is not None and manifest.parents.get("crops") != store.digest:
            raise ArtifactError(
                f"{path}: are scores of different pictures than {store.path}: {store_difference(scores, store)}; "
                "give the run in place of its scores, or evaluate it again"
            )
        if members:
            require_same_pictures(members[0], scores, path)
        twice = next((place for place, one in enumerate(members, 1) if one.manifest.digest == manifest.digest), None)
        if twice is not None:
            talk.warn(f"{path}: has the same scores as member {twice}: they count twice, and add nothing")
        place = None if net is None else path_from(config.out, net)
        members.append(Member(name, weight, manifest, scores, place))
    return members


def _scores_of(
    config: EnsembleConfig, path: Path, store: CropStore | None, target: Path, talk: Talk
) -> tuple[Manifest, Scores, Path]:
    """A run's or checkpoint's scores: those of an earlier call where they are still true, else new ones.

    And where its checkpoint lies.
    """
    (net, manifest), which = read_found(path, lambda found: (found, read_checkpoint_manifest(found)))
    if store is None:
        raise UsageError(f"{path}: has to be evaluated: give --crops STORE, or its scores file")
    wanted = {"checkpoint": manifest.digest, "crops": store.digest}
    for earlier in (target, *sorted((config.out / target.parent.name).glob("*.h5"))):
        if earlier.is_file() and _still_true(earlier, wanted, config.shaping):
            talk.say(f"{path}: {which}, scored before on {store.path}")
            if earlier != target:
                shutil.copyfile(earlier, target)
            return *read_scores(target), net
    talk.say(f"{path}: {which}, on {store.path}")
    # torch is loaded here, and not where all scores are there.
    from alexnet_cli.evaluation import Scoring, score_to_file
    from alexnet_cli.parallel.launch import run_ranks
    from alexnet_cli.parallel.team import find_team

    scoring = Scoring(net=path, crops=store.path, out=target, options=config, overwrite=True)
    run_ranks(score_to_file, scoring, find_team(config.devices, timeout=config.timeout))
    return *read_scores(target), net


def _still_true(path: Path, parents: dict[str, str], options: dict[str, Any]) -> bool:
    try:
        manifest = read_scores_manifest(path)
    except ArtifactError:
        return False
    return dict(manifest.parents) == parents and dict(manifest.options) == options
