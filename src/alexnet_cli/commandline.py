"""A command line from a config dataclass: its fields are the options, their annotations the help.

@command_from(PcaConfig)
def command(config: PcaConfig) -> None:
    '''What `alexnet pca --help` shows.'''
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, get_type_hints

Config = TypeVar("Config")


def command_from(config_type: type[Config]) -> Callable[[Callable[[Config], None]], Callable[..., None]]:
    """Turn a function of one config into a function of the config's fields, which typer can show and parse."""

    def decorate(work: Callable[[Config], None]) -> Callable[..., None]:
        hints = get_type_hints(config_type, include_extras=True)
        parameters = []
        for field in dataclasses.fields(config_type):  # type: ignore[arg-type]
            default: Any = inspect.Parameter.empty
            if field.default is not dataclasses.MISSING:
                default = field.default
            elif field.default_factory is not dataclasses.MISSING:
                default = field.default_factory()
            parameters.append(
                inspect.Parameter(
                    field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hints[field.name]
                )
            )

        def command(**options: Any) -> None:
            work(config_type(**options))

        command.__doc__ = work.__doc__
        command.__name__ = work.__name__
        command.__module__ = work.__module__
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return command

    return decorate
