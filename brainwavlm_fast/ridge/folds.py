"""What ridge knows of a split before it sees a target: the training rows' eigenvectors, and the held-out rows in them.

Gram matrices and their eigenvectors are float64 on the host.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .backend_numpy import Arrays
from .designs import Design
from .row_splits import RowSplit
from .sweep import RidgeSweep

_SAME_SETS = 128  # rows of a multiple of so many float64 fall on one another in the caches
MAX_GROUPED = 3  # splits whose rows are grouped by pattern: 2 ** 3 cross products at most


@dataclass(frozen=True)
class Eigen:
    """A Gram matrix's non-null eigenvalues (rank,), and eigenvectors (n_columns, rank), float64 and as the data are,
    where the targets lie."""

    values: NDArray[np.float64]
    exact: NDArray[np.float64]
    vectors: Any


@dataclass(frozen=True)
class SplitRows:
    """A split's rows: ``left_out`` do not train, ``held`` are scored; ``mean`` (n_columns,) is that of those that train
    where features are centred, else 0."""

    left_out: NDArray[np.intp]
    held: NDArray[np.intp]
    n_train: int
    mean: NDArray[np.float64]


@dataclass
class Fold:
    """One split, decomposed.

    ``held_basis`` (n_held, rank) is the held-out design, centred, in the basis of the eigenvectors, and ``held_mean``
    (rank,) its mean, relative to that of the training rows. ``sweep`` is made for a grid of penalties that it pays for.
    """

    eigen: Eigen
    rows: SplitRows
    held_basis: NDArray[np.float64]
    held_mean: NDArray[np.float64]
    sweep: RidgeSweep | None = None


def decompose(gram: NDArray[np.float64], arrays: Arrays, dtype: np.dtype[Any]) -> Eigen:
    """A Gram matrix's eigenvectors, those of its null space left out."""
    n = len(gram)
    if n % _SAME_SETS == 0:  # a few null columns more, which go with the null space, are 10 to 25 % faster
        gram = np.pad(gram, (0, 64 // gram.itemsize))
    values, vectors = np.linalg.eigh(gram)
    real = values > max(n, 1) * np.finfo(np.float64).eps * max(float(values[-1]), 0.0)
    exact = np.ascontiguousarray(vectors[:n, real])
    return Eigen(values[real], exact, arrays.asarray(exact, dtype))


def split_rows(
    design: Design, gram: NDArray[np.float64], split: RowSplit, number: int, *, centre: bool
) -> tuple[SplitRows, NDArray[np.float64]]:
    """A split's rows, and X'X of those that train.

    Parameters
    ----------
    design, gram : all rows, and their X'X.
    split, number : (training rows, held-out rows), and its number, for errors.
    centre : subtract the training rows' mean (the rows of ``design`` sum to zero).

    Raises
    ------
    ValueError : the split names a training row twice.
    """
    train, held = split
    trains = np.zeros(design.shape[0], dtype=bool)
    trains[train] = True
    if trains.sum() != len(train):
        raise ValueError(f"cv: split {number} names a training row twice.")
    left_out = np.flatnonzero(~trains)
    gram = gram - design.gram(left_out)
    mean = np.zeros(design.shape[1])
    if centre:
        mean = -design.rows(left_out).sum(axis=0, dtype=np.float64) / len(train)
        gram -= len(train) * np.outer(mean, mean)
    return SplitRows(left_out, left_out if np.array_equal(held, left_out) else held, len(train), mean), gram


def make_fold(design: Design, rows: SplitRows, gram: NDArray[np.float64], arrays: Arrays) -> Fold:
    """Decompose one split: its rows, and X'X of those that train. ``arrays``: where targets lie."""
    eigen = decompose(gram, arrays, design.dtype)
    wide = design.rows(rows.held).astype(np.float64)
    held_mean = wide.mean(axis=0)
    return Fold(eigen, rows, (wide - held_mean) @ eigen.exact, (held_mean - rows.mean) @ eigen.exact)


def row_groups(n_rows: int, splits: Sequence[RowSplit]) -> dict[int, NDArray[np.intp]]:
    """Rows by the pattern of splits that leave them out; all rows in one group where the splits are too many."""
    pattern = np.zeros(n_rows, dtype=np.int64)
    for k, (train, _) in enumerate(splits if len(splits) <= MAX_GROUPED else ()):
        left_out = np.ones(n_rows, dtype=bool)
        left_out[train] = False
        pattern |= left_out.astype(np.int64) << k
    return {int(bits): np.flatnonzero(pattern == bits) for bits in np.unique(pattern)}
