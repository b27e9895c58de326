"""What lands on other people's machines: the wheel, built from the sdist."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The sdist, and the wheel built from it, offline."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"BWLM_CUDA": "OFF"})
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return next(out.glob("*.tar.gz")), next(out.glob("*.whl"))


@pytest.mark.slow
def test_the_sdist_holds_what_a_build_needs_and_nothing_else(built):
    with tarfile.open(built[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"CMakeLists.txt", "pyproject.toml", "README.md", "LICENSE", "csrc/bindings.cpp", "cli/main.py"} <= names
    assert not [
        name for name in names if name.startswith((".git/", ".venv", "build/", "demo/")) or name.endswith(".so")
    ]


@pytest.mark.slow
def test_the_wheel_brings_one_package(built):
    with zipfile.ZipFile(built[1]) as archive:
        names = archive.namelist()
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"brainwavlm_fast"}
    assert "brainwavlm_fast/cli/main.py" in names
    assert "brainwavlm_fast/_C.pyi" in names
    assert {f"brainwavlm_fast/report/page.{kind}" for kind in ("html", "css", "js")} <= set(names)
    assert any(name.startswith("brainwavlm_fast/_C.") and name.endswith(".so") for name in names)
    with zipfile.ZipFile(built[1]) as archive:
        (listed,) = (name for name in names if name.endswith("entry_points.txt"))
        assert "bwlm = brainwavlm_fast.cli.main:main" in archive.read(listed).decode()


@pytest.mark.slow
def test_it_installs_without_a_compiler_and_imports(built, tmp_path):
    """An empty environment; NumPy is lent to it, since the wheel brings none of its dependencies here."""
    import numpy

    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / "bin" / "python"
    target = next((tmp_path / "env" / "lib").glob("python*")) / "site-packages"
    environment = {"PATH": str(tmp_path / "nothing"), "HOME": str(tmp_path)}
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", str(built[1])]
    subprocess.run(pip, check=True, capture_output=True, env=environment)
    lent = Path(numpy.__file__).parent.parent
    for name in ("numpy", "numpy.libs"):
        if (lent / name).exists():
            (target / name).symlink_to(lent / name)
    code = (
        "import numpy as np, brainwavlm_fast as bw; x = np.arange(12.).reshape(4, 3)**2; "
        "print(bw.__file__, bw.__version__, bw.correlation(x, x, axis=0))"
    )
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert str(target) in done.stdout
    assert "[1. 1. 1.]" in done.stdout
