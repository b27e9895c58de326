"""HDF5 files of other people: opened, or refused with the reason that is true."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from numpy.typing import NDArray

from ..errors import DataError
from ..files import unreadable

if TYPE_CHECKING:
    import h5py  # loaded when a file is opened


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """An HDF5 file, or a :class:`DataError` that says it is locked, truncated, not HDF5, or may not be read."""
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        truncated = f"{path} is not a whole HDF5 file ({error}); download it again."
        raise DataError(unreadable(path, error, otherwise=truncated)) from error
    with file:
        yield file


@contextmanager
def open_array(path: Path, key: str, *, ndim: int, kinds: str = "f") -> Iterator[h5py.Dataset]:
    """An array of a file, of NumPy's ``kinds`` (floats), all of which was written; else a :class:`DataError`."""
    import h5py

    with open_hdf5(path) as file:
        link = file.get(key, getlink=True) if key in file else None
        if isinstance(link, h5py.ExternalLink) and key not in _readable(file):
            raise DataError(f"{path}: '{key}' is a link to {link.filename}, which is missing or does not hold it.")
        if key not in _readable(file):
            raise DataError(f"{path} has no dataset '{key}'; it holds: {', '.join(sorted(file)) or 'nothing'}.")
        data = file[key]
        if data.ndim != ndim or data.dtype.kind not in kinds:
            raise DataError(
                f"{path}: '{key}' has shape {data.shape} and type {data.dtype}; expected {ndim} axes of "
                f"{'floats' if kinds == 'f' else 'numbers'}."
            )
        _require_written(path, data)
        yield data


def read_rows(data: h5py.Dataset, first: int, last: int) -> NDArray:
    """Rows ``first`` to ``last - 1`` of an array."""
    try:
        return data[first:last]
    except OSError as error:
        path = data.file.filename
        damaged = f"{path} is damaged ({error}); download it again."
        raise DataError(unreadable(path, error, otherwise=damaged)) from error


def _readable(file: h5py.File) -> set[str]:
    """Names of the datasets that are here."""
    return {name for name in file if hasattr(file.get(name), "dtype")}


def _require_written(path: Path, data: h5py.Dataset) -> None:
    """HDF5 reads what nobody wrote as zeros."""
    if data.is_virtual:
        sources = [Path(source.file_name) for source in data.virtual_sources()]
    else:
        sources = [Path(name) for name, _, _ in data.external or ()]
    missing = [str(source) for source in sources if not (path.parent / source).exists()]
    if missing:
        raise DataError(f"{path}: '{data.name[1:]}' lies in other files, of which {missing[0]} is missing.")
    if sources:
        return
    if data.chunks:
        expected = math.prod(-(-length // chunk) for length, chunk in zip(data.shape, data.chunks, strict=True))
        written = data.id.get_num_chunks()
    else:
        expected, written = 1, int(data.size == 0 or data.id.get_storage_size() > 0)
    if written < expected:
        raise DataError(
            f"{path}: {expected - written} of {expected} parts of '{data.name[1:]}' were never written, and would read "
            "as zeros; the program that made it was stopped. Make it, or download it, again."
        )
