"""Ridge on the training stories of a split, ready to score tiles of voxels on its other stories.

For each story features are z-scored, delayed on their true context, and only then cut to the responses' rows and
concatenated, so that nothing crosses from one story into the next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..data import StorySplit, usable_columns
from ..errors import ConfigError, DataError
from ..kernels import delay_stack
from ..ridge.alphas import FIELD_ALPHAS, check_alphas, check_target_alphas, choose_alphas, penalties
from ..ridge.backend import score_targets
from ..ridge.designs import DelayedDesign, standardize
from ..ridge.fit import among_excluded
from ..ridge.predictor import Predictor
from ..ridge.problem import RidgeProblem, Targets
from ..ridge.row_splits import ChunkBootstrap, RowSplit, resolve_splits
from ..ridge.solver import choose_solver
from ..stats.intervals import N_BLOCKS, correlation_without_blocks


@dataclass(frozen=True)
class RidgeSettings:
    """How alphas are chosen: the field's grid and chunk bootstrap unless changed.

    Attributes
    ----------
    alphas, penalty
        See :class:`RidgeCV`.
    n_splits, chunk_length, held_fraction, gap, seed
        See :class:`ChunkBootstrap`.
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
        return ChunkBootstrap(**{part.name: getattr(self, part.name) for part in fields(ChunkBootstrap)})


@dataclass(frozen=True)
class EncodingSettings:
    """What an encoding model is fitted on and how.

    Attributes
    ----------
    split : StorySplit
        Which stories train, validate and test.
    delays : tuple of int, default (1, 2, 3, 4)
        FIR delays in TRs.
    ridge : RidgeSettings
        How alphas are chosen.
    scoring : {"correlation", "r2"}, default "correlation"
        What alphas are chosen by, and the score on validation and test stories.
    target_groups : array-like, default None
        Labels (n_voxels,): one alpha per label, best for the mean score of its voxels; None: one per voxel.
    """

    split: StorySplit
    delays: Sequence[int] = (1, 2, 3, 4)
    ridge: RidgeSettings = field(default_factory=RidgeSettings)
    scoring: Literal["correlation", "r2"] = "correlation"
    target_groups: ArrayLike | None = None


@dataclass(frozen=True)
class Encoding:
    """An encoding model's scores; every array is NaN at excluded voxels.

    Attributes
    ----------
    validation, test : dict
        Story -> score of each voxel (n_voxels,): correlation over time, or R2 where that was asked for.
    alphas : array
        The alpha of each voxel (n_voxels,).
    cv_scores : array or None
        Mean held-out score at that alpha (n_voxels,); None if the alphas were given.
    excluded : array
        Voxels with a NaN or infinity in, or constant over, one of the stories, bool (n_voxels,).
    predictions : dict or None
        Test story -> predicted (z-scored) responses (n_trs, n_voxels); None if they were not asked for.
    left_out : dict
        Validation or test story -> correlation without each block of TRs (n_blocks, n_voxels), for intervals; empty
        where R2 was asked for.
    """

    validation: dict[str, NDArray[np.float64]]
    test: dict[str, NDArray[np.float64]]
    alphas: NDArray[np.float64]
    cv_scores: NDArray[np.float64] | None
    excluded: NDArray[np.bool_]
    predictions: dict[str, NDArray[Any]] | None = None
    left_out: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    @property
    def mean_validation(self) -> NDArray[np.float64] | None:
        """Score of each voxel averaged over the validation stories; None without one."""
        return np.mean(list(self.validation.values()), axis=0) if self.validation else None

    @property
    def mean_test(self) -> NDArray[np.float64]:
        """Score of each voxel averaged over the test stories."""
        return np.mean(list(self.test.values()), axis=0)


class StoryRidge:
    """Ridge on the training stories, ready to encode tiles of voxels."""

    def __init__(
        self,
        features: Mapping[str, NDArray[Any]],
        n_voxels: int,
        settings: EncodingSettings,
        alphas: ArrayLike | None,
        keep_predictions: bool,
    ) -> None:
        split, delays, ridge = settings.split, settings.delays, settings.ridge
        _check_split(split, features)
        if settings.scoring not in ("correlation", "r2"):
            raise ConfigError(f"scoring is {settings.scoring!r}; it must be 'correlation' or 'r2'.")
        context = max(delays)
        scored = {name: standardize_story(features[name], context, story=name) for name in all_stories(split)}
        self.n_rows = {name: len(z) - context for name, z in scored.items()}
        onsets = np.cumsum([0, *(len(scored[name]) for name in split.train[:-1])])
        trained = np.concatenate([scored[name] for name in split.train])
        self.n_weights = len(delays) * trained.shape[1]
        X = DelayedDesign(trained, delays, run_onsets=onsets.tolist(), context=context)
        self.grid, self.convention, self.split = check_alphas(ridge.alphas), ridge.penalty, split
        # the splits even where alphas are given: the same sums in the same order give the same weights to the last bit
        splits = bootstrap_rows(ridge, [self.n_rows[name] for name in split.train])
        self.problem = RidgeProblem(X, splits, n_targets=n_voxels, scoring=settings.scoring)
        self.solver = choose_solver(self.problem, penalties(self.grid, self.convention))
        self.given = None if alphas is None else np.asarray(alphas, dtype=np.float64)
        self.scored_splits = range(len(splits) if self.given is None else 0)
        wanted = self.grid if self.given is None else self.given[np.isfinite(self.given) & (self.given > 0)]
        held_out = [delay_stack(scored[name], delays, context=context) for name in (*split.validation, *split.test)]
        self.predictor = Predictor(self.problem, np.concatenate(held_out), penalties(wanted, self.convention))
        self.keep_predictions = keep_predictions

    def excluded(self, n_voxels: int) -> Encoding:
        """Of voxels that cannot be used."""
        split, dtype = self.split, self.problem.dtype
        return Encoding(
            {name: np.full(n_voxels, np.nan) for name in split.validation},
            {name: np.full(n_voxels, np.nan) for name in split.test},
            np.full(n_voxels, np.nan),
            np.full(n_voxels, np.nan) if self.given is None else None,
            np.ones(n_voxels, dtype=bool),
            {name: np.full((self.n_rows[name], n_voxels), np.nan, dtype) for name in split.test}
            if self.keep_predictions
            else None,
            {name: np.full((N_BLOCKS, n_voxels), np.nan) for name in (*split.validation, *split.test)}
            if self.problem.scoring == "correlation"
            else {},
        )

    def encode_tile(self, measured: Mapping[str, NDArray[Any]], tile: slice) -> Encoding:
        """From the responses of a tile of voxels to each story, (n_trs, n_voxels)."""
        usable = usable_voxels_of(measured)
        if not usable.any():
            return self.excluded(len(usable))
        targets = self._targets(measured, usable)
        cv_scores = None
        if self.given is None:
            scores = self.solver.score(targets) / len(self.problem.splits)
            chosen, cv_scores = choose_alphas(self.grid, scores), among_excluded(scores.max(axis=0), ~usable)
        else:
            chosen = check_target_alphas(self.given[tile], ~usable)
        predicted = self.predictor(targets.cross(), penalties(chosen, self.convention))
        backend, r, predictions, left_out, first = self.problem.backend, {}, {}, {}, 0
        for name in (*self.split.validation, *self.split.test):
            rows = predicted[first : first + self.n_rows[name]]
            first += len(rows)
            of_story = self._score(backend.asarray(measured[name][:, usable], self.problem.dtype), rows)
            r[name] = among_excluded(of_story, ~usable)
            if self.problem.scoring == "correlation":
                blocks = correlation_without_blocks(backend.to_host(rows), measured[name][:, usable])
                left_out[name] = among_excluded(blocks, ~usable)
            if self.keep_predictions and name in self.split.test:
                predictions[name] = among_excluded(backend.to_host(rows), ~usable)
        return Encoding(
            {name: r[name] for name in self.split.validation},
            {name: r[name] for name in self.split.test},
            among_excluded(chosen, ~usable),
            cv_scores,
            ~usable,
            predictions if self.keep_predictions else None,
            left_out,
        )

    def score_tile(self, measured: Mapping[str, NDArray[Any]], tile: slice) -> NDArray[np.float64]:
        """Mean held-out scores of a tile (n_alphas, n_voxels) at every alpha; NaN where voxels cannot be used."""
        usable = usable_voxels_of(measured)
        if not usable.any():
            return np.full((len(self.grid), len(usable)), np.nan)
        scores = self.solver.score(self._targets(measured, usable)) / len(self.problem.splits)
        return among_excluded(scores, ~usable)

    def weights_of_tile(self, measured: Mapping[str, NDArray[Any]], tile: slice) -> NDArray[Any]:
        """Weights of a tile (n_delays * n_features, n_voxels) at the given alphas; NaN where voxels cannot be used."""
        assert self.given is not None
        usable = usable_voxels_of(measured)
        if not usable.any():
            return np.full((self.n_weights, len(usable)), np.nan, self.problem.dtype)
        chosen = penalties(check_target_alphas(self.given[tile], ~usable), self.convention)
        coef, _ = self.solver.weights(self._targets(measured, usable), chosen)
        return among_excluded(self.problem.backend.to_host(coef), ~usable)

    def _targets(self, measured: Mapping[str, NDArray[Any]], usable: NDArray[np.bool_]) -> Targets:
        return self.problem.prepare(
            np.concatenate([zscore_story(measured[name][:, usable]) for name in self.split.train])
        )

    def _score(self, measured: Any, predicted: Any) -> NDArray[np.float64]:
        """Of one story, whose responses are z-scored as those were that trained: R2 is of these."""
        backend = self.problem.backend
        if self.problem.scoring == "correlation":
            return backend.correlation(predicted, measured)
        z = self.problem.place(zscore_story(backend.to_host(measured)))
        return score_targets(z, predicted, self.problem.scoring, backend)


def bootstrap_rows(ridge: RidgeSettings, lengths: Sequence[int]) -> list[RowSplit]:
    """The bootstrap's splits of training stories of these lengths; a :class:`ConfigError` if they are too short."""
    try:
        return resolve_splits(ridge.splitter(), sum(lengths), run_onsets=np.cumsum([0, *lengths[:-1]]))
    except ValueError as error:
        raise ConfigError(f"ridge on the training stories: {error}") from None


def standardize_story(features: NDArray[Any], context: int, *, story: str = "") -> NDArray[Any]:
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
    return standardize(features)


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


def usable_voxels_of(measured: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """Voxels that are finite and vary in every story."""
    usable: NDArray[np.bool_] = np.logical_and.reduce([usable_columns(Y) for Y in measured.values()])
    return usable


def zscore_story(Y: NDArray[Any]) -> NDArray[Any]:
    """A story's responses (n_trs, n_voxels), each voxel z-scored."""
    mean, std = Y.mean(axis=0, dtype=np.float64), Y.std(axis=0, dtype=np.float64)
    return ((Y - mean) / std).astype(Y.dtype)
