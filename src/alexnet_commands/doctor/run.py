"""What this machine and installation offer, for people and for bug reports.

run(DoctorConfig())
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
import runpy
import shutil
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from alexnet_cli import __version__
from alexnet_cli.console import size
from alexnet_cli.errors import UsageError
from alexnet_cli.machine import cores, memory
from alexnet_commands.doctor.config import DoctorConfig

PACKAGES = ("torch", "torchvision", "numpy", "lmdb", "h5py", "typer")
COMPILERS = ("c++", "g++", "clang++")

_PUT_BACK = "`scripts/pillow_simd.sh .venv/bin/python` puts that back, which reads pictures faster"


@dataclass(frozen=True)
class CudaDevice:
    """One CUDA device as torch sees it."""

    name: str
    memory: int
    """Bytes."""
    capability: str
    """Compute capability, such as 9.0."""


@dataclass(frozen=True)
class Result:
    """Sizes in bytes; None if a thing can't be found out or isn't there."""

    alexnet: str
    python: str
    platform: str
    packages: dict[str, str | None]
    """Installed versions by package name."""
    pillow: str
    """Which Pillow is active: 'pillow-simd 12.1.1' or 'Pillow 13.0.0'."""
    replaced: str | None
    """The pillow-simd that another package's installation has overwritten with plain Pillow; None if none has."""
    readers: dict[str, str | None]
    """Picture format -> who reads it; None if nothing does."""
    cores: int
    """Cores that this process may use."""
    memory: int | None
    cuda: str | None
    """The CUDA version that torch was built for."""
    devices: list[CudaDevice]
    compiler: str | None
    """The C++ compiler that `--compile` would use."""
    path: str
    disk_free: int

    def as_json(self) -> dict[str, Any]:
        """The `--json` object."""
        return asdict(self)

    def as_text(self) -> dict[str, str]:
        """Name → value as people read them."""
        devices = "; ".join(f"{d.name} ({size(d.memory)}, compute {d.capability})" for d in self.devices)
        return {
            "alexnet": self.alexnet,
            "python": self.python,
            "platform": self.platform,
            **{name: found or "not installed" for name, found in self.packages.items()},
            "pillow": self.pillow + (f", laid over {self.replaced}: {_PUT_BACK}" if self.replaced else ""),
            **{f"reads {kind}": name or _how_to_read(kind) for kind, name in self.readers.items()},
            "cores": str(self.cores),
            "memory": "unknown" if self.memory is None else size(self.memory),
            "CUDA": devices or f"no device (torch built {f'for CUDA {self.cuda}' if self.cuda else 'without CUDA'})",
            "C++ compiler": self.compiler or "none: --compile won't work",
            "disk": f"{size(self.disk_free)} free in {self.path}",
        }


def _how_to_read(kind: str) -> str:
    """What to do if nothing reads a format."""
    what = "pip install 'alexnet[heif]'" if kind == "HEIF" else "make setup installs stock Pillow next to the other"
    return f"nothing: {what}"


def run(config: DoctorConfig) -> Result:
    """Look around. UsageError if `config.path` doesn't exist."""
    from alexnet_cli.decoders import active_pillow, readers, replaced_simd

    if not config.path.exists():
        raise UsageError(f"{config.path}: no such folder: check --path")
    compilers = os.environ.get("CXX", ""), *COMPILERS  # in the order in which torch.compile looks
    return Result(
        alexnet=__version__,
        python=platform.python_version(),
        platform=platform.platform(),
        packages={name: _version(name) for name in PACKAGES},
        pillow=active_pillow(),
        replaced=replaced_simd(),
        readers=readers(),
        cores=cores(),
        memory=memory(),
        cuda=_cuda_of_torch(),
        devices=_cuda_devices(),
        compiler=next((path for name in compilers if name and (path := shutil.which(name))), None),
        path=str(config.path.resolve()),
        disk_free=shutil.disk_usage(config.path).free,
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cuda_of_torch() -> str | None:
    """The CUDA version that torch was built for, read from its own file: importing torch takes seconds."""
    spec = importlib.util.find_spec("torch")
    file = Path(spec.origin).with_name("version.py") if spec and spec.origin else None
    return runpy.run_path(str(file)).get("cuda") if file and file.is_file() else None


def _cuda_devices() -> list[CudaDevice]:
    """The devices that torch sees; without NVIDIA's driver there are none, and torch is not asked."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return []
    import torch

    found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [CudaDevice(device.name, device.total_memory, f"{device.major}.{device.minor}") for device in found]
