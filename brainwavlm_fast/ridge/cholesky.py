"""Ridge by Cholesky factors, one per penalty: for few targets far less work than eigenvectors.

Eigenvectors serve any number of penalties and targets, but cost some forty times a factorisation in single precision
(2,000 to 3,000 columns, one core). With fewer targets than columns that is nearly all there is to pay. A penalty that
single precision does not resolve beside the largest eigenvalue is factored in double, at twice the cost.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .backend import score_targets
from .parallel import run_serial
from .predictor import solve_penalized
from .problem import Float64, Floats, RidgeProblem, Targets

_RESOLVED = 1e3  # a penalty is resolved beside an eigenvalue that is smaller than it / (this x the type's epsilon)
_USABLE = 10  # the same, for the targets' products (the spectral solver warns)


class CholeskySolver:
    """Scores and weights of one problem at a grid of penalties, tile by tile of its targets: by factors, on the host.

    Attributes
    ----------
    run : callable
        Runs jobs one after the other: each factors by itself what it needs, on all threads.
    """

    run = staticmethod(run_serial)

    def __init__(self, problem: RidgeProblem, penalties: Float64) -> None:
        self.problem, self.penalties = problem, penalties

    @staticmethod
    def pays(problem: RidgeProblem, n_penalties: int) -> bool:
        """Less time than eigenvectors and a product each way, in operations of a product (measured on one core)."""
        n_columns, n_targets = problem.design.shape[1], problem.n_targets
        factors = n_penalties * 1.3 * (n_columns / 3 + 2 * n_targets)
        return factors < 16 * n_columns + 6 * n_targets

    @staticmethod
    def resolves(problem: RidgeProblem, penalty: float) -> bool:
        """Whether a penalty is large enough beside the largest eigenvalue for factors, in double if need be."""
        exact, data = float(np.finfo(np.float64).eps), float(np.finfo(problem.dtype).eps)
        return penalty > max(_RESOLVED * exact, _USABLE * data) * problem.largest_eigenvalue

    def tile_width(self) -> int:
        """All targets: each further tile would factor everything again."""
        return self.problem.n_targets

    def decompose(self, splits: range, *, all_rows: bool) -> None:
        """Nothing: factors are not kept."""

    def score(self, targets: Targets, *, splits: range | None = None) -> Float64:
        """Held-out score per penalty and target, summed over the splits: (n_penalties, n_targets)."""
        problem = self.problem
        total = np.zeros((len(self.penalties), targets.values.shape[1]))
        for number in splits if splits is not None else range(len(problem.splits)):
            rows, gram = problem.split_rows(number)
            cross, held = problem.split_targets(number, rows, targets)
            basis = problem.design.rows(rows.held) - rows.mean.astype(problem.dtype)
            for scores, penalty in zip(total, self.penalties, strict=True):
                predicted = basis @ self._solve(gram, penalty, cross)
                scores += score_targets(held, predicted, problem.scoring, problem.backend)
        return total

    def weights(self, targets: Targets, penalties: Float64) -> tuple[Any, Floats]:
        """Weights on all rows with one penalty per target, (n_features, n_targets), and intercepts (n_targets,)."""
        cross = targets.cross()
        coef = np.empty_like(cross)
        for penalty in np.unique(penalties):
            chosen = penalties == penalty
            coef[:, chosen] = self._solve(self.problem.gram, penalty, cross[:, chosen])
        return self.problem.feature_weights(coef, targets)

    def _solve(self, gram: Float64, penalty: float, cross: NDArray[Any]) -> NDArray[Any]:
        data = self.problem.dtype
        single = penalty > _RESOLVED * np.finfo(data).eps * self.problem.largest_eigenvalue
        solved = solve_penalized(gram, penalty, cross.astype(data if single else np.float64, copy=False))
        return solved.astype(data, copy=False)
