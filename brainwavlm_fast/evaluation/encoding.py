"""Voxelwise encoding models: how well features of stories predict responses to a story they were not fitted on.

For each story features are z-scored, delayed on their true context, and only then cut to the responses' rows and
concatenated, so that nothing crosses from one story into the next. Ridge with one alpha a voxel is fitted on the
training stories; a voxel's score is the Pearson correlation over time on a held-out story.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..data import StorySplit
from ..distributed import SINGLE_PROCESS, Ranks
from ..errors import ConfigError, DataError
from ..kernels import delay_stack
from ..progress import Advance, Progress
from ..ridge.alphas import FIELD_ALPHAS, check_alphas, check_target_alphas, choose_alphas, penalties
from ..ridge.backend_numpy import arrays_on
from ..ridge.cholesky import plan_ridge
from ..ridge.designs import DelayedDesign, standardised
from ..ridge.predictor import Predictor
from ..ridge.row_splits import ChunkBootstrap, RowSplit, resolve_splits
from ..ridge.spectral import RidgePlan

_GIB = 1 << 30


class Responses(Protocol):
    """Where measured responses come from."""

    @property
    def n_voxels(self) -> int:
        """Voxels of every story."""

    def read(self, story: str, voxels: slice) -> NDArray[Any]:
        """A story's responses for a stretch of voxels: floats (n_trs, n_voxels_wanted), NaN kept."""


@dataclass(frozen=True)
class RidgeSettings:
    """How alphas are chosen: the field's grid and chunk bootstrap unless changed.

    Attributes
    ----------
    alphas, penalty : see :class:`RidgeCV`.
    n_splits, chunk_length, held_fraction, gap, seed : see :class:`ChunkBootstrap`.
    """

    alphas: tuple[float, ...] = FIELD_ALPHAS
    penalty: str = "alpha_squared"
    n_splits: int = 3
    chunk_length: int = 40
    held_fraction: float = 0.25
    gap: int = 0
    seed: int = 0

    def splitter(self) -> ChunkBootstrap:
        """The bootstrap."""
        return ChunkBootstrap(
            self.n_splits,
            chunk_length=self.chunk_length,
            held_fraction=self.held_fraction,
            gap=self.gap,
            seed=self.seed,
        )


@dataclass(frozen=True)
class Encoding:
    """An encoding model's scores; every array is NaN at excluded voxels.

    Attributes
    ----------
    validation, test : story -> correlation over time of each voxel (n_voxels,).
    alphas : (n_voxels,) the alpha of each voxel.
    cv_scores : (n_voxels,) mean held-out correlation at that alpha; None if the alphas were given.
    excluded : (n_voxels,) bool: voxels with a NaN or infinity in, or constant over, one of the stories.
    predictions : test story -> predicted (z-scored) responses (n_trs, n_voxels); None if they were not kept.
    """

    validation: dict[str, NDArray[np.float64]]
    test: dict[str, NDArray[np.float64]]
    alphas: NDArray[np.float64]
    cv_scores: NDArray[np.float64] | None
    excluded: NDArray[np.bool_]
    predictions: dict[str, NDArray[Any]] | None = None

    @property
    def mean_validation(self) -> NDArray[np.float64] | None:
        """Correlation of each voxel averaged over the validation stories; None without one."""
        return np.mean(list(self.validation.values()), axis=0) if self.validation else None

    def arrays(self) -> list[NDArray[Any]]:
        """Everything there is a number of for each voxel, which is the last axis."""
        parts = [*self.validation.values(), *self.test.values(), self.alphas, self.excluded]
        return [*parts, *([] if self.cv_scores is None else [self.cv_scores]), *(self.predictions or {}).values()]

    @property
    def mean_test(self) -> NDArray[np.float64]:
        """Correlation of each voxel averaged over the test stories."""
        return np.mean(list(self.test.values()), axis=0)


def encode(
    features: Mapping[str, NDArray[Any]],
    responses: Responses,
    *,
    split: StorySplit,
    delays: Sequence[int] = (1, 2, 3, 4),
    ridge: RidgeSettings | None = None,
    alphas: ArrayLike | None = None,
    keep_predictions: bool = False,
    memory_gb: float = 4.0,
    device: str = "cpu",
    progress: Progress | None = None,
    label: str = "ridge",
    ranks: Ranks = SINGLE_PROCESS,
) -> Encoding:
    """Fit on the training stories, score on validation and test stories.

    Parameters
    ----------
    features : story -> (max(delays) + n_trs, width); row ``max(delays) + k`` belongs to response k.
    responses : measured responses of the same stories; z-scored here, story by story.
    split : which stories train, validate and test.
    delays : FIR delays in TRs.
    ridge : how alphas are chosen.
    alphas : (n_voxels,) alphas of each voxel to use without cross-validation, such as another encoding's ``alphas``.
        With the same ``ridge`` as there, equal features then give equal scores to the last bit. Each different one
        costs a factorisation.
    keep_predictions : keep the predicted responses to the test stories, for significance.
    memory_gb : responses are read in stretches of voxels of about this size.
    device : where products with the responses are made, as torch names it.
    ranks : processes that share the voxels; each has all results.

    Raises
    ------
    ConfigError : a story is in two parts of the split.
    DataError : features or responses of a story are missing, disagree in rows, or hold no usable voxel.
    """
    ridge, progress = ridge or RidgeSettings(), progress or Progress()
    _check_split(split, features)
    context = max(delays)
    normal = {name: normalised(features[name], context, story=name) for name in all_stories(split)}
    n_rows = {name: len(z) - context for name, z in normal.items()}
    lengths = [n_rows[name] for name in split.train]
    onsets = np.cumsum([0, *(len(normal[name]) for name in split.train[:-1])])
    trained = np.concatenate([normal[name] for name in split.train])
    X = DelayedDesign(trained, delays, run_onsets=onsets.tolist(), context=context)
    # The splits even where alphas are given: the same sums in the same order give the same weights to the last bit.
    arrays = arrays_on(device)
    grid = check_alphas(ridge.alphas)
    penalty_grid, splits = penalties(grid, ridge.penalty), bootstrap_rows(ridge, lengths)
    plan = plan_ridge(X, splits, penalty_grid, n_targets=responses.n_voxels, arrays=arrays)
    n = responses.n_voxels
    given = None if alphas is None else np.asarray(alphas, dtype=np.float64)
    wanted = grid if given is None else given[np.isfinite(given) & (given > 0)]
    held_out = [delay_stack(normal[name], delays, context=context) for name in (*split.validation, *split.test)]
    predictor = plan.predictor(np.concatenate(held_out), penalties(wanted, ridge.penalty))

    out = Encoding(
        {name: np.full(n, np.nan) for name in split.validation},
        {name: np.full(n, np.nan) for name in split.test},
        np.full(n, np.nan),
        np.full(n, np.nan) if alphas is None else None,
        np.ones(n, dtype=bool),
        {s: np.full((n_rows[s], n), np.nan, X.dtype) for s in split.test} if keep_predictions else None,
    )
    stretch = max(1, int(memory_gb * _GIB / (8 * sum(n_rows.values()))))  # what is read, and a z-scored copy
    width = plan.tile_width()
    stretch -= stretch % width if stretch > width else 0  # the same tiles, however many processes there are
    own = ranks.local_slice(n, multiple=width)
    with progress.task(label, own.stop - own.start) as advance:
        if given is None:
            plan.decompose(penalty_grid, splits=range(plan.n_splits), whole=False)
        for first in range(own.start, own.stop, stretch):
            here = slice(first, min(first + stretch, own.stop))
            measured = _read(responses, here, n_rows)
            jobs, widths = [], []
            for start in range(here.start, here.stop, width):
                tile = slice(start, min(start + width, here.stop))
                part = {name: Y[:, tile.start - first : tile.stop - first] for name, Y in measured.items()}
                own_alphas = None if given is None else given[tile]
                jobs.append(
                    partial(_encode_tile, plan, predictor, part, split, tile, own_alphas, grid, ridge.penalty, out)
                )
                widths.append(tile.stop - tile.start)
            plan.each(jobs, done=partial(_advance, advance, widths))
    for values in out.arrays():
        ranks.all_gather_slices(values, multiple=width)
    if out.excluded.all():
        raise DataError(f"every one of the {n} voxels holds NaN or a constant in some story; nothing can be fitted.")
    return out


def _advance(advance: Advance, widths: Sequence[int], number: int) -> None:
    advance(widths[number])


def bootstrap_rows(ridge: RidgeSettings, lengths: Sequence[int]) -> list[RowSplit]:
    """The bootstrap's splits of training stories of these lengths; a :class:`ConfigError` if they are too short."""
    try:
        return resolve_splits(ridge.splitter(), sum(lengths), run_onsets=np.cumsum([0, *lengths[:-1]]))
    except ValueError as error:
        raise ConfigError(f"ridge on the training stories: {error}") from None


def normalised(features: NDArray[Any], context: int, *, story: str = "") -> NDArray[Any]:
    """A story's features (context + n_trs, width), each z-scored over all rows given.

    Delays are stacked on all of them, and only then are the context rows dropped: the first responses see true
    features, never zeros and never another story.
    """
    if features.ndim != 2 or len(features) <= context:
        raise DataError(
            f"features of story '{story}' have shape {features.shape}; expected ({context} rows of context + its TRs, "
            "width)."
        )
    if not np.isfinite(features).all():
        raise DataError(f"features of story '{story}' hold NaN or infinity; compute them again.")
    return standardised(features)


def _encode_tile(
    plan: RidgePlan,
    predictor: Predictor,
    measured: Mapping[str, NDArray[Any]],
    split: StorySplit,
    tile: slice,
    given: NDArray[np.float64] | None,
    grid: NDArray[np.float64],
    convention: str,
    out: Encoding,
) -> None:
    usable = np.ones(tile.stop - tile.start, dtype=bool)
    for Y in measured.values():
        usable &= np.isfinite(Y).all(axis=0) & (Y.max(axis=0) > Y.min(axis=0))
    voxels = np.arange(tile.start, tile.stop)[usable]
    if not len(voxels):
        return
    Y = np.concatenate([_zscore(measured[name][:, usable]) for name in split.train])
    prepared = plan.prepare(Y)
    if given is None:
        scores = plan.score(prepared, penalties(grid, convention)) / plan.n_splits
        chosen = choose_alphas(grid, scores)
        assert out.cv_scores is not None
        out.cv_scores[voxels] = scores.max(axis=0)
    else:
        chosen = check_target_alphas(given, ~usable)
    out.alphas[voxels], out.excluded[voxels] = chosen, False
    predicted = predictor(prepared.cross(), penalties(chosen, convention))
    first = 0
    for name, r in (*out.validation.items(), *out.test.items()):
        here = predicted[first : first + len(measured[name])]
        first += len(here)
        r[voxels] = plan.arrays.correlation(here, plan.arrays.asarray(measured[name][:, usable], plan.dtype))
        if out.predictions is not None and name in out.predictions:
            out.predictions[name][:, voxels] = plan.arrays.to_host(here)


def _zscore(Y: NDArray[Any]) -> NDArray[Any]:
    mean, std = Y.mean(axis=0, dtype=np.float64), Y.std(axis=0, dtype=np.float64)
    return ((Y - mean) / std).astype(Y.dtype)


def _read(responses: Responses, voxels: slice, n_rows: Mapping[str, int]) -> dict[str, NDArray[Any]]:
    measured = {}
    for name, expected in n_rows.items():
        measured[name] = Y = responses.read(name, voxels)
        if len(Y) != expected:
            raise DataError(
                f"story '{name}': features give {expected} TRs, but its responses have {len(Y)} rows; "
                "they were made from different data."
            )
    return measured


def all_stories(split: StorySplit) -> list[str]:
    """Every story of a split: training, validation, test."""
    return [*split.train, *split.validation, *split.test]


def _check_split(split: StorySplit, features: Mapping[str, Any]) -> None:
    named = all_stories(split)
    twice = sorted({name for name in named if named.count(name) > 1})
    if twice:
        raise ConfigError(f"story {', '.join(twice)} is in two parts of the split; held-out stories must not train.")
    missing = [name for name in named if name not in features]
    if missing:
        raise DataError(f"no features of story {', '.join(missing)}; compute them for every story of the split.")
    if not split.train or not split.test:
        raise ConfigError("a split needs at least one training story and one test story.")
