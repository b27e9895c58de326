"""Files that are whole or absent: atomic writes, JSON, and the provenance that every result carries."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from .errors import BwlmError

_PACKAGES = ("brainwavlm-fast", "torch", "transformers", "peft", "numpy", "scipy", "h5py", "nibabel")


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """A temporary file beside ``path`` that takes its name only when the block ends without an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path, path.suffix)
    temporary.touch(exist_ok=False)
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """A temporary folder beside ``path`` that takes its name only when the block ends without an error.

    A folder that already has the name is replaced.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                _sync(file)
        old = _beside(path)
        old.mkdir()
        if path.exists():
            path.replace(old / path.name)
        temporary.replace(path)
        shutil.rmtree(old)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_json(path: Path | str, value: Any) -> None:
    """Write human-readable JSON (indented, NaN refused), atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path | str) -> Any:
    """Read a JSON file; a damaged one is a :class:`BwlmError` that names it."""
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BwlmError(f"{path} cannot be read as JSON ({error}).") from error


def sha256(path: Path) -> str:
    """SHA-256 of a file's contents."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def provenance() -> dict[str, Any]:
    """Versions of everything that a number depends on, for the head of each result file."""
    versions = {name: _version(name) for name in _PACKAGES}
    return {"python": platform.python_version(), "platform": platform.platform(), "versions": versions}


@cache
def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _beside(path: Path, suffix: str = "") -> Path:
    """A hidden name nobody has, made later with the user's own permissions (``tempfile`` would make it private)."""
    return path.parent / f".{path.name}.{secrets.token_hex(6)}{suffix}"


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
