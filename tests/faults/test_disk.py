"""A small disk: the stage says that it is full; enlarged, the same command succeeds."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.server import Server
from faults.small_pipeline import STAGES, Pipeline, judge

MOST = 64 << 20


class SmallDisk:
    """A tmpfs of a chosen size."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def mount(self, size: int) -> None:
        """Make it anew; pytest skips where that is not allowed."""
        self.unmount()
        done = self._call("mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(self.place))
        if done is not None:
            pytest.skip(f"no small file system can be mounted here: {done}")

    def enlarge(self) -> None:
        """To where everything has room."""
        assert self._call("mount", "-o", f"remount,size={MOST}", str(self.place)) is None

    def unmount(self) -> None:
        """Where it is mounted."""
        if os.path.ismount(self.place):
            assert self._call("umount", str(self.place)) is None

    def _call(self, *words: str) -> str | None:
        try:
            done = subprocess.run(words, capture_output=True, text=True)
        except FileNotFoundError as error:
            return str(error)
        return None if done.returncode == 0 else done.stderr.strip()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    place = tmp_path / "disk"
    place.mkdir()
    small = SmallDisk(place)
    yield small
    small.unmount()


def used(folder: Path) -> int:
    """Bytes that a folder takes on a tmpfs, in pages."""
    return sum(-(-path.lstat().st_size // 4096) * 4096 for path in folder.rglob("*") if path.is_file())


def check(pipeline: Pipeline, disk: SmallDisk, server: Server, stage: str, sizes: int) -> None:
    case = pipeline.cases[stage]
    expected = pipeline.undisturbed(case, "new")
    need = used(pipeline.prepare(case, "overwrite").parent)
    tried, full, wrong = 0, 0, []
    for number in range(sizes):
        size = max(16384, int(need * 1.5 * (number + 1) / sizes) // 4096 * 4096)
        disk.mount(size)
        words = case.command(disk.place / case.name, "new")
        outcome = server.command(words)
        tried += 1
        full += outcome.code == 5
        if outcome.code not in (0, 5) or (outcome.code == 5 and len(outcome.lines) != 1):
            wrong.append(f"{size} bytes: it ends with {outcome.code}: {outcome.err.strip()[-200:]}")
            continue
        disk.enlarge()
        if outcome.code == 5 and (again := server.command(words)).code != 0:
            wrong.append(f"{size} bytes, then enlarged: {again.code}: {again.err.strip()[-200:]}")
        elif server.look(case.kind, disk.place / case.name).get("digest") != expected.newer["digest"]:
            wrong.append(f"{size} bytes: {server.look(case.kind, disk.place / case.name)}")
    assert full, "no disk was too small"
    judge("disk", tried, wrong, stage=stage, full=full)


@pytest.mark.parametrize("stage", ["preprocess", "pca"])
def test_a_full_disk_is_said_in_one_line_and_enlarged_the_command_succeeds(
    pipeline: Pipeline, disk: SmallDisk, server: Server, stage: str
) -> None:
    check(pipeline, disk, server, stage, 5)


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_sixty_sizes_of_a_disk_are_said_in_one_line_and_enlarged_the_command_succeeds(
    pipeline: Pipeline, disk: SmallDisk, server: Server, stage: str
) -> None:
    check(pipeline, disk, server, stage, 60)
