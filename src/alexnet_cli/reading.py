"""Files that a user or an artifact names: only regular files are opened, and bad JSON is one line.

A FIFO or a terminal would never end, and /dev/zero would fill the memory: they are refused before a byte is read.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from alexnet_cli.errors import AlexNetError, ArtifactError, ResourceError, describe_os_error

_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}
MOST_JSON_BYTES = 1 << 30
"""Of a JSON file: ours have a few megabytes, except the names of a large store."""


def open_regular(path: Path | str, kind: type[AlexNetError] = ArtifactError) -> int:
    """A descriptor to read a regular file.

    `kind` of error if it is something else: a FIFO, a device, a folder. FileNotFoundError if it is missing,
    ResourceError for all other errors of the system.
    """
    try:
        require_kind(path, os.stat(path).st_mode, kind)  # noqa: PTH116 (also called for each of a million pictures)
        # O_NONBLOCK: should the file have become a FIFO meanwhile, do not wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ResourceError(describe_os_error(error, path)) from None
    try:
        require_kind(path, os.fstat(descriptor).st_mode, kind)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def require_regular(path: Path | str, kind: type[AlexNetError] = ArtifactError) -> None:
    """For files that a library opens: raises what `open_regular` raises."""
    os.close(open_regular(path, kind))


def require_kind(path: Path | str, mode: int, kind: type[AlexNetError]) -> None:
    """`kind` of error unless the mode is a regular file's."""
    if not stat.S_ISREG(mode):
        raise kind(f"{path}: is {_KINDS.get(stat.S_IFMT(mode), 'something else')}, not a file: check the path")


def read_regular(path: Path | str, kind: type[AlexNetError] = ArtifactError, *, most: int | None = None) -> bytes:
    """A regular file's bytes. Raises what `open_regular` does, and `kind` of error if there are more than `most`."""
    with os.fdopen(open_regular(path, kind), "rb") as file:
        try:
            size = os.fstat(file.fileno()).st_size
            if most is not None and size > most:
                raise kind(f"{path}: has {size:,} bytes, more than {most:,}: check the path")
            return file.read()
        except OSError as error:
            raise ResourceError(describe_os_error(error, path)) from None


def parse_json(text: str | bytes, *, path: Path | str, what: str = "its content") -> Any:
    """The values in JSON. ArtifactError if it is not JSON, not UTF-8, nested too deep, or has too long a number."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ArtifactError(f"{path}: {what} is damaged (nested too deep): make it again") from None
    except ValueError as error:  # also of an encoding
        raise ArtifactError(f"{path}: {what} is damaged ({error}): make it again") from None


def read_json(path: Path) -> Any:
    """The values in a JSON file. Raises what `parse_json` and `read_regular` raise."""
    return parse_json(read_regular(path, most=MOST_JSON_BYTES), path=path)


def read_json_object(path: Path) -> dict[str, Any]:
    """`read_json` for a file that must hold an object."""
    values = read_json(path)
    if not isinstance(values, dict):
        raise ArtifactError(f"{path}: its content is damaged (not an object): make it again")
    return values


def parse_texts(text: str | bytes, *, path: Path | str, what: str) -> list[str]:
    """A JSON list of strings that are UTF-8; ArtifactError for anything else."""
    values = parse_json(text, path=path, what=what)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ArtifactError(f"{path}: {what} is damaged (not a list of names): make it again")
    return values
