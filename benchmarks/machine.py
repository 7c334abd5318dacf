"""What a figure was measured on: for the first line of every benchmark.

$ .venv/bin/python benchmarks/machine.py
"""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path

from alexnet_cli.decoders import active_pillow
from alexnet_cli.devices import cores

_PACKAGES = ("torch", "numpy", "numba", "lmdb")


def processor() -> str:
    """Its name, and which of the wide instructions it has."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    found = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    flags = found.get("flags", "").split()
    wide = [
        shown for flag, shown in (("avx2", "AVX2"), ("avx512f", "AVX-512"), ("avx512_bf16", "bf16")) if flag in flags
    ]
    return f"{found.get('model name', platform.machine())} ({', '.join(wide) or 'no AVX2'})"


def about_machine() -> str:
    """Processor, cores, Python, and the versions that matter."""
    versions = []
    for name in _PACKAGES:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            versions.append(f"no {name}")
    python = f"Python {platform.python_version()}"
    return f"{processor()}, {cores()} cores; {python}, {', '.join(versions)}, {active_pillow()}"


if __name__ == "__main__":
    print(about_machine())
