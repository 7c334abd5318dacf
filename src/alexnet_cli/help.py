"""How commands and their options are shown and found: the help, and hints for names that people try."""

from __future__ import annotations

import copy
import difflib
import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from typer.core import TyperCommand, TyperGroup

_MEANT = {
    "--rate": ("--lr", "--learning-rate", "--learning_rate", "--eta", "--eps"),
    "--epochs": ("--epoch", "--num-epochs", "--num_epochs", "--max-epochs", "--max_epochs", "-e"),
    "--batch-size": ("--bs", "--batch", "--batchsize", "--batch_size", "--mini-batch", "-b", "-bs"),
    "--devices cuda": ("--gpu", "--gpus", "--cuda", "--use-cuda"),
    "--devices": ("--device", "--gpu-ids", "--device-ids", "--accelerator"),
    "--devices cpu": ("--cpu", "--no-cuda"),
    "--parallel data": ("--ddp", "--distributed", "--data-parallel"),
    "--workers": ("--num-workers", "--num_workers", "--threads", "--num-threads", "--jobs", "--nproc", "-j"),
    "--out": ("--output", "--output-dir", "--output_dir", "--out-dir", "--outdir", "--save", "--save-dir", "--dest"),
    "--precision bf16": ("--bf16", "--amp", "--fp16", "--half", "--mixed-precision"),
    "--precision": ("--dtype", "--float"),
    "--init-from": ("--pretrained", "--finetune", "--weights", "--init", "--load", "--load-from"),
    "--resume": ("--resume-from", "--resume_from", "--continue", "--restart", "--checkpoint", "--ckpt"),
    "--overwrite": ("--force", "--exist-ok", "--replace", "--yes", "-f", "-y"),
    "--update": ("--skip-existing", "--no-clobber", "--incremental"),
    "--recipe": ("--config", "--model", "--arch", "--preset"),
    "--set training.momentum=": ("--momentum",),
    "--set training.weight_decay=": ("--weight-decay", "--weight_decay", "--wd", "--decay"),
    "--set training.patience=": ("--patience",),
    "--set net.dropout6.probability=": ("--dropout",),
    "--set training.schedule=": ("--scheduler", "--lr-scheduler", "--schedule"),
    "--stats": ("--mean", "--pca", "--statistics", "--mean-file"),
    "--val": ("--validation", "--valid", "--val-dir", "--val-data", "--valid-dir"),
    "--seed": ("--random-seed", "--random_seed", "--manual-seed", "--rng"),
    "--quiet": ("--silent", "--no-progress", "--no-bar"),
    "--side": ("--imgsz", "--img-size", "--image-size", "--size", "--resize", "--crop-size"),
    "--holdout": ("--val-split", "--valid-split", "--validation-split", "--val-size", "--test-size"),
    "--log tensorboard": ("--tensorboard", "--tb"),
    "--log wandb": ("--wandb",),
    "--log mlflow": ("--mlflow",),
    "--log": ("--logger", "--loggers", "--report-to", "--log-to"),
    "--top": ("--topk", "--k", "--top-k", "--top_k", "--top5", "-k"),
    "--views 1": ("--center-crop", "--centre-crop", "--single-crop", "--no-tta"),
    "--views": ("--tta", "--crops-per-picture", "--ten-crop", "--augment"),
    "--layer": ("--layers", "--node", "--feature", "--blob"),
    "--report": ("--html", "--plots"),
    "--crops": ("--data", "--dataset", "--lmdb"),
}
"""The option that is meant → what people from other tools type."""
_NAMELESS = (
    *("--data", "--dataset", "--data-dir", "--data-path", "--train"),
    *("--input", "--source", "--image", "--images", "-i"),
    *("--net", "--model", "--weights", "--checkpoint", "--ckpt", "--run"),
)
"""What other tools call the path that ours take without a name."""
_COMMANDS = {
    "eval": ("evaluate", "test", "validate", "val", "score"),
    "predict": ("infer", "inference", "classify", "prediction", "detect"),
    "train": ("fit", "finetune", "fine-tune", "learn"),
    "preprocess": ("prepare", "convert", "prepro", "resize", "import-pictures"),
    "pca": ("mean", "stats", "statistics"),
    "ensemble": ("average", "combine"),
    "features": ("extract", "embed", "embeddings", "encode"),
    "report": ("html", "show"),
    "doctor": ("env", "info", "collect-env", "version"),
    "recipe": ("recipes", "config", "models"),
    "sample": ("demo", "download"),
    "curves": ("loss", "losses", "error", "training", "history", "metrics"),
    "filters": ("kernels", "weights", "conv1"),
    "activations": ("maps", "feature-maps"),
    "neighbours": ("neighbors", "nearest", "similar", "knn"),
    "confusion": ("confusion-matrix", "matrix", "confusions"),
    "--help": ("help",),
}
"""The command that is meant → what people from other tools type."""

_TYPES = {"int": "whole number", "int range": "whole number", "float": "number", "float range": "number"}


def flowing(text: str) -> str:
    """A docstring with each paragraph on one line: then a terminal of any width fills its lines.

    Indented lines, lines after them, and lines that begin with Example stay as they are.
    """
    lines: list[str] = []
    for line in inspect.cleandoc(text).splitlines():
        apart = not line or line.startswith((" ", "Example")) or not lines or not lines[-1] or lines[-1].startswith(" ")
        lines[len(lines) - (not apart) :] = [line if apart else f"{lines[-1]} {line}"]
    return "\n".join(lines)


class _WithHelp:
    """A command whose help names no type for flags and arguments, and no environment variable for each option."""

    def get_params(self, ctx: Any) -> list[Any]:
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for param in params:
            if getattr(param, "is_flag", False) and param.metavar is None:
                param.metavar = ""
            if hasattr(param, "type"):  # typer before 0.29
                param.type = copy.copy(param.type)
                param.type.name = _TYPES.get(param.type.name, param.type.name)
            if param.param_type_name == "argument":  # its own name says more than <path> or <list[Path]>
                param.display_type_rich = lambda ctx: None
                if hasattr(param, "type"):
                    param.type.get_metavar = lambda param, ctx: ""
            if getattr(param, "envvar", None) is None and hasattr(param, "show_envvar"):
                param.show_envvar = False
        return params


class CommandWithHelp(_WithHelp, TyperCommand):
    """A command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Answer an extra word with the option that it may be for, and a missing one with its place."""
        words = list(args)
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            if type(error).__name__ not in ("MissingParameter", "UsageError"):  # the parser's, a word too many
                raise
            given, extra, _ = self.make_parser(ctx).parse_args(args=words)
            if meant := _options_meant(ctx, given, extra):
                ctx.fail(f"{' '.join(extra)}: give it a name, as {meant}")
            said = f"{error.message}. " if error.message else ""  # type: ignore[attr-defined]
            error.message = f"{said}The command is: {_usage(ctx)}"  # type: ignore[attr-defined]
            raise

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Hide the names that turn an option off: its help has them, and a column for them would leave it no room."""
        for param in self.params:
            param.secondary_opts = []
        super().format_help(ctx, formatter)


class GroupWithHelp(_WithHelp, TyperGroup):
    """A command with commands of its own; alone it shows its help."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args if args or ctx.resilient_parsing else ["--help"])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Answer the name of another tool's command with ours."""
        tried = args[0] if args else ""
        if self.get_command(ctx, tried) is None:
            for meant, names in _COMMANDS.items():
                if tried in names and (meant == "--help" or self.get_command(ctx, meant) is not None):
                    ctx.fail(f"there is no command {tried}: use {meant}")
            ours = self.list_commands(ctx)
            if "show" in ours and _is_recipe(tried):
                ctx.fail(f"there is no command {tried}: use show {tried}")
            if ctx.parent is not None and not difflib.get_close_matches(tried, ours):
                ctx.fail(f"there is no command {tried}: use one of {', '.join(ours)}")
        return super().resolve_command(ctx, args)


def _usage(ctx: Any) -> str:
    """The command with what it must be given: alexnet pca CROPS --out PATH."""
    words = [ctx.command_path]
    for param in sorted(ctx.command.params, key=lambda param: param.param_type_name != "argument"):
        if param.required:
            name = [] if param.param_type_name == "argument" else [max(param.opts, key=len)]
            value = str(param.metavar or param.name.upper()).removesuffix("...")
            words += [*name, value + ("…" if param.nargs < 0 else "")]
    return " ".join(words)


def _options_meant(ctx: Any, given: Mapping[str, Any], words: list[str]) -> str | None:
    """The options that words without a name may be for: `--recipe paper`; None if a word fits no option.

    given: the values of the parameters that were given.
    """
    params = [param for param in ctx.command.params if given.get(param.name) is None]
    options = {name: param for param in params for name in param.opts if name.startswith("--")}
    if len(words) > 1 and "--compare" in options and all(map(_is_recipe, words)):
        return f"--compare {','.join(words)}"
    required = {name: param.help or "" for name, param in options.items() if param.required and name != "--out"}
    found = []
    for word in words:
        last = word == words[-1]
        kinds = {
            **{
                name: word in re.split(r"[\s,.]+", text) for name, text in required.items()
            },  # the help lists the values
            "--recipe": _is_recipe(word),
            "--devices": re.fullmatch(r"(auto|cpu|cuda)(:[0-9,]+)?", word),
            "--layer": re.fullmatch(r"[a-z]+[0-9]+", word),
            "--data": Path(word).is_dir(),
            "--out": last and "--out" in options and (options["--out"].required or Path(word).suffix),
        }
        name = next((name for name, fits in kinds.items() if fits and name in options), None)
        if name is None:
            return None
        found.append(f"{name} {word}")
    return " ".join(found)


def _is_recipe(word: str) -> bool:
    from alexnet_cli.recipes.read import recipe_files

    return word.endswith(".toml") or word in recipe_files()


def meant_option(error: BaseException) -> str | None:
    """Our option for an unknown one that people know from other tools: `use --rate`.

    None if we don't know the name either, or the command has no option for it.
    """
    tried, context = getattr(error, "option_name", None), getattr(error, "ctx", None)
    if tried is None or context is None or type(error).__name__ != "NoSuchOption":
        return None
    options = {name for param in context.command.params for name in param.opts}
    for meant, names in _MEANT.items():
        if tried in names and meant.split()[0] in options:
            return f"use {meant}"
    arguments = [param for param in context.command.params if param.param_type_name == "argument"]
    paths = [str(param.metavar or param.name).strip() for param in arguments]
    if tried in _NAMELESS and paths:
        return f"give the path without a name, as {' '.join(paths)}"
    return None


def keep_close_names(error: BaseException) -> None:
    """Of the options that the parser suggests for an unknown one, keep those that it may be a typing error for."""
    tried, suggested = getattr(error, "option_name", None), getattr(error, "possibilities", None)
    if tried and suggested:
        error.possibilities = difflib.get_close_matches(tried, suggested, cutoff=0.75)  # type: ignore[attr-defined]
