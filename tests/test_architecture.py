"""The ladder, the door and the budgets hold: read from the source, and from fresh interpreters."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
PACKAGE = "napari_amil"

LADDER: tuple[frozenset[str], ...] = (
    frozenset({"core.base"}),
    frozenset({"core.images"}),
    frozenset({"core.cohort"}),
    frozenset({"core.encoders"}),
    frozenset({"core.detection", "core.morphology", "core.mil"}),
    frozenset({"core.anomaly"}),
    frozenset({"core.model"}),
    frozenset({"core.training"}),
    frozenset({"core.cell_types", "core.evaluation", "core.exchange"}),
    frozenset({"core.instances"}),
    frozenset({"core.studies"}),
    frozenset({"core.report"}),
    frozenset({"core.scoring"}),
    frozenset({"core.pipeline"}),
    frozenset({"api"}),
    frozenset({"worker.protocol"}),
    frozenset({"cli", "worker", "plugin"}),
)
"""From the lowest step to the highest; a file imports only from lower steps and from its own name."""

INNER_LADDERS: dict[str, tuple[frozenset[str], ...]] = {
    "core.scoring": (
        frozenset({"arrays", "kept_detections", "slides", "evidence", "redraw", "score"}),
        frozenset({"detect", "diagnosis", "score_folder"}),
        frozenset({"shards"}),
    ),
    "core.pipeline": (
        frozenset({"annotated", "given_names", "recalibrate", "replay", "evaluate", "twin_growth"}),
        frozenset({"cell_typing", "export", "held_out", "run_folder", "train"}),
        frozenset({"anomaly_networks", "estimate", "pretraining", "train_detector", "training_run"}),
    ),
    "plugin": (
        frozenset({"window"}),
        frozenset({"layers"}),
        frozenset({"colour"}),
        frozenset({"reasons"}),
        frozenset({"cohorts", "training"}),
        frozenset({"panels"}),
        frozenset({"entry"}),
    ),
    "plugin.panels": (
        frozenset(p.stem for p in (SOURCE / PACKAGE / "plugin" / "panels").glob("[a-z]*.py")) - {"smear"},
        frozenset({"smear"}),
    ),
}
"""Steps inside a package, by its name, from the lowest to the highest; its own ``__init__`` is on top.

Each name is a file, or a folder, of which the files may import each other."""

EVERYWHERE = frozenset({"core.base", "core.cohort.samples"})
DOORS = {
    "api": EVERYWHERE | {"core.pipeline"},
    "cli": EVERYWHERE | {"core.pipeline"},
    "worker": EVERYWHERE | {"core.pipeline"},
    "worker.protocol": EVERYWHERE,
    "plugin": EVERYWHERE
    | {"core.detection.select", "core.images.fields", "core.images.read", "core.images.slide"}
    | {f"core.exchange.{name}" for name in ("cell_files", "geojson", "labels", "project")},
}
"""What the rooms above core may touch; the plugin asks the worker process for everything else."""

THE_DOOR = "core.pipeline"
"""The one package that gathers names of others: what plugin, command line and worker call."""

OPTIONAL_IMPORTERS: frozenset[str] = frozenset({"core.base.lazy_names", "core.base.optional"})
"""Files that import by name: optional dependencies, and the names of the one door."""

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 6
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "tools"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One source file: its dotted name below the package, its text and its tree."""

    path: Path
    name: str

    @cached_property
    def lines(self) -> list[str]:
        return self.path.read_text(encoding="utf-8").splitlines()

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse("\n".join(self.lines), filename=str(self.path))

    @property
    def functions(self) -> list[Function]:
        return [node for node in ast.walk(self.tree) if isinstance(node, Function)]

    @property
    def imports(self) -> set[str]:
        """Return every dotted name that the file imports, now or lazily."""
        return {name for node in ast.walk(self.tree) for name in _imported(node)}


def _imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Call) and _called(node) in {"load", "import_module", "__import__"}:
        first = node.args[0] if node.args else None
        name = str(first.value) if isinstance(first, ast.Constant) else ""
        if re.fullmatch(r"[A-Za-z_]\w*(\.\w+)*", name):
            yield name


def _called(call: ast.Call) -> str:
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _modules() -> dict[str, Module]:
    found = {}
    for path in sorted((SOURCE / PACKAGE).rglob("*.py")):
        parts = path.relative_to(SOURCE / PACKAGE).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        found[name] = Module(path, name)
    return found


MODULES = _modules()


def _edges(module: Module) -> set[str]:
    """Return the names of the project's own files that ``module`` imports."""
    edges = set()
    for name in module.imports:
        if name.split(".")[0] != PACKAGE:
            continue
        parts = name.split(".")[1:]
        while parts and ".".join(parts) not in MODULES:
            parts = parts[:-1]
        edges.add(".".join(parts))
    return edges - {module.name}


def _step(name: str, ladder: tuple[frozenset[str], ...]) -> tuple[int, str]:
    """Return the number of the step that a file stands on, and the name that stands there."""
    for number, step in enumerate(ladder):
        for unit in step:
            if name == unit or name.startswith(unit + "."):
                return number, unit
    raise LookupError(
        f"'{name}' stands on no step of the ladder; give it one, or move it into a file that has one."
    )


def _upward(name: str, edges: set[str], ladder: tuple[frozenset[str], ...]) -> list[str]:
    """Return those of the imported files that stand on the file's own step or above it."""
    here, unit = _step(name, ladder)
    steps = {edge: _step(edge, ladder) for edge in edges}
    return [edge for edge, (there, other) in steps.items() if other != unit and there >= here]


NAMED = [pytest.param(module, id=name or PACKAGE) for name, module in MODULES.items()]
LADDERED = [
    pytest.param(module, id=name) for name, module in MODULES.items() if name not in {"", "__main__", "core"}
]


def test_the_reference_has_a_page_for_every_package_of_core() -> None:
    tree = ast.parse((ROOT / "docs" / "conf.py").read_text(encoding="utf-8"))
    steps = next(
        n.value for n in tree.body if isinstance(n, ast.Assign) and "STEPS" in ast.unparse(n.targets[0])
    )
    pages = [node.value for node in ast.walk(steps) if isinstance(node, ast.Constant)]
    assert set(pages) == {unit.removeprefix("core.") for step in LADDER for unit in step if "core." in unit}


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_the_documents_name_every_step_and_no_other(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:core|worker)\.[a-z_.]+|api)`", text))
    assert {name for name in named if name not in MODULES} == set()
    assert {unit for step in LADDER for unit in step} - named == {"cli", "worker", "plugin"}


@pytest.mark.parametrize("module", LADDERED)
def test_a_file_imports_only_from_lower_steps(module: Module) -> None:
    upward = _upward(module.name, _edges(module) - {"", "core"}, LADDER)
    assert upward == [], f"{module.name} imports from its own step or above"


INNER = [
    pytest.param(package, module, id=name)
    for package in INNER_LADDERS
    for name, module in MODULES.items()
    if name.startswith(package + ".")
]


@pytest.mark.parametrize(("package", "module"), INNER)
def test_a_file_imports_only_from_lower_steps_of_its_package(package: str, module: Module) -> None:
    inside = package + "."
    edges = {edge.removeprefix(inside) for edge in _edges(module) if edge.startswith(inside)}
    assert package not in _edges(module), f"{module.name} imports the package that gathers it"
    upward = _upward(module.name.removeprefix(inside), edges, INNER_LADDERS[package])
    assert upward == [], f"{module.name} imports from its own step or above"


@pytest.mark.parametrize("package", INNER_LADDERS)
def test_every_name_on_an_inner_ladder_is_a_file(package: str) -> None:
    listed = [f"{package}.{name}" for step in INNER_LADDERS[package] for name in step]
    assert [name for name in listed if name not in MODULES] == []
    assert len(listed) == len(set(listed))


def test_no_name_of_the_door_is_that_of_a_file_of_it() -> None:
    """The import of the file would put the module in the place of the name."""
    names = ast.literal_eval(
        next(n.value for n in MODULES[THE_DOOR].tree.body if isinstance(n, ast.Assign) and _is_all(n))
    )
    assert [name for name in names if f"{THE_DOOR}.{name}" in MODULES] == []


def _is_all(node: ast.Assign) -> bool:
    return isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__all__"


def test_no_files_import_each_other_in_a_circle() -> None:
    graph = {name: _edges(module) for name, module in MODULES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(name or PACKAGE for name in error.args[1]))


@pytest.mark.parametrize("module", [m for m in LADDERED if m.id.split(".")[0] in DOORS])
def test_the_rooms_reach_core_only_through_its_doors(module: Module) -> None:
    room = next(room for room in (module.name.rpartition(".")[0], module.name.split(".")[0]) if room in DOORS)
    doors = DOORS[room]
    reached = {edge for edge in _edges(module) if edge.startswith("core.")}
    assert {edge for edge in reached if not any(f"{edge}.".startswith(f"{door}.") for door in doors)} == set()


@pytest.mark.parametrize("module", [m for m in NAMED if m.id.split(".")[0] in {PACKAGE, "core"}])
def test_core_names_neither_qt_nor_napari(module: Module) -> None:
    assert {name.split(".")[0] for name in module.imports} & UNWANTED_IN_CORE == set()


@pytest.mark.parametrize("module", [m for m in LADDERED if m.id.split(".")[0] == "core"])
def test_a_package_of_core_imports_nothing_by_itself(module: Module) -> None:
    if module.path.name == "__init__.py" and module.name != THE_DOOR:
        assert module.imports <= {"__future__.annotations"}


@pytest.mark.parametrize("module", NAMED)
def test_no_import_hides_in_a_function(module: Module) -> None:
    if module.name in OPTIONAL_IMPORTERS:
        return
    hidden = [name for function in module.functions for name in _imports_inside(function)]
    assert hidden == []


def _imports_inside(function: Function) -> Iterator[str]:
    for node in ast.walk(function):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from (f"line {node.lineno}: {name}" for name in _imported(node))
        elif isinstance(node, ast.Call) and _called(node) in {"import_module", "__import__"}:
            yield f"line {node.lineno}: {_called(node)}"


@pytest.mark.parametrize("module", NAMED)
def test_files_and_functions_keep_to_their_budgets(module: Module) -> None:
    over = [] if len(module.lines) <= MAX_FILE_LINES else [f"{len(module.lines)} lines"]
    for function in module.functions:
        n_lines = (function.end_lineno or 0) - function.lineno + 1
        if n_lines > MAX_FUNCTION_LINES:
            over.append(f"{function.name}: {n_lines} lines")
        n_parameters = _n_parameters(function)
        if n_parameters > MAX_PARAMETERS and function.name not in _commands(module):
            over.append(f"{function.name}: {n_parameters} parameters")
    assert over == []


def _n_parameters(function: Function) -> int:
    arguments = function.args
    named = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return len(named) - (named[:1] in (["self"], ["cls"])) + bool(arguments.vararg) + bool(arguments.kwarg)


def _commands(module: Module) -> set[str]:
    """Return the functions in ``COMMANDS``: typer reads the options of a command from its parameters."""
    tables = [n.value for n in module.tree.body if isinstance(n, ast.Assign) and _is_commands(n.targets[0])]
    return {node.id for table in tables for node in ast.walk(table) if isinstance(node, ast.Name)}


def _is_commands(target: ast.expr) -> bool:
    return isinstance(target, ast.Name) and target.id == "COMMANDS"


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=lambda path: path.stem)
def test_test_files_keep_to_the_budget_too(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_FILE_LINES


def test_a_file_is_named_for_what_it_knows() -> None:
    names = {part.strip("_") for path in SOURCE.rglob("*.py") for part in path.with_suffix("").parts}
    assert names & VAGUE_NAMES == set()


def test_a_folder_holds_at_least_two_files() -> None:
    folders = {path.parent for path in SOURCE.rglob("*.py")} - {SOURCE, SOURCE / PACKAGE}
    thin = [
        f.name for f in folders if len([p for p in f.iterdir() if p.name != "__init__.py" and _counts(p)]) < 2
    ]
    assert thin == []


def _counts(path: Path) -> bool:
    return path.suffix == ".py" or (path.is_dir() and any(path.glob("*.py")))


UNWANTED_IN_CORE = {"qtpy", "napari", "magicgui", "superqt", "vispy", "PyQt5", "PyQt6", "PySide2", "PySide6"}


def _loaded_by(names: list[str]) -> set[str]:
    """Return the top-level packages in memory after a fresh interpreter has imported ``names``."""
    lines = [f"import {name}" for name in names]
    program = "\n".join(["import sys", *lines, "print(*{name.split('.')[0] for name in sys.modules})"])
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def _names_in(room: str) -> list[str]:
    inside = [name for name in MODULES if name == room or name.startswith(room + ".")]
    return [f"{PACKAGE}.{name}" for name in inside if not name.endswith("__main__")]


def test_core_and_the_public_interface_load_neither_qt_nor_napari() -> None:
    assert _loaded_by(_names_in("core") + _names_in("api")) & UNWANTED_IN_CORE == set()


def test_all_of_the_plugin_loads_no_torch() -> None:
    assert _loaded_by(_names_in("plugin")) & {"torch", "torchvision"} == set()


def test_the_protocol_of_the_worker_loads_neither_qt_nor_torch() -> None:
    assert _loaded_by(_names_in("worker.protocol")) & (UNWANTED_IN_CORE | {"torch", "torchvision"}) == set()


def test_all_of_the_command_line_loads_nothing_heavy() -> None:
    heavy = UNWANTED_IN_CORE | {"torch", "torchvision", "skimage", "sklearn", "scipy", "pandas", "matplotlib"}
    assert _loaded_by(_names_in("cli")) & heavy == set()


def test_the_package_itself_loads_nothing() -> None:
    assert _loaded_by([PACKAGE]) & {"numpy", "torch", "pydantic", "yaml", "pandas", "rich"} == set()


def test_the_package_is_imported_within_50_ms_of_processor_time() -> None:
    program = "import time; t = time.process_time(); import napari_amil; print(time.process_time() - t)"
    done = [subprocess.run([sys.executable, "-c", program], capture_output=True, text=True) for _ in range(3)]
    assert min(float(one.stdout) for one in done) < 0.05


def test_every_library_that_is_imported_is_declared() -> None:
    requirements = importlib.metadata.requires("napari-amil") or []
    declared = {_normal(re.split(r"[^\w.-]", line, maxsplit=1)[0]) for line in requirements}
    providers = importlib.metadata.packages_distributions()
    known = sys.stdlib_module_names | {PACKAGE, "__future__"}
    imported = {name.split(".")[0] for module in MODULES.values() for name in module.imports} - known
    missing = {n for n in imported if not {_normal(p) for p in providers.get(n, [n])} & declared}
    assert missing == set()


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
