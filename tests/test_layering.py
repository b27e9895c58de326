"""One direction of flow: which room may import which, held over every import in the package, lazy ones included."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = "brainwavlm_fast"
BASE = {"errors", "files", "cached_files", "progress", "memory", "config"}
NATIVE = {"arguments", "kernels", "reference"}
ROOMS = {
    "errors": set(),
    "progress": set(),
    "memory": set(),
    "files": {"errors"},
    "cached_files": {"files"},
    "config": {"errors", "files"},
    "reference": set(),
    "arguments": set(),
    "kernels": {"_C", "arguments"},
    "custom_ops": {"kernels"},
    "ops": {"arguments", "custom_ops"},
    "distributed": {"errors"},
    "ridge": NATIVE | {"ridge.backend_torch"},
    "ridge.backend_torch": {"ops"},
    "stats": set(),
    "data": BASE,
    "anatomy": BASE | {"data"},
    "check": BASE | {"data", "anatomy"},
    "model": BASE | NATIVE | {"ops", "distributed", "data"},
    "training": BASE | NATIVE | {"ops", "distributed", "data", "anatomy", "check", "model"},
    "results": BASE | {"data", "anatomy"},
    "features": BASE | NATIVE | {"distributed", "data", "model", "results"},
    "probes": BASE | NATIVE | {"ridge", "data", "model", "features", "results"},
    "evaluation": BASE | NATIVE | {"distributed", "ridge", "stats", "data", "anatomy", "model", "features", "results"},
    "partition": BASE | NATIVE | {"ridge", "stats", "data", "model", "features", "results", "probes", "evaluation"},
    "simulation": BASE | NATIVE | {"ops", "ridge", "data", "anatomy", "model", "evaluation", "features"},
    "figures": BASE | {"stats", "data", "anatomy", "results"},
    "report": BASE | {"data", "anatomy", "results", "figures"},
}
ROOMS["cli"] = {"__version__", *ROOMS} - {"custom_ops", "ops", "ridge.backend_torch"}
TORCH = {
    "custom_ops", "ops", "ridge.backend_torch", "distributed", "model", "training", "features", "probes", "evaluation",
    "partition", "simulation",
    "cli",
}  # fmt: skip
NO_TORCH = ROOMS.keys() - TORCH
HEAVY = {"torch", "transformers", "peft"}


def imports(path: Path, module: str, *, lazy: bool = True) -> set[str]:
    """Absolute names of everything a file imports; without ``lazy`` not what its functions import."""
    found = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [] if lazy else [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    skipped = {node for function in functions for node in ast.walk(function)}
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in set(ast.walk(tree)) - skipped:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{stem}.{alias.name}" for alias in node.names}
    return found


def files(root: Path) -> dict[str, Path]:
    """Module name -> file, with ``cli/`` where it is installed."""
    found = {}
    for folder, prefix in ((root / PACKAGE, PACKAGE), (root / "cli", f"{PACKAGE}.cli")):
        for path in sorted(folder.rglob("*.py")):
            parts = [prefix, *path.relative_to(folder).with_suffix("").parts]
            found[".".join(part for part in parts if part != "__init__")] = path
    return found


def circles(root: Path) -> list[set[str]]:
    """Files that import each other, directly or by way of others, for types included: each group of them once."""
    modules = files(root) | {f"{PACKAGE}._C": root / PACKAGE / "_C.pyi"}
    imported: dict[str, set[str]] = {}
    for module, path in modules.items():
        if path.suffix == ".pyi":
            imported[module] = set()
            continue
        owners = {_file_of(name, modules) for name in imports(path, module)}
        imported[module] = owners - {module, ""}

    def reachable(start: str) -> set[str]:
        seen: set[str] = set()
        todo = [start]
        while todo:
            for name in imported[todo.pop()] - seen:
                seen.add(name)
                todo.append(name)
        return seen

    reached = {module: reachable(module) for module in modules}
    groups = {frozenset(n for n in names if module in reached[n]) for module, names in reached.items()}
    return sorted((set(group) for group in groups if group), key=sorted)


def _file_of(name: str, modules: dict[str, Path]) -> str:
    """The module that a dotted name lies in; empty if it is none of the package's."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name


def room_of(name: str) -> str:
    """The row of the table for a dotted name of the package: a file's own, or its folder's."""
    folder, file = name.split(".")[1], ".".join(name.split(".")[1:3])
    return file if file in ROOMS else folder


def violations(root: Path) -> list[str]:
    """Every import that goes the wrong way."""
    wrong = []
    for module, path in files(root).items():
        if module == PACKAGE:
            continue
        room, loaded = room_of(module), imports(path, module, lazy=False)
        if room not in ROOMS:
            wrong.append(f"{module}: '{room}' has no place in the layering")
            continue
        for name in imports(path, module):
            top, *rest = name.split(".")
            other = room_of(name) if top == PACKAGE and rest else room
            brings_torch = top in HEAVY or (other in TORCH and name in loaded)
            if (other != room and other not in ROOMS[room]) or (brings_torch and room in NO_TORCH):
                wrong.append(f"{module} imports {name}")
    return wrong


def test_every_import_flows_one_way():
    assert violations(ROOT) == []


def test_no_file_imports_itself_by_way_of_others():
    assert circles(ROOT) == []


def test_a_circle_is_seen_in_lazy_imports_and_in_those_for_types(tmp_path):
    folder = tmp_path / PACKAGE / "data"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("from .a import x")
    (folder / "a.py").write_text("def f():\n    from .b import y")
    (folder / "b.py").write_text("if TYPE_CHECKING:\n    from ..data.c import z")
    (folder / "c.py").write_text("from . import a\nimport numpy")
    (folder / "d.py").write_text("from .a import x")
    assert circles(tmp_path) == [{f"{PACKAGE}.data.{name}" for name in "abc"}]


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("data/tree.py", "from ..model import Encoder", "data.tree imports brainwavlm_fast.model.Encoder"),
        ("model/a.py", "import brainwavlm_fast.training.loop", "model.a imports brainwavlm_fast.training.loop"),
        ("evaluation/a.py", "def f():\n    from ..training import start_run", "imports brainwavlm_fast.training"),
        ("kernels.py", "import torch", "kernels imports torch"),
        ("ridge/a.py", "from .backend_torch import TorchBackend", "imports brainwavlm_fast.ridge.backend_torch"),
        ("ridge/a.py", "def f():\n    from .. import ops", "ridge.a imports brainwavlm_fast.ops"),
        ("ops.py", "from . import _C", "ops imports brainwavlm_fast._C"),
        ("training/a.py", "from ..cli.output import fail", "imports brainwavlm_fast.cli"),
        ("elsewhere.py", "x = 1", "has no place"),
    ],
)
def test_the_rule_can_fail(tmp_path, file, line, message):
    path = tmp_path / PACKAGE / file
    path.parent.mkdir(parents=True)
    path.write_text(line)
    found = violations(tmp_path)
    assert len(found) == 1
    assert message in found[0]
