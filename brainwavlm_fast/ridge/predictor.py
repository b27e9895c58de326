"""Predictions of new rows straight from cross products: where the weights themselves are not wanted.

    X_new (X'X + penalty I)^-1 X'Y

The factor left of X'Y is the same for all targets of a penalty. With more targets than new rows times penalties it
costs far less than weights do: one product with as many rows as there are new ones, instead of two with eigenvectors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from .problem import Float64, RidgeProblem


class Predictor:
    """Predicts some rows, for any targets, at some penalties: factors once per different penalty, in float64.

    Parameters
    ----------
    problem : RidgeProblem
        What is predicted from, without intercept.
    rows : array
        X_new (n_new, n_features).
    penalties : array
        All that will be asked for.
    """

    def __init__(self, problem: RidgeProblem, rows: NDArray[Any], penalties: Float64) -> None:
        if problem.fit_intercept:
            raise ValueError("a predictor knows no intercept: predict with the solver's weights.")
        if problem.rotation is not None:
            rows = rows.astype(np.float64) @ problem.rotation
        self._problem, wide = problem, rows.T.astype(np.float64)
        self._factors: dict[float, Any] = {}
        for penalty in np.unique(penalties):
            self._factors[float(penalty)] = problem.place(solve_penalized(problem.gram, penalty, wide).T)
        self._n_new = len(rows)

    def __call__(self, cross: Any, penalties: Float64) -> Any:
        """Predictions (n_new, n_targets) from X'Y (n_columns, n_targets) and each target's penalty."""
        predicted = self._problem.place(np.zeros((self._n_new, len(penalties))))
        for penalty in np.unique(penalties):
            chosen = np.flatnonzero(penalties == penalty)
            predicted[:, chosen] = self._factors[float(penalty)] @ cross[:, chosen]
        return predicted


def solve_penalized(gram: NDArray[np.float64], penalty: float, right: NDArray[Any]) -> NDArray[Any]:
    """(X'X + penalty I)^-1 ``right``, by a Cholesky factorisation in the type of ``right`` (n_columns, ...)."""
    penalised = np.array(gram.T, dtype=right.dtype, order="F")
    penalised.flat[:: len(gram) + 1] += right.dtype.type(penalty)
    try:
        factor = cho_factor(penalised, lower=True, overwrite_a=True, check_finite=False)
    except LinAlgError:  # a penalty below the rounding of a singular matrix: what is null stays out
        values, vectors = np.linalg.eigh(gram)
        real = values > len(gram) * np.finfo(np.float64).eps * max(float(values[-1]), 0.0)
        vectors = vectors[:, real]
        exact: NDArray[Any] = vectors @ ((vectors.T @ right) / (values[real, None] + penalty))
        return exact.astype(right.dtype, copy=False)
    solved: NDArray[Any] = cho_solve(factor, right, check_finite=False)
    return solved
