"""What is imported is declared in pyproject.toml, and what is declared is imported."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SOURCES = [*sorted((ROOT / "src").rglob("*.py")), *sorted((ROOT / "stages").rglob("*.py"))]
OURS = {"alexnet_cli", "alexnet_commands", "alexnet_stages"}
CALLED = {"pil": "pillow", "sklearn": "scikit-learn", "google": "protobuf"}
"""Packages that pip calls otherwise than Python does."""
THEIRS = {"wandb", "mlflow"}
"""Whoever asks for these loggers is told to install them (`require_package`)."""
TORCHS = {"triton"}
"""Comes with torch where there are GPUs; the modules that import it are themselves imported where it is there."""


def names(needs: list[str]) -> set[str]:
    return {re.split(r"[\s<>=!~\[;]", need)[0].lower() for need in needs}


NEEDED = names(PROJECT["dependencies"])
EXTRA = set().union(*(names(needs) for name, needs in PROJECT["optional-dependencies"].items() if name != "dev"))


def imports(node: ast.AST, *, late: bool) -> Iterator[tuple[str, bool]]:
    """(distribution, whether the import waits for a call) of each import of somebody else's package."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        found = [alias.name for alias in child.names] if isinstance(child, ast.Import) else []
        if isinstance(child, ast.ImportFrom) and child.module:
            found = [child.module]
        for name in found:
            top = name.split(".")[0]
            if top not in sys.stdlib_module_names | OURS:
                yield CALLED.get(top.lower(), top.lower().replace("_", "-")), late
        inside = late or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        yield from imports(child, late=inside)


def imported() -> dict[str, set[bool]]:
    found: dict[str, set[bool]] = {}
    for path in SOURCES:
        for name, late in imports(ast.parse(path.read_text(encoding="utf-8")), late=False):
            found.setdefault(name, set()).add(late)
    return found


def test_what_modules_import_when_they_are_loaded_is_a_dependency() -> None:
    assert {name for name, late in imported().items() if False in late} <= NEEDED | TORCHS


def test_what_is_imported_late_is_a_dependency_or_an_extra() -> None:
    assert set(imported()) <= NEEDED | EXTRA | THEIRS | TORCHS


def test_every_dependency_is_imported() -> None:
    assert set(imported()) >= NEEDED - {"tensorboard"}, "torch.utils.tensorboard imports it"


LEAF = "from alexnet_cli.imagenet import _leaves; list(_leaves(Path('kit'), b''))"
PLOT = "from alexnet_cli.cli import main; main(['plot', 'mean', 'x.h5'])"


@pytest.mark.parametrize(
    ("package", "code", "says"),
    [("matplotlib", PLOT, "pip install matplotlib"), ("scipy", LEAF, "pip install 'alexnet[ilsvrc]'")],
)
def test_a_missing_package_is_one_line_that_says_what_to_install(package: str, code: str, says: str) -> None:
    block = f"import sys; from pathlib import Path; sys.modules[{package!r}] = None; {code}"
    done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, check=False)
    assert says in done.stderr.splitlines()[-1]
