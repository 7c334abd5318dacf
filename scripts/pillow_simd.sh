#!/usr/bin/env bash
# Put pillow-simd in Pillow's place, where this machine can build one that works; otherwise leave plain Pillow.
#
#   scripts/pillow_simd.sh .venv/bin/python
#
# It never fails the setup: everything works with plain Pillow too, `alexnet preprocess` is only slower.
set -euo pipefail

python=$1
work=$("$python" -c 'import sys; print(sys.prefix)')/pillow-simd
wheels=$work/wheels
log=$work/build.log

keep_pillow() {
    # Installing the project may have laid Pillow's files over pillow-simd's: then only a fresh copy is whole.
    "$python" -m pip uninstall --quiet --yes pillow pillow-simd >/dev/null 2>&1 || true
    "$python" -m pip install --quiet --force-reinstall --no-deps 'pillow>=11'
    echo "pillow: plain Pillow stays, $1"
    exit 0
}

has_avx2() {
    [ "$(uname -m)" = x86_64 ] || return 1
    grep -qsw avx2 /proc/cpuinfo || sysctl -n machdep.cpu.leaf7_features 2>/dev/null | grep -qi avx2
}

# Decodes a JPEG and scales it: what preprocess needs. Run with the built wheel, before it replaces anything.
works() {
    "$python" - <<'PYTHON'
import io
from PIL import Image
file = io.BytesIO()
Image.new("RGB", (500, 375), (200, 100, 50)).save(file, "JPEG")
crop = Image.open(file).convert("RGB").resize((256, 256), Image.Resampling.BILINEAR, box=(62, 0, 437, 375))
assert all(abs(a - b) <= 4 for a, b in zip(crop.getpixel((128, 128)), (200, 100, 50))), crop.getpixel((128, 128))
PYTHON
}

# Tells pip that Pillow is there: other packages need it under this name, and `pip install matplotlib`, for one, would
# lay plain Pillow's files over pillow-simd's.
stand_in() {
    "$python" - <<'PYTHON'
from importlib.metadata import distribution
simd = distribution("pillow-simd")
version = simd.version.partition(".post")[0]
folder = simd.locate_file(f"pillow-{version}.dist-info")
folder.mkdir()
(folder / "METADATA").write_text(
    f"Metadata-Version: 2.1\nName: pillow\nVersion: {version}\nSummary: pillow-simd {simd.version} in Pillow's place\n"
)
(folder / "INSTALLER").write_text("alexnet\n")
names = ("METADATA", "INSTALLER", "RECORD")
(folder / "RECORD").write_text("".join(f"{folder.name}/{name},,\n" for name in names))
PYTHON
}

mkdir -p "$wheels"
if ! ls "$wheels"/*.whl >/dev/null 2>&1; then
    command -v cc >/dev/null || keep_pillow "there is no C compiler"
    if has_avx2; then compiler="cc -mavx2"; else compiler=cc; fi
    echo "pillow: building pillow-simd ($compiler), a minute"
    CC=$compiler "$python" -m pip wheel --no-deps --no-binary pillow-simd --no-cache-dir --wheel-dir "$wheels" pillow-simd \
        >"$log" 2>&1 || keep_pillow "pillow-simd does not build here (see $log)"
fi
wheel=$(ls "$wheels"/*.whl)

trial=$work/trial
rm -rf "$trial"
"$python" -m pip install --quiet --no-deps --target "$trial" "$wheel"
PYTHONPATH=$trial works >>"$log" 2>&1 || keep_pillow "the pillow-simd built here does not work (see $log)"
rm -rf "$trial"

# What the pillow-simd built here can't read (decoders.py says what), stock Pillow reads: it lies beside, under another name.
site=$("$python" -c 'import sysconfig; print(sysconfig.get_path("platlib"))')
rm -rf "$site/alexnet_stock_pillow"
"$python" -m pip install --quiet --no-deps --target "$site/alexnet_stock_pillow" 'pillow>=11' >>"$log" 2>&1 \
    || keep_pillow "there is no stock Pillow for what pillow-simd can't read (see $log)"

reads_all() {
    "$python" -c 'import sys; from alexnet_cli.decoders import NEEDS, readers; sys.exit(not all(map(readers().get, NEEDS)))'
}

"$python" -m pip uninstall --quiet --yes pillow pillow-simd >/dev/null 2>&1 || true
"$python" -m pip install --quiet --no-deps "$wheel"
stand_in
reads_all >>"$log" 2>&1 || keep_pillow "pillow-simd and stock Pillow together do not read every format (see $log)"
echo "pillow: $(basename "$wheel" | cut -d- -f1,2 | tr _ -) is in Pillow's place, stock Pillow beside it reads what it can't"
