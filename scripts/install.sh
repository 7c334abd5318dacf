#!/usr/bin/env bash
# Install what pip's arguments name, in the versions of requirements.lock; with uv where it is there.
#
#   scripts/install.sh .venv/bin/python -e '.[sample,ilsvrc,dev]'
#
# A torch that is already there is kept, whatever its version and build: someone chose it for this machine.
set -euo pipefail

python=$1
shift
here=$(cd "$(dirname "$0")/.." && pwd)
lock=$(mktemp)
trap 'rm -f "$lock"' EXIT

version_of() {
    "$python" -c 'import sys; from importlib.metadata import version; print(version(sys.argv[1]))' "$1" 2>/dev/null
}

if torch=$(version_of torch); then
    grep -vE '^(torch|torchvision|triton|nvidia-|cuda-)' "$here/requirements.lock" >"$lock"
    echo "torch==$torch" >>"$lock"
    echo "torch: $torch is kept"
else
    cp "$here/requirements.lock" "$lock"
fi
if command -v uv >/dev/null; then
    uv pip install --quiet --python "$python" --constraint "$lock" "$@"
else
    "$python" -m pip install --quiet --constraint "$lock" "$@"
fi
