"""What is ignored among people's pictures: hidden files, and the folders of systems; in tars and shards too."""

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
"""System -> its folders, in small letters: some file servers change the case."""
_SYSTEM_NAMES = frozenset("|".join(_SYSTEM_FOLDERS.values()).split("|"))
_SPELT_SO = frozenset({"RECYCLER", "RECYCLED", "Recycled", "CVS"})
"""Folders of Windows and of CVS, spelt exactly so: a class may be called `recycled`."""
_FOUND = re.compile(r"found\.\d{3}")
"""Where Windows puts what it rescues from a damaged disk."""


def is_hidden(name: str) -> bool:
    """Whether a file or folder is to be ignored by its name, whatever folder it lies in."""
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
