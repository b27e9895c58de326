"""Feature spaces of a banded ridge regression, and the relative weights of them that are tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .labels import check_labels

Float64 = NDArray[np.float64]
_RATIOS = (0.01, 0.1, 1.0, 10.0, 100.0)  # of a grid, each space against the last
_LARGEST_GRID = 1000
_CONCENTRATIONS = (1.0, 0.1)  # of the random weights: in the middle, and near the corners


def resolve_bands(groups: Any, n_features: int) -> tuple[list[str], NDArray[np.intp]]:
    """Names of the feature spaces, and the space of each feature (n_features,).

    ``groups`` are labels (n_features,), or names with their columns (a slice, numbers, or a mask), or None: one space.

    Raises
    ------
    ValueError
        Labels do not fit, or a feature is in no space or in two.
    """
    if groups is None:
        return ["features"], np.zeros(n_features, dtype=np.intp)
    if not isinstance(groups, Mapping):
        labels = check_labels("groups", groups, (n_features,), "feature")
        _, first, sorted_member = np.unique(labels, return_index=True, return_inverse=True)
        order = np.argsort(first)  # in the order of the columns
        return [str(label) for label in labels[np.sort(first)]], np.argsort(order)[sorted_member]
    member = np.full(n_features, -1, dtype=np.intp)
    for number, (name, columns) in enumerate(groups.items()):
        mine = np.arange(n_features)[columns]
        if not mine.size or (member[mine] >= 0).any():
            what = "has no column" if not mine.size else "has a column that another one has"
            raise ValueError(f"groups: {name!r} {what}; each feature belongs to one.")
        member[mine] = number
    missing = np.flatnonzero(member < 0)
    if len(missing):
        raise ValueError(f"groups: {len(missing)} features are in none, the first is column {missing[0]}.")
    return [str(name) for name in groups], member


def resolve_candidates(candidates: int | str | ArrayLike, n_bands: int, random_state: int) -> Float64:
    """Relative weights of the spaces that are tried, (n_candidates, n_bands), at least 0.

    A number: equal weights, then random ones of mean 1 (Dirichlet's distribution, by turns even and near the corners).
    ``"grid"``: all combinations of 1/100, 1/10, 1, 10, 100 times the last space's, of mean 1. Anything else: as given.

    Raises
    ------
    ValueError
        No candidate, another number of spaces, or a candidate in which no space has a weight.
    """
    if isinstance(candidates, str):
        if candidates != "grid" or len(_RATIOS) ** (n_bands - 1) > _LARGEST_GRID:
            raise ValueError(
                f"candidates must be a number, 'grid' (with few spaces, not {n_bands}) or weights, got {candidates!r}."
            )
        weights = np.array([[*ratios, 1.0] for ratios in product(_RATIOS, repeat=n_bands - 1)])
        return np.asarray(weights * (n_bands / weights.sum(axis=1, keepdims=True)))
    if isinstance(candidates, (int, np.integer)) and not isinstance(candidates, bool):
        if candidates < 1:
            raise ValueError(f"candidates must be at least 1, got {candidates}.")
        rng = np.random.default_rng(random_state)
        drawn = [rng.dirichlet([_CONCENTRATIONS[k % 2]] * n_bands) * n_bands for k in range(int(candidates) - 1)]
        return np.array([np.ones(n_bands), *drawn]) if n_bands > 1 else np.ones((1, 1))
    weights = np.asarray(candidates, dtype=np.float64)
    if weights.ndim != 2 or not len(weights) or weights.shape[1] != n_bands:
        raise ValueError(f"candidates must have shape (n_candidates, {n_bands}), got {weights.shape}.")
    if not (np.isfinite(weights) & (weights >= 0)).all() or not (weights > 0).any(axis=1).all():
        raise ValueError("candidates must be finite and at least 0, with one space or more above 0 in each.")
    return weights


def nested_candidates(candidates: Float64, subsets: Sequence[Sequence[int]]) -> tuple[Float64, list[NDArray[np.intp]]]:
    """Candidates (n_candidates, n_bands) with those of smaller models, and which of them each model may choose.

    A model has the spaces of a subset; all others weigh nothing. Its candidates are those given without the spaces that
    it lacks, of the same mean, and those of the models that are nested in it.
    """
    every = [candidates]
    for subset in subsets:
        part = np.zeros_like(candidates)
        part[:, list(subset)] = candidates[:, list(subset)]
        total, whole = part.sum(axis=1, keepdims=True), candidates.sum(axis=1, keepdims=True)
        scaled = (part * whole / np.where(total > 0, total, 1.0))[total[:, 0] > 0]
        every.append(np.eye(candidates.shape[1])[[subset[0]]] * whole.mean() if len(subset) == 1 else scaled)
    weights = np.concatenate(every)
    _, first = np.unique(weights, axis=0, return_index=True)
    weights = weights[np.sort(first)]
    lacking = [np.delete(weights, list(subset), axis=1) for subset in subsets]
    return weights, [np.flatnonzero((others == 0).all(axis=1)) for others in lacking]
