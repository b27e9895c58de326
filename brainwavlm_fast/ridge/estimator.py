"""Cross-validated ridge regression for many targets, as a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .alphas import FIELD_ALPHAS, check_alphas, check_groups, check_target_alphas, penalties, warn_of_ties
from .fit import AlphaSearch, Fitted, among_excluded, fit_targets
from .linear import LinearRegressor
from .solver import choose_solver


class RidgeCV(LinearRegressor):
    """Ridge regression whose penalty is chosen for each target by cross-validation.

    The defaults are the field's: alphas 10 to 10,000 whose *squares* are the penalties, three bootstrap splits that
    hold out a quarter of the rows in chunks of 40, the mean held-out correlation as the score, and no intercept
    (features and responses are z-scored before).

    Parameters
    ----------
    alphas : array-like, default logspace(1, 4, 10)
        Positive numbers to choose from. Ties go to the smallest.
    penalty : {"alpha_squared", "alpha"}, default "alpha_squared"
        What is added to the diagonal of X'X: the square of alpha (the convention of fMRI encoding code) or alpha
        itself (that of scikit-learn and himalaya).
    cv : None, int, "runs", "gcv", splitter or list of pairs, default None
        None for the chunk bootstrap, a number of contiguous folds, ``"runs"`` for leaving one run out, any
        scikit-learn splitter, or a list of (training rows, held-out rows). See :class:`ChunkBootstrap`. ``"gcv"``:
        generalised cross-validation, which holds nothing out and costs next to nothing; it chooses by squared error,
        whatever ``scoring`` is, and takes neighbouring TRs for independent, so it penalises too little.
    scoring : {"correlation", "r2"}, default "correlation"
        Score of held-out predictions. A constant has correlation 0.
    fit_intercept : bool, default False
        Centre features and targets over the rows that train.
    alpha_per_target : bool, default True
        Choose one alpha per target; otherwise one for all, that of the best mean score.
    delays : sequence of int, default None
        FIR delays in TRs: features are stacked at these, inside each run, as :func:`brainwavlm_fast.delay_stack` does,
        but the stack is not made (it is with ``fit_intercept`` or fewer rows than columns). None: no delays.
    n_targets_batch : int, default None
        Targets per tile; None: as many as 192 MiB of temporaries allow (4 GiB on a GPU). On the host as many tiles run
        side by side as BLAS has threads; results do not depend on how many those are (with fewer targets than
        features they are factored in one tile: to rounding).
    device : str, default None
        Where products with the targets are made, as torch names it. None: where ``y`` lies, the host unless it is a
        CUDA tensor. With ``"cuda"`` targets in host memory travel a tile at a time, so neither they nor the weights
        need fit the GPU. Decompositions are made on the host; results always are NumPy arrays.

    Attributes
    ----------
    alphas_ : ndarray
        Chosen alpha (n_targets,); NaN for excluded targets.
    cv_scores_ : ndarray or None
        Mean held-out score (n_alphas, n_targets), in the order of ``alphas``; None if nothing was chosen. With
        ``"gcv"`` one minus the GCV error over the variance.
    coef_ : ndarray
        Weights (n_targets, n_features), or (n_features,) for a one-dimensional y; with delays, all features of the
        first delay first.
    intercept_ : ndarray or float
        (n_targets,), or a number for a one-dimensional y.
    excluded_ : ndarray
        Targets with a NaN, bool (n_targets,). Their predictions are NaN; no other target sees them.

    Notes
    -----
    Gram matrices and eigenvectors are float64; products with targets keep the precision of the data. torch is imported
    for CUDA tensors and a ``device`` other than the CPU only.

    References
    ----------
    Alphas, their squares as penalties, and the bootstrap over chunks are those of the code behind BrainWavLM
    (Vattikonda, Vaidya, Antonello & Huth 2025, arXiv:2502.08866, encoding models) and the LeBel et al. (2023) data set:
    singular values s of the features become s / (s^2 + alpha^2).

    Examples
    --------
    >>> import numpy as np
    >>> from brainwavlm_fast import RidgeCV
    >>> generator = np.random.default_rng(0)
    >>> X, weights = generator.standard_normal((400, 20)), generator.standard_normal((20, 3))
    >>> model = RidgeCV().fit(X, X @ weights)
    >>> model.coef_.shape
    (3, 20)
    >>> model.score(X, X @ weights) > 0.99
    True
    """

    alphas_: NDArray[np.float64]
    cv_scores_: NDArray[np.float64] | None

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
        runs: ArrayLike | None = None,
        target_alphas: ArrayLike | None = None,
        target_groups: ArrayLike | None = None,
    ) -> Self:
        """Choose alphas, then fit on all rows.

        Parameters
        ----------
        X : array-like
            Features (n_rows, n_features), NumPy or torch, float32 or float64; anything else becomes float64.
        y : array-like
            Targets (n_rows,) or (n_rows, n_targets), the same. A target with a NaN is excluded with a warning.
        run_onsets : array-like, default None
            First row of each run (story), so that no delay and no held-out chunk straddles two; None: one run.
        runs : array-like, default None
            Run of each row (n_rows,) instead, numbers or words, each run contiguous: scikit-learn's cross-validation
            takes its rows along. Split by whole runs (``GroupKFold``): rows cut out of a run leave no trace.
        target_alphas : array-like, default None
            Alphas (n_targets,) to use as they are, without cross-validation (NaN for excluded targets).
        target_groups : array-like, default None
            Labels (n_targets,), numbers or words: one alpha per label, best for the mean score of its targets,
            whatever ``alpha_per_target`` says.

        Returns
        -------
        RidgeCV
            The estimator itself.

        Raises
        ------
        ValueError
            Shapes disagree, y holds infinity or a NaN in every target, or a parameter is not one of its values.
        """
        data = self._checked(X, y, run_onsets, runs)
        search, gcv = self._search(target_alphas, target_groups), isinstance(self.cv, str) and self.cv == "gcv"
        choosing = search.given is None
        problem = data.problem(self, splits=choosing and not gcv)
        solver = choose_solver(problem, penalties(search.grid, self.penalty), gcv=gcv and choosing)
        self._store(fit_targets(solver, data.targets, search, self.n_targets_batch), choosing)
        return self

    def _search(self, target_alphas: ArrayLike | None, target_groups: ArrayLike | None) -> AlphaSearch:
        """Where the usable targets' alphas come from."""
        if target_alphas is not None:
            return AlphaSearch(self.penalty, np.empty(0), given=check_target_alphas(target_alphas, self.excluded_))
        groups = check_groups(target_groups, self.excluded_)
        if groups is None and not self.alpha_per_target:
            groups = np.zeros(np.count_nonzero(~self.excluded_))
        return AlphaSearch(self.penalty, check_alphas(self.alphas), groups=groups)

    def _store(self, fitted: Fitted, choosing: bool) -> None:
        if choosing:
            warn_of_ties(fitted.scores, stacklevel=3)
        self.alphas_ = among_excluded(fitted.alphas, self.excluded_)
        self.cv_scores_ = among_excluded(fitted.scores, self.excluded_) if choosing else None
        self._store_weights(fitted.coef, fitted.intercept)
