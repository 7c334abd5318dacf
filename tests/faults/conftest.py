"""The forking server and the pipeline's small inputs, made once for all tests of this folder."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.server import Server, build_shim
from faults.small_pipeline import Pipeline


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in memory where there is one: kills of a process do not ask what a disk still has to write."""
    shared = Path("/dev/shm")
    if not os.access(shared, os.W_OK):
        yield tmp_path_factory.mktemp("faults")
        return
    folder = Path(tempfile.mkdtemp(prefix="alexnet-faults-", dir=shared))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The preloaded library; skips where it can't be built."""
    built = build_shim(tmp_path_factory.mktemp("shim"))
    if isinstance(built, str):
        pytest.skip(built)
    return built


@pytest.fixture(scope="session")
def server(shim: Path, place: Path) -> Iterator[Server]:
    """Forks a child for each command."""
    server = Server(shim, place)
    yield server
    server.close()


@pytest.fixture(scope="session")
def pipeline(server: Server, place: Path) -> Pipeline:
    """Finished small inputs, and a sandbox."""
    return Pipeline(server, place)
