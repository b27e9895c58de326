"""What estimators of linear weights share: checks of what is fitted, predictions, scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..kernels import delay_stack
from .backend import backend_on
from .designs import make_design
from .fit import among_excluded
from .labels import check_reach, run_onsets_of
from .problem import RidgeProblem
from .row_splits import resolve_splits
from .scores import score_columns
from .validation import (
    Regressor,
    check_features,
    check_magnitude,
    check_parameters,
    check_targets,
    in_numpy,
    on_gpu,
    without_nan,
)

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Checked:
    """What is fitted: features (n_rows, n_features), targets without a NaN (n_rows, n_targets), each run's onset."""

    features: Floats
    targets: Any
    onsets: list[int] | None

    def problem(self, model: LinearRegressor, *, splits: bool = True, rotate: bool = True) -> RidgeProblem:
        """The regression of these with an estimator's parameters, with or without the splits of its ``cv``."""
        design = make_design(self.features, model.delays, self.onsets)
        return RidgeProblem(
            design,
            resolve_splits(model.cv, len(self.features), run_onsets=self.onsets) if splits else (),
            n_targets=self.targets.shape[1],
            fit_intercept=model.fit_intercept,
            scoring=model.scoring,
            backend=backend_on(model.device or (str(self.targets.device) if on_gpu(self.targets) else "cpu")),
            rotate=rotate,
        )


class LinearRegressor(Regressor):
    """Weights of features, or of features at delays, and an intercept."""

    cv: Any
    delays: Sequence[int] | None
    scoring: str
    fit_intercept: bool
    n_targets_batch: int | None
    device: str | None
    coef_: Floats
    intercept_: Floats
    excluded_: NDArray[np.bool_]

    def predict(self, X: ArrayLike, *, run_onsets: ArrayLike | None = None, runs: ArrayLike | None = None) -> Floats:
        """Predict targets.

        Parameters
        ----------
        X : array-like
            Features (n_rows, n_features).
        run_onsets, runs : array-like, default None
            First row of each run of ``X``, or the run of each row, for delays; None: one run.

        Returns
        -------
        ndarray
            (n_rows, n_targets), or (n_rows,) if y had one dimension. NaN for excluded targets.

        Raises
        ------
        ValueError
            ``X`` has another number of features than the model was fitted on.
        """
        features = self._stacked(X, run_onsets, runs)
        predicted: Floats = features @ self.coef_.T + self.intercept_
        return predicted

    def score(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        per_target: bool = False,
        run_onsets: ArrayLike | None = None,
        runs: ArrayLike | None = None,
    ) -> float | NDArray[np.float64]:
        """Score predictions by ``scoring``.

        Parameters
        ----------
        X, y : array-like
            Features (n_rows, n_features) and measured targets, as many as were fitted.
        sample_weight : array-like, default None
            How much each row counts, (n_rows,), at least 0; None: all the same.
        per_target : bool, default False
            Return the score of each target, not their mean.
        run_onsets, runs : array-like, default None
            First row of each run of ``X``, or the run of each row, for delays; None: one run.

        Returns
        -------
        float or ndarray
            Mean over the targets that hold no NaN here or in ``fit``; with ``per_target`` (n_targets,), NaN for those.

        Raises
        ------
        ValueError
            Shapes disagree with each other or with what was fitted.
        """
        predicted = self.predict(X, run_onsets=run_onsets, runs=runs)
        scores, used = self._scores(predicted, y, self.scoring, sample_weight)
        return scores if per_target else float(scores[used].mean()) if used.any() else float("nan")

    def _stacked(self, X: ArrayLike, run_onsets: ArrayLike | None, runs: ArrayLike | None) -> Floats:
        """Features (n_rows, n_features) at the delays, (n_rows, n_columns)."""
        features = check_features(self, X, fitting=False)
        onsets = run_onsets_of(len(features), run_onsets, runs)
        if self.delays is None:
            return features
        check_reach(self.delays, onsets, len(features))
        return delay_stack(features, self.delays, run_onsets=onsets)

    def _scores(
        self, predicted: Floats, y: ArrayLike, scoring: str, sample_weight: ArrayLike | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Score of each target, NaN where it holds a NaN here or in ``fit``, and where it does not, (n_targets,)."""
        measured = check_targets(in_numpy("y", y), len(predicted))
        measured, predicted = (a.reshape(len(a), -1) for a in (measured, predicted))
        if measured.shape != predicted.shape:
            raise ValueError(f"y has {measured.shape[1]} target(s), but {predicted.shape[1]} were fitted.")
        used = ~(np.isnan(measured).any(axis=0) | self.excluded_)
        scores = np.full(measured.shape[1], np.nan)
        scores[used] = score_columns(measured[:, used], predicted[:, used], scoring, sample_weight)
        return scores, used

    def _checked(self, X: ArrayLike, y: Any, run_onsets: ArrayLike | None, runs: ArrayLike | None) -> Checked:
        """Features and targets in one type; notes the targets that hold a NaN, and whether y has one dimension."""
        check_parameters(self.scoring, self.n_targets_batch)
        features = check_features(self, X, fitting=True)
        targets = check_targets(y, len(features))
        onsets = run_onsets_of(len(features), run_onsets, runs)
        dtype = np.result_type(features, np.dtype(str(targets.dtype).removeprefix("torch.")))
        check_magnitude({"X": features, "y": targets}, dtype)
        self._one_dimensional, targets = targets.ndim == 1, targets.reshape(len(targets), -1)
        targets, self.excluded_ = without_nan(targets)
        return Checked(features.astype(dtype, copy=False), targets, onsets)

    def _store_weights(self, coef: Floats, intercept: Floats) -> None:
        self.coef_, self.intercept_ = among_excluded(coef, self.excluded_).T, among_excluded(intercept, self.excluded_)
        if self._one_dimensional:
            self.coef_, self.intercept_ = self.coef_[0], self.intercept_[0]
