"""What a figure was measured on: for the first line of every benchmark.

$ .venv/bin/python benchmarks/machine.py
"""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path

from alexnet_cli.decoders import active_pillow
from alexnet_cli.machine import cores, processor

_PACKAGES = ("torch", "numpy", "numba", "lmdb")


def wide() -> str:
    """Which of the wide instructions the processor has."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.machine()
    flags = set(next((line for line in text.splitlines() if line.startswith("flags")), "").split())
    found = [
        shown for flag, shown in (("avx2", "AVX2"), ("avx512f", "AVX-512"), ("avx512_bf16", "bf16")) if flag in flags
    ]
    return ", ".join(found) or "no AVX2"


def about_machine() -> str:
    """Processor, cores, Python, and the versions that matter."""
    versions = []
    for name in _PACKAGES:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            versions.append(f"no {name}")
    python = f"Python {platform.python_version()}"
    return f"{processor()} ({wide()}), {cores()} cores; {python}, {', '.join(versions)}, {active_pillow()}"


if __name__ == "__main__":
    print(about_machine())
