"""The noise ceiling: the highest correlation with a measured response that any model could reach.

From individual repeats of one story: what repeats is signal, what does not is noise. The estimator is Sahani and
Linden's (2003) signal power, unbiased in the number of repeats, turned into a correlation as by Schoppe et al.
(2016). With n repeats, ``signal = (n var(mean) - mean(var)) / (n - 1)`` and
``ceiling = sqrt(signal / var(mean))``, variances over time, mean over repeats.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

ESTIMATOR = "signal power over repeats (Sahani & Linden 2003; Schoppe et al. 2016)"
CAVEAT = (
    "The ceiling comes from the test story's own repeats: voxels selected by it are selected on the test data, and a "
    "voxel without signal gets a ceiling a little above 0, because negative estimates are cut at 0."
)
FLOOR = 0.2  # below this ceiling a normalized correlation is mostly noise divided by noise


def noise_ceiling(repeats: ArrayLike) -> NDArray[np.float64]:
    """Noise ceiling of the mean response to a story, as a correlation.

    Parameters
    ----------
    repeats : array-like
        Responses to individual presentations (n_repeats, n_trs, n_voxels), two or more.

    Returns
    -------
    array
        (n_voxels,) in 0 to 1; 0 where nothing repeats or the response is constant; NaN where a repeat holds a NaN.

    Raises
    ------
    ValueError
        Fewer than two repeats or TRs.
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
    ceiling: NDArray[np.float64] = np.sqrt(np.clip(share, 0.0, 1.0))
    return ceiling


def normalize_by_ceiling(r: ArrayLike, ceiling: ArrayLike, *, floor: float = FLOOR) -> NDArray[np.float64]:
    """Correlations divided by their noise ceilings, (n_voxels,); NaN where the ceiling lies below ``floor``."""
    values, top = np.asarray(r, dtype=np.float64), np.asarray(ceiling, dtype=np.float64)
    known = np.greater_equal(top, floor, where=np.isfinite(top), out=np.zeros(top.shape, dtype=bool))
    ratio: NDArray[np.float64] = np.divide(values, top, out=np.full(values.shape, np.nan), where=known)
    return ratio
