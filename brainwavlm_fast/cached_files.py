"""Files that hold what can be computed again, each with the key of everything that its contents depend on.

A file that is damaged, or whose key is another, counts as absent. Files appear whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .files import atomic_path, provenance, sha256

if TYPE_CHECKING:
    import h5py  # loaded when a file is opened

Key = Mapping[str, Any]
T = TypeVar("T")
_KEY = "head"
_SETTLED_NS = 2_000_000_000  # a file changed more recently could change again without its times showing it
_SMALL = 1 << 20  # bytes that are hashed as fast as a remembered digest is read


def cache_folder(kind: str) -> Path:
    """Folder of the user's cache: ``$XDG_CACHE_HOME/brainwavlm_fast/KIND``, else under ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "brainwavlm_fast" / kind


def key_digest(key: Any) -> str:
    """A name for a key of JSON values: 24 hexadecimal digits."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]


def read_cached(path: Path, key: Key, take: Callable[[h5py.File], T | None]) -> T | None:
    """What ``take`` reads from a file; None if the file is absent, damaged, or has another key."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return take(file) if json.loads(file.attrs[_KEY]) == json.loads(json.dumps(key)) else None
    except (OSError, KeyError, TypeError, ValueError):
        return None


@contextmanager
def write_cached(path: Path, key: Key) -> Iterator[h5py.File]:
    """A new HDF5 file with this key, which takes its name when the block ends without an error."""
    import h5py

    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs[_KEY], file.attrs["provenance"] = json.dumps(key), json.dumps(provenance())
        yield file


def cached(
    path: Path,
    key: Key,
    *,
    take: Callable[[h5py.File], T | None],
    make: Callable[[], T],
    put: Callable[[h5py.File, T], object],
) -> T:
    """What ``take`` reads from the file, or else what ``make`` gives, which ``put`` writes for the next call.

    A cache that cannot be written costs time, nothing else, and says so once.
    """
    value = read_cached(path, key, take)
    if value is None:
        value = make()
        try:
            with write_cached(path, key) as file:
                put(file, value)
        except OSError as error:
            warnings.warn(
                f"{path.parent} cannot be written ({os.strerror(error.errno) if error.errno else error}): what is "
                "computed is not kept for the next time. XDG_CACHE_HOME names another folder.",
                stacklevel=1,  # one place, so that it is shown once per folder
            )
    return value


def file_digest(path: Path) -> str:
    """SHA-256 of a file's contents.

    A large file is hashed once and its digest remembered while size, inode, and times of change (including the one
    that a user cannot set) stay the same.
    """
    status = path.stat()
    changed = max(status.st_mtime_ns, status.st_ctime_ns)
    if status.st_size < _SMALL or time.time_ns() - changed < _SETTLED_NS:
        return sha256(path)
    name = str(path.resolve())
    return cached(
        cache_folder("digests") / f"{key_digest(name)}.hf5",
        {"file": name, "status": [status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]},
        take=lambda file: str(file.attrs["sha256"]),
        make=lambda: sha256(path),
        put=lambda file, digest: file.attrs.update(sha256=digest),
    )
