"""Ridge by eigenvectors: one decomposition per split serves any number of penalties and targets.

Eigenvectors are float64 on the host; products with the targets have the data's precision.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from .backend import score_targets
from .parallel import run_parallel, run_serial
from .problem import Float64, Floats, RidgeProblem, SplitRows, Targets
from .sweep import RidgeSweep


class Eigen:
    """Eigenvectors of a problem's Gram matrix without those of its null space.

    Attributes
    ----------
    values : array
        Eigenvalues (rank,).
    exact, vectors : array, matrix of the backend
        Eigenvectors (n_columns, rank): float64 on the host, and in the data's type where the targets lie.
    """

    def __init__(self, gram: Float64, problem: RidgeProblem) -> None:
        values, vectors = problem.backend.eigh(gram)
        real = values > max(len(gram), 1) * np.finfo(np.float64).eps * max(float(values[-1]), 0.0)
        self.values: Float64 = values[real]
        self.exact: Float64 = np.ascontiguousarray(vectors[:, real])
        self.vectors = problem.place(self.exact)


@dataclass(frozen=True)
class Fold:
    """One split, decomposed.

    Attributes
    ----------
    eigen, rows : Eigen, SplitRows
        Eigenvectors of the training rows, and the split's rows.
    held_basis : array
        The centred held-out design in the basis of the eigenvectors, (n_held, rank).
    held_mean : array
        Its mean (rank,), relative to that of the training rows.
    sweep : RidgeSweep or None
        All penalties at once, where that is less work than one prediction per penalty.
    """

    eigen: Eigen
    rows: SplitRows
    held_basis: Float64
    held_mean: Float64
    sweep: RidgeSweep | None


class SpectralSolver:
    """Scores and weights of one problem at a grid of penalties, tile by tile of its targets: by eigenvectors.

    Attributes
    ----------
    run : callable
        Runs jobs that use the same decompositions, side by side where the backend wants it.
    """

    def __init__(self, problem: RidgeProblem, penalties: Float64) -> None:
        self.problem, self.penalties = problem, penalties
        self.run = run_parallel if problem.backend.parallel else run_serial
        self._folds: dict[int, Fold] = {}
        self._all_rows: Eigen | None = None

    def tile_width(self) -> int:
        """Targets per tile, so that its temporaries take about as much memory as the backend allows."""
        n_rows, n_columns = self.problem.design.shape
        return max(1, self.problem.backend.tile_bytes // ((2 * n_rows + 14 * n_columns) * self.problem.dtype.itemsize))

    def decompose(self, splits: range, *, all_rows: bool) -> None:
        """Decompose side by side what jobs need that score splits or ask for weights; other splits' are dropped."""
        self._folds = {number: fold for number, fold in self._folds.items() if number in splits}
        self._decompose(splits, all_rows=all_rows)

    def score(self, targets: Targets, *, splits: range | None = None) -> Float64:
        """Held-out score per penalty and target, summed over the splits: (n_penalties, n_targets)."""
        wanted = splits if splits is not None else range(len(self.problem.splits))
        self._decompose(wanted, all_rows=False)
        total = np.zeros((len(self.penalties), targets.values.shape[1]))
        for number in wanted:
            total += self._score_fold(number, targets)
        return total

    def weights(self, targets: Targets, penalties: Float64) -> tuple[Any, Floats]:
        """Weights on all rows with one penalty per target, (n_features, n_targets), and intercepts (n_targets,)."""
        eigen, problem = self._eigen_of_all_rows(penalties), self.problem
        projected = eigen.vectors.T @ targets.cross()
        projected /= problem.place(eigen.values[:, None] + penalties)
        return problem.feature_weights(eigen.vectors @ projected, targets)

    def sweep_pays(self, n_held: int, rank: int) -> bool:
        """Whether all penalties at once are less work than a prediction per penalty, preparation (float64) included."""
        n_penalties, n_targets = len(self.penalties), self.problem.n_targets
        sweep = (n_held + rank + 2 * n_penalties) * n_targets + 2 * n_held * rank
        return rank > 0 and n_penalties * n_held * n_targets > sweep

    def _decompose(self, splits: range, *, all_rows: bool) -> None:
        missing = [number for number in splits if number not in self._folds]
        jobs: list[Callable[[], None]] = [partial(self._decompose_split, number) for number in missing]
        if all_rows and self._all_rows is None:
            jobs.append(self._decompose_all_rows)
        if jobs:
            run_parallel(jobs)
        for number in missing:
            self._warn_if_small(self.penalties, self._folds[number].eigen)

    def _decompose_all_rows(self) -> None:
        self._all_rows = Eigen(self.problem.gram, self.problem)

    def _decompose_split(self, number: int) -> None:
        rows, gram = self.problem.split_rows(number)
        eigen = Eigen(gram, self.problem)
        wide = self.problem.design.rows(rows.held).astype(np.float64)
        held_mean = wide.mean(axis=0)
        basis = self.problem.backend.cross_product((wide - held_mean).T, eigen.exact)
        mean = (held_mean - rows.mean) @ eigen.exact
        sweep = None
        if self.sweep_pays(*basis.shape):
            sweep = RidgeSweep(eigen.values, basis, self.penalties, self.problem)
        self._folds[number] = Fold(eigen, rows, basis, mean, sweep)

    def _eigen_of_all_rows(self, penalties: Float64) -> Eigen:
        self._decompose(range(0), all_rows=True)
        assert self._all_rows is not None
        self._warn_if_small(penalties, self._all_rows)
        return self._all_rows

    def _score_fold(self, number: int, targets: Targets) -> Float64:
        fold, backend = self._folds[number], self.problem.backend
        cross, held = self.problem.split_targets(number, fold.rows, targets)
        b = fold.eigen.vectors.T @ cross
        if fold.sweep is None:
            return self._score_predictions(fold, held, b)
        covariance, variance, doubtful = fold.sweep.moments(fold.sweep.held.T @ held, b)
        mean, squares, constant = backend.column_moments(held)
        scores: Float64
        if self.problem.scoring == "correlation":
            power = np.sqrt(np.maximum(variance, 0) * np.where(constant, 0.0, squares))
            scores = np.divide(covariance, power, out=np.zeros_like(power), where=power > 0)
        else:
            shrunk_mean = self.problem.place(fold.sweep.shrink * fold.held_mean)
            bias = mean - backend.to_host(shrunk_mean @ b)
            residual = variance - 2 * covariance + squares + len(held) * np.square(bias)
            scores = np.where(constant, 0.0, 1.0 - residual / np.where(constant, 1.0, squares))
        if doubtful.any():
            scores[:, doubtful] = self._score_predictions(fold, held[:, doubtful], b[:, doubtful])
        return scores

    def _score_predictions(self, fold: Fold, held: Any, b: Any) -> Float64:
        """Predictions for each penalty in turn: less work where few rows are held out."""
        scoring, backend = self.problem.scoring, self.problem.backend
        basis = self.problem.place(fold.held_basis + fold.held_mean)
        shrink = self.problem.place(1.0 / (fold.eigen.values + self.penalties[:, None]))
        return np.stack([score_targets(held, basis @ (d[:, None] * b), scoring, backend) for d in shrink])

    def _warn_if_small(self, penalties: Float64, eigen: Eigen) -> None:
        # products are in the data's precision: a penalty under their rounding error of the largest eigenvalue is noise
        penalty, largest = float(np.min(penalties)), float(eigen.values[-1]) if len(eigen.values) else 0.0
        if penalty < 10 * np.finfo(self.problem.dtype).eps * largest:
            warnings.warn(
                f"the smallest penalty, {penalty:.3g}, is below what {self.problem.dtype} resolves beside the largest "
                f"eigenvalue of X'X, {largest:.3g}: use larger alphas, or float64.",
                RuntimeWarning,
                stacklevel=4,
            )


class GcvSolver(SpectralSolver):
    """Eigenvectors that score penalties by generalised cross-validation on all rows: no split, nothing held out.

    The GCV error is n |y - Hy|^2 / trace(I - H)^2 with H = X (X'X + penalty I)^-1 X' (Golub, Heath & Wahba 1979); the
    decomposition that the weights need anyway gives it.
    """

    def score(self, targets: Targets, *, splits: range | None = None) -> Float64:
        """As an R2: 1 - GCV error / variance, (n_penalties, n_targets)."""
        backend, eigen = self.problem.backend, self._eigen_of_all_rows(self.penalties)
        explained = backend.to_host(eigen.vectors.T @ targets.cross()).astype(np.float64) ** 2
        d = 1.0 / (eigen.values + self.penalties[:, None])
        total = backend.column_sums(targets.values**2)
        residual = total - (2 * d - eigen.values * d**2) @ explained
        n = len(targets.values)
        freedom = n - int(self.problem.fit_intercept) - (d @ eigen.values)
        error = n * np.maximum(residual, 0) / np.maximum(freedom, np.finfo(float).tiny)[:, None] ** 2
        return np.where(total > 0, 1.0 - error * n / np.where(total > 0, total, 1.0), 0.0)
