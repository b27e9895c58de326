"""Intervals of mean correlations and of their differences: what another stretch of the same kind would give.

TRs that follow each other are not independent, and voxels see the same TRs. So each test story is cut into a few long
blocks; every number is computed again without each of them (the delete-a-block jackknife; blocks of stories: Politis,
Romano & Wolf 1999), and Student's t takes the spread between so few blocks into account. All voxels lose the same block
together, which keeps whatever they share. A bootstrap that draws blocks with replacement and reads off percentiles
knows nothing of how few blocks there are: of its intervals 81 to 91 % hold the truth at 291 TRs, of these 93 to 95 %
(``benchmarks/intervals.py``). With six test stories or more, stories are left out instead of blocks, and intervals say
what other stories would give.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t as student

LEVEL = 0.95
N_BLOCKS = 7
N_STORIES = 6  # from so many on, stories are the units
_LEAST_BLOCK = 4  # TRs
Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class LeftOut:
    """A number, and the same number without each unit in turn.

    Attributes
    ----------
    value : float
        Of all the data.
    without : array
        (n_stories, n_blocks), or (1, n_stories) where stories are left out.
    """

    value: float
    without: Float64

    @property
    def standard_error(self) -> float | None:
        """Of the number; None where it is not known."""
        variances = self._variances()
        return None if variances is None else float(np.sqrt(variances.sum()))

    def interval(self, level: float = LEVEL) -> list[float] | None:
        """Lower and upper end, around the number with its bias taken away; None where that is not known."""
        variances, n = self._variances(), self.without.shape[1]
        if variances is None:
            return None
        total = variances.sum()
        freedom = total**2 / (variances**2 / (n - 1)).sum() if total > 0 else n - 1  # Welch and Satterthwaite
        center = self.value + (n - 1) * (self.value - self.without.mean(axis=1)).sum()
        half = student.ppf((1 + level) / 2, freedom) * np.sqrt(total)
        return [float(center - half), float(center + half)]

    def _variances(self) -> Float64 | None:
        """The part of each story in the squared standard error."""
        if not np.isfinite(self.value) or not np.isfinite(self.without).all() or self.without.size < 2:
            return None
        n = self.without.shape[1]
        parts: Float64 = (n - 1) * self.without.var(axis=1)
        return parts


def mean_interval(values: ArrayLike, level: float = LEVEL) -> list[float]:
    """Student's interval of the mean of independent values (n,); NaN with fewer than two."""
    known = np.asarray(values, dtype=np.float64)
    if len(known) < 2:
        return [float("nan")] * 2
    half = student.ppf((1 + level) / 2, len(known) - 1) * known.std(ddof=1) / np.sqrt(len(known))
    return [float(known.mean() - half), float(known.mean() + half)]


def combined(function: Callable[..., Any], *parts: LeftOut) -> LeftOut:
    """A function of numbers whose units are the same, such as the difference of two models' means."""
    value = function(*(np.float64(part.value) for part in parts))
    return LeftOut(float(value), np.asarray(function(*(part.without for part in parts)), dtype=np.float64))


def correlation_without_blocks(x: ArrayLike, y: ArrayLike) -> Float64:
    """Correlation over time of each column without each block of TRs: (N_BLOCKS, n_columns).

    Parameters
    ----------
    x, y : array-like
        (n_trs, n_columns), a story's predictions and responses.

    Returns
    -------
    array
        0 where a column is constant; NaN where the story is too short for blocks of four TRs.
    """
    a, b = (np.asarray(values, dtype=np.float64) for values in (x, y))
    n_trs = len(a)
    if n_trs < N_BLOCKS * _LEAST_BLOCK:
        return np.full((N_BLOCKS, a.shape[1]), np.nan)
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    left, sum_a, sum_b = _rows_left(n_trs), _without_blocks(a), _without_blocks(b)
    power = (_without_blocks(a * a) - sum_a**2 / left) * (_without_blocks(b * b) - sum_b**2 / left)
    covariance = _without_blocks(a * b) - sum_a * sum_b / left
    floor = (np.finfo(np.float64).eps * n_trs) ** 2 * (np.square(a).sum(axis=0) * np.square(b).sum(axis=0))
    r: Float64 = np.divide(covariance, np.sqrt(np.maximum(power, 0)), out=np.zeros_like(power), where=power > floor)
    return r


def r2_without_blocks(measured: ArrayLike, predicted: ArrayLike) -> Float64:
    """R2 over time of each column without each block of TRs, as :func:`correlation_without_blocks`."""
    y, x = (np.asarray(values, dtype=np.float64) for values in (measured, predicted))
    if len(y) < N_BLOCKS * _LEAST_BLOCK:
        return np.full((N_BLOCKS, y.shape[1]), np.nan)
    residual, centred = _without_blocks((y - x) ** 2), y - y.mean(axis=0)
    power = _without_blocks(centred**2) - _without_blocks(centred) ** 2 / _rows_left(len(y))
    r2: Float64 = np.where(power > 0, 1 - residual / np.where(power > 0, power, 1.0), 0.0)
    return r2


def _edges(n_trs: int) -> NDArray[np.intp]:
    return np.linspace(0, n_trs, N_BLOCKS + 1).astype(np.intp)


def _rows_left(n_trs: int) -> NDArray[np.intp]:
    """TRs that are left without each block, (N_BLOCKS, 1)."""
    rows: NDArray[np.intp] = n_trs - np.diff(_edges(n_trs))[:, None]
    return rows


def _without_blocks(values: Float64) -> Float64:
    """Sums over all TRs but those of each block, (N_BLOCKS, n_columns)."""
    sums = np.add.reduceat(values, _edges(len(values))[:-1], axis=0)
    rest: Float64 = sums.sum(axis=0) - sums
    return rest


def mean_over(
    scores: Mapping[str, Float64], left_out: Mapping[str, Float64], voxels: NDArray[np.bool_]
) -> LeftOut | None:
    """Mean score of a voxel set over stories, and without each block or story; None if no voxel has a score.

    Parameters
    ----------
    scores, left_out : dict
        Story -> score of each voxel (n_voxels,), and of :func:`correlation_without_blocks`; NaN at excluded voxels.
    voxels : array
        The set, bool (n_voxels,).
    """
    if not scores or not left_out:
        return None
    used = voxels & np.logical_and.reduce([np.isfinite(score) for score in scores.values()])
    if not used.any():
        return None
    means = np.array([score[used].mean() for score in scores.values()])
    n, value = len(means), float(means.mean())
    blocks = np.stack([left_out[story][:, used].mean(axis=1) for story in scores])
    if n < N_STORIES:
        return LeftOut(value, value + (blocks - means[:, None]) / n)
    # of stories only the spread is known: the bias, which they share, is that of the blocks inside them
    bias = np.nan_to_num((N_BLOCKS - 1) * (means - blocks.mean(axis=1)))
    return LeftOut(value, (value + (value - (means + bias)) / (n - 1))[None, :])


def percent_change(before: Any, after: Any) -> Any:
    """Change in percent of ``before``; NaN where that is not positive."""
    positive = np.asarray(before) > 0
    return np.where(positive, 100 * (after / np.where(positive, before, 1.0) - 1), np.nan)


def units_in_words(n_stories: int) -> str:
    """What is left out, for captions."""
    return "stories" if n_stories >= N_STORIES else f"{N_BLOCKS} blocks of TRs per test story"
