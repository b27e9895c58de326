"""Banded ridge: one Gram matrix and one set of cross products, rescaled for each candidate of the spaces' weights.

With features scaled by s (the square roots of their space's weight) the Gram matrix is diag(s) X'X diag(s) and the
cross products are diag(s) X'Y. So a candidate costs its decompositions and its scores; no product over the rows of the
design with the targets is made again. A space whose weight is 0 is not in the model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .backend import to_numpy
from .designs import ScaledDesign
from .fit import SPLITS_AT_ONCE
from .problem import Float64, Floats, RidgeProblem, SplitRows, Targets
from .spectral import SpectralSolver

_CHUNK_BYTES = 2 << 30  # of targets and cross products that all candidates score before the next ones


class Bands(NamedTuple):
    """What is searched.

    Attributes
    ----------
    scales : array
        Scale of each column for each candidate, (n_candidates, n_columns).
    penalties : array
        In rising order, (n_penalties,).
    models : sequence of array
        For each model to fit, the candidates that it may choose.
    """

    scales: Float64
    penalties: Float64
    models: Sequence[NDArray[np.intp]]


class BandedFit(NamedTuple):
    """One model: numbers of the chosen candidate and penalty, weights (n_features, n_targets), and intercepts."""

    candidate: NDArray[np.intp]
    penalty: NDArray[np.intp]
    coef: Floats
    intercept: Floats


class ScaledProblem(RidgeProblem):
    """A problem whose columns are scaled; it shares everything else with the one that it was made from."""

    def __init__(self, problem: RidgeProblem, scale: Float64, rows: dict[int, tuple[SplitRows, Float64]]) -> None:
        self.__dict__.update({name: value for name, value in vars(problem).items() if name != "largest_eigenvalue"})
        self._problem, self._scale, self._rows = problem, scale, rows
        self._placed: Any = problem.place(scale[:, None])
        self.gram = scale[:, None] * problem.gram * scale
        self.design = ScaledDesign(problem.design, scale)

    def split_rows(self, number: int) -> tuple[SplitRows, Float64]:
        """As of the problem, scaled."""
        if number not in self._rows:
            self._rows[number] = self._problem.split_rows(number)
        rows, gram = self._rows[number]
        scaled = SplitRows(rows.left_out, rows.held, rows.n_train, rows.mean * self._scale)
        return scaled, self._scale[:, None] * gram * self._scale

    def split_targets(self, number: int, rows: SplitRows, targets: Targets) -> tuple[Any, Any]:
        """As of the problem, scaled."""
        cross, held = self._problem.split_targets(number, self._rows[number][0], targets)
        return self.scaled(cross), held

    def scaled(self, cross: Any) -> Any:
        """Cross products (n_columns, n_targets) of the problem, as those of its scaled columns."""
        return cross * self._placed

    def feature_weights(self, coef: Any, targets: Targets) -> tuple[Any, Floats]:
        """Weights of the features as they are."""
        return self._problem.feature_weights(coef * self._placed, targets)


def fit_bands(
    problem: RidgeProblem,
    targets: Any,
    bands: Bands,
    tile_width: int | None = None,
    advance: Callable[[int], object] = lambda n_candidates: None,
) -> tuple[Float64, list[BandedFit]]:
    """Score every candidate, then fit each model with the best candidate and penalty of each target.

    Returns
    -------
    scores : array
        Best mean held-out score over the penalties, (n_candidates, n_targets).
    fits : list of BandedFit
        One per model.
    """
    n_rows, n_columns = problem.design.shape
    per_target = (n_rows + 2 ** min(len(problem.splits), 3) * n_columns) * problem.dtype.itemsize
    width = max(1, _CHUNK_BYTES // per_target)
    resident = problem.backend.resident(targets, problem.dtype)
    rows: dict[int, tuple[SplitRows, Float64]] = {}  # of every split, for all candidates and chunks
    parts = []
    for start in range(0, targets.shape[1], width):
        chunk = resident[:, start : start + width]
        tile = tile_width or SpectralSolver(problem, bands.penalties).tile_width()
        tiles = [problem.prepare(chunk[:, first : first + tile]) for first in range(0, chunk.shape[1], tile)]
        scores, penalty = _score_chunk(problem, tiles, bands, rows, advance)
        parts.append((scores, _fit_chunk(problem, tiles, bands, rows, scores, penalty)))
    models = zip(*(fits for _, fits in parts), strict=True)
    joined = [BandedFit(*(np.concatenate(kind, axis=-1) for kind in zip(*model, strict=True))) for model in models]
    return np.concatenate([scores for scores, _ in parts], axis=1), joined


def _score_chunk(
    problem: RidgeProblem,
    tiles: list[Targets],
    bands: Bands,
    rows: dict[int, tuple[SplitRows, Float64]],
    advance: Callable[[int], object],
) -> tuple[Float64, NDArray[np.intp]]:
    """Best mean score over the penalties, and that penalty's number, (n_candidates, n_targets)."""
    best_scores, best = [], []
    n_splits = len(problem.splits)
    for scale in bands.scales:
        solver = SpectralSolver(ScaledProblem(problem, scale, rows), bands.penalties)
        total = np.zeros((len(bands.penalties), sum(tile.values.shape[1] for tile in tiles)))
        for first in range(0, n_splits, SPLITS_AT_ONCE):
            splits = range(first, min(first + SPLITS_AT_ONCE, n_splits))
            solver.decompose(splits, all_rows=False)
            total += np.concatenate(solver.run([partial(solver.score, tile, splits=splits) for tile in tiles]), axis=1)
        best_scores.append(total.max(axis=0) / n_splits)
        best.append(total.argmax(axis=0))
        advance(1)
    return np.stack(best_scores), np.stack(best)


def _fit_chunk(
    problem: RidgeProblem,
    tiles: list[Targets],
    bands: Bands,
    rows: dict[int, tuple[SplitRows, Float64]],
    scores: Float64,
    penalty: NDArray[np.intp],
) -> list[BandedFit]:
    """Weights of every model; a candidate that several of them chose is decomposed once."""
    n_targets, n_columns = scores.shape[1], problem.design.shape[1]
    chosen = [model[scores[model].argmax(axis=0)] for model in bands.models]
    numbers = [penalty[candidate, np.arange(n_targets)] for candidate in chosen]
    coefs = [np.empty((n_columns, n_targets), problem.dtype) for _ in chosen]
    intercepts = [np.empty(n_targets, problem.dtype) for _ in chosen]
    starts = np.cumsum([0, *(tile.values.shape[1] for tile in tiles)])
    for candidate in np.unique(np.concatenate(chosen)):
        scaled = ScaledProblem(problem, bands.scales[candidate], rows)
        solver = SpectralSolver(scaled, bands.penalties)
        for tile, start, stop in zip(tiles, starts[:-1], starts[1:], strict=True):
            cross = scaled.scaled(tile.cross())
            for picked, number, coef, intercept in zip(chosen, numbers, coefs, intercepts, strict=True):
                mine = np.flatnonzero(picked[start:stop] == candidate)
                if not len(mine):
                    continue
                wanted = Targets(tile.values[:, mine], tile.mean[mine], {0: cross[:, mine]})
                weights, offset = solver.weights(wanted, bands.penalties[number[start + mine]])
                coef[:, start + mine], intercept[start + mine] = to_numpy(weights), offset
    return [BandedFit(*model) for model in zip(chosen, numbers, coefs, intercepts, strict=True)]
