"""The Dockerfile and the Slurm scripts, where neither Docker nor Slurm is: their steps name what there is."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PAGE = (ROOT / "docs/deployment.md").read_text(encoding="utf-8")
SCRIPTS = re.findall(r"^```bash\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


def instructions(name: str) -> list[str]:
    """What stands behind each instruction of a kind, continued lines joined."""
    lines = re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE)
    joined = re.sub(r"\\\n\s*", "", lines)
    return re.findall(rf"^{name} (.*)", joined, flags=re.MULTILINE)


def copied() -> list[str]:
    return [word for line in instructions("COPY") for word in shlex.split(line)[:-1]]


def require_valid(script: str) -> None:
    done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("step", instructions("RUN"))
def test_every_step_of_the_dockerfile_is_bash_that_names_files_that_are_copied(step: str) -> None:
    require_valid(step)
    for script in re.findall(r"\bscripts/\S+", step):
        assert os.access(ROOT / script, os.X_OK) and "scripts" in copied()
    for extras in re.findall(r"\.\[([\w,]+)\]", step):
        known = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
        assert set(extras.split(",")) <= set(known)


def test_everything_that_the_dockerfile_copies_is_there_and_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert copied() and "*" in ignored
    for name in copied():
        assert (ROOT / name).exists() and f"!{name}" in ignored


def test_arguments_are_declared_before_they_are_used() -> None:
    for name in re.findall(r"\$\{?([A-Z_]+)", DOCKERFILE):
        assert re.search(rf"^(ARG|ENV) {name}\b", DOCKERFILE, flags=re.MULTILINE) or name == "PATH", name
    given = re.findall(r"--build-arg ([A-Z_]+)=", PAGE)
    assert given and set(given) <= {line.split("=")[0] for line in instructions("ARG")}


def test_torch_and_torchvision_come_from_one_index() -> None:
    """Of different builds, torchvision can't be imported: `operator torchvision::nms does not exist`."""
    (step,) = [step for step in instructions("RUN") if "TORCH_INDEX" in step]
    assert re.search(r'--index-url "\$TORCH_INDEX" torch torchvision;', step)
    assert any("-c 'import torchvision'" in step for step in instructions("RUN"))


@pytest.mark.slow
def test_what_the_dockerfile_copies_is_enough_to_build_and_start(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    for name in copied():
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path / name)
    words = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", "wheel", "."]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = (tmp_path / "wheel").glob("*.whl")
    assert subprocess.run([sys.executable, "-m", "zipfile", "-l", wheel], capture_output=True, text=True).stdout.count(
        "alexnet_stages/train/run.py"
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.splitlines()[0][:40])
def test_every_script_of_the_page_is_bash(script: str) -> None:
    require_valid(script)


@pytest.mark.parametrize(("code", "queued"), [(75, True), (0, False), (6, False)])
def test_the_job_queues_itself_again_only_after_a_save(tmp_path: Path, code: int, queued: bool) -> None:
    """Run with stand-ins: the training ends with a code once it is told to by SIGTERM, or by itself."""
    (script,) = [script for script in SCRIPTS if "--requeue" in script]
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    waits = (
        'trap "sleep 0.2; exit 75" TERM; touch started; while :; do sleep 0.05; done' if code == 75 else "touch started"
    )
    for name, body in (("alexnet", f"{waits}; exit {code}"), ("scontrol", 'echo "$@" >> queue')):
        (bin_ / name).write_text(f"#!/bin/bash\n{body}\n")
        (bin_ / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{bin_}:{os.environ['PATH']}", "SLURM_JOB_ID": "17"}
    job = subprocess.Popen(["bash", "-c", script], cwd=tmp_path, env=environment)
    deadline = time.monotonic() + 20
    while not (tmp_path / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    if code == 75:
        time.sleep(0.1)
        job.send_signal(signal.SIGTERM)
    assert job.wait(timeout=20) == code
    assert (tmp_path / "queue").exists() is queued
    if queued:
        assert (tmp_path / "queue").read_text() == "requeue 17\n"
