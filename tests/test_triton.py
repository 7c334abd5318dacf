"""Triton's kernels in its interpreter on the CPU, against the plain forms: nobody needs a GPU for that.

Each test is a process of its own: the interpreter is chosen as Triton is loaded.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")

NORM = """
import torch
from alexnet_cli.net.kernels.norm_triton import normalise
from alexnet_cli.net.kernels.blocks import local_response_norm
for groups, maps, k, alpha, beta, window in ((2, 48, 2.0, 1e-4, 0.75, 5), (1, 10, 1.0, 1e-3, 0.6, 3)):
    settings = dict(groups=groups, k=k, alpha=alpha, beta=beta, window=window)
    # The interpreter cuts bfloat16 off where a GPU rounds: one unit of the last place.
    for dtype, tolerance in ((torch.float32, 2e-6), (torch.bfloat16, 2**-7)):
        values = (torch.randn(3, groups * maps, 5, 4) * 50).to(dtype).contiguous(memory_format=torch.channels_last)
        mine = values.clone().requires_grad_()
        theirs = values.double().requires_grad_()
        result, expected = normalise(mine, **settings), local_response_norm(theirs, **settings)
        torch.testing.assert_close(result.double(), expected, rtol=tolerance, atol=1e-6)
        weight = torch.randn_like(result)
        (gradient,) = torch.autograd.grad(result, mine, weight)
        (exact,) = torch.autograd.grad(expected, theirs, weight.double())
        torch.testing.assert_close(gradient.double(), exact, rtol=tolerance, atol=1e-6)
        assert gradient.is_contiguous(memory_format=torch.channels_last) and gradient.dtype == dtype
"""

INPUT = """
import numpy as np
import torch
from alexnet_cli.input.kernels.cutting_triton import cut
rng = np.random.default_rng(0)
crops, offsets, flips = rng.integers(0, 256, (3, 40, 40, 3), dtype=np.uint8), rng.integers(0, 9, (3, 2)), [1, 0, 1]
mean, scale, shift = rng.random((40, 40, 3)) * 255, np.array([1.0, 0.5, 2.0]), rng.normal(0, 10, (3, 3))
constants = [torch.from_numpy(values).float() for values in (mean, scale, shift)]
for centre in (False, True):
    exact = np.empty((3, 32, 32, 3))
    for n, ((row, column), flip) in enumerate(zip(offsets, flips)):
        patch = crops[n, row : row + 32, column : column + 32].astype(np.float64)
        own = mean[row : row + 32, column : column + 32]
        patch, own = (patch[:, ::-1], own[:, ::-1]) if flip else (patch, own)
        exact[n] = (patch - (mean[4:36, 4:36] if centre else own)) * scale + shift[n]
    for dtype, tolerance in ((torch.float32, 1e-6), (torch.bfloat16, 2**-7)):
        where = torch.from_numpy(crops), offsets, np.array(flips, bool)
        mine = cut(*where, *constants, side=32, centre=centre, dtype=dtype)
        assert mine.dtype == dtype
        torch.testing.assert_close(mine.double(), torch.from_numpy(exact), rtol=tolerance, atol=1e-4)
"""


@pytest.mark.parametrize("script", [NORM, INPUT], ids=["norm", "input"])
def test_the_kernel_gives_what_the_plain_form_gives(script: str) -> None:
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


DRIVER = """
import sys
from alexnet_cli import compiled
from triton.backends.nvidia.driver import CudaDriver
CudaDriver.is_active = staticmethod(lambda: True)
if sys.argv[1:]:
    CudaDriver.__init__, CudaDriver.get_current_device = (lambda self: None), (lambda self: 0)
print(compiled._has_triton())
"""


@pytest.mark.parametrize("works", [False, True], ids=["no compiler", "a compiler"])
def test_triton_serves_only_where_it_finds_a_compiler(tmp_path: Path, works: bool) -> None:
    """Without one, its kernels could not be started. TRITON_LIBCUDA_PATH: where NVIDIA's driver would be."""
    folders = {"PATH": "", "TRITON_LIBCUDA_PATH": str(tmp_path), "TRITON_CACHE_DIR": str(tmp_path / "cache")}
    environment = {name: value for name, value in os.environ.items() if name not in ("CC", "ALEXNET_KERNELS")}
    words = [sys.executable, "-c", DRIVER, *(["works"] if works else [])]
    done = subprocess.run(words, env={**environment, **folders}, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == (str(works), "")
