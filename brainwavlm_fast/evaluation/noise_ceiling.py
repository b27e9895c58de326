"""The noise ceiling of a story of a data set, from its individual repeats, read a few voxels at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..data import Dataset, n_voxels, open_hdf5, read_repeats
from ..memory import GIB
from ..progress import Progress
from ..stats import noise_ceiling


def dataset_noise_ceiling(
    dataset: Dataset, subject: str, story: str, *, memory_gb: float = 2.0, progress: Progress | None = None
) -> tuple[NDArray[np.float64], int] | None:
    """Noise ceiling (n_voxels,) of a subject's mean response to a story, and the number of repeats.

    None where the data set holds no individual repeats of the story (they exist for the test story only).
    """
    with open_hdf5(dataset.require(dataset.response_path(subject, story))) as file:
        if "individual_repeats" not in file or file["individual_repeats"].ndim != 3:
            return None
        n_repeats, n_trs, _ = file["individual_repeats"].shape
    if n_repeats < 2:
        return None
    n = n_voxels(dataset, subject)
    width = max(1, int(memory_gb * GIB / (12 * n_repeats * n_trs)))  # float32, and float64 while it is summed
    ceiling = np.empty(n)
    with (progress or Progress()).task("noise ceiling", n) as advance:
        for first in range(0, n, width):
            wanted = np.arange(first, min(first + width, n))
            ceiling[wanted] = noise_ceiling(read_repeats(dataset, subject, story, voxels=wanted))
            advance(len(wanted))
    return ceiling, int(n_repeats)
