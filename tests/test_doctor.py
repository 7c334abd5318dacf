"""`alexnet doctor`: what is here, truthfully."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
import torch

from alexnet_cli import __version__, machine
from alexnet_cli.cli import main
from alexnet_commands.doctor.config import DoctorConfig
from alexnet_commands.doctor.run import run


def test_the_versions_are_those_that_are_installed() -> None:
    result = run(DoctorConfig())
    assert result.alexnet == __version__
    assert result.python == platform.python_version()
    assert result.packages == {
        name: version(name) for name in ("torch", "torchvision", "numpy", "lmdb", "h5py", "typer")
    }


def test_the_active_pillow_is_named_with_its_version() -> None:
    import PIL

    name, _, number = run(DoctorConfig()).pillow.partition(" ")
    assert name in ("pillow", "pillow-simd")
    assert number == PIL.__version__


@pytest.mark.parametrize(("simd", "said"), [("12.1.1.post0", True), ("13.0.0", False), (None, False)])
def test_plain_pillow_over_pillow_simd_is_told_with_what_puts_it_back(
    simd: str | None, said: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def installed(name: str) -> str:
        if name == "pillow-simd" and simd is None:
            raise PackageNotFoundError(name)
        return {"pillow-simd": str(simd), "pillow": "13.0.0"}.get(name) or version(name)

    monkeypatch.setattr("PIL.__version__", "13.0.0")
    monkeypatch.setattr("alexnet_cli.decoders.metadata.version", installed)
    result = run(DoctorConfig())
    assert (result.replaced == "pillow-simd 12.1.1.post0") is said
    assert ("scripts/pillow_simd.sh .venv/bin/python" in result.as_text()["pillow"]) is said


def test_cores_memory_devices_and_disk_are_the_machines(tmp_path: Path) -> None:
    result = run(DoctorConfig(path=tmp_path))
    assert 1 <= result.cores <= (os.cpu_count() or 1)
    assert result.memory is None or result.memory > 1e8
    assert len(result.devices) == torch.cuda.device_count()
    assert result.disk_free == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.1)


def test_the_cuda_that_torch_was_built_for_is_told_without_importing_torch() -> None:
    assert run(DoctorConfig()).cuda == torch.version.cuda
    if not torch.cuda.is_available():
        code = "import sys; from alexnet_cli.cli import main; main(['doctor']); assert 'torch' not in sys.modules"
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_compiler_is_cxx_where_that_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "my-c++"
    own.touch(mode=0o755)
    monkeypatch.setenv("CXX", str(own))
    assert run(DoctorConfig()).compiler == str(own)


def test_without_a_compiler_it_says_what_will_not_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["doctor"]) == 0
    assert "none: --compile won't work" in capsys.readouterr().out


def test_json_is_one_object_with_every_fact(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    spoken = json.loads(capsys.readouterr().out)
    assert {"alexnet", "python", "packages", "pillow", "cores", "memory", "devices", "compiler", "disk_free"} <= set(
        spoken
    )


def test_a_missing_path_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--path", "/no/such/folder"]) == 2
    assert "/no/such/folder: no such folder" in capsys.readouterr().err


def test_a_process_computes_with_as_many_threads_as_omp_num_threads_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 8)
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    for said, processes, threads in (("", 1, 8), ("", 3, 2), ("3", 1, 3), ("1", 2, 1), ("4,2", 2, 4), ("many", 2, 4)):
        monkeypatch.setenv("OMP_NUM_THREADS", said)
        assert machine.threads_of_process(processes) == threads, (said, processes)


def test_torchruns_own_omp_num_threads_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchrun sets it to 1 for several processes of a machine where nobody has set it."""
    monkeypatch.setattr(machine, "cores", lambda: 8)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert machine.threads_of_process(2) == 4
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert machine.threads_of_process(2) == 2


@pytest.mark.parametrize(("quota", "cores"), [("150000 100000", 2), ("max 100000", 8), ("20000 100000", 1), ("", 8)])
def test_a_containers_quota_of_time_limits_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, cores: int
) -> None:
    (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.setattr(machine, "_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert machine.cores() == cores
