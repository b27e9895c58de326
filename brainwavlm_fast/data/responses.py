"""Responses, read lazily: one story, one key, only the rows and voxels asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import DataError
from ..progress import Progress
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
        float32 (n_trs, n_voxels); NaN stays NaN.

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
        return np.stack([_select(data[k], 0, data.shape[1], chosen) for k in range(data.shape[0])])


def story_width(dataset: Dataset, subject: str, story: str) -> int:
    """Voxels of a story's responses; a file that training cannot read is the :class:`DataError` training raises."""
    with _open_responses(dataset, subject, story) as data:
        return int(data.shape[1])


def n_voxels(dataset: Dataset, subject: str) -> int:
    """Voxels of a subject: the columns of its first story whose responses are here."""
    for story in dataset.stories(subject):
        if dataset.response_path(subject, story).is_file():
            with _open(dataset, subject, story, "data", ndim=2) as data:
                return int(data.shape[1])
    folder = dataset.response_path(subject, "*").parent
    raise DataError(
        f"no responses of {subject} have been downloaded. In {dataset.root}, run: "
        f"datalad get {dataset.relative(folder)}"
    )


def unusable_voxels(
    dataset: Dataset, subject: str, stories: Sequence[str], *, progress: Progress | None = None
) -> NDArray[np.bool_]:
    """Voxels with a NaN or infinity in, or constant over, at least one of the stories: bool (n_voxels,).

    Reads every story once, a few rows at a time.
    """
    unusable = np.zeros(n_voxels(dataset, subject), dtype=bool)
    with (progress or Progress()).task("checking responses", len(stories)) as advance:
        for story in stories:
            with _open_responses(dataset, subject, story) as data:
                if data.shape[1] != len(unusable):
                    raise DataError(
                        f"{dataset.response_path(subject, story)} has {data.shape[1]} voxels; {subject}'s first story "
                        f"has {len(unusable)}."
                    )
                lowest = np.full(len(unusable), np.inf)
                highest = np.full(len(unusable), -np.inf)
                for start in range(0, len(data), _ROWS_AT_ONCE):
                    block = data[start : start + _ROWS_AT_ONCE]
                    unusable |= ~np.isfinite(block).all(axis=0)
                    lowest, highest = np.fmin(lowest, block.min(axis=0)), np.fmax(highest, block.max(axis=0))
                unusable |= ~(highest > lowest)
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


@contextmanager
def _open(dataset: Dataset, subject: str, story: str, key: str, *, ndim: int) -> Iterator[h5py.Dataset]:
    path = dataset.require(dataset.response_path(subject, story))
    with open_hdf5(path) as file:
        if key not in file or not hasattr(file[key], "dtype"):
            raise DataError(f"{path} has no dataset '{key}'; it holds: {', '.join(sorted(file)) or 'nothing'}.")
        data = file[key]
        if data.ndim != ndim or data.dtype.kind != "f":
            raise DataError(
                f"{path}: '{key}' has shape {data.shape} and type {data.dtype}; expected {ndim} axes of floats."
            )
        try:
            yield data
        except OSError as error:
            raise DataError(f"{path} is damaged ({error}); download it again.") from error


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """An HDF5 file, or a :class:`DataError` that says it is truncated or not HDF5."""
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise DataError(f"{path} is not a whole HDF5 file ({error}); download it again.") from error
    with file:
        yield file


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


def _select(
    data: h5py.Dataset | NDArray, first: int, last: int, chosen: NDArray[np.int64] | None
) -> NDArray[np.float32]:
    # All columns of a row, then a selection: HDF5's own column selection is many times slower than reading everything.
    width = data.shape[1] if chosen is None else len(chosen)
    out = np.empty((max(last - first, 0), width), dtype=np.float32)
    for start in range(first, last, _ROWS_AT_ONCE):
        stop = min(start + _ROWS_AT_ONCE, last)
        block = data[start:stop]
        out[start - first : stop - first] = block if chosen is None else block[:, chosen]
    return out
