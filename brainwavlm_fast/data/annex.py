"""What git-annex leaves where a large file was not fetched: a link to nothing, or a small file that names the contents.

Unlocked clones (adjusted branches, file systems without links) have such pointer files: one line, the path of the
contents in the annex.
"""

from __future__ import annotations

import re
from pathlib import Path

_SIZE = re.compile(r"-s(\d+)-")  # in the contents' key, such as MD5E-s7360--0123.hf5
_POINTER = re.compile(rb"(?:(?:\.\./)*\.git)?/annex/objects/(?:[^/\n]+/)*([^/\n]+)")
_LARGEST_POINTER = 32_768  # bytes, as git-annex has it


def unfetched_key(path: Path) -> str | None:
    """The key of a file's contents if git-annex has not fetched them; None of any other file.

    Raises
    ------
    OSError
        The file cannot be looked at.
    """
    if path.is_symlink() and not path.exists():
        target = path.readlink()
        return target.name if "annex" in target.parts else None
    if not path.is_file() or path.stat().st_size > _LARGEST_POINTER:
        return None
    with path.open("rb") as file:
        match = _POINTER.match(file.read(_LARGEST_POINTER))
    return match[1].decode("utf-8", "replace").strip() if match else None


def annex_size(path: Path) -> int | None:
    """Bytes of a file, or those that git-annex promises for it; None if neither is known."""
    key = unfetched_key(path)
    if key is not None:
        match = _SIZE.search(key)
        return int(match[1]) if match else None
    return path.stat().st_size if path.is_file() else None
