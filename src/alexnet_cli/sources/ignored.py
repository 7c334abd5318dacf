"""What lies among people's pictures without being one: hidden files, and folders that systems keep for themselves.

One rule for folders, tars and shards alike.
"""

from __future__ import annotations

import re

_SYSTEM_FOLDERS = {
    "Synology": "@eadir|#recycle|#snapshot|@snapshot|@synoeastream|@synoresource|@synologydrive|@tmp|@sharebin"
    "|@sharesnap",
    "QNAP": "@recycle|@recently-snapshot|@transcode|@__thumb",
    "NetApp": "~snapshot",
    "FrontPage": "_vti_cnf|_vti_pvt",
    "Windows": "$recycle.bin|system volume information|$windows.~bt|$windows.~ws|windowsimagebackup",
    "Android": "lost.dir",
    "Python": "__pycache__",
    "Linux": "lost+found",
    "macOS": "__macosx|network trash folder|temporary items",
}
"""Whose folders -> their names, in small letters: file servers do not all keep the case."""
_SYSTEM_NAMES = frozenset("|".join(_SYSTEM_FOLDERS.values()).split("|"))
_SPELT_SO = frozenset({"RECYCLER", "RECYCLED", "Recycled", "CVS"})
"""Windows' and a program's; a class may be called `recycled`."""
_FOUND = re.compile(r"found\.\d{3}")
"""What Windows rescues from a damaged disk."""


def is_hidden(name: str) -> bool:
    """Whether a file's or folder's own name says that it is not one of the user's pictures."""
    plain = name.lower()
    return (
        (name.startswith(".") and name not in (".", ".."))
        or plain in _SYSTEM_NAMES
        or name in _SPELT_SO
        or _FOUND.fullmatch(plain) is not None
    )


def is_hidden_path(path: str) -> bool:
    """Whether any part of a path, '/' between the parts, is hidden."""
    return any(map(is_hidden, path.split("/")))
