"""Cross-validated ridge regression for many targets, as a scikit-learn estimator."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_array, check_consistent_length, check_is_fitted, validate_data

from ..kernels import delay_stack
from .alphas import FIELD_ALPHAS, check_alphas, check_groups, check_target_alphas, choose_alphas, penalties
from .backend_numpy import HostArrays, arrays_on, score_targets
from .cholesky import plan_ridge
from .designs import DelayedDesign, DenseDesign, Design
from .row_splits import resolve_splits
from .spectral import Prepared, RidgePlan, Scores

_SPLITS_AT_ONCE = 4  # decompositions held in memory


class RidgeCV(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Ridge regression whose penalty is chosen for each target by cross-validation.

    The defaults are the field's: alphas 10 to 10,000 whose *squares* are the penalties, three bootstrap splits that
    hold out a quarter of the rows in chunks of 40, the mean held-out correlation as the score, and no intercept
    (features and responses are z-scored before).

    Parameters
    ----------
    alphas : positive numbers to choose from. Ties go to the smallest.
    penalty : what is added to the diagonal of X'X: ``"alpha_squared"`` (the convention of fMRI encoding code) or
        ``"alpha"`` (that of scikit-learn and himalaya).
    cv : None for the chunk bootstrap, a number of contiguous folds, ``"runs"`` for leaving one run out, any
        scikit-learn splitter, or a list of (training rows, held-out rows). See :class:`ChunkBootstrap`. ``"gcv"``:
        generalised cross-validation, which holds nothing out and costs next to nothing; it chooses by squared error,
        whatever ``scoring`` is, and takes neighbouring TRs for independent, so it penalises too little.
    scoring : ``"correlation"`` (a constant scores 0) or ``"r2"``.
    fit_intercept : centre features and targets over the rows that train.
    alpha_per_target : True chooses an alpha for each target, False one for all (best mean score).
    delays : FIR delays in TRs: features are stacked at these, inside each run, as :func:`brainwavlm_fast.delay_stack`
        does, but the stack is not made (it is with ``fit_intercept`` or fewer rows than columns). None: as they are.
    n_targets_batch : targets of a piece of work; None: as many as 96 MiB of temporaries allow (4 GiB on a GPU). On the
        host as many pieces run side by side as BLAS has threads; results do not depend on how many those are (with
        fewer targets than features they are factored in one piece: to rounding).
    device : where products with the targets are made, as torch names it. None: where ``y`` lies, the host unless it
        is a CUDA tensor. With ``"cuda"`` targets in host memory travel a batch at a time, so neither they nor the
        weights need fit the GPU. Decompositions are made on the host; results always are NumPy arrays.

    Attributes
    ----------
    alphas_ : (n_targets,) chosen alpha; NaN for excluded targets.
    cv_scores_ : (n_alphas, n_targets) mean held-out score, in the order of ``alphas``; None if nothing was chosen. With
        ``"gcv"`` one minus the GCV error over the variance.
    coef_ : (n_targets, n_features), or (n_features,) for a one-dimensional y; with delays, all features of the first
        delay first.
    intercept_ : (n_targets,), or a number for a one-dimensional y.
    excluded_ : (n_targets,) bool: targets with a NaN. Their predictions are NaN; no other target sees them.

    Notes
    -----
    Gram matrices and eigenvectors are float64; products with targets keep the precision of the data.

    Examples
    --------
    >>> from brainwavlm_fast import RidgeCV
    >>> generator = np.random.default_rng(0)
    >>> X, weights = generator.standard_normal((400, 20)), generator.standard_normal((20, 3))
    >>> RidgeCV().fit(X, X @ weights).score(X, X @ weights) > 0.99
    True
    """

    def __init__(
        self,
        alphas: ArrayLike = FIELD_ALPHAS,
        *,
        penalty: Literal["alpha_squared", "alpha"] = "alpha_squared",
        cv: Any = None,
        scoring: Literal["correlation", "r2"] = "correlation",
        fit_intercept: bool = False,
        alpha_per_target: bool = True,
        delays: Sequence[int] | None = None,
        n_targets_batch: int | None = None,
        device: str | None = None,
    ) -> None:
        self.alphas = alphas
        self.penalty = penalty
        self.cv = cv
        self.scoring = scoring
        self.fit_intercept = fit_intercept
        self.alpha_per_target = alpha_per_target
        self.delays = delays
        self.n_targets_batch = n_targets_batch
        self.device = device

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        run_onsets: ArrayLike | None = None,
        target_alphas: ArrayLike | None = None,
        target_groups: ArrayLike | None = None,
    ) -> Self:
        """Choose alphas, then fit on all rows.

        Parameters
        ----------
        X : (n_rows, n_features), NumPy or torch, float32 or float64; anything else becomes float64.
        y : (n_rows,) or (n_rows, n_targets), the same. A target with a NaN is left out with a warning; infinity is
            an error.
        run_onsets : first row of each run (story), so that no delay and no held-out chunk straddles two; None: one.
        target_alphas : (n_targets,) alphas to use as they are, without cross-validation (NaN for excluded targets).
        target_groups : (n_targets,) labels, numbers or words: one alpha a label, best for the mean score of its
            targets, whatever ``alpha_per_target`` says.

        Raises
        ------
        ValueError : shapes disagree, every target holds a NaN, or a parameter is not one of its values.
        """
        design: NDArray[Any] = validate_data(self, _on_host(X), dtype=[np.float64, np.float32], ensure_min_samples=2)
        device = self.device or (str(y.device) if isinstance(y, torch.Tensor) and y.is_cuda else "cpu")
        targets = _check_targets(y, design)
        self._one_dimensional = targets.ndim == 1
        targets = targets.reshape(len(targets), -1)
        if self.scoring not in ("correlation", "r2"):
            raise ValueError(f"scoring must be 'correlation' or 'r2', got {self.scoring!r}.")
        self.excluded_ = np.asarray(_on_host((targets != targets).any(axis=0)))  # NaN alone differs from itself
        used = np.flatnonzero(~self.excluded_)
        if not len(used):
            raise ValueError(f"y: every one of the {targets.shape[1]} target(s) holds a NaN; nothing can be fitted.")
        if len(used) < targets.shape[1]:
            warnings.warn(
                f"{targets.shape[1] - len(used)} of {targets.shape[1]} targets hold a NaN and are excluded.",
                UserWarning,
                stacklevel=2,
            )
            targets = targets[:, used]
        choosing = target_alphas is None
        alphas = check_alphas(self.alphas) if choosing else None
        plan = plan_ridge(
            self._design(design.astype(np.result_type(design, _numpy_type(targets)), copy=False), run_onsets),
            resolve_splits(self.cv, len(design), run_onsets=run_onsets) if choosing and not self._gcv else (),
            np.empty(0) if alphas is None else penalties(alphas, self.penalty),
            fit_intercept=self.fit_intercept,
            n_targets=targets.shape[1],
            scoring=self.scoring,
            arrays=arrays_on(device),
        )
        given = None if choosing else check_target_alphas(target_alphas, self.excluded_)
        groups = check_groups(target_groups, self.excluded_)
        if groups is None and not self.alpha_per_target:
            groups = np.zeros(len(used))
        chosen, scores, coef, intercept = self._solve(plan, targets, alphas, given, groups)
        self.alphas_ = self._spread(chosen, np.float64)
        self.cv_scores_ = self._spread(scores, np.float64) if choosing else None
        self.coef_ = self._spread(coef, coef.dtype).T
        self.intercept_ = self._spread(intercept, intercept.dtype)
        if self._one_dimensional:
            self.coef_, self.intercept_ = self.coef_[0], self.intercept_[0]
        return self

    def predict(self, X: ArrayLike, *, run_onsets: ArrayLike | None = None) -> NDArray[np.floating[Any]]:
        """Predicted targets: (n_rows, n_targets), or (n_rows,) if y had one dimension. NaN for excluded targets.

        ``run_onsets`` : first row of each run of ``X``, for delays; None: one run.
        """
        check_is_fitted(self)
        design: NDArray[Any] = validate_data(self, _on_host(X), dtype=[np.float64, np.float32], reset=False)
        if self.delays is not None:
            design = delay_stack(design, self.delays, run_onsets=_onsets(run_onsets))
        return design @ self.coef_.T + self.intercept_

    def score(
        self, X: ArrayLike, y: ArrayLike, *, per_target: bool = False, run_onsets: ArrayLike | None = None
    ) -> float | NDArray[np.float64]:
        """Score of the predictions, by ``scoring``: the mean over usable targets, or each with ``per_target``.

        A target is left out of the mean (NaN with ``per_target``) if it was excluded by ``fit`` or holds a NaN here.
        """
        predicted = np.asarray(self.predict(X, run_onsets=run_onsets))
        measured = _check_targets(_on_host(y), predicted)
        measured, predicted = (a.reshape(len(a), -1) for a in (measured, predicted))
        if measured.shape != predicted.shape:
            raise ValueError(f"y has {measured.shape[1]} target(s), but {predicted.shape[1]} were fitted.")
        used = ~(np.isnan(measured).any(axis=0) | self.excluded_)
        scores = np.full(measured.shape[1], np.nan)
        scores[used] = score_targets(measured[:, used], predicted[:, used], self.scoring, HostArrays())
        return scores if per_target else float(scores[used].mean()) if used.any() else float("nan")

    @property
    def _gcv(self) -> bool:
        return isinstance(self.cv, str) and self.cv == "gcv"

    def _design(self, X: NDArray[Any], run_onsets: ArrayLike | None) -> Design:
        if self.delays is None:
            return DenseDesign(X)
        return DelayedDesign(X, self.delays, run_onsets=_onsets(run_onsets))

    def _solve(
        self, plan: RidgePlan, targets: Any, alphas: Scores | None, given: Scores | None, groups: NDArray[Any] | None
    ) -> tuple[Scores, Scores, NDArray[Any], NDArray[Any]]:
        """Alphas (n_targets,), mean scores (n_alphas, n_targets), weights (n_features, n_targets) and intercepts.

        Either ``alphas`` to choose from or ``given`` ones, a target each. Works tile by tile, tiles side by side;
        scores and weights of a tile share its cross products, unless all targets or many splits must be scored before
        any alpha is chosen.
        """
        width = self.n_targets_batch or plan.tile_width()
        tiles = [slice(start, start + width) for start in range(0, targets.shape[1], width)]
        grid = penalties(alphas, self.penalty) if alphas is not None else np.empty(0)
        scores = np.zeros((len(grid), targets.shape[1]))

        def add_scores(tile: slice, splits: range, prepared: Prepared | None = None) -> None:
            prepared = prepared or plan.prepare(targets[:, tile])
            found = plan.gcv(prepared, grid) if self._gcv else plan.score(prepared, grid, splits=splits) / plan.n_splits
            scores[:, tile] += found

        if alphas is not None and (groups is not None or plan.n_splits > _SPLITS_AT_ONCE):
            for first in range(0, max(plan.n_splits, 1), _SPLITS_AT_ONCE):
                splits = range(first, min(first + _SPLITS_AT_ONCE, plan.n_splits))
                plan.decompose(grid, splits=splits)
                plan.each([partial(add_scores, tile, splits) for tile in tiles])
                plan.forget()
            given = choose_alphas(alphas, scores, groups)

        def fit_tile(tile: slice) -> tuple[Scores, NDArray[Any], NDArray[Any]]:
            prepared = plan.prepare(targets[:, tile])
            if given is None:
                assert alphas is not None
                add_scores(tile, range(plan.n_splits), prepared)
                chosen = choose_alphas(alphas, scores[:, tile])
            else:
                chosen = given[tile]
            weights, offset = plan.weights(prepared, penalties(chosen, self.penalty))
            return chosen, _on_host(weights), offset

        plan.decompose(grid, splits=range(plan.n_splits) if given is None else ())
        parts = plan.each([partial(fit_tile, tile) for tile in tiles])
        chosen_of, coef, intercept = zip(*parts, strict=True)
        return np.concatenate(chosen_of), scores, np.concatenate(coef, axis=1), np.concatenate(intercept)

    def _spread(self, values: NDArray[Any], dtype: Any) -> NDArray[Any]:
        """Values of the targets used, (..., n_used), among NaN for those excluded: (..., n_targets)."""
        if not self.excluded_.any():
            return values.astype(dtype, copy=False)
        out = np.full((*values.shape[:-1], len(self.excluded_)), np.nan, dtype=dtype)
        out[..., ~self.excluded_] = values
        return out


def _onsets(run_onsets: ArrayLike | None) -> list[int] | None:
    return None if run_onsets is None else np.asarray(run_onsets).tolist()


def _on_host(array: Any) -> Any:
    """A torch tensor as a NumPy array; anything else as it is."""
    return array.detach().cpu().numpy() if isinstance(array, torch.Tensor) else array


def _numpy_type(array: Any) -> np.dtype[Any]:
    return np.dtype(str(array.dtype).removeprefix("torch."))


def _check_targets(y: Any, X: NDArray[Any]) -> Any:
    """Targets of one or two axes, with as many rows as X and no infinity: NumPy, or a CUDA tensor as it came."""
    if y is None:
        raise ValueError("RidgeCV requires y to be passed, but the target y is None.")
    if isinstance(y, torch.Tensor) and y.is_cuda:
        y = y.detach() if y.dtype in (torch.float32, torch.float64) else y.detach().double()
        if y.ndim not in (1, 2) or len(y) != len(X) or bool(y.isinf().any()):
            raise ValueError(f"y: expected ({len(X)}, n_targets) without infinity, got shape {tuple(y.shape)}.")
        return y
    y = _on_host(y)
    targets = check_array(
        y, dtype=[np.float64, np.float32], ensure_2d=False, ensure_all_finite="allow-nan", input_name="y"
    )
    check_consistent_length(X, targets)
    return targets
