"""The noise ceiling: the highest correlation with a measured mean response that any model could reach.

From individual repeats of one story: what repeats is signal, what does not is noise. With n repeats, the signal power
that the mean response keeps is the mean covariance of two different repeats (Sahani & Linden 2003),
``signal = (n var(mean) - mean(var)) / (n - 1)``, variances over time, mean over repeats. Its share of var(mean) is the
square of a correlation (Schoppe et al. 2016).

*Which mean.* A plain mean and a mean of z-scored repeats weight repeats differently, and their ceilings differ where
repeats differ in gain or noise: :func:`composition` tells from the data which of the two it is.

*Bias.* The share does not depend on unequal noise. Where gains differ with a coefficient of variation k between
repeats, it is too small by the factor 1 - k^2 / (n - 1): two repeats cannot tell unequal gains from less signal. The
root of a noisy number is too small on average; its second-order term is added back, so that over 291 TRs ceilings from
0.4 on are unbiased within .02. Smaller ones are overestimated, and are below the floor.

*Floor.* Shift the repeats against each other in time, each by a random number of TRs round the story's end: nothing
repeats any more, and each repeat keeps its autocorrelation. The moments of the signal power over all such shifts follow
from the repeats' power spectra, without drawing any. The floor is the ceiling that this power's 95th percentile would
give, so that 5 % of the voxels whose response does not repeat lie above it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray

ESTIMATOR = "signal power over repeats (Sahani & Linden 2003; Schoppe et al. 2016)"
CAVEAT = (
    "The ceiling comes from the test story's own repeats: voxels selected by it are selected on the test data, and "
    "among those just above the floor it is more often too high than too low."
)
FLOOR_RULE = "above what 95 % of random shifts of its repeats against each other give"
_QUANTILE = 1.6449  # of the standard normal distribution at 95 %
_SAME = 0.999  # correlation over time of responses that are made alike, in float32
_MOST = 0.99  # of the voxels
_TILE = 1024  # voxels at once


@dataclass(frozen=True)
class NoiseCeiling:
    """Ceilings of voxels, as correlations (n_voxels,); NaN where a repeat holds a NaN.

    Attributes
    ----------
    value : array
        In 0 to 1; 0 where the response is constant.
    floor : array
        The ceiling of a signal power that 95 % of random shifts of the voxel's repeats stay below.
    """

    value: NDArray[np.float64]
    floor: NDArray[np.float64]

    @property
    def repeats(self) -> NDArray[np.bool_]:
        """Voxels (n_voxels,) whose response repeats more than chance, each at a level of 5 %."""
        above: NDArray[np.bool_] = self.value > self.floor  # NaN is above nothing
        return above


def noise_ceiling(repeats: ArrayLike, *, standardize: bool = False) -> NoiseCeiling:
    """Noise ceiling of the mean response to a story, as a correlation.

    Parameters
    ----------
    repeats : array-like
        Responses to individual presentations (n_repeats, n_trs, n_voxels), two or more.
    standardize : bool, default False
        Of the mean of z-scored repeats, rather than of the plain mean.

    Raises
    ------
    ValueError
        Fewer than two repeats or TRs.
    """
    every = np.asarray(repeats)
    if every.ndim != 3 or every.shape[0] < 2 or every.shape[1] < 2:
        raise ValueError(
            f"repeats must have shape (n_repeats, n_trs, n_voxels) with 2 repeats and 2 TRs or more, got {every.shape}."
        )
    value, floor = np.empty(every.shape[2]), np.empty(every.shape[2])
    for first in range(0, every.shape[2], _TILE):
        tile = slice(first, first + _TILE)
        part = _centered(every[:, :, tile])
        value[tile], floor[tile] = _ceiling(_scaled(part) if standardize else part)
    return NoiseCeiling(value, floor)


def normalize_by_ceiling(r: ArrayLike, ceiling: NoiseCeiling) -> NDArray[np.float64]:
    """Correlations divided by their noise ceilings, (n_voxels,); NaN where nothing repeats more than chance."""
    values = np.asarray(r, dtype=np.float64)
    ratio: NDArray[np.float64] = np.divide(
        values, ceiling.value, out=np.full(values.shape, np.nan), where=ceiling.repeats
    )
    return ratio


def composition(agreement: ArrayLike) -> str:
    """What a mean response is, in words, from :func:`agreement` of its voxels, (2, n_voxels).

    ``plain mean`` or ``mean of z-scored`` if 99 % of the voxels correlate with it by .999 or more, ``both`` if they do
    with either, as where repeats are z-scored in the data; else ``neither``.
    """
    known = np.asarray(agreement, dtype=np.float64)
    known = known[:, np.isfinite(known).all(axis=0)]
    plain, standardized = (known >= _SAME).mean(axis=1) >= _MOST if known.size else (False, False)
    if plain and standardized:
        return "both"
    return "plain mean" if plain else "mean of z-scored" if standardized else "neither"


def agreement(data: ArrayLike, repeats: ArrayLike) -> NDArray[np.float64]:
    """Correlation over time of a mean response with the plain mean of its repeats, and with that of z-scored ones.

    Parameters
    ----------
    data, repeats : array-like
        (n_trs, n_voxels) and (n_repeats, n_trs, n_voxels).

    Returns
    -------
    array
        (2, n_voxels); NaN where one of them is constant or holds a NaN.
    """
    given, part = np.asarray(data, dtype=np.float64), _centered(np.asarray(repeats))
    given = given - given.mean(axis=0)
    rows = []
    for mean in (part.mean(axis=0), _scaled(part).mean(axis=0)):
        power = np.sqrt(np.square(given).sum(axis=0) * np.square(mean).sum(axis=0))
        covariance = (given * mean).sum(axis=0)
        rows.append(np.divide(covariance, power, out=np.full(power.shape, np.nan), where=power > 0))
    return np.stack(rows)


def _centered(repeats: NDArray[Any]) -> NDArray[np.float64]:
    centered: NDArray[np.float64] = repeats - repeats.mean(axis=1, dtype=np.float64, keepdims=True)
    centered[np.broadcast_to(np.ptp(repeats, axis=1, keepdims=True) == 0, centered.shape)] = 0.0  # rounding of the mean
    return centered


def _scaled(centered: NDArray[np.float64]) -> NDArray[np.float64]:
    """z-scores; a constant repeat stays 0."""
    spread = centered.std(axis=1, keepdims=True)
    scores: NDArray[np.float64] = np.divide(centered, spread, out=np.zeros_like(centered), where=spread != 0)
    return scores


def _ceiling(centered: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ceiling and floor (n_voxels,) of the plain mean of centered repeats."""
    n = len(centered)
    of_mean = np.square(centered.mean(axis=0)).mean(axis=0)
    signal = (n * of_mean - np.square(centered).mean(axis=(0, 1))) / (n - 1)
    spread, quantile = signal_of_shifts(centered)
    constant = of_mean == 0
    power = np.where(constant, 1.0, of_mean)
    share, noise, limit = signal / power, spread / power, quantile / power
    value, floor = (np.sqrt(np.clip((x + np.hypot(x, noise)) / 2, 0.0, 1.0)) for x in (share, limit))
    value[constant], floor[constant] = 0.0, 1.0
    return value, floor


def signal_of_shifts(centered: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Standard deviation and 95th percentile (n_voxels,) of the signal power over all circular shifts of the repeats.

    The mean square over shifts of two repeats' covariance is a sum over frequencies of the product of their power
    spectra (Parseval); different pairs are uncorrelated, and only triangles of pairs have a third moment.
    """
    n, n_trs, _ = centered.shape
    spectra = scipy.fft.rfft(centered, axis=1)[:, 1:]
    power = np.square(spectra.real) + np.square(spectra.imag)
    power /= n_trs
    first, second, third = (np.power(power, k).sum(axis=0) for k in (1, 2, 3))
    both_sides = np.full((spectra.shape[1], 1), 2.0)
    if n_trs % 2 == 0:
        both_sides[-1] = 1.0
    n_pairs = n * (n - 1) / 2
    pairs = (both_sides * (first**2 - second) / 2).sum(axis=0)
    triangles = (both_sides * (first**3 - 3 * first * second + 2 * third) / 6).sum(axis=0)
    spread = np.sqrt(pairs) / (n_pairs * n_trs)
    third_moment = 6 * triangles / (n_pairs * n_trs) ** 3
    skewness = np.divide(third_moment, spread**3, out=np.zeros_like(spread), where=spread > 0)
    # Cornish and Fisher's quantile of a skewed distribution
    return spread, spread * (_QUANTILE + skewness * (_QUANTILE**2 - 1) / 6)
