"""Which voxels are predicted better than chance, and which by one model better than by another.

Both tests move whole blocks of TRs, so that autocorrelation inside a block is kept, count the observed value among
the permuted ones, (k + 1) / (n + 1), and correct over voxels by Benjamini and Hochberg's false discovery rate.

*Better than chance*: the blocks of the measured responses are put in a random order. A permuted correlation is a sum
over blocks of products of one predicted with one measured block, so all of them together are one matrix product:
products of all pairs of blocks, times a table of which pairs each permutation takes.

*One model against another*: under the null hypothesis the two models' standardized predictions can be exchanged, so
in each block they are swapped or not at random. That flips the sign of the block's share of the difference r_a - r_b,
which is the sum over the block's TRs of (a - b) (y - r (a + b) / 2) with r the mean of both correlations: the second
term sums to zero over the story and carries what the swap does to the models' variances. Without it the test is far
too strict for two models that are both good.

TRs at the end that do not fill a block stay where they are in the first test: the permutations that leave them are a
group, so it remains exact for exchangeable blocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import false_discovery_control

Advance = Callable[[int], object]
Alternative = Literal["greater", "two-sided"]
BLOCK, PAIRED_BLOCK = 10, 20  # TRs
N_PERMUTATIONS = 10_000  # of 95,000 voxels 190 must then be at the smallest p, of 1,000 permutations 1,900
TILE = 1024  # voxels at once


@dataclass(frozen=True)
class Significance:
    """A test at every voxel; NaN where the voxel holds a NaN.

    Attributes
    ----------
    statistic : array
        Correlation, or difference of two correlations (first minus second), (n_voxels,).
    p : array
        (k + 1) / (n_permutations + 1), k permuted values being at least as extreme, (n_voxels,).
    least_p : float
        The smallest p that the test can give: of so many permutations, or of as many as there are different ones.
    """

    statistic: NDArray[np.float64]
    p: NDArray[np.float64]
    least_p: float

    @cached_property
    def q(self) -> NDArray[np.float64]:
        """Benjamini-Hochberg adjusted p (n_voxels,): significant at false discovery rate f where q <= f."""
        return false_discovery_rate(self.p)

    def least_found(self, rate: float) -> int | None:
        """How many voxels must be at the smallest p for any to be significant at a false discovery rate.

        None where not even all of them would be: the test could not have found anything.
        """
        n_tested = int(np.isfinite(self.p).sum())
        needed = max(1, math.ceil(n_tested * self.least_p / rate - 1e-9))
        return needed if needed <= n_tested else None


def permutation_test(
    measured: ArrayLike,
    predicted: ArrayLike,
    *,
    n_permutations: int = N_PERMUTATIONS,
    block: int = BLOCK,
    seed: int = 0,
    alternative: Alternative = "greater",
    advance: Advance = lambda n_voxels: None,
) -> Significance:
    """Test the correlation over time of each voxel against permuted blocks of the measured responses.

    Parameters
    ----------
    measured, predicted : array-like
        Responses of one held-out story (n_trs, n_voxels), and their predictions.
    n_permutations, seed : int
        How many random orders of the blocks, and the seed of their generator.
    block : int, default 10
        TRs per block.
    alternative : {"greater", "two-sided"}, default "greater"
        Greater than chance, or different from it.
    advance : callable, optional
        Told how many voxels were tested since it was called last.

    Raises
    ------
    ValueError
        Shapes disagree, the story has fewer than two blocks, or there is no permutation.
    """
    y, x = _pair(measured, predicted, "predicted")
    n_blocks = _count_blocks(len(y), block, n_permutations)
    generator = np.random.default_rng(seed)
    orders = np.stack([generator.permutation(n_blocks) for _ in range(n_permutations)])
    taken = np.zeros((n_blocks, n_blocks, n_permutations), np.float32)  # predicted block, measured block
    taken[np.arange(n_blocks)[None, :], orders, np.arange(n_permutations)[:, None]] = 1
    table = taken.reshape(n_blocks * n_blocks, n_permutations)

    def permuted(x: NDArray[np.float32], y: NDArray[np.float32]) -> tuple[Any, Any]:
        blocks_x, blocks_y = (_blocks(a, n_blocks, block) for a in (x, y))  # (n_voxels, n_blocks, block)
        pairs = np.matmul(blocks_x, blocks_y.transpose(0, 2, 1))
        rest = np.einsum("tv,tv->v", x[n_blocks * block :], y[n_blocks * block :])
        values = pairs.reshape(len(pairs), -1) @ table
        values += rest[:, None]
        return np.einsum("tv,tv->v", x, y, dtype=np.float64), values

    least_p = max(1 / (n_permutations + 1), 1 / math.factorial(min(n_blocks, 20)))
    return _test(permuted, (x, y), alternative, n_permutations, least_p, advance)


def compare_models(
    measured: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    *,
    n_permutations: int = N_PERMUTATIONS,
    block: int = PAIRED_BLOCK,
    seed: int = 0,
    alternative: Alternative = "two-sided",
    advance: Advance = lambda n_voxels: None,
) -> Significance:
    """Test at each voxel whether ``first`` correlates with the measured responses more than ``second``.

    Parameters
    ----------
    measured, first, second : array-like
        Responses (n_trs, n_voxels), and two models' predictions.
    n_permutations, seed : int
        How many random swaps, and the seed of their generator.
    block : int, default 20
        TRs per block, which are swapped together. With noise and predictions of lag-1 correlation 0.4 and 0.6, 20 TRs
        call 5.6 % of equal models different at 5 %, 10 TRs 6.0 %.
    alternative : {"two-sided", "greater"}, default "two-sided"
        Different, or the first one better.
    advance : callable, optional
        Told how many voxels were tested since it was called last.

    Raises
    ------
    ValueError
        Shapes disagree, the story has fewer than two blocks, or there is no permutation.
    """
    y, a = _pair(measured, first, "first")
    b = _pair(measured, second, "second")[1]
    _count_blocks(len(y), block, n_permutations)
    n_shares = -(-len(y) // block)  # TRs that do not fill a block are swapped together
    generator = np.random.default_rng(seed)
    signs = generator.choice(np.array([-1, 1], np.float32), (n_shares, n_permutations))
    edges = np.arange(n_shares) * block

    def permuted(a: NDArray[np.float32], b: NDArray[np.float32], y: NDArray[np.float32]) -> tuple[Any, Any]:
        pooled = 0.5 * np.einsum("tv,tv->v", a + b, y)
        shares = np.add.reduceat((a - b) * (y - 0.5 * pooled * (a + b)), edges, axis=0)
        return shares.sum(axis=0, dtype=np.float64), shares.T @ signs

    different = 2.0 ** min(n_shares, 60) / (2 if alternative == "two-sided" else 1)  # all signs turned: the same size
    least_p = max(1 / (n_permutations + 1), 1 / different)
    return _test(permuted, (a, b, y), alternative, n_permutations, least_p, advance)


def false_discovery_rate(p: ArrayLike) -> NDArray[np.float64]:
    """Benjamini-Hochberg adjusted p values, in the same shape; NaN stays NaN and is not counted."""
    values = np.asarray(p, dtype=np.float64)
    q = np.full(values.shape, np.nan)
    tested = np.isfinite(values)
    if tested.any():
        q[tested] = false_discovery_control(values[tested])
    return q


def _test(
    permuted: Any,
    arrays: tuple[NDArray[np.float32], ...],
    alternative: str,
    n_permutations: int,
    least_p: float,
    advance: Advance,
) -> Significance:
    if alternative not in ("greater", "two-sided"):
        raise ValueError(f"alternative must be 'greater' or 'two-sided', got {alternative!r}.")
    n_voxels = arrays[0].shape[1]
    statistic, p = np.full(n_voxels, np.nan), np.full(n_voxels, np.nan)
    for start in range(0, n_voxels, TILE):
        parts = [a[:, start : start + TILE] for a in arrays]
        good = np.logical_and.reduce([np.isfinite(part).all(axis=0) for part in parts])
        observed, values = permuted(*(_unit(part[:, good]) for part in parts))
        if alternative == "two-sided":
            values, extreme = np.abs(values), np.abs(observed)
        else:
            extreme = observed
        # float32 rounding must not separate values that are equal, as in a constant voxel
        k = (values >= extreme[:, None] - 1e-6).sum(axis=1)
        voxels = start + np.flatnonzero(good)
        statistic[voxels], p[voxels] = observed, (k + 1) / (n_permutations + 1)
        advance(len(good))
    return Significance(statistic, p, least_p)


def _pair(measured: ArrayLike, other: ArrayLike, name: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    y, x = np.asarray(measured, dtype=np.float32), np.asarray(other, dtype=np.float32)
    if y.ndim != 2 or x.shape != y.shape:
        raise ValueError(f"{name} must have measured's shape (n_trs, n_voxels), {y.shape}, got {x.shape}.")
    return y, x


def _count_blocks(n_trs: int, block: int, n_permutations: int) -> int:
    """Whole blocks of a story, of which there must be two, and a permutation of them."""
    if n_permutations < 1:
        raise ValueError(f"n_permutations must be 1 or more, got {n_permutations}; a test without any says nothing.")
    if block < 1 or n_trs < 2 * block:
        raise ValueError(f"block must leave two whole blocks or more of the {n_trs} TRs, got {block}.")
    return n_trs // block


def _blocks(values: NDArray[np.float32], n_blocks: int, block: int) -> NDArray[np.float32]:
    """(n_voxels, n_blocks, block) from (n_trs, n_voxels)."""
    return np.ascontiguousarray(values[: n_blocks * block].T).reshape(-1, n_blocks, block)


def _unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Columns centred and of length 1, so that a sum of products is a correlation; a constant becomes zeros."""
    mean = values.mean(axis=0, dtype=np.float64)
    centred = values - mean
    length = np.sqrt(np.square(centred).sum(axis=0))
    constant = values.max(axis=0, initial=-np.inf) == values.min(axis=0, initial=np.inf)
    return np.where(constant, 0.0, centred / np.where(constant | (length == 0), 1.0, length)).astype(np.float32)
