"""Ridge regression for many targets on one design: what does not depend on the targets is computed once.

The penalty is added to the Gram matrix's diagonal: weights = (X'X + penalty I)^-1 X'Y. Gram matrices and their
eigenvectors are float64 on the host; products with the targets keep the data's own precision, and are made where the
targets lie: on the host, or on a GPU.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .backend_numpy import Arrays, HostArrays, score_targets
from .designs import DenseDesign, Design
from .folds import MAX_GROUPED, Eigen, Fold, SplitRows, decompose, make_fold, row_groups, split_rows
from .parallel import run_parallel
from .predictor import Predictor
from .row_splits import RowSplit
from .sweep import RidgeSweep

Floats = NDArray[np.floating[Any]]
Scores = NDArray[np.float64]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Prepared:
    """Targets as a plan works on them, where they lie: centred (n_rows, n_targets), and their means (on the host).

    ``groups`` are cross products X'Y (n_columns, n_targets) over rows that train in the same splits, by the pattern of
    those that leave them out (bit k: split k): each split's training cross product is a sum of some.
    """

    targets: Any
    mean: Floats
    groups: dict[int, Any]

    def cross(self, split: int | None = None) -> Any:
        """X'Y over the rows that train in a split, or over all rows."""
        wanted = [part for bits, part in self.groups.items() if split is None or not bits >> split & 1]
        total = wanted[0] + wanted[1] if len(wanted) > 1 else 1 * wanted[0]  # a copy: callers change it
        for part in wanted[2:]:
            total += part
        return total


class RidgePlan:
    """A design, its splits and its decompositions, ready for any number of targets.

    Ridge does not change when the features are rotated. So a design with more columns than rows is first rotated
    into its row space (QR), and everything works on as many columns as there are rows.
    """

    def __init__(
        self,
        design: Design,
        splits: Sequence[RowSplit] = (),
        *,
        n_targets: int,
        fit_intercept: bool = False,
        scoring: str = "correlation",
        arrays: Arrays | None = None,
    ) -> None:
        """Take a design.

        Parameters
        ----------
        design : (n_rows, n_features), float32 or float64.
        splits : (training rows, held-out rows) pairs for :meth:`score`.
        n_targets : how many will come in all, in however many parts: it decides how they are scored.
        fit_intercept : centre features and targets over the rows that train.
        scoring : ``"correlation"`` or ``"r2"``.
        arrays : where targets lie; None: on the host.
        """
        self.arrays: Arrays = arrays or HostArrays()
        self._offset: Floats | None = None
        self._rotation: Floats | None = None
        n_rows, n_columns = design.shape
        if fit_intercept or n_columns > n_rows:
            X = design.rows(np.arange(n_rows))
            if fit_intercept:
                self._offset = X.mean(axis=0, dtype=np.float64).astype(X.dtype)
                X = X - self._offset
            if n_columns > n_rows:
                basis, triangle = np.linalg.qr(X.T.astype(np.float64))
                self._rotation, X = basis.astype(X.dtype), np.ascontiguousarray(triangle.T, dtype=X.dtype)
            design = DenseDesign(X)
        self._design = design
        design.to_device(self.arrays)
        self._splits = list(splits)
        self._fit_intercept, self._scoring, self._n_targets = fit_intercept, scoring, n_targets
        self._groups = row_groups(n_rows, self._splits)
        self._gram = design.gram()
        self._folds: dict[int, Fold] = {}
        self._whole: Eigen | None = None

    def prepare(self, Y: Any) -> Prepared:
        """Take targets (n_rows, n_targets), from wherever they are, for :meth:`score` and :meth:`weights`."""
        targets, mean = self._centred(self.arrays.asarray(Y, self._design.dtype))
        if len(self._groups) == 1:
            return Prepared(targets, mean, {0: self._design.cross(None, targets)})
        crosses = {b: self._design.cross(rows, targets[rows]) for b, rows in self._groups.items()}
        return Prepared(targets, mean, crosses)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of products with the targets: the design's."""
        return self._design.dtype

    @property
    def n_splits(self) -> int:
        """Splits that :meth:`score` knows."""
        return len(self._splits)

    def score(self, prepared: Prepared, penalties: NDArray[np.float64], *, splits: range | None = None) -> Scores:
        """Held-out score of each penalty and target, summed over the splits: (n_penalties, n_targets).

        ``splits`` are the numbers of those wanted, all by default; their decompositions are kept until
        :meth:`forget`.
        """
        wanted = splits if splits is not None else range(self.n_splits)
        self.decompose(penalties, splits=wanted, whole=False)
        total = np.zeros((len(penalties), prepared.targets.shape[1]))
        for k in wanted:
            total += self._score_fold(k, self._folds[k], prepared, penalties)
        return total

    def each(
        self, jobs: Sequence[Callable[[], Result]], *, done: Callable[[int], object] = lambda number: None
    ) -> list[Result]:
        """Results of pieces of work, each on targets of its own: side by side on the host, in turn on a GPU."""
        return self.arrays.each(jobs, done)

    def decompose(
        self, penalties: NDArray[np.float64] | None = None, *, splits: Sequence[int] = (), whole: bool = True
    ) -> None:
        """Decompose all rows if ``whole``, and splits for a grid of penalties, side by side: what is not there yet.

        The other methods see to it themselves; it must be done before they are called from several threads.
        """
        grid = np.empty(0) if penalties is None else penalties
        wanted = [k for k in splits if k not in self._folds or self._wants_sweep(self._folds[k], grid)]
        jobs: list[Callable[[], None]] = [partial(self._decompose_split, k, grid) for k in wanted]
        if whole and self._whole is None:
            jobs.append(self._decompose_rows)
        if jobs:
            run_parallel(jobs)
        for k in wanted:
            self._warn_if_small(float(np.min(grid)), self._folds[k].eigen)

    def _decompose_rows(self) -> None:
        self._whole = decompose(self._gram, self.arrays, self.dtype)

    def _decompose_split(self, number: int, penalties: NDArray[np.float64]) -> None:
        if number not in self._folds:
            self._folds[number] = make_fold(self._design, *self._split_rows(number), self.arrays)
        fold = self._folds[number]
        if self._wants_sweep(fold, penalties):
            fold.sweep = RidgeSweep.prepare(fold.eigen.values, fold.held_basis, penalties, self.arrays, self.dtype)

    def gcv(self, prepared: Prepared, penalties: NDArray[np.float64]) -> Scores:
        """Generalised cross-validation on all rows, as an R2: 1 - GCV error / variance, (n_penalties, n_targets).

        The error is n |y - Hy|^2 / trace(I - H)^2, H = X (X'X + penalty I)^-1 X' (Golub, Heath & Wahba 1979): the
        decomposition that the weights need anyway gives it, without a split.
        """
        eigen, arrays = self._all_rows(), self.arrays
        self._warn_if_small(float(np.min(penalties)), eigen)
        explained = arrays.to_host(eigen.vectors.T @ prepared.cross()).astype(np.float64) ** 2
        d = 1.0 / (eigen.values + penalties[:, None])
        total = arrays.sums(prepared.targets**2)
        left = total - (2 * d - eigen.values * d**2) @ explained
        n = len(prepared.targets)
        freedom = n - int(self._fit_intercept) - (d @ eigen.values)
        error = n * np.maximum(left, 0) / np.maximum(freedom, np.finfo(float).tiny)[:, None] ** 2
        return np.where(total > 0, 1.0 - error * n / np.where(total > 0, total, 1.0), 0.0)

    def forget(self) -> None:
        """Drop the decompositions of the splits."""
        self._folds.clear()

    def weights(self, prepared: Prepared, penalties: NDArray[np.float64]) -> tuple[Any, Floats]:
        """Weights on all rows with one penalty a target, (n_features, n_targets) where the targets lie, and
        intercepts (n_targets,)."""
        arrays, dtype = self.arrays, self._design.dtype
        eigen = self._all_rows()
        self._warn_if_small(float(np.min(penalties)), eigen)
        projected = eigen.vectors.T @ prepared.cross()
        projected /= arrays.asarray(eigen.values[:, None] + penalties, dtype)
        return self._finished(eigen.vectors @ projected, prepared)

    def predictor(self, rows: NDArray[Any], penalties: NDArray[np.float64]) -> Predictor:
        """What predicts new rows (n_new, n_features) at these penalties, for a plan without intercept."""
        if self._fit_intercept:
            raise ValueError("a predictor knows no intercept: predict with weights().")
        if self._rotation is not None:
            rows = rows.astype(np.float64) @ self._rotation
        return Predictor(self._gram, rows, penalties, dtype=self.dtype, arrays=self.arrays)

    def _finished(self, coef: Any, prepared: Prepared) -> tuple[Any, Floats]:
        """Weights of the design as weights of the features, and intercepts."""
        arrays, dtype = self.arrays, self.dtype
        if self._rotation is not None:
            coef = arrays.asarray(self._rotation, dtype) @ coef
        intercept = np.zeros(coef.shape[1], dtype=dtype)
        if self._offset is not None:
            intercept = prepared.mean - arrays.to_host(arrays.asarray(self._offset, dtype) @ coef)
        return coef, intercept

    def _split_rows(self, number: int) -> tuple[SplitRows, NDArray[np.float64]]:
        return split_rows(self._design, self._gram, self._splits[number], number, centre=self._fit_intercept)

    def _split_targets(self, number: int, rows: SplitRows, prepared: Prepared) -> tuple[Any, Any]:
        """A split's training cross products with the targets, and the targets of its held-out rows."""
        arrays, dtype = self.arrays, self.dtype
        left_out = prepared.targets[rows.left_out]
        if self.n_splits <= MAX_GROUPED:
            cross = prepared.cross(number)
        else:
            cross = prepared.cross() - self._design.cross(rows.left_out, left_out)
        held = left_out if rows.held is rows.left_out else prepared.targets[rows.held]
        if self._fit_intercept:  # the targets sum to zero over all rows, so over the training rows to minus the rest
            offset = arrays.asarray(-arrays.sums(left_out) / rows.n_train, dtype)
            cross -= arrays.asarray((rows.n_train * rows.mean)[:, None], dtype) * offset
            held = held - offset
        return cross, held

    def _score_fold(self, number: int, fold: Fold, prepared: Prepared, penalties: NDArray[np.float64]) -> Scores:
        arrays, dtype = self.arrays, self._design.dtype
        cross, held = self._split_targets(number, fold.rows, prepared)
        b = fold.eigen.vectors.T @ cross
        if not self._sweep_pays(fold, len(penalties)):
            return self._score_predictions(fold, held, b, penalties)
        assert fold.sweep is not None  # decompose() made it
        covariance, variance, doubtful = fold.sweep.moments(fold.sweep.held.T @ held, b)
        mean, spread, constant = arrays.column_moments(held)
        if self._scoring == "correlation":
            power = np.sqrt(np.maximum(variance, 0) * np.where(constant, 0.0, spread))
            scores = np.divide(covariance, power, out=np.zeros_like(power), where=power > 0)
        else:
            bias = mean - arrays.to_host(arrays.asarray(fold.sweep.shrink * fold.held_mean, dtype) @ b)
            left = variance - 2 * covariance + spread + len(held) * np.square(bias)
            scores = np.where(constant, 0.0, 1.0 - left / np.where(constant, 1.0, spread))
        if doubtful.any():
            scores[:, doubtful] = self._score_predictions(fold, held[:, doubtful], b[:, doubtful], penalties)
        return scores

    def _score_predictions(self, fold: Fold, held: Any, b: Any, penalties: NDArray[np.float64]) -> Scores:
        """Predictions for each penalty in turn: less work where few rows are held out."""
        arrays, dtype = self.arrays, self._design.dtype
        basis = arrays.asarray(fold.held_basis + fold.held_mean, dtype)
        shrink = arrays.asarray(1.0 / (fold.eigen.values + penalties[:, None]), dtype)
        return np.stack([score_targets(held, basis @ (d[:, None] * b), self._scoring, arrays) for d in shrink])

    def _all_rows(self) -> Eigen:
        self.decompose()
        assert self._whole is not None
        return self._whole

    def _wants_sweep(self, fold: Fold, penalties: NDArray[np.float64]) -> bool:
        made = fold.sweep is not None and np.array_equal(fold.sweep.penalties, penalties)
        return not made and self._sweep_pays(fold, len(penalties))

    def _sweep_pays(self, fold: Fold, n_penalties: int) -> bool:
        """Fewer operations than predictions for each penalty, its preparation (in float64) included."""
        n_held, rank = fold.held_basis.shape
        sweep = (n_held + rank + 2 * n_penalties) * self._n_targets + 2 * n_held * rank
        return rank > 0 and n_penalties * n_held * self._n_targets > sweep

    def _centred(self, Y: Any) -> tuple[Any, Floats]:
        dtype = self._design.dtype
        if not self._fit_intercept:
            return Y, np.zeros(Y.shape[1], dtype=dtype)
        # a constant's mean may round: without this it would keep a spread of one unit in the last place
        mean, _, constant = self.arrays.column_moments(Y)
        mean = np.where(constant, self.arrays.to_host(Y[0]), mean).astype(dtype)
        return Y - self.arrays.asarray(mean, dtype), mean

    def tile_width(self) -> int:
        """Targets of a piece of work, so that its temporaries take about as much memory as :class:`Arrays` allows."""
        n_rows, n_columns = self._design.shape
        return max(1, self.arrays.tile_bytes // ((2 * n_rows + 14 * n_columns) * self.dtype.itemsize))

    def _warn_if_small(self, penalty: float, eigen: Eigen) -> None:
        # products are in the data's precision: a penalty under their rounding error of the largest eigenvalue is noise
        largest = float(eigen.values[-1]) if len(eigen.values) else 0.0
        if penalty < 10 * np.finfo(self._design.dtype).eps * largest:
            warnings.warn(
                f"the smallest penalty, {penalty:.3g}, is below what {self._design.dtype} resolves beside the largest "
                f"eigenvalue of X'X, {largest:.3g}: use larger alphas, or float64.",
                RuntimeWarning,
                stacklevel=3,
            )
