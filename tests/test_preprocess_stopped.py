"""`alexnet preprocess` stopped, killed and interrupted: it continues, and ends with the same store."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from preprocessing import content, fails, preprocess, save_noise

from alexnet_cli.artifacts.common.working import work_of
from alexnet_cli.errors import ResourceError
from alexnet_stages.preprocess import pool
from alexnet_stages.preprocess import run as run_module
from alexnet_stages.preprocess.sources import Located

# Runs `alexnet` as the installed command would, in a process that a test may kill.
COMMAND = [sys.executable, "-m", "alexnet_cli"]


def start(source: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    command = [*COMMAND, "preprocess", str(source), "--out", str(out), "--workers", "2", *more]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)


def wait_for_a_step(out: Path, process: subprocess.Popen[str]) -> None:
    """Until the second transaction of 50 MB is on its way to the disk."""
    data = work_of(out) / "data.mdb"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if data.exists() and data.stat().st_size > 60_000_000:
            return
        time.sleep(0.005)
    pytest.fail(f"no step was written: {process.communicate()}")


def alive(group: int) -> bool:
    """Whether any process of a group still runs."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def nobody_is_left(process: subprocess.Popen[str]) -> bool:
    deadline = time.monotonic() + 10
    while alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(process.pid)


@pytest.fixture
def slow_pictures(tmp_path: Path) -> Path:
    """Four steps of links to a picture that takes a while."""
    save_noise(tmp_path / "large/1.jpg", 1, side=300)
    root = tmp_path / "slow"
    for number in range(900):
        link = root / f"class{number % 3}" / f"{number:03d}.jpg"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(tmp_path / "large/1.jpg")
    return root


def test_killed_in_the_middle_the_same_command_continues_and_ends_the_same(slow_pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed.lmdb"
    process = start(slow_pictures, out)
    wait_for_a_step(out, process)
    process.kill()
    stderr = process.communicate()[1]
    assert process.returncode == -signal.SIGKILL
    assert stderr.startswith(f"{out}: 900 pictures to crop, about ")
    assert all(line.startswith("cropping: ") for line in stderr.splitlines()[1:]), stderr
    assert nobody_is_left(process)
    assert not out.exists()
    result = preprocess(slow_pictures, out)
    assert 256 <= result.continued < 900
    assert result.continued % 256 == 0
    preprocess(slow_pictures, tmp_path / "whole.lmdb", workers=2)
    assert content(out) == content(tmp_path / "whole.lmdb")
    sizes = [(path / "data.mdb").stat().st_size for path in (out, tmp_path / "whole.lmdb")]
    assert sizes[0] == sizes[1]
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"killed.lmdb", "whole.lmdb", "slow", "large"}


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (signal.SIGINT, 130, "alexnet: interrupted: the same command resumes where it stopped"),
        (signal.SIGTERM, 75, "alexnet: stopped by SIGTERM: the same command resumes where it stopped"),
    ],
)
def test_stopped_it_leaves_one_line_the_partial_and_nobody(
    slow_pictures: Path, tmp_path: Path, number: signal.Signals, code: int, said: str
) -> None:
    out = tmp_path / "a.lmdb"
    process = start(slow_pictures, out, "--quiet")
    wait_for_a_step(out, process)
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    assert (*process.communicate(), process.returncode) == ("", said + "\n", code)
    assert nobody_is_left(process)
    assert not out.exists()
    assert {path.name for path in tmp_path.iterdir()} == {".a.lmdb.alexnet-work", "slow", "large"}


def test_a_worker_that_dies_ends_the_command_in_one_line(tree: Path, tmp_path: Path) -> None:
    names = [f"{name}" for name in ("ape/b.png", "cat/0.JPEG") for _ in range(pool.CHUNK)]
    pictures = [Located(name, str(tree / name)) for name in names]
    job = pool.Job(filter="bilinear", exif_rotation=True, codec="raw", quality=95)
    workers = pool._Pool(job, 2)
    try:
        workers._workers[0].process.kill()
        with pytest.raises(
            ResourceError, match=r"a worker process died \(SIGKILL\).* run the same command again"
        ) as caught:
            for _ in workers.run(pictures * 20):
                pass
    finally:
        workers.close()
    assert caught.value.exit_code == 5


def test_a_worker_out_of_memory_ends_the_command_with_code_5(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(pool, "crop_image", exhausted)
    code, line = fails(capsys, tree, "--out", tmp_path / "a.lmdb")
    assert (code, line) == (5, "out of memory: use a smaller --batch-size or fewer --workers")


def test_other_options_or_pictures_begin_an_unfinished_store_again(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "a.lmdb"

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    for change in ({"filter": "box"}, {"codec": "jpeg"}, {"exif_rotation": False}, {"unlabelled": True}):
        with monkeypatch.context() as patch:
            patch.setattr(run_module, "_finish", stopped)
            with pytest.raises(KeyboardInterrupt):
                preprocess(tree, out)
        result = preprocess(tree, out, quiet=False, **change)
        assert result.continued == 0
        assert "had other pictures or options: starting again" in capsys.readouterr().err
        shutil.rmtree(out)


def test_interrupted_while_finishing_it_finishes_without_doing_any_picture_again(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.lmdb"

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "_finish", stopped)
        with pytest.raises(KeyboardInterrupt):
            preprocess(tree, out)
    assert preprocess(tree, out, quiet=False).continued == 6
    assert "continuing after 6 of 6 pictures" in capsys.readouterr().err
    preprocess(tree, tmp_path / "b.lmdb")
    assert content(out) == content(tmp_path / "b.lmdb")
