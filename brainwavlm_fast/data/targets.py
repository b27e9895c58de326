"""One matrix per story in an HDF5 file, one row per response: trained on, or probed, instead of responses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .hdf5 import open_array, read_rows
from .numbers import require_finite
from .tree import Dataset


def read_target(path: Path | str, dataset: Dataset, story: str) -> NDArray[np.float32]:
    """A story's dataset as float32 (n_trs, n_dimensions).

    Raises
    ------
    DataError
        The story is missing, has another number of rows than responses, or holds what is not a number.
    """
    path, n_trs = Path(path), dataset.n_trs(story)
    if not path.is_file():
        raise DataError(
            f"{path}: no such file of targets; give an HDF5 file with one dataset (n_trs, n_dimensions) per story."
        )
    with open_array(path, story, ndim=2, kinds="fiub") as data:
        if len(data) != n_trs or not data.size:
            raise DataError(
                f"{path}, '{story}': expected finite numbers ({n_trs}, n_dimensions), one row per response, got shape "
                f"{data.shape}."
            )
        return require_finite(read_rows(data, 0, n_trs), f"{path}, '{story}'")


def usable_dimensions(path: Path | str, dataset: Dataset, stories: Sequence[str]) -> NDArray[np.bool_]:
    """Which dimensions vary in every story, (n_dimensions,); stories that disagree on how many are a DataError."""
    varies: NDArray[np.bool_] | None = None
    for story in stories:
        values = read_target(path, dataset, story)
        varying = values.max(axis=0) > values.min(axis=0)
        if varies is not None and len(varying) != len(varies):
            raise DataError(f"{path}, '{story}' has {len(varying)} dimensions, '{stories[0]}' {len(varies)}.")
        varies = varying if varies is None else varies & varying
    if varies is None or not varies.any():
        raise DataError(f"{path}: no dimension varies in every story; nothing can be trained on it.")
    return varies
