"""A stand-in for `alexnet` that notes its words and makes its outputs, and the real Makefile run with it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

MAKEFILE = Path(__file__).parent.parent / "Makefile"

_SCRIPT = r"""#!/usr/bin/env bash
# Notes its words, fails where $FAIL says so, and else makes what the real command would, as far as make can see.
set -euo pipefail
echo "$*" >> "$LOG"
out=$2; previous=
for word in "$@"; do [ "$previous" = --out ] && out=$word; previous=$word; done
if [ -n "${FAIL:-}" ] && [[ "$*" == $FAIL ]]; then
    [ "$1" = train ] && mkdir -p "$out" && touch "$out/begun"
    exit 1
fi
case $1 in
"""


def write_stand_in(folder: Path, cases: str) -> None:
    """Make FOLDER/alexnet. cases: in bash, what each command makes; `$out` is its --out, or its first argument."""
    program = folder / "alexnet"
    program.write_text(f"{_SCRIPT}{cases}esac\n")
    program.chmod(0o755)


def run_make(folder: Path, *words: str, fail: str = "") -> subprocess.CompletedProcess[str]:
    """Run make in a folder; commands go to FOLDER/log. fail: a pattern of the command line that fails."""
    environment = {**os.environ, "LOG": str(folder / "log"), "FAIL": fail}
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
        environment.pop(name, None)
    return subprocess.run(
        ["make", "-f", str(MAKEFILE), "READY=", "ALEXNET=./alexnet", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
