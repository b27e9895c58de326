"""The shape of a voxel's hemodynamic response in the weights of FIR delays."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def fir_shape(weights: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The time course that all features' weights share best, and how much of the weights it is.

    If a voxel responded to every feature with one hemodynamic response h, its weights would be the product of h and
    of one number per feature: h is the first singular vector over delays.

    Parameters
    ----------
    weights : array-like
        (n_voxels, n_delays, n_features).

    Returns
    -------
    shape : array
        (n_voxels, n_delays), of length 1 and a sum of at least 0.
    share : array
        Its part in the sum of squared weights, (n_voxels,), from 1 / n_delays to 1; both NaN where a weight is NaN or
        all are 0.
    """
    w = np.asarray(weights, dtype=np.float64)
    gram = w @ w.transpose(0, 2, 1)
    total = np.trace(gram, axis1=1, axis2=2)
    known = np.isfinite(total) & (total > 0)
    shape, share = np.full(w.shape[:2], np.nan), np.full(len(w), np.nan)
    values, vectors = np.linalg.eigh(gram[known])
    first = vectors[:, :, -1]
    shape[known] = np.where(first.sum(axis=1, keepdims=True) < 0, -first, first)
    share[known] = values[:, -1] / total[known]
    return shape, share
