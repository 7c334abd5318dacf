"""How commands and their options are shown and asked for: the help, and hints for names that people try."""

from __future__ import annotations

import inspect
from typing import Any

from typer.core import TyperCommand, TyperGroup

_MEANT = {
    "--rate": ("--lr", "--learning-rate", "--learning_rate"),
    "--epochs": ("--epoch", "--num-epochs", "--num_epochs"),
    "--batch-size": ("--bs", "--batch", "--batchsize", "--batch_size", "-b"),
    "--devices cuda": ("--gpu", "--gpus", "--cuda"),
    "--devices": ("--device",),
    "--devices cpu": ("--cpu", "--no-cuda"),
    "--workers": ("--num-workers", "--num_workers", "--threads", "--jobs", "-j"),
    "--out": ("--output", "--output-dir", "--out-dir", "--save", "--dest"),
    "--precision bf16": ("--bf16", "--amp", "--fp16", "--half"),
    "--init-from": ("--pretrained", "--finetune", "--weights", "--init"),
    "--overwrite": ("--force", "-f"),
    "--recipe": ("--config", "--model", "--arch"),
    "--stats": ("--mean", "--pca", "--statistics"),
    "--val": ("--validation", "--valid"),
}
"""The option that is meant → what people from other tools type."""


def flowing(text: str) -> str:
    """A docstring whose paragraphs have no line breaks of their own, so that a terminal of any width fills its lines.

    Indented lines, those before them, and those that begin with Example stay apart.
    """
    lines: list[str] = []
    for line in inspect.cleandoc(text).splitlines():
        apart = not line or line.startswith((" ", "Example")) or not lines or not lines[-1] or lines[-1].startswith(" ")
        lines[len(lines) - (not apart) :] = [line if apart else f"{lines[-1]} {line}"]
    return "\n".join(lines)


class _WithHelp:
    """A command whose help names no type for flags and no environment variable for each option."""

    def get_params(self, ctx: Any) -> list[Any]:
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for param in params:
            if getattr(param, "is_flag", False) and param.metavar is None:
                param.metavar = ""
            if getattr(param, "envvar", None) is None and hasattr(param, "show_envvar"):
                param.show_envvar = False
        return params


class CommandWithHelp(_WithHelp, TyperCommand):
    """A command."""


class GroupWithHelp(_WithHelp, TyperGroup):
    """A command with commands of its own; alone it shows its help."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args if args or ctx.resilient_parsing else ["--help"])


def meant_option(error: BaseException) -> str | None:
    """The option that was meant, where the parser met an unknown name that people bring from other tools.

    None where the name means nothing to us, or the command has no such option either.
    """
    tried, context = getattr(error, "option_name", None), getattr(error, "ctx", None)
    if tried is None or context is None or type(error).__name__ != "NoSuchOption":
        return None
    options = {name for param in context.command.params for name in param.opts}
    for meant, names in _MEANT.items():
        if tried in names and meant.split()[0] in options:
            return meant
    return None
