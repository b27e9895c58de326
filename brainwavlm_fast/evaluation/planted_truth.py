"""What is known of a simulated brain: the correlation that ridge on the teacher's features reaches."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..data import Dataset, open_hdf5
from ..errors import DataError

_TEACHER = "teacher_ridge"


def teacher_correlations(dataset: Dataset, subject: str, *, n_voxels: int) -> NDArray[np.float64] | None:
    """Ridge on the teacher's features, test correlation of each voxel (n_voxels,); None for a real data set.

    Raises
    ------
    DataError : the data set has truths, but this subject's is damaged or of another width.
    """
    path = dataset.root / "truth" / f"{subject}.hf5"
    if not path.is_file():
        return None
    with open_hdf5(path) as file:
        if _TEACHER not in file:
            raise DataError(f"{path} has no dataset '{_TEACHER}'; make the planted brain again with `bwlm simulate`.")
        teacher = np.asarray(file[_TEACHER], dtype=np.float64)
    if teacher.shape != (n_voxels,):
        raise DataError(f"{path}: '{_TEACHER}' has shape {teacher.shape}; {subject} has {n_voxels} voxels.")
    return teacher
