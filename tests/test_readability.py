"""What keeps code readable: length of files and functions, number of parameters, documents that name real files."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILE_LINES, FUNCTION_LINES, PARAMETERS = 300, 60, 8


def too_much(root: Path) -> list[str]:
    """Files and functions over the limits; a command's parameters are its options."""
    found = []
    for folder in ("brainwavlm_fast", "cli"):
        for path in sorted((root / folder).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            name = str(path.relative_to(root))
            if text.count("\n") > FILE_LINES:
                found.append(f"{name}: {text.count(chr(10))} lines")
            for node in ast.walk(ast.parse(text)):
                if not isinstance(node, ast.FunctionDef):
                    continue
                n_lines = (node.end_lineno or node.lineno) - node.lineno + 1
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                n_parameters = len([a for a in arguments if a.arg not in ("self", "cls")])
                if folder != "cli" and n_lines > FUNCTION_LINES:
                    found.append(f"{name}: {node.name} has {n_lines} lines")
                if folder != "cli" and n_parameters > PARAMETERS and name not in PUBLIC:
                    found.append(f"{name}: {node.name} has {n_parameters} parameters")
    return found


PUBLIC = (
    "brainwavlm_fast/ridge/estimator.py",
    "brainwavlm_fast/ridge/banded.py",
)  # an estimator's hyperparameters, as scikit-learn wants them


def test_files_and_functions_fit_a_reader():
    assert too_much(ROOT) == []


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = 1\n" * 301, "301 lines"),
        ("def f():\n" + "    x = 1\n" * 60, "f has 61 lines"),
        ("def f(a, b, c, d, e, *, g, h, i, j): ...\n", "f has 9 parameters"),
    ],
)
def test_the_rule_can_fail(tmp_path, source, message):
    (tmp_path / "brainwavlm_fast").mkdir()
    (tmp_path / "brainwavlm_fast" / "a.py").write_text(source)
    (found,) = too_much(tmp_path)
    assert message in found


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "docs/architecture.md"])
def test_files_that_a_document_names_exist(document):
    named = re.findall(r"`([\w./]+\.(?:py|pyi|h|cpp|sh|md|toml))`", (ROOT / document).read_text(encoding="utf-8"))
    rooms = [ROOT / name for name in ("csrc", "brainwavlm_fast", "cli", "tests", "benchmarks", "docs")]
    files = [str(path) for folder in rooms for path in folder.rglob("*.*")] + [str(path) for path in ROOT.glob("*.*")]
    assert named
    assert [name for name in named if not any(path.endswith(f"/{name}") for path in files)] == []
