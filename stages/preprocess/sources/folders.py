"""Indexes folders of pictures."""

from __future__ import annotations

import os
import re
from pathlib import Path

from alexnet_cli.errors import PictureError, ResourceError, describe_os_error
from alexnet_cli.extensions import PICTURE_EXTENSIONS
from alexnet_cli.sources.ignored import is_hidden
from alexnet_cli.sources.located import Located
from alexnet_cli.sources.tars import is_archive_name
from alexnet_stages.preprocess.sources.archives import is_unfinished
from alexnet_stages.preprocess.sources.beside import TEXTS, find_above
from alexnet_stages.preprocess.sources.listing import Found

_MOST_LINK_BYTES = 2000


def index_folder(root: Path) -> Found:
    """Every picture below a folder but hidden ones, sorted by the parts of their paths; links are followed."""
    found = Found(root=root)
    _walk(str(root), "", found, found.listing.file(str(root)), ())
    find_above(found, root)
    return found


def _walk(folder: str, prefix: str, found: Found, file: int, above: tuple[tuple[int, int], ...]) -> None:
    try:
        status = os.stat(folder)  # noqa: PTH116
        here = (status.st_dev, status.st_ino)
        if here in above:
            raise PictureError(f"{folder}: is a link to a folder above it: remove it")
        with os.scandir(folder) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
    except OSError as error:
        raise ResourceError(describe_os_error(error, folder)) from None
    for entry in entries:
        if is_hidden(entry.name):
            found.ignored["hidden"] += 1
        elif _is_folder(entry):
            if not prefix:
                found.folders[entry.name] = entry.path
            _walk(entry.path, f"{prefix}{entry.name}/", found, file, (*above, here))
        else:
            extension = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122
            if not prefix and (is_archive_name(entry.name) or is_unfinished(entry.name)):
                found.packed.append(entry.path)
            if extension in PICTURE_EXTENSIONS:
                _add(entry, prefix + entry.name, found, file)
            elif entry.is_symlink() and not os.path.exists(entry.path):  # noqa: PTH110
                # It may stand for a class's folder: the class would be missing silently.
                raise PictureError(
                    f"{entry.path}: is a link to {os.readlink(entry.path)}, which is not there or can't be read: "  # noqa: PTH115
                    "repair it or remove it"
                )
            elif not prefix and (kind := _stands_for_folder(entry, extension)):
                raise PictureError(f"{entry.path}: is {kind} in place of a folder: put the folder there, or remove it")
            else:
                found.ignored[extension or "no extension"] += 1
                if entry.name in TEXTS:
                    found.texts[prefix + entry.name] = Located(entry.name, entry.path)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry, or what it links to, is a folder; False for a broken link."""
    try:
        return entry.is_dir()
    except OSError:  # links in a circle, or a target that may not be looked at
        return False


def _stands_for_folder(entry: os.DirEntry[str], extension: str) -> str | None:
    """What a file is that another system uses as a link: its folder would be missing silently."""
    if extension == ".lnk":
        return "a shortcut of Windows"
    if extension or not entry.is_file() or entry.stat().st_size > _MOST_LINK_BYTES:
        return None
    with open(entry.path, "rb") as file:  # noqa: PTH123
        start = file.read(_MOST_LINK_BYTES)
    if start.startswith((b"XSym\n", b"book\0\0\0\0mark")):
        return "a link of macOS"
    # git without symbolic links writes a file that holds the link's target
    return f"the text of a link ({start.decode()!r})" if re.fullmatch(rb"(\.{1,2}/|/)[!-~]+", start) else None


def _add(entry: os.DirEntry[str], name: str, found: Found, file: int) -> None:
    try:
        status = entry.stat()
    except OSError:  # such as a broken link: reading it will say what is wrong
        found.listing.add(name, file=file, size=-1, changed=-1)
    else:
        found.listing.add(name, file=file, size=status.st_size, changed=status.st_mtime_ns)
