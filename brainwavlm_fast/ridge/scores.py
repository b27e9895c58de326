"""Scores of predictions for people: rows may have weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .backend import score_targets
from .backend_numpy import NumpyBackend

Float64 = NDArray[np.float64]


def score_columns(
    measured: NDArray[Any], predicted: NDArray[Any], scoring: str, sample_weight: ArrayLike | None = None
) -> Float64:
    """Correlation or R2 of each column (n_targets,), over rows that count as much as their weights (n_rows,) say."""
    if sample_weight is None:
        return score_targets(measured, predicted, scoring, NumpyBackend())
    weights = np.asarray(sample_weight, dtype=np.float64)
    if weights.shape != (len(measured),):
        raise ValueError(f"sample_weight must have shape ({len(measured)},), one per row, got {weights.shape}.")
    if not np.all(np.isfinite(weights) & (weights >= 0)) or not weights.any():
        raise ValueError("sample_weight must be finite, at least 0, and not 0 in every row.")
    counted = weights > 0
    w = (weights[counted] / weights.sum())[:, None]
    y, x = measured[counted].astype(np.float64), predicted[counted].astype(np.float64)
    centered_y, centered_x = y - (w * y).sum(axis=0), x - (w * x).sum(axis=0)
    constant = np.ptp(y, axis=0) == 0
    power = (w * centered_y**2).sum(axis=0)
    if scoring == "r2":
        residual = (w * (y - x) ** 2).sum(axis=0)
        return np.where(constant, 0.0, 1.0 - residual / np.where(constant, 1.0, power))
    constant |= np.ptp(x, axis=0) == 0
    spread = np.sqrt(power * (w * centered_x**2).sum(axis=0))
    r: Float64 = np.where(constant, 0.0, (w * centered_x * centered_y).sum(axis=0) / np.where(constant, 1.0, spread))
    return r
