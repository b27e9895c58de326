"""Which voxels are predicted better than chance, and which by one model better than by another.

A correlation is a sum of products of responses and predictions. Without a relation between the two each product would
be as likely with the other sign, so the p value is the share of all random signs whose sum is at least as large
(:mod:`.sign_flips`). That needs terms that are independent of each other, which neighbouring TRs are not. The terms are
therefore products in the frequency domain: the discrete cosine transform of each story leaves the terms of a stationary
time series all but uncorrelated, for any spectrum and without a block length to choose. Its basis, unlike Fourier's,
does not take the end of a story for the neighbour of its beginning. Of smooth noise (an HRF over AR, 1/f, AR .9; 291
TRs) 4.9 to 5.2 % of voxels come out at 5 %; moved blocks of 10 TRs give 7 to 10 % (``benchmarks/significance.py``).

*One model against another*: under the null hypothesis the two models' standardized predictions can be exchanged, term
by term. That flips the sign of the term's share in the difference r_a - r_b, which is the sum of
(a - b) (y - r (a + b) / 2) with r the mean of both correlations: the second part sums to zero and carries what the
exchange does to the models' variances. Without it the test is far too strict for two models that are both good.

What the cosine transform does not remove is variance that changes over time in responses and predictions together
(three times the size for a fifth of the story, in both: 15 and 21 % at 5 %; outliers that both models share: 12 %).
``Significance.shared_variance`` shows it. ``block=N`` gives each N TRs one sign instead, as is the custom: 5.6 and
6.7 % there with N of 20, but 7 to 12 % for smooth noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.fft import dct
from scipy.stats import false_discovery_control

from .sign_flips import sign_flip_tail

Advance = Callable[[int], object]
Alternative = Literal["greater", "two-sided"]
Float64 = NDArray[np.float64]
TILE = 1024  # voxels at once


@dataclass(frozen=True)
class Significance:
    """A test at every voxel; NaN where the voxel holds a NaN.

    Attributes
    ----------
    statistic : array
        Correlation, or difference of two correlations (first minus second), (n_voxels,).
    p : array
        Share of all signs whose statistic is at least as extreme, (n_voxels,).
    least_p : float
        The smallest p that the test can give: one of all signs, or two.
    shared_variance : float
        How many times the variance over time of the two factors of a term coincides, the voxels' median: 1 where it is
        constant in one of them. The test's own variance is too small by it, with signs of cosine terms.
    """

    statistic: Float64
    p: Float64
    least_p: float
    shared_variance: float = 1.0

    @cached_property
    def q(self) -> Float64:
        """Benjamini-Hochberg adjusted p (n_voxels,): significant at false discovery rate f where q <= f."""
        return false_discovery_rate(self.p)

    def among(self, voxels: NDArray[np.bool_]) -> Significance:
        """The test of some of the voxels alone, so that q is within them."""
        return Significance(self.statistic[voxels], self.p[voxels], self.least_p, self.shared_variance)

    def least_found(self, rate: float) -> int | None:
        """How many voxels must be at the smallest p for any to be significant at a false discovery rate.

        None where not even all of them would be: the test could not have found anything.
        """
        n_tested = int(np.isfinite(self.p).sum())
        needed = max(1, math.ceil(n_tested * self.least_p / rate - 1e-9))
        return needed if needed <= n_tested else None


def correlation_test(
    measured: ArrayLike,
    predicted: ArrayLike,
    *,
    run_onsets: Sequence[int] = (0,),
    block: int | None = None,
    alternative: Alternative = "greater",
    advance: Advance = lambda n_voxels: None,
) -> Significance:
    """Test the correlation over time of each voxel against random signs of its terms.

    Parameters
    ----------
    measured, predicted : array-like
        Responses of held-out stories (n_trs, n_voxels), and their predictions.
    run_onsets : sequence of int, default (0,)
        First TR of each story; each is centred and transformed by itself.
    block : int, optional
        TRs that share a sign, instead of terms of the cosine transform.
    alternative : {"greater", "two-sided"}, default "greater"
        Greater than chance, or different from it.
    advance : callable, optional
        Told how many voxels were tested since it was called last.

    Raises
    ------
    ValueError
        Shapes disagree, a story has fewer than three TRs, or there are fewer than two blocks.
    """
    y, x = _pair(measured, predicted, "predicted")
    terms = _Terms(len(y), run_onsets, block)

    return _test(lambda x, y: (x, y), (x, y), terms, alternative, advance)


def compare_models(
    measured: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    *,
    run_onsets: Sequence[int] = (0,),
    block: int | None = None,
    alternative: Alternative = "two-sided",
    advance: Advance = lambda n_voxels: None,
) -> Significance:
    """Test at each voxel whether ``first`` correlates with the measured responses more than ``second``.

    Parameters
    ----------
    measured, first, second : array-like
        Responses of held-out stories (n_trs, n_voxels), and two models' predictions.
    run_onsets, block, advance
        As in :func:`correlation_test`.
    alternative : {"two-sided", "greater"}, default "two-sided"
        Different, or the first one better.

    Raises
    ------
    ValueError
        As in :func:`correlation_test`.
    """
    y, a = _pair(measured, first, "first")
    b = _pair(measured, second, "second")[1]
    terms = _Terms(len(y), run_onsets, block)

    def factors(a: Float64, b: Float64, y: Float64) -> tuple[Float64, Float64]:
        pooled = 0.5 * np.einsum("tv,tv->v", a + b, y)
        return a - b, y - 0.5 * pooled * (a + b)

    return _test(factors, (a, b, y), terms, alternative, advance)


def false_discovery_rate(p: ArrayLike) -> Float64:
    """Benjamini-Hochberg adjusted p values, in the same shape; NaN stays NaN and is not counted."""
    values = np.asarray(p, dtype=np.float64)
    q = np.full(values.shape, np.nan)
    tested = np.isfinite(values)
    if tested.any():
        q[tested] = false_discovery_control(values[tested])
    return q


class _Terms:
    """What gets a sign of its own: a term of a story's cosine transform, or a block of its TRs."""

    def __init__(self, n_trs: int, run_onsets: Sequence[int], block: int | None) -> None:
        edges = [*map(int, run_onsets), n_trs]
        if edges[0] != 0 or any(stop - start < 3 for start, stop in pairwise(edges)):
            raise ValueError(
                f"run_onsets must begin with 0 and leave three TRs of the {n_trs} to each story, got {edges[:-1]}."
            )
        if block is not None and block < 1:
            raise ValueError(f"block must be 1 TR or more, or None, got {block}.")
        self.runs = [slice(start, stop) for start, stop in pairwise(edges)]
        self.blocked = block is not None
        # TRs that do not fill a block are one of their own; the first cosine is a story's mean, which is 0
        self.starts = [t for run in self.runs for t in range(run.start, run.stop, block or run.stop)]
        self.n = len(self.starts) if self.blocked else n_trs - len(self.runs)
        if self.n < 2:
            raise ValueError(f"block must leave two blocks or more of the {n_trs} TRs, got {block}.")

    def centre(self, values: Float64) -> Float64:
        return np.concatenate([values[run] - values[run].mean(axis=0) for run in self.runs])

    def transform(self, values: Float64) -> Float64:
        if self.blocked:
            return values
        return np.concatenate([dct(values[run], axis=0, norm="ortho")[1:] for run in self.runs])

    def pool(self, products: Float64) -> Float64:
        return np.add.reduceat(products, self.starts, axis=0) if self.blocked else products


def _test(
    factors: Callable[..., tuple[Float64, Float64]],
    arrays: tuple[NDArray[np.float32], ...],
    terms: _Terms,
    alternative: str,
    advance: Advance,
) -> Significance:
    if alternative not in ("greater", "two-sided"):
        raise ValueError(f"alternative must be 'greater' or 'two-sided', got {alternative!r}.")
    sides = 2 if alternative == "two-sided" else 1
    n_voxels = arrays[0].shape[1]
    statistic, p = np.full(n_voxels, np.nan), np.full(n_voxels, np.nan)
    shared: list[Float64] = []
    for start in range(0, n_voxels, TILE):
        parts = [a[:, start : start + TILE] for a in arrays]
        good = np.logical_and.reduce([np.isfinite(part).all(axis=0) for part in parts])
        one, other = factors(*(_unit(terms.centre(part[:, good].astype(np.float64)), part[:, good]) for part in parts))
        signed = terms.pool(terms.transform(one) * terms.transform(other))
        shared.append(_shared_variance(one, other))
        observed, voxels = signed.sum(axis=0), start + np.flatnonzero(good)
        tail = sign_flip_tail(signed if sides == 1 else signed * np.where(observed < 0, -1.0, 1.0))
        statistic[voxels], p[voxels] = observed, np.minimum(sides * tail, 1.0)
        advance(len(good))
    together = np.concatenate([*shared, np.empty(0)])
    return Significance(statistic, p, sides * 2.0**-terms.n, float(np.median(together)) if len(together) else 1.0)


def _shared_variance(one: Float64, other: Float64) -> Float64:
    """Mean product of the squares, over that of normal series with this correlation; columns of zeros are left out."""
    a, b = np.square(one), np.square(other)
    product = a.mean(axis=0) * b.mean(axis=0)
    expected = product + 2 * np.square((one * other).mean(axis=0))
    ratio: Float64 = (a * b).mean(axis=0)[product > 0] / expected[product > 0]
    return ratio


def _pair(measured: ArrayLike, other: ArrayLike, name: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    y, x = np.asarray(measured, dtype=np.float32), np.asarray(other, dtype=np.float32)
    if y.ndim != 2 or x.shape != y.shape:
        raise ValueError(f"{name} must have measured's shape (n_trs, n_voxels), {y.shape}, got {x.shape}.")
    return y, x


def _unit(centred: Float64, values: NDArray[np.float32]) -> Float64:
    """Columns of length 1, so that a sum of products is a correlation; a constant becomes zeros."""
    length = np.sqrt(np.square(centred).sum(axis=0))
    constant = values.max(axis=0, initial=-np.inf) == values.min(axis=0, initial=np.inf)
    return np.where(constant, 0.0, centred / np.where(constant | (length == 0), 1.0, length))
