"""Banded ridge: feature spaces with penalties of their own, and what each of them alone explains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .alphas import FIELD_ALPHAS, check_alphas, penalties
from .band_search import Bands, fit_bands
from .bands import nested_candidates, resolve_bands, resolve_candidates
from .fit import among_excluded
from .linear import LinearRegressor


class Partition(NamedTuple):
    """Explained variance of test data, divided over feature spaces: R2 of each target, (n_targets,).

    Attributes
    ----------
    full : array
        Of all spaces together.
    only, unique : dict
        Of each space by itself; and of all spaces, less that of all but this one.
    shared : array
        ``full`` less all unique parts: what more than one space explains.
    """

    full: NDArray[np.float64]
    only: dict[str, NDArray[np.float64]]
    unique: dict[str, NDArray[np.float64]]
    shared: NDArray[np.float64]


class BandedRidgeCV(LinearRegressor):
    """Ridge regression with several feature spaces, whose relative weights are chosen for each target, too.

    Features of space k are scaled by the square root of its weight, so that the penalty on its weights is the chosen
    one over that. Every candidate is a set of relative weights; each target takes the candidate and the alpha with the
    best mean held-out score (Nunez-Elizalde, Huth & Gallant 2019; the search is that of Dupre la Tour et al. 2022).

    Parameters
    ----------
    groups : array-like, dict or None, default None
        The space of each feature: labels (n_features,), or names with their columns (slices, numbers or masks). None:
        one space, which is :class:`RidgeCV`.
    candidates : int, "grid" or array-like, default 20
        How many to try: equal weights, and random ones of mean 1. ``"grid"``: every combination of 1/100 to 100 times
        the last space. Weights (n_candidates, n_groups), at least 0: these.
    nested : bool, default False
        Also fit every model that lacks a space and every one of a single space, for :meth:`partition`. All models may
        choose among the candidates of those nested in them. Needs ``scoring="r2"``: a correlation does not see that
        predictions are too small, and would take penalties with which variance goes missing.
    random_state : int, default 0
        Seed of the random candidates.
    alphas, penalty, cv, scoring, fit_intercept, delays, n_targets_batch, device : Any
        As in :class:`RidgeCV`, but for ``cv="gcv"``.

    Attributes
    ----------
    groups_ : list of str
        Names of the spaces, in the order of ``candidates_``.
    candidates_ : ndarray
        (n_candidates, n_groups), with those of nested models.
    cv_scores_ : ndarray
        Best mean held-out score over the alphas, (n_candidates, n_targets).
    alphas_, weights_ : ndarray
        Chosen alpha (n_targets,) and relative weights (n_groups, n_targets); NaN for excluded targets.
    coef_, intercept_, excluded_ : ndarray
        As in :class:`RidgeCV`.

    Notes
    -----
    The Gram matrix and the cross products with the targets are made once and rescaled for each candidate, which costs
    its decompositions and scores alone.

    Examples
    --------
    >>> import numpy as np
    >>> from brainwavlm_fast import BandedRidgeCV
    >>> generator = np.random.default_rng(0)
    >>> X, weights = generator.standard_normal((400, 30)), generator.standard_normal((20, 3))
    >>> model = BandedRidgeCV({"sound": slice(0, 20), "words": slice(20, 30)}).fit(X, X[:, :20] @ weights)
    >>> bool((model.weights_[0] >= model.weights_[1]).all())
    True
    """

    groups_: list[str]
    candidates_: NDArray[np.float64]
    cv_scores_: NDArray[np.float64]
    alphas_: NDArray[np.float64]
    weights_: NDArray[np.float64]

    def __init__(
        self,
        groups: ArrayLike | Mapping[str, Any] | None = None,
        *,
        candidates: int | Literal["grid"] | ArrayLike = 20,
        nested: bool = False,
        random_state: int = 0,
        alphas: ArrayLike = FIELD_ALPHAS,
        penalty: Literal["alpha_squared", "alpha"] = "alpha_squared",
        cv: Any = None,
        scoring: Literal["correlation", "r2"] = "correlation",
        fit_intercept: bool = False,
        delays: Sequence[int] | None = None,
        n_targets_batch: int | None = None,
        device: str | None = None,
    ) -> None:
        self.groups = groups
        self.candidates = candidates
        self.nested = nested
        self.random_state = random_state
        self.alphas = alphas
        self.penalty = penalty
        self.cv = cv
        self.scoring = scoring
        self.fit_intercept = fit_intercept
        self.delays = delays
        self.n_targets_batch = n_targets_batch
        self.device = device

    def fit(
        self, X: ArrayLike, y: ArrayLike, *, run_onsets: ArrayLike | None = None, runs: ArrayLike | None = None
    ) -> Self:
        """Choose weights of the spaces and alphas, then fit on all rows.

        Parameters
        ----------
        X, y, run_onsets, runs : array-like
            As in :meth:`RidgeCV.fit`.

        Returns
        -------
        BandedRidgeCV
            The estimator itself.

        Raises
        ------
        ValueError
            Shapes disagree, a feature belongs to no space or to two, y holds infinity or a NaN in every target, or a
            parameter is not one of its values.
        """
        data = self._checked(X, y, run_onsets, runs)
        if isinstance(self.cv, str) and self.cv == "gcv":
            raise ValueError("cv='gcv' holds nothing out; banded ridge chooses by held-out scores.")
        if self.nested and self.scoring != "r2":
            raise ValueError("nested=True divides explained variance: choose by it, with scoring='r2'.")
        self.groups_, member = resolve_bands(self.groups, data.features.shape[1])
        self.candidates_ = resolve_candidates(self.candidates, len(self.groups_), self.random_state)
        every = range(len(self.groups_))
        subsets = [tuple(every)]
        if self.nested:
            subsets += [*((k,) for k in every), *(tuple(j for j in every if j != k) for k in every)]
        subsets = [subset for subset in dict.fromkeys(subsets) if subset]
        self.candidates_, models = nested_candidates(self.candidates_, subsets)
        grid = np.sort(check_alphas(self.alphas))
        scales = np.tile(np.sqrt(self.candidates_)[:, member], 1 if self.delays is None else len(self.delays))
        bands = Bands(scales, penalties(grid, self.penalty), models)
        problem = data.problem(self, rotate=False)
        scores, fits = fit_bands(problem, data.targets, bands, self.n_targets_batch)
        self._models = dict(zip(subsets, fits, strict=True))
        full = fits[0]
        self.cv_scores_ = among_excluded(scores, self.excluded_)
        self.alphas_ = among_excluded(grid[full.penalty], self.excluded_)
        self.weights_ = among_excluded(self.candidates_[full.candidate].T, self.excluded_)
        self._store_weights(full.coef, full.intercept)
        return self

    def partition(
        self, X: ArrayLike, y: ArrayLike, *, run_onsets: ArrayLike | None = None, runs: ArrayLike | None = None
    ) -> Partition:
        """Divide the explained variance of test data over the feature spaces.

        Parameters
        ----------
        X, y : array-like
            Features (n_rows, n_features) and measured targets, as many as were fitted.
        run_onsets, runs : array-like, default None
            As in :meth:`predict`.

        Returns
        -------
        Partition
            R2 of the test data, negative where predictions are worse than the mean; NaN for targets with a NaN.

        Raises
        ------
        ValueError
            The model was fitted without ``nested``, or shapes disagree.
        """
        if not self.nested:
            raise ValueError("partition needs the smaller models: fit with nested=True.")
        features = self._stacked(X, run_onsets, runs)
        r2: dict[tuple[int, ...], NDArray[np.float64]] = {}
        for subset, fit in self._models.items():
            coef, intercept = (among_excluded(values, self.excluded_) for values in (fit.coef, fit.intercept))
            r2[subset], _ = self._scores(features @ coef + intercept, y, "r2")
        every = tuple(range(len(self.groups_)))
        only = {name: r2[(k,)] for k, name in enumerate(self.groups_)}
        without = [r2.get(tuple(j for j in every if j != k), 0.0) for k in every]
        unique = {name: r2[every] - rest for name, rest in zip(self.groups_, without, strict=True)}
        return Partition(r2[every], only, unique, r2[every] - sum(unique.values()))
