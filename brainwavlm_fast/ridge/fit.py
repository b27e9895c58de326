"""Choose an alpha for each target and fit it, tile by tile of the targets."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .alphas import choose_alphas, penalties
from .backend import to_numpy
from .problem import Float64, Floats, Targets
from .solver import Solver

SPLITS_AT_ONCE = 4  # decompositions held in memory


@dataclass(frozen=True)
class AlphaSearch:
    """Where each target's alpha comes from.

    Attributes
    ----------
    convention : {"alpha_squared", "alpha"}
        What an alpha means.
    grid : array
        Alphas to choose from (n_alphas,); empty where alphas are given.
    given : array or None
        Alphas that are used as they are, (n_targets,).
    groups : array or None
        Labels (n_targets,): targets of one label share an alpha. None: each has its own.
    """

    convention: str
    grid: Float64
    given: Float64 | None = None
    groups: NDArray[Any] | None = None


class Fitted(NamedTuple):
    """Chosen alphas (n_targets,), mean held-out scores (n_alphas, n_targets), weights (n_features, n_targets) and
    intercepts (n_targets,)."""

    alphas: Float64
    scores: Float64
    coef: NDArray[np.floating[Any]]
    intercept: Floats


def fit_targets(solver: Solver, targets: Any, search: AlphaSearch, tile_width: int | None = None) -> Fitted:
    """Fit targets (n_rows, n_targets), which may lie on a GPU; ``tile_width`` is the solver's by default.

    Scores and weights of a tile share its cross products, unless all targets or many splits must be scored before any
    alpha is chosen.
    """
    width, n_splits = tile_width or solver.tile_width(), len(solver.problem.splits)
    targets = solver.problem.backend.resident(targets, solver.problem.dtype)
    tiles = [targets[:, start : start + width] for start in range(0, targets.shape[1], width)]
    given, scores = search.given, np.zeros((len(search.grid), targets.shape[1]))
    if given is None and (search.groups is not None or n_splits > SPLITS_AT_ONCE):
        for first in range(0, max(n_splits, 1), SPLITS_AT_ONCE):
            splits = range(first, min(first + SPLITS_AT_ONCE, n_splits))
            jobs = [partial(_score_tile, solver, tile, splits) for tile in tiles]
            solver.decompose(splits, all_rows=True)
            scores += np.concatenate(solver.run(jobs), axis=1)
        given = choose_alphas(search.grid, scores, search.groups)
    given_tiles = [None if given is None else given[start : start + width] for start in range(0, len(targets.T), width)]
    fits = [partial(_fit_tile, solver, tile, search, alphas) for tile, alphas in zip(tiles, given_tiles, strict=True)]
    solver.decompose(range(n_splits if given is None else 0), all_rows=True)
    alphas, tile_scores, coef, intercept = zip(*solver.run(fits), strict=True)
    if given is None:
        scores = np.concatenate(tile_scores, axis=1)
    return Fitted(np.concatenate(alphas), scores, np.concatenate(coef, axis=1), np.concatenate(intercept))


def among_excluded(values: NDArray[Any], excluded: NDArray[np.bool_]) -> NDArray[Any]:
    """Values of the usable targets, (..., n_usable), among NaN for those excluded: (..., n_targets)."""
    if not excluded.any():
        return values
    out = np.full((*values.shape[:-1], len(excluded)), np.nan, dtype=values.dtype)
    out[..., ~excluded] = values
    return out


def _score_tile(solver: Solver, tile: Any, splits: range) -> Float64:
    return _mean_scores(solver, solver.problem.prepare(tile), splits)


def _mean_scores(solver: Solver, targets: Targets, splits: range) -> Float64:
    """The part of these splits in the mean over all; GCV has none and counts as one."""
    return solver.score(targets, splits=splits) / max(len(solver.problem.splits), 1)


def _fit_tile(solver: Solver, tile: Any, search: AlphaSearch, given: Float64 | None) -> Fitted:
    targets = solver.problem.prepare(tile)
    scores = np.zeros((len(search.grid), tile.shape[1]))
    if given is None:
        scores = _mean_scores(solver, targets, range(len(solver.problem.splits)))
        given = choose_alphas(search.grid, scores)
    coef, intercept = solver.weights(targets, penalties(given, search.convention))
    return Fitted(given, scores, to_numpy(coef), intercept)
