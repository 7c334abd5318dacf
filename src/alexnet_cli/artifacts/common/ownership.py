"""Which output a command may replace: an artifact of its own kind, when told to, and nothing that it reads.

    require_output(config.out, STATISTICS, overwrite=config.overwrite, inputs={"CROPS": config.crops})

A kind is told by its manifest, or by the mark of an unfinished one. All files of a folder must belong to the artifact:
a folder that also holds somebody's notes is never replaced.
"""

from __future__ import annotations

import json
import mmap
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from alexnet_cli.artifacts.common.manifest import (
    ATTRIBUTE,
    MANIFEST_FILE,
    kind_of_damaged,
    kind_of_manifest,
    title_of,
    with_article,
)
from alexnet_cli.artifacts.common.seal import is_damaged
from alexnet_cli.artifacts.common.working import MARK, is_working_name, manifest_kind, marked_kind, target_of
from alexnet_cli.errors import ResourceError, UsageError, describe_os_error

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
"""Of an HDF5 file."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of artifact, and how to recognise it."""

    name: str
    """As in the manifest."""
    title: str = ""
    """What people call one; by default what the manifest's `title_of` says."""
    files: str | None = None
    """A regular expression: the paths inside the folder that belong to the artifact. None: it is a single file."""
    tell: Callable[[Path], bool] | None = None
    """Whether a file, or a folder without manifest and mark, is one. None: only manifest and mark tell."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", self.title or title_of(self.name))

    def owns(self, path: Path) -> bool:
        """Whether what lies at `path` is an artifact of this kind, finished or not."""
        if self.files is None:
            return is_plain_file(path) and self.tell is not None and self.tell(path)
        if not path.is_dir():
            return False
        found = manifest_kind(path) or marked_kind(path)
        if found is not None or (path / MANIFEST_FILE).exists():
            return found == self.name
        return self.tell is not None and self.tell(path)

    def foreign(self, folder: Path) -> Path | None:
        """The first file in a folder that does not belong to an artifact of this kind."""
        assert self.files is not None, "a file has no files"
        pattern = re.compile(self.files)
        for name in files_below(folder):
            left = any(map(is_working_name, name.split("/")))  # by an earlier, killed command
            if name != MARK and not pattern.fullmatch(name) and not left:
                return folder / name
        return None


def files_below(folder: Path) -> Iterator[str]:
    """Every file in a folder and below, as a path with `/` relative to it. Links are files, wherever they lead."""
    for where, folders, names in os.walk(folder):
        below = Path(where).relative_to(folder)
        links = [name for name in folders if (Path(where) / name).is_symlink()]
        for name in sorted(names + links):
            yield (below / name).as_posix()


def is_plain_file(path: Path) -> bool:
    """Whether a path is a regular file: no folder, pipe or device, which would hang or never end when read."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def is_free(path: Path) -> bool:
    """Whether nothing lies at a path, or only an empty folder."""
    target = target_of(path)
    return not os.path.lexists(target) or (target.is_dir() and not any(target.iterdir()))


def require_output(
    path: Path, kind: Kind, *, overwrite: bool, inputs: Mapping[str, Path | None] | None = None, resumes: bool = False
) -> None:
    """UsageError unless a command may write an artifact of this kind at `path`.

    inputs: what the command reads, by what the user calls it; None if nothing was given.
    resumes: it continues the artifact that lies there, and replaces none.
    """
    try:
        require_apart(path, inputs or {})
        if is_free(path) and not (kind.files is None and target_of(path).is_dir()):
            return
        _require_own(path, kind, overwrite=overwrite, resumes=resumes)
    except OSError as error:
        raise ResourceError(describe_os_error(error, path)) from error


def _require_own(path: Path, kind: Kind, *, overwrite: bool, resumes: bool) -> None:
    target = target_of(path)
    if kind.files is None and target.is_dir():
        raise UsageError(f"{path}: is a folder: --out names the file to write")
    if not (overwrite or resumes):
        raise UsageError(f"{path}: exists already: give --overwrite to replace it, or another --out")
    if not kind.owns(target):
        may_be = target.is_file() or (target / MANIFEST_FILE).exists()
        damaged = ", or too damaged to be known as one" if may_be else ""
        advice = ", or remove it yourself" if may_be else ""
        raise UsageError(
            f"{path}: is not {with_article(kind.title)}{damaged}, so it is not replaced: choose another --out{advice}"
        )
    if overwrite and kind.files is not None and (file := kind.foreign(target)) is not None:
        raise UsageError(
            f"{file}: does not belong to the {kind.title} {path}, which is therefore not replaced: "
            "move it away, or choose another --out"
        )


def require_apart(path: Path, inputs: Mapping[str, Path | None]) -> None:
    """UsageError if an output is, holds, or lies inside an input, or holds the current folder."""
    out = Path(os.path.realpath(path))
    here = Path(os.path.realpath(os.curdir))
    if out == here or out in here.parents:
        raise UsageError(f"--out {path}: holds the folder that you are in: give the result a name of its own")
    for name, given in inputs.items():
        if given is None:
            continue
        read = Path(os.path.realpath(given))
        if out == read:
            raise UsageError(f"--out {path}: is what {name} {given} reads: choose another --out")
        if out in read.parents:
            raise UsageError(f"--out {path}: holds {name} {given}, which is read: choose another --out")
        if read in out.parents:
            raise UsageError(f"--out {path}: lies inside {name} {given}, which is read: choose another --out")


def _hdf5_kind(path: Path) -> str | None:
    """The kind of artifact that an HDF5 file is by its manifest; None for anything else.

    Where it is damaged, its bytes are searched for the manifest.
    """
    import h5py  # slow to load, and only an existing file needs it

    try:
        if not is_damaged(path):
            with h5py.File(path, "r") as file:
                text = file.attrs.get(ATTRIBUTE)
                if isinstance(text, (str, bytes)):
                    return kind_of_manifest(text)
    except (OSError, RuntimeError, KeyError, ValueError):
        pass
    try:
        with path.open("rb") as plain, mmap.mmap(plain.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return kind_of_damaged(data) if data[: len(_SIGNATURE)] == _SIGNATURE else None
    except (OSError, ValueError):  # it can't be read, or is empty
        return None


def _is_submission(path: Path) -> bool:
    """Whether a file is a table of five class numbers a line, as far as its beginning tells."""
    whole = start_of(path, 1 << 16).split(b"\n")[:-1]  # the last is empty, or cut off by the limit
    return bool(whole) and all(re.fullmatch(rb"\d+(?: \d+)*", line) for line in whole)


def _is_sample(folder: Path) -> bool:
    """Whether a folder is a sample from before samples had manifests."""
    values = _json_of(folder / "sample.json")
    return values is not None and values.get("source") == "scikit-learn load_digits"


def _is_early_run(folder: Path) -> bool:
    """Whether a folder is an unfinished run from before runs had marks."""
    values = _json_of(folder / "config.json")
    return values is not None and {"recipe", "parents", "seed", "precision"} <= values.keys()


def _json_of(file: Path) -> dict[str, object] | None:
    if not is_plain_file(file):
        return None
    try:
        values = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None


def start_of(path: Path, count: int) -> bytes:
    """A file's first bytes; none if it can't be read."""
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError:
        return b""


def _is_page(path: Path) -> bool:
    """Whether a file is a page of HTML that says it is ours."""
    start = start_of(path, 1 << 10)
    return start.startswith(b"<!DOCTYPE html>") and b'<meta name="generator" content="alexnet' in start


_CHECKPOINT = r"(model|momentum|input)\.safetensors|config\.json|state\.json|manifest\.json"

CROPS = Kind(
    name="crops",
    files=r"data\.mdb|lock\.mdb|plan\.json|manifest\.json|report\.(json|txt)|rejects\.tsv",
)
STATISTICS = Kind(name="statistics", tell=lambda path: _hdf5_kind(path) == "statistics")
CHECKPOINT = Kind(name="checkpoint", files=_CHECKPOINT)
RUN = Kind(
    name="run",
    files=rf"config\.json|metrics\.csv|log\.txt|manifest\.json|checkpoints/step-\d+(\.partial|\.\d+\.old)?/({_CHECKPOINT})"
    r"|tensorboard/events\.out\.tfevents\.[^/]*|logs/[^/]+/.+|ranks/rank-\d+\.log|features/(key\.txt|[a-z0-9-]+\.npy)"
    r"|filters/first-epoch\.safetensors",
    tell=_is_early_run,
)
SCORES = Kind(name="scores", tell=lambda path: _hdf5_kind(path) == "scores")
ENSEMBLE = Kind(
    name="ensemble",
    files=r"scores\.h5|(members|fit)\.json|table\.txt|manifest\.json|(members|holdout)/\d+\.h5",
)
SAMPLE = Kind(
    name="sample",
    files=r"sample\.json|manifest\.json|(train|val)/digit-\d/digit-\d_\d{5}\.JPEG",
    tell=_is_sample,
)
SUBMISSION = Kind(name="submission", tell=_is_submission)
_PREDICTIONS = (b"path,rank,class,words,probability,error", b'{"path": ', b'{"predicted_by": ')  # CSV, JSON lines, JSON
PREDICTIONS = Kind(
    name="predictions", title="file of predictions", tell=lambda path: start_of(path, 64).startswith(_PREDICTIONS)
)
REPORT = Kind(
    name="report",
    files=r"report\.html|(errors|classes|confusion|calibration|pictures)\.csv|manifest\.json",
)
FEATURES = Kind(name="features", tell=lambda path: _hdf5_kind(path) == "features")
PAGE = Kind(name="page", title="page of a report", tell=_is_page)
