"""One direction of flow: which room may import which, held over every import in the package, lazy ones included."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = "brainwavlm_fast"
BASE = {"errors", "files", "cached_files", "progress", "memory", "config"}
NATIVE = {"kernels", "reference"}
ROOMS = {
    "errors": set(),
    "progress": set(),
    "memory": set(),
    "files": {"errors"},
    "cached_files": {"files"},
    "config": {"errors", "files"},
    "reference": set(),
    "kernels": {"_C"},
    "ops": {"kernels"},
    "distributed": {"errors"},
    "ridge": NATIVE | {"ops", "errors", "memory"},
    "stats": NATIVE | {"errors", "progress"},
    "data": BASE,
    "anatomy": BASE | {"data"},
    "check": BASE | {"data", "anatomy"},
    "model": BASE | NATIVE | {"ops", "distributed", "data"},
    "training": BASE | NATIVE | {"ops", "distributed", "data", "anatomy", "check", "model"},
    "results": BASE | {"data", "anatomy"},
    "features": BASE | NATIVE | {"distributed", "data", "model", "results"},
    "probes": BASE | NATIVE | {"ridge", "data", "model", "features", "results"},
    "evaluation": BASE | NATIVE | {"distributed", "ridge", "stats", "data", "anatomy", "model", "features", "results"},
    "simulation": BASE | NATIVE | {"ops", "ridge", "data", "anatomy", "model", "evaluation", "features"},
    "figures": BASE | {"stats", "data", "anatomy", "results"},
    "report": BASE | {"data", "anatomy", "results", "figures"},
}
ROOMS["cli"] = {"__version__", *ROOMS} - {"ops"}
TORCH = {"ops", "distributed", "model", "training", "features", "probes", "evaluation", "simulation", "cli"}
NO_TORCH = ROOMS.keys() - TORCH
HEAVY = {"torch", "transformers", "peft"}


def imports(path: Path, module: str) -> set[str]:
    """Absolute names of everything a file imports."""
    found = set()
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
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


def violations(root: Path) -> list[str]:
    """Every import that goes the wrong way."""
    wrong = []
    for module, path in files(root).items():
        if module == PACKAGE:
            continue
        room = module.split(".")[1]
        if room not in ROOMS:
            wrong.append(f"{module}: '{room}' has no place in the layering")
            continue
        for name in imports(path, module):
            top, *rest = name.split(".")
            if top == PACKAGE and rest and rest[0] != room and rest[0] not in ROOMS[room]:
                wrong.append(f"{module} imports {name}")
            if top in HEAVY and room in NO_TORCH:
                wrong.append(f"{module} imports {name}")
    return wrong


def test_every_import_flows_one_way():
    assert violations(ROOT) == []


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("data/tree.py", "from ..model import Encoder", "data.tree imports brainwavlm_fast.model.Encoder"),
        ("model/a.py", "import brainwavlm_fast.training.loop", "model.a imports brainwavlm_fast.training.loop"),
        ("evaluation/a.py", "def f():\n    from ..training import start_run", "imports brainwavlm_fast.training"),
        ("kernels.py", "import torch", "kernels imports torch"),
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
