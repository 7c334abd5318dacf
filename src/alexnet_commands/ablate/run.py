"""The work of `alexnet ablate`: many `alexnet train` and `alexnet eval`, each on a free device, and a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from alexnet_cli.artifacts.common.ownership import is_free, require_apart
from alexnet_cli.artifacts.common.publish import write_text
from alexnet_cli.artifacts.common.working import only_writer
from alexnet_cli.artifacts.crops.shards import open_crops
from alexnet_cli.artifacts.run import RunFolder
from alexnet_cli.console import Talk
from alexnet_cli.cutting import require_patch_fits
from alexnet_cli.errors import AlexNetError, ResourceError, UsageError, describe_os_error
from alexnet_cli.reading import read_json_object
from alexnet_cli.recipes.read import load_recipe
from alexnet_cli.recipes.recipe import Recipe, differing
from alexnet_cli.tables import csv_of
from alexnet_commands.ablate.config import AblateConfig
from alexnet_commands.ablate.plot import draw, draw_curves, remove_curves
from alexnet_commands.ablate.processes import Job, run_jobs
from alexnet_commands.ablate.table import Row, Score, epochs_until, rows_of, scores_csv, table_csv
from alexnet_commands.plot.figure import require_matplotlib

RECORD = "ablation.json"
"""Marks a folder as an ablation's, and holds its options and results."""
KIND = "ablation"


@dataclass(frozen=True)
class Result:
    """What came out."""

    out: Path
    rows: list[Row]
    scores: list[Score]
    differs: dict[str, list[str]]
    """For each recipe but the first, the fields outside its layers in which it differs from the first."""

    def as_json(self) -> dict[str, Any]:
        """For `--json` and ablation.json."""
        return {
            "kind": KIND,
            "out": str(self.out),
            "recipes": [asdict(row) for row in self.rows],
            "runs": [asdict(score) for score in self.scores],
            "differs_beside_its_layers": self.differs,
        }


def run(config: AblateConfig) -> Result:
    """Train and evaluate every recipe with every seed, and write tables and plot.

    Raises UsageError and ResourceError before any work; SystemExit with the code of a command that failed.
    """
    talk = Talk(quiet=config.quiet)
    recipes = _recipes(config)
    require_folder(config)
    require_budget(config, recipes)
    require_trainable(config, recipes)
    require_matplotlib()
    devices = devices_of(config.devices)
    others = zip(config.recipe_names[1:], recipes[1:], strict=True)
    differs = {name: _beside_layers(recipes[0], recipe) for name, recipe in others}
    for name, fields in differs.items():
        if fields:
            talk.warn(f"{name} differs from {config.recipe_names[0]} in more than its layers: {', '.join(fields)}")
    with only_writer(config.out / RECORD):
        if not (config.out / RECORD).exists():
            _write_json(config.out / RECORD, {"kind": KIND})
        try:
            for folder in ("runs", "scores", "logs"):
                (config.out / folder).mkdir(exist_ok=True)
        except OSError as error:
            raise ResourceError(describe_os_error(error, config.out)) from error
        found = run_jobs(jobs_of(config, recipes[0]), devices, logs=config.out / "logs", talk=talk)
        runs = [(name, seed) for name in config.recipe_names for seed in config.seed_numbers]
        curves = [training_errors(Path(results[0]["run"])) for results in found]
        target = None if config.train_error is None else config.train_error / 100
        scores = [
            _score(name, seed, None if target is None else epochs_until(curve, target), *results)
            for (name, seed), curve, results in zip(runs, curves, found, strict=True)
        ]
        result = Result(config.out, rows_of(scores, target), scores, differs)
        _write_json(config.out / RECORD, result.as_json())
        write_text(config.out / "table.csv", csv_of(table_csv(result.rows)))
        write_text(config.out / "runs.csv", csv_of(scores_csv(scores)))
        draw(config.out, result.rows, scores, each_own=config.each_own)
        if target is not None:
            draw_curves(config.out, target, list(zip(scores, curves, strict=True)))
        else:
            remove_curves(config.out)
    return result


def jobs_of(config: AblateConfig, first: Recipe) -> list[Job]:
    """A training and an evaluation for each recipe and seed, all with the first recipe's epochs and mini-batches
    unless each is to keep its own."""
    again = "--overwrite" if config.overwrite else "--update"
    common = ("--precision", config.precision, again, *(("--quiet",) if config.quiet else ()))
    budget = ("--epochs", str(_epochs(config, first)), "--batch-size", str(first.training.batch_size))
    sets = tuple(word for text in config.set for word in ("--set", text))
    data = (str(config.crops), "--val", str(config.val), "--stats", str(config.stats))
    jobs = []
    for recipe in config.recipe_names:
        own = () if config.each_own else budget
        for seed in config.seed_numbers:
            folder = run_folder(config, recipe, seed)
            name, net = folder.name, str(folder)
            scores = str(config.out / "scores" / f"{name}.h5")
            chosen = ("--recipe", recipe, "--seed", str(seed), "--out", net)
            train = ("train", *data, *chosen, *own, *sets, *common)
            jobs.append(Job(name=name, commands=(train, ("eval", net, str(config.val), "--out", scores, *common))))
    return jobs


def run_folder(config: AblateConfig, recipe: str, seed: int) -> Path:
    """Where the net of a recipe and seed is trained."""
    return config.out / "runs" / f"{recipe.removesuffix('.toml').rpartition('/')[2]}-{seed}"


def _epochs(config: AblateConfig, recipe: Recipe) -> int:
    return config.epochs or recipe.training.epochs


def training_errors(run: Path) -> list[float]:
    """Each epoch's mean top-1 error on its training patches, during the epoch."""
    return [float(row["train_top1_error"]) for row in RunFolder(run).metrics() if row["train_top1_error"]]


def devices_of(text: str) -> list[str]:
    """One for each net that is trained at a time, as `--devices` of `alexnet train` takes it."""
    import torch

    from alexnet_cli.devices import choose_devices

    if text == "auto" and torch.cuda.device_count() > 1:
        text = f"cuda:{torch.cuda.device_count()}"
    found = choose_devices(text)
    return ["cpu" if device.type == "cpu" else f"cuda:{device.index or 0}," for device in found]


def _recipes(config: AblateConfig) -> list[Recipe]:
    recipes = [load_recipe(name, config.set) for name in config.recipe_names]
    if len({recipe.name for recipe in recipes}) < len(recipes):
        raise UsageError(f"--recipes {config.recipes}: two of them have the same name: rename a file")
    return recipes


def _beside_layers(first: Recipe, other: Recipe) -> list[str]:
    paths = [path for path, _, _ in differing(first.to_dict(), other.to_dict())]
    same = ("training.epochs", "training.batch_size")
    return [path for path in paths if path.startswith(("input.", "training.")) and path not in same]


def require_folder(config: AblateConfig) -> None:
    """UsageError unless --out is free, or an ablation's that may be replaced; or if it is an input."""
    require_apart(config.out, {"CROPS": config.crops, "--val": config.val, "--stats": config.stats})
    if is_free(config.out) or _is_begun(config.out):
        return
    try:
        ours = read_json_object(config.out / RECORD).get("kind") == KIND
    except (OSError, AlexNetError):
        ours = False
    if not ours:
        raise UsageError(f"{config.out}: is not a folder of `alexnet ablate`: choose another --out")
    if not config.replaces:
        raise UsageError(f"{config.out}: exists already: give --update to continue, or --overwrite to train all again")


def require_budget(config: AblateConfig, recipes: Sequence[Recipe]) -> None:
    """UsageError if a net in --out has been trained for more epochs than requested: `alexnet train` would keep it."""
    if config.overwrite:
        return
    for name, recipe in zip(config.recipe_names, recipes, strict=True):
        epochs = _epochs(config, recipe if config.each_own else recipes[0])
        for seed in config.seed_numbers:
            folder = run_folder(config, name, seed)
            newest = RunFolder(folder).newest() if folder.exists() else None
            if newest is not None and newest.manifest.details["epoch"] > epochs:
                had = newest.manifest.details["epoch"]
                raise UsageError(
                    f"{folder}: has been trained for {had} epochs, and {epochs} were requested: give --epochs {had} or "
                    "more, another --out, or --overwrite to train all again"
                )


def require_trainable(config: AblateConfig, recipes: Sequence[Recipe]) -> None:
    """UsageError for a recipe that `alexnet train` would refuse when its turn comes, hours after the first's."""
    with closing(open_crops(config.crops)) as store:
        for recipe in recipes:
            if recipe.training.needs_origin:
                raise UsageError(
                    f"recipe {recipe.name} starts from a trained net, and here nets begin with initial values"
                )
            require_patch_fits(recipe, store)


def _is_begun(out: Path) -> bool:
    """Whether a folder holds only the unfinished record of a command that was killed at its beginning."""
    return out.is_dir() and all(entry.name.startswith(f".{RECORD}.alexnet-") for entry in out.iterdir())


def _score(recipe: str, seed: int, reached: float | None, trained: dict[str, Any], evaluated: dict[str, Any]) -> Score:
    errors = {name: evaluated[name] for name in ("top1_error", "top5_error", "centre_top1_error")}
    return Score(recipe=recipe, seed=seed, seconds=trained["seconds"], reached=reached, **errors)


def _write_json(path: Path, values: dict[str, Any]) -> None:
    write_text(path, json.dumps(values, indent=1) + "\n")
