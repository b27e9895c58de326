"""The alphas of a ridge regression: what they mean, which are legal, and which is best."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .labels import check_labels

FIELD_ALPHAS: tuple[float, ...] = tuple(float(alpha) for alpha in np.logspace(1, 4, 10))


def penalties(alphas: NDArray[np.float64], convention: str) -> NDArray[np.float64]:
    """What is added to the diagonal of X'X for alphas of a convention, ``"alpha_squared"`` or ``"alpha"``."""
    if convention not in ("alpha_squared", "alpha"):
        raise ValueError(f"penalty must be 'alpha_squared' or 'alpha', got {convention!r}.")
    return np.square(alphas) if convention == "alpha_squared" else alphas


def check_alphas(alphas: ArrayLike) -> NDArray[np.float64]:
    """The alphas to choose from as float64 (n_alphas,), or a ValueError."""
    values = np.atleast_1d(np.asarray(alphas, dtype=np.float64))
    if values.ndim != 1 or values.size == 0 or not np.all(np.isfinite(values) & (values > 0)):
        raise ValueError(f"alphas must be one or more positive, finite numbers, got {alphas!r}.")
    return values


def choose_alphas(
    alphas: NDArray[np.float64], scores: NDArray[np.float64], groups: NDArray[Any] | None = None
) -> NDArray[np.float64]:
    """The best alpha of each target (n_targets,) from scores (n_alphas, n_targets); ties go to the smallest.

    ``groups`` (n_targets,) are labels: targets of one label share the alpha that is best for their mean score.
    """
    order = np.argsort(alphas, kind="stable")
    ranked = scores[order]
    if groups is not None:
        labels, member = np.unique(groups, return_inverse=True)
        means = np.stack([ranked[:, member == k].mean(axis=1) for k in range(len(labels))], axis=1)
        ranked = means[:, member]
    chosen: NDArray[np.float64] = alphas[order][np.argmax(ranked, axis=0)]
    return chosen


def count_ends(chosen: NDArray[np.float64], grid: ArrayLike, predicted: NDArray[np.bool_]) -> dict[str, int]:
    """How many targets took an end of the grid, among those that are predicted: a grid too narrow shows there.

    What cannot be predicted takes the largest alpha, or any, and says nothing of the grid.

    Parameters
    ----------
    chosen, predicted : array
        Alpha of each target, and whether it is predicted above chance, (n_targets,).
    grid : array-like
        The alphas that there were to choose from.

    Returns
    -------
    dict
        ``smallest``, ``largest``, and ``n_predicted``, of which these are.
    """
    alphas, of_predicted = check_alphas(grid), chosen[predicted]
    ends = {"smallest": alphas.min(), "largest": alphas.max()}
    return {end: int((of_predicted == alpha).sum()) for end, alpha in ends.items()} | {"n_predicted": len(of_predicted)}


def nominally_predicted(r: NDArray[np.float64], n_rows: int) -> NDArray[np.bool_]:
    """Where a held-out correlation over so many rows exceeds two standard errors of independent rows; NaN does not."""
    above: NDArray[np.bool_] = r > 2 / np.sqrt(n_rows)
    return above


def warn_of_ties(scores: NDArray[np.float64], *, stacklevel: int = 2) -> None:
    """Say how many targets score the same at every alpha, so that nothing was chosen: (n_alphas, n_targets)."""
    tied = int((scores == scores[0]).all(axis=0).sum()) if len(scores) > 1 else 0
    if tied:
        warnings.warn(
            f"{tied} of {scores.shape[1]} targets score the same at every alpha, as constants do; they take the least.",
            UserWarning,
            stacklevel=stacklevel + 1,
        )


def check_target_alphas(values: ArrayLike, excluded: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Given alphas of the targets that are not excluded, or a ValueError."""
    given = np.asarray(values, dtype=np.float64)
    if given.shape != excluded.shape:
        raise ValueError(f"target_alphas must have shape {excluded.shape}, one per target, got {given.shape}.")
    used = given[~excluded]
    if not np.all(np.isfinite(used) & (used > 0)):
        raise ValueError("target_alphas must be positive and finite for every target without NaN.")
    return used


def check_groups(values: ArrayLike | None, excluded: NDArray[np.bool_]) -> NDArray[Any] | None:
    """Labels of the targets that are not excluded; None if there are none, and a ValueError if they do not fit."""
    if values is None:
        return None
    return check_labels("target_groups", values, excluded.shape, "target")[~excluded]
