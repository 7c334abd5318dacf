"""The seal, the last bytes of our HDF5 files: a digest of all bytes before them.

HDF5 parses damaged files too, and a single wrong bit can make it loop forever or crash the process. So a file is
compared with its seal before HDF5 sees it. HDF5 ignores bytes after its own end. Files of other programs and of older
versions of alexnet have no seal, and are read without it.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

from alexnet_cli.artifacts.common.manifest import digest_of_file

_MARK = b"\nalexnet: SHA-256 of all before this line: "
_LENGTH = len(_MARK) + hashlib.sha256().digest_size * 2 + 1
_AT_ONCE = 1 << 22


def seal_of(content: bytes) -> bytes:
    """The seal of this content."""
    return _seal(hashlib.sha256(content).hexdigest())


def add_seal(path: Path) -> None:
    """Seal a file, and sync it. OSError if the disk fails."""
    seal = _seal(digest_of_file(path))
    with path.open("ab") as file:
        file.write(seal)
        file.flush()
        os.fsync(file.fileno())


def is_damaged(path: Path) -> bool:
    """Whether a file has a seal that it does not fit. OSError if it can't be read."""
    with path.open("rb") as file:
        length = file.seek(0, os.SEEK_END) - _LENGTH
        if length < 0:
            return False
        file.seek(length)
        seal = file.read()
        return seal.startswith(_MARK) and seal != _seal(_digest_of_start(file, length))


def _seal(digest: str) -> bytes:
    return _MARK + digest.encode() + b"\n"


def _digest_of_start(file: BinaryIO, length: int) -> str:
    total = hashlib.sha256()
    file.seek(0)
    for start in range(0, length, _AT_ONCE):
        total.update(file.read(min(_AT_ONCE, length - start)))
    return total.hexdigest()
