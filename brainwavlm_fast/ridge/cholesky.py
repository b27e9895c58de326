"""Ridge for few targets: a Cholesky factorisation a penalty, which is far less work than eigenvectors.

Eigenvectors serve any number of penalties and targets, but cost some forty times a factorisation in single precision
(2,000 to 3,000 columns, one core). With fewer targets than columns that is nearly all there is to pay. A penalty that
single precision does not resolve beside the largest eigenvalue is factored in double, at twice the cost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .backend_numpy import Arrays, HostArrays, in_turn, score_targets
from .designs import Design
from .predictor import solve_penalised
from .row_splits import RowSplit
from .spectral import Floats, Prepared, Result, RidgePlan, Scores

_RESOLVED = 1e3  # a penalty is resolved beside an eigenvalue that is smaller than it / (this x the type's epsilon)
_USABLE = 10  # the same, for the targets' products (RidgePlan warns)
_POWERS = 20


def plan_ridge(
    design: Design,
    splits: Sequence[RowSplit],
    penalties: NDArray[np.float64],
    *,
    n_targets: int,
    fit_intercept: bool = False,
    scoring: str = "correlation",
    arrays: Arrays | None = None,
) -> RidgePlan:
    """The plan that costs least for a grid of penalties, arguments else as in :class:`RidgePlan`.

    The choice depends on sizes, the grid and the design alone, never on the targets' values or on how they are batched.
    """
    settings: dict[str, Any] = {
        "n_targets": n_targets, "fit_intercept": fit_intercept, "scoring": scoring, "arrays": arrays or HostArrays(),
    }  # fmt: skip
    if splits and isinstance(settings["arrays"], HostArrays) and _pays(min(design.shape), n_targets, len(penalties)):
        plan = FactorPlan(design, splits, **settings)
        if plan.resolves(float(penalties.min())):
            return plan
    return RidgePlan(design, splits, **settings)


class FactorPlan(RidgePlan):
    """A :class:`RidgePlan` without eigenvectors, on the host: targets are one piece of work, on all threads."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._largest = _largest_eigenvalue(self._gram)

    def resolves(self, penalty: float) -> bool:
        """Is the penalty large enough beside the largest eigenvalue for factors, in double precision if need be?"""
        exact, data = np.finfo(np.float64).eps, np.finfo(self.dtype).eps
        return penalty > max(_RESOLVED * exact, _USABLE * data) * self._largest

    def decompose(
        self, penalties: NDArray[np.float64] | None = None, *, splits: Sequence[int] = (), whole: bool = True
    ) -> None:
        """Nothing is worth keeping."""

    def each(
        self, jobs: Sequence[Callable[[], Result]], *, done: Callable[[int], object] = lambda number: None
    ) -> list[Result]:
        """One after the other: each uses all threads itself."""
        return in_turn(jobs, done)

    def tile_width(self) -> int:
        """All targets: each further piece would factor everything again."""
        return self._n_targets

    def score(self, prepared: Prepared, penalties: NDArray[np.float64], *, splits: range | None = None) -> Scores:
        total = np.zeros((len(penalties), prepared.targets.shape[1]))
        for k in splits if splits is not None else range(self.n_splits):
            rows, gram = self._split_rows(k)
            cross, held = self._split_targets(k, rows, prepared)
            basis = self._design.rows(rows.held) - rows.mean.astype(self.dtype)
            for scores, penalty in zip(total, penalties, strict=True):
                predicted = basis @ self._solve(gram, penalty, cross)
                scores += score_targets(held, predicted, self._scoring, self.arrays)
        return total

    def weights(self, prepared: Prepared, penalties: NDArray[np.float64]) -> tuple[Any, Floats]:
        cross = prepared.cross()
        coef = np.empty_like(cross)
        for penalty in np.unique(penalties):
            coef[:, penalties == penalty] = self._solve(self._gram, penalty, cross[:, penalties == penalty])
        return self._finished(coef, prepared)

    def _solve(self, gram: NDArray[np.float64], penalty: float, cross: NDArray[Any]) -> NDArray[Any]:
        dtype = self.dtype if penalty > _RESOLVED * np.finfo(self.dtype).eps * self._largest else np.dtype(np.float64)
        solved = solve_penalised(gram, penalty, cross.astype(dtype, copy=False))
        return solved.astype(self.dtype, copy=False)


def _largest_eigenvalue(gram: NDArray[np.float64]) -> float:
    """A few per cent below the largest eigenvalue at worst, by power iteration."""
    vector, largest = np.random.default_rng(0).standard_normal(len(gram)), 0.0
    for _ in range(_POWERS):
        vector = gram @ vector
        largest = float(np.linalg.norm(vector))
        if largest == 0:
            break
        vector /= largest
    return largest


def _pays(n_columns: int, n_targets: int, n_penalties: int) -> bool:
    """Less time than eigenvectors and a product each way, in operations of a matrix product (measured on one core)."""
    factors = n_penalties * 1.3 * (n_columns / 3 + 2 * n_targets)
    return factors < 16 * n_columns + 6 * n_targets
