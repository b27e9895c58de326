"""The noise ceiling: the highest correlation with a measured response that any model could reach.

From single presentations of one story: what repeats is signal, what does not is noise. The estimator is Sahani and
Linden's (2003) signal power, unbiased in the number of presentations, turned into a correlation as by Schoppe et al.
(2016). With n presentations, ``signal = (n var(mean) - mean(var)) / (n - 1)`` and
``ceiling = sqrt(signal / var(mean))``, variances over time, mean over presentations.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..data import Dataset, n_voxels, open_hdf5, read_repeats
from ..progress import Progress

ESTIMATOR = "signal power over repeats (Sahani & Linden 2003; Schoppe et al. 2016)"
CAVEAT = (
    "The ceiling comes from the test story's own repeats: voxels selected by it are selected on the test data, and a "
    "voxel without signal gets a ceiling a little above 0, because negative estimates are cut at 0."
)
FLOOR = 0.2  # below this ceiling a normalised correlation is mostly noise divided by noise
_GIB = 1 << 30


def noise_ceiling(repeats: ArrayLike) -> NDArray[np.float64]:
    """Noise ceiling of the mean response to a story, as a correlation.

    Parameters
    ----------
    repeats : (n_repeats, n_trs, n_voxels) single presentations, two or more.

    Returns
    -------
    (n_voxels,) in 0 to 1; 0 where nothing repeats or the response is constant; NaN where a repeat holds a NaN.

    Raises
    ------
    ValueError : fewer than two repeats or TRs.
    """
    single = np.asarray(repeats)
    if single.ndim != 3 or single.shape[0] < 2 or single.shape[1] < 2:
        raise ValueError(
            "repeats must have shape (n_repeats, n_trs, n_voxels) with 2 repeats and 2 TRs or more, "
            f"got {single.shape}."
        )
    n = len(single)
    of_mean = single.mean(axis=0, dtype=np.float64).var(axis=0)
    signal = (n * of_mean - single.var(axis=1, dtype=np.float64).mean(axis=0)) / (n - 1)
    share = np.divide(signal, of_mean, out=np.zeros_like(signal), where=of_mean != 0)
    return np.sqrt(np.clip(share, 0.0, 1.0))


def normalised(r: ArrayLike, ceiling: ArrayLike, *, floor: float = FLOOR) -> NDArray[np.float64]:
    """Correlations divided by their noise ceilings, (n_voxels,); NaN where the ceiling lies below ``floor``."""
    values, top = np.asarray(r, dtype=np.float64), np.asarray(ceiling, dtype=np.float64)
    known = np.greater_equal(top, floor, where=np.isfinite(top), out=np.zeros(top.shape, dtype=bool))
    return np.divide(values, top, out=np.full(values.shape, np.nan), where=known)


def dataset_noise_ceiling(
    dataset: Dataset, subject: str, story: str, *, memory_gb: float = 2.0, progress: Progress | None = None
) -> tuple[NDArray[np.float64], int] | None:
    """Noise ceiling (n_voxels,) of a subject's mean response to a story, and the number of repeats.

    None where the data set holds no single presentations of the story (they exist for the test story only).
    """
    with open_hdf5(dataset.require(dataset.response_path(subject, story))) as file:
        if "individual_repeats" not in file or file["individual_repeats"].ndim != 3:
            return None
        n_repeats, n_trs, _ = file["individual_repeats"].shape
    if n_repeats < 2:
        return None
    n = n_voxels(dataset, subject)
    stretch = max(1, int(memory_gb * _GIB / (12 * n_repeats * n_trs)))  # float32, and float64 while it is summed
    ceiling = np.empty(n)
    with (progress or Progress()).task("noise ceiling", n) as advance:
        for first in range(0, n, stretch):
            wanted = np.arange(first, min(first + stretch, n))
            ceiling[wanted] = noise_ceiling(read_repeats(dataset, subject, story, voxels=wanted))
            advance(len(wanted))
    return ceiling, int(n_repeats)
