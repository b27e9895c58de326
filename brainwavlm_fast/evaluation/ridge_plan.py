"""Ridge regression for many targets on one design: what does not depend on the targets is computed once.

The penalty is added to the Gram matrix's diagonal: weights = (X'X + penalty I)^-1 X'Y. Gram matrices and their
eigenvectors are float64; products with the targets keep the data's own precision.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..kernels import correlation
from .splits import Split

Floats = NDArray[np.floating[Any]]
_TILE_BYTES = 128 << 20


@dataclass(frozen=True)
class _Eigen:
    """A Gram matrix's non-null eigenvalues (r,), float64, and eigenvectors (n_columns, r), in the data's dtype."""

    values: NDArray[np.float64]
    vectors: Floats

    def shrink(self, penalty: float) -> Floats:
        return (1.0 / (self.values + penalty)).astype(self.vectors.dtype)


@dataclass(frozen=True)
class _Fold:
    """One split, decomposed.

    ``left_out`` are the rows that do not train, ``held`` the rows that are scored; ``held_basis`` (n_held, r) is the
    centred held-out design in the basis of the eigenvectors.
    """

    eigen: _Eigen
    mean: Floats
    n_train: int
    left_out: NDArray[np.intp]
    held: NDArray[np.intp]
    held_basis: Floats


class RidgePlan:
    """A design, its splits and its decompositions, ready for any number of targets.

    Ridge does not change when the features are rotated. So a design with more columns than rows is first rotated
    into its row space (QR), and everything works on as many columns as there are rows.
    """

    def __init__(
        self,
        X: Floats,
        splits: Sequence[Split] = (),
        *,
        fit_intercept: bool = False,
        scoring: str = "correlation",
        keep_folds: bool = False,
        n_targets_batch: int | None = None,
    ) -> None:
        """Take a design.

        Parameters
        ----------
        X : (n_rows, n_features), float32 or float64.
        splits : (training rows, held-out rows) pairs for :meth:`score`.
        fit_intercept : centre features and targets over the rows that train.
        scoring : ``"correlation"`` or ``"r2"``.
        keep_folds : keep the decompositions of all splits, for calling :meth:`score` more than once.
        n_targets_batch : targets worked on at once; None: as many as 128 MiB of temporaries allow.
        """
        self._offset = X.mean(axis=0, dtype=np.float64).astype(X.dtype) if fit_intercept else None
        Z = X if self._offset is None else X - self._offset
        self._rotation: Floats | None = None
        if Z.shape[1] > Z.shape[0]:
            basis, triangle = np.linalg.qr(Z.T.astype(np.float64))
            self._rotation, Z = basis.astype(X.dtype), np.ascontiguousarray(triangle.T, dtype=X.dtype)
        self._design = Z
        self._splits = list(splits)
        self._fit_intercept, self._scoring, self._keep = fit_intercept, scoring, keep_folds
        self._batch = n_targets_batch
        self._gram = _gram(Z)
        self._folds: dict[int, _Fold] = {}
        self._whole: _Eigen | None = None

    def score(self, Y: Floats, penalties: NDArray[np.float64]) -> NDArray[np.float64]:
        """Held-out score of each penalty and target, averaged over the splits: (n_penalties, n_targets)."""
        total = np.zeros((len(penalties), Y.shape[1]))
        for k in range(len(self._splits)):
            fold = self._fold(k)
            self._warn_if_small(float(np.min(penalties)), fold.eigen)
            for tile in self._tiles(Y.shape[1], len(fold.held)):
                total[:, tile] += self._score_fold(fold, Y[:, tile], penalties)
        return total / len(self._splits)

    def weights(self, Y: Floats, penalties: NDArray[np.float64]) -> tuple[Floats, Floats]:
        """Weights on all rows with one penalty a target: (n_features, n_targets) and intercepts (n_targets,)."""
        if self._whole is None:
            self._whole = _eigen(self._gram, self._design.dtype)
        eigen = self._whole
        self._warn_if_small(float(np.min(penalties)), eigen)
        basis = eigen.vectors if self._rotation is None else self._rotation @ eigen.vectors
        coef = np.empty((basis.shape[0], Y.shape[1]), dtype=self._design.dtype)
        intercept = np.zeros(Y.shape[1], dtype=self._design.dtype)
        for tile in self._tiles(Y.shape[1], 0):
            targets, mean = self._centred(Y[:, tile])
            projected = eigen.vectors.T @ (self._design.T @ targets)
            projected /= (eigen.values[:, None] + penalties[None, tile]).astype(projected.dtype)
            coef[:, tile] = basis @ projected
            if self._offset is not None:
                intercept[tile] = mean - self._offset @ coef[:, tile]
        return coef, intercept

    def _score_fold(self, fold: _Fold, Y: Floats, penalties: NDArray[np.float64]) -> NDArray[np.float64]:
        targets, _ = self._centred(Y)
        left_out = targets[fold.left_out]
        cross = self._design.T @ targets - self._design[fold.left_out].T @ left_out
        offset = np.zeros(targets.shape[1])
        if self._fit_intercept:  # the targets sum to zero over all rows, so over the training rows to minus the rest
            offset = -left_out.sum(axis=0, dtype=np.float64) / fold.n_train
            cross -= (fold.n_train * fold.mean)[:, None] * offset.astype(cross.dtype)
        projected = fold.eigen.vectors.T @ cross
        held = targets[fold.held] - offset.astype(targets.dtype)
        scores = np.empty((len(penalties), targets.shape[1]))
        for k, penalty in enumerate(penalties):
            predicted = fold.held_basis @ (fold.eigen.shrink(penalty)[:, None] * projected)
            scores[k] = score_targets(held, predicted, self._scoring)
        return scores

    def _fold(self, number: int) -> _Fold:
        if number in self._folds:
            return self._folds[number]
        train, held = self._splits[number]
        design = self._design
        trains = np.zeros(len(design), dtype=bool)
        trains[train] = True
        if trains.sum() != len(train):
            raise ValueError(f"cv: split {number} names a training row twice.")
        left_out = np.flatnonzero(~trains)
        rest = _gram(design[left_out])
        gram = self._gram - rest
        mean = np.zeros(design.shape[1])
        if self._fit_intercept:
            mean = -design[left_out].sum(axis=0, dtype=np.float64) / len(train)
            gram = gram - len(train) * np.outer(mean, mean)
        eigen = _eigen(gram, design.dtype)
        small_mean = mean.astype(design.dtype)
        basis = (design[held] - small_mean) @ eigen.vectors
        fold = _Fold(eigen, small_mean, len(train), left_out, held, basis)
        if self._keep:
            self._folds[number] = fold
        return fold

    def _centred(self, Y: Floats) -> tuple[Floats, Floats]:
        Y = np.ascontiguousarray(Y, dtype=self._design.dtype)
        if not self._fit_intercept:
            return Y, np.zeros(Y.shape[1], dtype=Y.dtype)
        # a constant's mean may round: without this it would keep a spread of one unit in the last place
        mean = np.where(Y.max(axis=0) == Y.min(axis=0), Y[0], Y.mean(axis=0, dtype=np.float64))
        return (Y - mean).astype(Y.dtype), mean.astype(Y.dtype)

    def _tiles(self, n_targets: int, n_held: int) -> Iterator[slice]:
        n_rows, n_columns = self._design.shape
        bytes_each = (n_rows + 3 * n_columns + 4 * n_held) * self._design.itemsize
        step = self._batch or max(1, _TILE_BYTES // bytes_each)
        return (slice(start, min(start + step, n_targets)) for start in range(0, n_targets, step))

    def _warn_if_small(self, penalty: float, eigen: _Eigen) -> None:
        # products are in the data's precision: a penalty under their rounding error of the largest eigenvalue is noise
        largest = float(eigen.values[-1]) if len(eigen.values) else 0.0
        if penalty < 10 * np.finfo(self._design.dtype).eps * largest:
            warnings.warn(
                f"the smallest penalty, {penalty:.3g}, is below what {self._design.dtype} resolves beside the largest "
                f"eigenvalue of X'X, {largest:.3g}: use larger alphas, or float64.",
                RuntimeWarning,
                stacklevel=4,
            )


def score_targets(measured: Floats, predicted: Floats, scoring: str) -> NDArray[np.float64]:
    """Correlation or R2 of each column, (n_targets,); a constant on either side of a correlation, or a constant
    target of an R2, scores 0."""
    if scoring == "correlation":
        return correlation(measured, predicted, axis=0).astype(np.float64)
    spread = np.square(measured - measured.mean(axis=0, dtype=np.float64)).sum(axis=0, dtype=np.float64)
    left = np.square(measured - predicted).sum(axis=0, dtype=np.float64)
    constant = measured.max(axis=0) == measured.min(axis=0)
    return np.where(constant, 0.0, 1.0 - left / np.where(constant, 1.0, spread))


def _gram(Z: Floats) -> NDArray[np.float64]:
    wide = Z.astype(np.float64, copy=False)
    return wide.T @ wide


def _eigen(gram: NDArray[np.float64], dtype: Any) -> _Eigen:
    values, vectors = np.linalg.eigh(gram)
    real = values > max(gram.shape[0], 1) * np.finfo(np.float64).eps * max(float(values[-1]), 0.0)
    return _Eigen(values[real], np.ascontiguousarray(vectors[:, real], dtype=dtype))
