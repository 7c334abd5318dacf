"""A command line from a config dataclass: its fields are the options, their annotations the help.

@command_from(PcaConfig)
def command(config: PcaConfig) -> None:
    '''What `alexnet pca --help` shows.'''
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import math
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

from typer.models import OptionInfo

from alexnet_cli.device_names import parse_devices
from alexnet_cli.errors import ResourceError, UsageError, describe_os_error
from alexnet_cli.help import flowing
from alexnet_cli.memory import require_address_space, start_threads_where_there_is_room
from alexnet_cli.options import PARALLEL, CommonOptions, Devices, Parallel, require_one_of

Config = TypeVar("Config")
_METAVARS = {bool: "", int: "N", float: "X", str: "TEXT", Path: "PATH"}
"""What follows an option in the help, by the type of its value; a flag takes none."""


def command_from(config_type: type[Config]) -> Callable[[Callable[[Config], None]], Callable[..., None]]:
    """Turn a function of one config into a function of the config's fields, which typer can show and parse."""

    def decorate(work: Callable[[Config], None]) -> Callable[..., None]:
        hints = get_type_hints(config_type, include_extras=True)
        bases = [base for base in (*config_type.__mro__[1:], CommonOptions) if dataclasses.is_dataclass(base)]
        shared = [{field.name for field in dataclasses.fields(base)} for base in bases]
        parameters = []
        for field in dataclasses.fields(config_type):  # type: ignore[arg-type]
            default: Any = inspect.Parameter.empty
            if field.default is not dataclasses.MISSING:
                default = field.default
            elif field.default_factory is not dataclasses.MISSING:
                default = field.default_factory()
            parameters.append(
                inspect.Parameter(
                    field.name,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=default,
                    annotation=_with_metavar(hints[field.name]),
                )
            )

        # The help shows them in this order: what must be given, what this command is about, what several commands
        # share, what all have.
        sharing = {given.name: sum(given.name in names for names in shared) for given in parameters}
        parameters.sort(key=lambda given: (given.default is not inspect.Parameter.empty, sharing[given.name]))

        def command(**options: Any) -> None:
            require_address_space()
            start_threads_where_there_is_room()
            _require_folder()
            _require_utf8(options)
            _require_values(options, hints)
            work(config_type(**options))

        command.__doc__ = flowing(work.__doc__ or "")
        command.__name__ = work.__name__
        command.__module__ = work.__module__
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return command

    return decorate


def _require_folder() -> None:
    """ResourceError if the working folder is gone: MKL would end the process without a message."""
    try:
        os.getcwd()  # noqa: PTH109 (as it is, nothing resolved)
    except OSError as error:
        raise ResourceError(describe_os_error(error, "the folder that you are in")) from None


def _require_utf8(options: Mapping[str, Any]) -> None:
    """UsageError if an option is not UTF-8: LMDB, TensorBoard and JSON can't have such a name.

    Only pictures may have one, since they are only read.
    """
    for name, value in options.items():
        for text in map(str, value if isinstance(value, (list, tuple)) else (value,)):
            if name != "pictures" and not text.isascii() and re.search("[\ud800-\udfff]", text):
                raise UsageError(f"{text}: is not UTF-8: rename it, or give another name")


def _require_values(options: Mapping[str, Any], hints: Mapping[str, Any]) -> None:
    """UsageError for a value that no command can use, even if this one would not look at it."""
    for name, value in options.items():
        if hints[name] == Devices:
            parse_devices(value)
        if hints[name] == Parallel:
            require_one_of("--parallel", value, PARALLEL)
        if isinstance(value, float) and math.isnan(value):
            raise UsageError(f"--{name.replace('_', '-')} nan: must be a number")


def _with_metavar(hint: Any) -> Any:
    """The annotation of an option, with a short name for its value where it has none."""
    value, *notes = get_args(hint) or (hint,)
    kinds = [kind for kind in (get_args(value) or (value,)) if kind is not type(None)]
    if not notes or not isinstance(notes[0], OptionInfo) or notes[0].metavar is not None or kinds[0] not in _METAVARS:
        return hint
    option = copy.copy(notes[0])
    option.metavar = _METAVARS[kinds[0]]
    return Annotated[value, option]
