"""notebooks/story.ipynb: its cells are run in order; its outputs are kept small and name no machine."""

from __future__ import annotations

import ast
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_docs import pieces, words_after, wrong_command

ROOT = Path(__file__).parent.parent
FILE = ROOT / "notebooks/story.ipynb"
NOTEBOOK = json.loads(FILE.read_text(encoding="utf-8"))
CODE = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
TEXT = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "markdown"]

STAND_IN = """
import sys, types
try:
    import IPython.display
except ImportError:
    package, module = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    module.Image = lambda filename: open(filename, "rb").read()
    module.display = lambda content: None
    package.version_info, package.get_ipython = (9, 0), lambda: None  # matplotlib asks for both
    sys.modules |= {"IPython": package, "IPython.display": module}
"""
"""What the cells show their figures with, where Jupyter is not installed."""


def test_it_is_small_and_its_outputs_are_there_and_name_no_machine() -> None:
    assert FILE.stat().st_size < 300_000
    outputs = [output for cell in NOTEBOOK["cells"] for output in cell.get("outputs", ())]
    shown = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(shown) == sum(source.count("show(") for source in CODE) - 1, "one for each call, but its definition"
    assert not [output for output in outputs if output["output_type"] == "error"]
    said = "".join("".join(output.get("text", "")) for output in outputs)
    assert not re.search(r"/(home|root|tmp|work|Users)/", said)


def test_every_name_that_a_cell_imports_exists() -> None:
    for source in CODE:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("alexnet"):
                for alias in node.names:
                    module = importlib.import_module(str(node.module))
                    known = hasattr(module, alias.name)
                    assert known or importlib.import_module(f"{node.module}.{alias.name}"), alias.name


def test_every_command_that_it_names_exists() -> None:
    for text in TEXT:
        for piece in pieces(text):
            words = words_after("alexnet", piece.replace("\n", " "))
            assert not words or wrong_command(words) is None, piece


@pytest.mark.slow
def test_the_cells_run_in_order_and_the_net_learns(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    script = tmp_path / "story.py"
    script.write_text("\n\n".join([STAND_IN, *CODE, "assert result.top1_error < 0.25, result"]), encoding="utf-8")
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = {path.stem for path in (tmp_path / "story").glob("*.png")}
    assert figures == {"mean", "curves", "filters", "predictions", "neighbours", "confusion"}
