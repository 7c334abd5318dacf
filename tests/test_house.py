"""The house rules of the tree: who may import whom, what starts quickly, and what nothing may call."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from alexnet_cli.cli import build

ROOT = Path(__file__).parent.parent
LIBRARY = sorted((ROOT / "src" / "alexnet_cli").rglob("*.py"))
STAGES = sorted(path.parent for path in (ROOT / "stages").glob("*/command.py"))
COMMANDS = sorted(path.parent for path in (ROOT / "src" / "alexnet_commands").glob("*/command.py"))
SOURCES = [
    *LIBRARY,
    *sorted((ROOT / "src" / "alexnet_commands").rglob("*.py")),
    *sorted((ROOT / "stages").rglob("*.py")),
]
READS_PICKLES = ROOT / "src" / "alexnet_commands" / "import_" / "weights.py"
"""The one file that reads somebody's .pth, and builds nothing but weights from it."""
EVERYTHING = [*SOURCES, *sorted((ROOT / "tests").glob("*.py")), *sorted((ROOT / "benchmarks").glob("*.py"))]
HEAVY = ("torch", "numba", "numpy", "h5py", "PIL", "sklearn")


def here(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, at module level or late, as a dotted name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{here(path)}: relative imports hide which package is meant"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


@pytest.mark.parametrize("path", LIBRARY, ids=here)
def test_the_library_never_imports_a_stage_or_a_command(path: Path) -> None:
    above = ("alexnet_stages", "alexnet_commands")
    assert not [module for module in imported(path) if any(within(module, package) for package in above)]


@pytest.mark.parametrize("command", COMMANDS, ids=here)
def test_no_command_imports_a_stage(command: Path) -> None:
    for path in command.rglob("*.py"):
        assert not [module for module in imported(path) if within(module, "alexnet_stages")], here(path)


@pytest.mark.parametrize("folder", [*STAGES, *COMMANDS], ids=here)
def test_every_stage_and_command_is_declared(folder: Path) -> None:
    """The host finds them by nothing but their entry points."""
    group = "stages" if folder.parent.name == "stages" else "commands"
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    assert declared[f"alexnet.{group}"][name_of(folder)] == f"alexnet_{group}.{folder.name}.command:command"


@pytest.mark.parametrize("stage", STAGES, ids=here)
def test_no_stage_imports_another(stage: Path) -> None:
    for path in stage.rglob("*.py"):
        others = [name for name in imported(path) if within(name, "alexnet_stages") and name != "alexnet_stages"]
        assert not [name for name in others if not within(name, f"alexnet_stages.{stage.name}")], here(path)


@pytest.mark.parametrize("folder", [*STAGES, *COMMANDS], ids=here)
def test_every_command_has_the_same_three_files(folder: Path) -> None:
    assert {"config.py", "command.py", "run.py"} <= {path.name for path in folder.iterdir()}


def test_there_are_the_five_stages() -> None:
    assert [path.name for path in STAGES] == ["ensemble", "eval", "pca", "preprocess", "train"]


def names_of_commands() -> list[str]:
    return [name_of(path) for path in (*STAGES, *COMMANDS)]


def name_of(folder: Path) -> str:
    """A folder whose command is a word of Python's has a `_` behind it."""
    return folder.name.removesuffix("_")


HELP = f"""
import contextlib, io, sys
from alexnet_cli.cli import main
with contextlib.redirect_stdout(io.StringIO()) as shown:
    code = main(sys.argv[1:])
print(shown.getvalue())
print("HEAVY", [name for name in {HEAVY!r} if name in sys.modules])
raise SystemExit(code)
"""


def shown_by(*words: str) -> str:
    """What a command line shows, in a process of its own that tells which heavy packages it imported."""
    done = subprocess.run([sys.executable, "-c", HELP, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


@pytest.mark.parametrize("words", [[], *([name] for name in names_of_commands())], ids=" ".join)
def test_help_imports_neither_torch_nor_numpy(words: list[str]) -> None:
    assert "HEAVY []" in shown_by(*words, "--help")


@pytest.mark.parametrize("name", names_of_commands())
def test_every_help_shows_an_example(name: str) -> None:
    assert re.search(rf"Example: alexnet {name}\b", shown_by(name, "--help"))


def test_every_option_and_argument_is_explained() -> None:
    group = typer.main.get_command(build())
    assert isinstance(group, typer.core.TyperGroup)
    for name, command in group.commands.items():
        for parameter in command.params:
            assert getattr(parameter, "help", None), f"alexnet {name}: {parameter.name} has no help"


@pytest.mark.parametrize("name", names_of_commands())
def test_every_help_shows_the_defaults(name: str) -> None:
    group = typer.main.get_command(build())
    assert isinstance(group, typer.core.TyperGroup)
    text = " ".join(re.sub("[│╭╮╰╯─]", " ", shown_by(name, "--help")).split())
    for parameter in group.commands[name].params:
        default = parameter.default
        if isinstance(default, (int, float, str)) and not isinstance(default, bool):
            assert f"[default: {default}]" in text, f"alexnet {name}: {parameter.name} does not show its default"


def test_the_list_of_commands_names_them_all() -> None:
    text = shown_by("--help")
    for name in names_of_commands():
        assert re.search(rf"^│ {name} +\w", text, flags=re.MULTILINE), name


def test_the_list_of_commands_loads_nothing_but_what_it_is_drawn_with() -> None:
    """numpy alone takes as long to load as all the rest."""
    program = "import sys; from alexnet_cli.cli import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stderr.split()} - sys.stdlib_module_names
    drawn = {"typer", "rich", "pygments", "markdown_it", "mdurl", "shellingham", "annotated_doc"}
    assert loaded <= drawn | {"alexnet_cli", "alexnet_commands", "alexnet_stages", "__main__", "_distutils_hack"}


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


@pytest.mark.parametrize("path", EVERYTHING, ids=here)
def test_nothing_calls_pickle_or_its_disguises(path: Path) -> None:
    """Files may come from strangers, and a pickle runs what it likes."""
    assert not {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal"} & {
        name.split(".")[0] for name in imported(path)
    }
    for name, call in calls(path):
        words = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        if path == READS_PICKLES and name == "torch.load" and words.get("weights_only") == "True":
            continue
        assert name not in ("torch.load", "torch.save", "eval", "exec"), f"{here(path)}:{call.lineno}: {name}"
        assert "allow_pickle" not in words, f"{here(path)}:{call.lineno}: {name}"


SPEAK = ("cli.py", "console.py", "launch.py")
"""They print constants, or what passed `printable`."""


@pytest.mark.parametrize("path", [path for path in SOURCES if path.name not in SPEAK], ids=here)
def test_all_that_is_said_passes_the_one_function_that_escapes_it(path: Path) -> None:
    """Names come from strangers: what prints them is in console.py."""
    said = [call.lineno for name, call in calls(path) if name in ("print", "sys.stdout.write", "sys.stderr.write")]
    assert not said, f"{here(path)}: use print_lines, print_facts, print_table, print_json or Talk in lines {said}"


@pytest.mark.parametrize("path", SOURCES, ids=here)
def test_files_and_functions_stay_readable(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 500
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= 70, f"{here(path)}:{node.lineno}: {node.name} has {length} lines"


@pytest.mark.parametrize("path", SOURCES, ids=here)
def test_every_file_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_configs_are_frozen_and_keyword_only() -> None:
    for folder in (*STAGES, *COMMANDS):
        tree = ast.parse((folder / "config.py").read_text(encoding="utf-8"))
        configs = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name.endswith("Config")]
        assert configs, f"{here(folder)}/config.py has no config"
        for config in configs:
            assert ast.unparse(config.decorator_list[0]) == "dataclass(frozen=True, kw_only=True)", config.name


def modules_here() -> dict[str, Path]:
    """Every module of the library, the commands and the stages, by its dotted name."""
    found = {}
    for path in SOURCES:
        below = path.relative_to(ROOT / "src" if path.is_relative_to(ROOT / "src") else ROOT)
        name = ".".join(below.with_suffix("").parts).removesuffix(".__init__")
        found["alexnet_" + name if name.partition(".")[0] == "stages" else name] = path
    return found


def imported_to_run(path: Path) -> set[str]:
    """What a file imports, at module level or late; not what it imports for the type checker alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def module_of(imported_name: str, modules: dict[str, Path]) -> str:
    """The module that a name stands in, or is."""
    return imported_name if imported_name in modules else imported_name.rpartition(".")[0]


def test_no_file_takes_part_in_a_circle_of_imports() -> None:
    modules = modules_here()
    arrows = {
        name: {module_of(word, modules) for word in imported_to_run(path)} & set(modules) - {name}
        for name, path in modules.items()
    }
    while leaves := [name for name, below in arrows.items() if not below & set(arrows)]:
        for name in leaves:
            del arrows[name]
    # What is left stands in a circle, or above one.
    while roots := [name for name in arrows if not any(name in below for below in arrows.values())]:
        for name in roots:
            del arrows[name]
    assert not arrows, f"in a circle: {', '.join(sorted(arrows))}"


ABOVE_THE_NET = ("artifacts", "sources", "parallel", "devices", "machine", "loader", "trained", "evaluation")
ROOMS = {
    "recipes": ("torch", "numpy", "numba", "alexnet_cli.net", "alexnet_cli.input", "alexnet_cli.artifacts"),
    "net": ("pathlib", "io", "h5py", "lmdb", "torch.distributed", *(f"alexnet_cli.{room}" for room in ABOVE_THE_NET)),
    "input": ("pathlib", "io", "h5py", "lmdb", *(f"alexnet_cli.{room}" for room in ("artifacts", "sources", "loader"))),
    "artifacts": ("alexnet_cli.net", "alexnet_cli.parallel", "alexnet_cli.training_step"),
    "sources": ("alexnet_cli.net", "alexnet_cli.input", "torch"),
    "reports": ("alexnet_cli.net", "alexnet_cli.devices", "alexnet_cli.parallel", "torch"),
}
"""Room of the library → what it knows nothing of, as docs/architecture.md has it."""


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_knows_nothing_of_what_the_architecture_page_says(room: str) -> None:
    paths = [path for path in LIBRARY if room in path.parts and "kernels" not in path.parts]
    assert paths
    for path in paths:
        wrong = [module for module in imported_to_run(path) if any(within(module, one) for one in ROOMS[room])]
        assert not wrong, f"{here(path)} imports {', '.join(wrong)}"
