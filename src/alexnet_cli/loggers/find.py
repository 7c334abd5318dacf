"""Loggers by name, through the entry points `alexnet.loggers`. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec

from alexnet_cli.errors import UsageError
from alexnet_cli.loggers.protocol import Logger

GROUP = "alexnet.loggers"
NONE = "none"
DEFAULT = "tensorboard"


def asked_for(names: Sequence[str]) -> tuple[str, ...]:
    """What `--log` names, each once; without it TensorBoard. UsageError for a name that no package declares."""
    if not names:
        return (DEFAULT,)
    if NONE in names:
        if set(names) != {NONE}:
            raise UsageError("--log none: excludes others: leave out none, or the other loggers")
        return ()
    known = _points()
    for name in names:
        if name not in known:
            raise UsageError(f"--log {name}: no such logger: use one of {', '.join(sorted(known))} or {NONE}")
    return tuple(dict.fromkeys(names))


def make(name: str) -> Logger:
    """The logger of a name; UsageError where it can't be used here."""
    try:
        logger: Logger = _points()[name].load()()
    except UsageError:
        raise
    except Exception as error:  # another project's package may raise anything
        raise UsageError(f"--log {name}: can't be loaded ({type(error).__name__}: {error}): leave it out") from None
    return logger


def require_package(name: str) -> None:
    """UsageError with pip's command where the package that a logger of the same name writes with is missing."""
    if find_spec(name) is None:
        raise UsageError(f"--log {name}: the package {name} is missing: pip install {name}")


def _points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}
