"""Files that are whole or absent: atomic writes, JSON, and the provenance that every result carries."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import platform
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from .errors import BwlmError

_LOCKED = (
    "another program has locked it to write it, or its file system knows no locks. Close that program; on a file "
    "system without locks set HDF5_USE_FILE_LOCKING=FALSE"
)
_FAILED = "the disk or the network failed, not the file. Try again"
_DENIED = "this user may not read it (permission denied). Ask its owner, or: chmod u+r"
_NOT_DAMAGED = {
    errno.ENOENT: "it does not exist",
    errno.EISDIR: "it is a folder",
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EMFILE: "too many files are open (ulimit -n)",
    **dict.fromkeys((errno.EAGAIN, errno.EDEADLK, errno.ENOLCK, errno.ETXTBSY), _LOCKED),
    **dict.fromkeys((errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENODEV, errno.ENXIO), _FAILED),
}
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
    text = json_text(value, where=path, indent=2)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def json_text(value: Any, *, where: Path | str, indent: int | None = None) -> str:
    """JSON, which has no NaN and no infinity: a :class:`BwlmError` names where in ``value`` one stands."""
    try:
        return json.dumps(value, indent=indent, allow_nan=False)
    except ValueError as error:
        place = _not_finite(value, "")
        if place is None:
            raise
        raise BwlmError(f"{where}: {place} is NaN or infinite; what it is computed from is not finite.") from error


def _not_finite(value: Any, place: str) -> str | None:
    """The first number that is none, such as ``tests.r[3]``."""
    if isinstance(value, float):
        return None if math.isfinite(value) else place or "the value"
    if isinstance(value, Mapping):
        parts = [(f"{place}.{key}".lstrip("."), part) for key, part in value.items()]
    elif isinstance(value, list | tuple):
        parts = [(f"{place}[{k}]", part) for k, part in enumerate(value)]
    else:
        return None
    return next((found for name, part in parts if (found := _not_finite(part, name))), None)


def read_json(path: Path | str) -> Any:
    """Read a JSON file; a damaged one is a :class:`BwlmError` that names it."""
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BwlmError(unreadable(path, error, otherwise=f"{path} cannot be read as JSON ({error}).")) from error


def unreadable(path: Path | str, error: Exception, *, otherwise: str = "") -> str:
    """Why a file cannot be read, in a sentence: what the system says of it, or else what is wrong with its contents.

    Only what the system has no part in is damage that another download could mend.

    Parameters
    ----------
    path : Path | str
        The file.
    error : Exception
        What opening or reading it raised; HDF5 names the system's error in its text.
    otherwise : str, optional
        The sentence where the system is not to blame.
    """
    named = re.search(r"errno = (\d+)", str(error))
    number = getattr(error, "errno", None) or (int(named[1]) if named else None)
    if number in _NOT_DAMAGED:
        return f"{path} cannot be read: {_NOT_DAMAGED[number]}."
    return otherwise or f"{path} cannot be read ({os.strerror(number) if number else error})."


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
