"""Responses, read lazily: one story, one key, only the rows and voxels asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import DataError
from ..progress import Progress
from .hdf5 import open_array, read_rows
from .numbers import as_float32, constant_rows, usable_columns
from .timing import N_TRIMMED
from .tree import Dataset

if TYPE_CHECKING:
    import h5py  # loaded when a file is opened

_ROWS_AT_ONCE = 32  # of float64, all voxels: 24 MB at 95,000 voxels


def read_responses(
    dataset: Dataset, subject: str, story: str, *, rows: slice | None = None, voxels: ArrayLike | None = None
) -> NDArray[np.float32]:
    """A subject's responses to a story.

    Parameters
    ----------
    rows : slice, optional
        Which TRs; all by default. Without a step.
    voxels : ArrayLike, optional
        Boolean mask or indices of the voxels wanted, in the file's order; all by default.

    Returns
    -------
    NDArray[np.float32]
        float32 (n_trs, n_voxels); NaN stays NaN, and so does what no float32 can be squared of (1e20, infinity).

    Raises
    ------
    DataError
        The file is missing, not fetched, truncated, not HDF5, or its shape is not what it must be.
    """
    with _open_responses(dataset, subject, story) as data:
        first, last, _ = (rows or slice(None)).indices(data.shape[0])
        return _select(data, first, last, _indices(voxels, data.shape[1]))


def read_repeats(dataset: Dataset, subject: str, story: str, *, voxels: ArrayLike | None = None) -> NDArray[np.float32]:
    """The individual repeats of a story that was played several times: float32 (n_repeats, n_trs, n_voxels).

    Only the test story has them (10 for UTS01 to UTS03), under ``individual_repeats``.
    """
    with _open(dataset, subject, story, "individual_repeats", ndim=3) as data:
        chosen = _indices(voxels, data.shape[2])
        repeats = (read_rows(data, k, k + 1)[0] for k in range(len(data)))
        return np.stack([as_float32(repeat if chosen is None else repeat[:, chosen]) for repeat in repeats])


def n_voxels(dataset: Dataset, subject: str) -> int:
    """Voxels of a subject: the columns of its first story whose responses are here."""
    for story in dataset.stories(subject):
        if dataset.has(dataset.response_path(subject, story)):
            with _open(dataset, subject, story, "data", ndim=2) as data:
                return int(data.shape[1])
    folder = dataset.response_path(subject, "*").parent
    raise DataError(f"no responses of {subject} have been downloaded. {dataset.how_to_get(folder)}")


def usable_voxels(dataset: Dataset, subject: str, story: str) -> NDArray[np.bool_]:
    """Voxels of a story's responses that can be used, see :func:`.numbers.usable_columns`: bool (n_voxels,).

    Both ``bwlm check`` and training ask here.

    Raises
    ------
    DataError
        The file cannot be read, or holds rows without a measurement.
    """
    values = read_responses(dataset, subject, story)
    usable = usable_columns(values)
    empty = np.flatnonzero(~np.isfinite(values).any(axis=1)).tolist()
    rows = constant_rows(values[:, usable]) or (empty if len(empty) < len(values) else [])
    if rows:
        raise DataError(
            f"{dataset.response_path(subject, story)}: {len(rows)} of {len(values)} rows (the first is row {rows[0]}, "
            "counted from 0) hold one value in most voxels, or none: scans that were never written, or were filled in. "
            "Make the file again, or download it again."
        )
    return usable


def unusable_voxels(
    dataset: Dataset, subject: str, stories: Sequence[str], *, progress: Progress | None = None
) -> NDArray[np.bool_]:
    """Voxels that cannot be used in at least one of the stories, each of which is read once: bool (n_voxels,)."""
    unusable = np.zeros(n_voxels(dataset, subject), dtype=bool)
    with (progress or Progress()).task("checking responses", len(stories)) as advance:
        for story in stories:
            usable = usable_voxels(dataset, subject, story)
            if len(usable) != len(unusable):
                raise DataError(
                    f"{dataset.response_path(subject, story)} has {len(usable)} voxels; {subject}'s first story has "
                    f"{len(unusable)}."
                )
            unusable |= ~usable
            advance(note=story)
    return unusable


@contextmanager
def _open_responses(dataset: Dataset, subject: str, story: str) -> Iterator[h5py.Dataset]:
    """A story's responses, one row per TR that ``respdict.json`` promises."""
    with _open(dataset, subject, story, "data", ndim=2) as data:
        expected = dataset.n_trs(story)
        if len(data) != expected:
            raise DataError(
                f"{dataset.response_path(subject, story)} has {len(data)} rows; {dataset.respdict_path.name} says "
                f"{expected + N_TRIMMED} recorded TRs for {story}, so {expected} rows are expected."
            )
        yield data


def _open(dataset: Dataset, subject: str, story: str, key: str, *, ndim: int) -> AbstractContextManager[h5py.Dataset]:
    return open_array(dataset.require(dataset.response_path(subject, story)), key, ndim=ndim)


def _indices(voxels: ArrayLike | None, n: int) -> NDArray[np.int64] | None:
    if voxels is None:
        return None
    chosen = np.asarray(voxels)
    if chosen.dtype == bool:
        if chosen.shape != (n,):
            raise DataError(f"voxels: a mask of {chosen.shape} was given for responses of {n} voxels.")
        return np.flatnonzero(chosen)
    if chosen.size and (chosen.min() < 0 or chosen.max() >= n):
        raise DataError(f"voxels: indices must lie in 0 to {n - 1}, got {chosen.min()} to {chosen.max()}.")
    return chosen.astype(np.int64)


def _select(data: h5py.Dataset, first: int, last: int, chosen: NDArray[np.int64] | None) -> NDArray[np.float32]:
    # All columns of a row, then a selection: HDF5's own column selection is many times slower than reading everything.
    width = data.shape[1] if chosen is None else len(chosen)
    out = np.empty((max(last - first, 0), width), dtype=np.float32)
    for start in range(first, last, _ROWS_AT_ONCE):
        stop = min(start + _ROWS_AT_ONCE, last)
        block = read_rows(data, start, stop)
        out[start - first : stop - first] = as_float32(block if chosen is None else block[:, chosen])
    return out
