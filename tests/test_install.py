"""What is installed: the wheel, away from the repository, and pillow-simd in Pillow's place."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")


def run(*words: str | Path, cwd: Path | None = None) -> str:
    """Run a program that must succeed; its stdout."""
    done = subprocess.run([*map(str, words)], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """The Python of a new environment, which holds pip and sees no package of ours."""
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    return tmp_path / "venv/bin/python"


def share_packages(python: Path) -> None:
    """Let an environment import what this one does, but not alexnet, whose .pth files aren't read there."""
    paths = [path for path in sys.path if path.endswith("site-packages")]
    folder = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (folder / "shared.pth").write_text("\n".join([sysconfig.get_path("purelib"), *paths]) + "\n")


@pytest.mark.slow
def test_the_wheel_works_away_from_the_repository_and_beside_a_users_own_stages(fresh: Path, tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, ROOT)
    run(fresh, "-m", "pip", "install", "-q", "--no-deps", *tmp_path.glob("*.whl"))
    share_packages(fresh)
    for name in ("stages", "alexnet_stages", "alexnet_cli"):  # the last two may not hide ours where the cwd comes last
        (tmp_path / "own" / name).mkdir(parents=True)
    own = tmp_path / "own"
    (own / "stages/__init__.py").write_text("raise SystemExit('somebody else imported')\n")
    command = fresh.parent / "alexnet"
    where = run(fresh, "-c", "import alexnet_stages.train.config as m; print(m.__file__)", cwd=tmp_path).strip()
    assert str(tmp_path / "venv") in where, "the wheel's, not the repository's"
    assert run(fresh, "-c", "import importlib.util as u; print(u.find_spec('stages'))", cwd=tmp_path) == "None\n"
    for words in (["--version"], ["recipe", "list", "--json"], ["train", "--help"], ["preprocess", "--help"]):
        assert run(command, *words, cwd=own)
    (own / "alexnet_cli").rmdir()
    (own / "alexnet_stages").rmdir()
    assert "train" in run("env", f"PYTHONPATH={own}", fresh, "-m", "alexnet_cli", "--help", cwd=own)
    assert "paper" in run(fresh, "-m", "alexnet_cli", "recipe", "list", "--json", cwd=own)


@pytest.mark.slow
def test_pip_takes_pillow_simd_for_pillow(fresh: Path) -> None:
    wheels = sorted(Path(sys.prefix, "pillow-simd/wheels").glob("*.whl"))
    if not wheels:
        pytest.skip("needs a pillow-simd that `make setup` has built")
    built = fresh.parent.parent / "pillow-simd/wheels"
    built.mkdir(parents=True)
    shutil.copy(wheels[0], built)
    site = run(fresh, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    Path(site, "alexnet.pth").write_text(f"{ROOT / 'src'}\n")  # the script asks alexnet itself who reads which format
    run(ROOT / "scripts/pillow_simd.sh", fresh)
    run(ROOT / "scripts/pillow_simd.sh", fresh)  # twice: it replaces what it wrote
    assert "already satisfied: pillow" in run(fresh, "-m", "pip", "install", "--no-index", "pillow>=11")
    assert run(fresh, "-m", "pip", "check") == "No broken requirements found.\n"
    assert ".post" in run(fresh, "-c", "import PIL; print(PIL.__version__)")


def test_the_lock_holds_a_version_of_everything_that_make_setup_installs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (extras,) = re.findall(r"scripts/install\.sh .* -e '\.\[(.*)\]'", (ROOT / "Makefile").read_text(encoding="utf-8"))
    groups = [project["dependencies"], *(project["optional-dependencies"][name] for name in extras.split(","))]
    names = {re.split(r"[<>=]", need)[0] for needs in groups for need in needs if not need.startswith("alexnet[")}
    locked = set(re.findall(r"^([A-Za-z0-9._-]+)==", LOCK, flags=re.MULTILINE))
    assert names - locked == {"pillow"}, "pillow-simd may stand in its place"


def test_the_lock_names_no_place_that_packages_come_from() -> None:
    for line in LOCK.splitlines():
        assert re.fullmatch(r'#.*|[A-Za-z0-9._-]+==[0-9][0-9a-z.]*( ; sys_platform == "linux")?', line), line


def test_a_torch_that_is_there_is_kept(tmp_path: Path) -> None:
    """A stand-in for Python notes what pip is asked for; of torch it has 2.12.0+cpu."""
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/bash\nif [ "$1" = -c ]; then echo 2.12.0+cpu; exit; fi\n'
        f'echo "$@" > {tmp_path}/asked; cp "$6" {tmp_path}/constraints\n'
    )
    python.chmod(0o755)
    run("env", "PATH=/usr/bin:/bin", ROOT / "scripts/install.sh", python, "-e", ".")
    assert (tmp_path / "asked").read_text().startswith("-m pip install --quiet --constraint ")
    kept = (tmp_path / "constraints").read_text()
    assert "torch==2.12.0+cpu\n" in kept and "numpy==" in kept
    assert not re.search(r"^(torchvision|triton|nvidia|cuda)", kept, flags=re.MULTILINE)
