"""Banded ridge on stories, and the explained variance of every model nested in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data import StorySplit
from ..errors import DataError
from ..evaluation.encoding import Responses, RidgeSettings, bootstrap_rows, read_stories
from ..evaluation.story_ridge import standardize_story, usable_voxels_of, zscore_story
from ..kernels import delay_stack
from ..memory import GIB
from ..progress import Progress
from ..ridge.alphas import penalties
from ..ridge.band_search import Bands, fit_bands
from ..ridge.bands import nested_candidates, resolve_candidates
from ..ridge.designs import DelayedDesign, standardize
from ..ridge.fit import among_excluded
from ..ridge.problem import RidgeProblem
from ..stats.intervals import N_BLOCKS, r2_without_blocks

Spaces = Mapping[str, Mapping[str, NDArray[Any]]]  # name -> story -> rows
Subset = tuple[str, ...]


@dataclass(frozen=True)
class PartitionSettings:
    """How the models are fitted.

    Attributes
    ----------
    split, delays : stories, and FIR delays in TRs.
    ridge : alphas and splits.
    candidates, seed : sets of relative weights that are tried for all spaces together, and their seed.
    """

    split: StorySplit
    delays: Sequence[int] = (1, 2, 3, 4)
    ridge: RidgeSettings = field(default_factory=RidgeSettings)
    candidates: int = 10
    seed: int = 0


@dataclass(frozen=True)
class NestedScores:
    """R2 of every model on the test stories; NaN at voxels that cannot be used.

    Attributes
    ----------
    r2 : subset of spaces -> test story -> (n_voxels,).
    left_out : the same without each block of TRs, (n_blocks, n_voxels).
    weights : relative weights of all spaces together, (n_spaces, n_voxels).
    """

    r2: dict[Subset, dict[str, NDArray[np.float64]]]
    left_out: dict[Subset, dict[str, NDArray[np.float64]]]
    weights: NDArray[np.float64]


def nested_subsets(spaces: Sequence[str]) -> list[Subset]:
    """All spaces, each alone, each beside the first, and all but each."""
    whole = tuple(spaces)
    pairs = [pair for pair in combinations(whole, 2) if pair[0] == whole[0]]
    rest = [tuple(other for other in whole if other != name) for name in whole]
    return [subset for subset in dict.fromkeys([whole, *((name,) for name in whole), *pairs, *rest]) if subset]


def fit_nested(
    spaces: Spaces, responses: Responses, settings: PartitionSettings, *, memory_gb: float, progress: Progress
) -> NestedScores:
    """Fit every model nested in that of all spaces, and score them on the test stories.

    Parameters
    ----------
    spaces : name -> story -> rows; the first one's have max(delays) rows of context before those of the responses, the
        others' have none, and count as their mean there.
    responses : measured responses; z-scored here, story by story.
    settings : stories, delays, penalties and candidates.

    Raises
    ------
    DataError : rows of a space or of the responses disagree, or no voxel can be used.
    """
    split, delays, context = settings.split, settings.delays, max(settings.delays)
    stories = [*split.train, *split.test]
    joined = {story: _joined(spaces, story, context) for story in stories}
    widths = [next(iter(rows.values())).shape[1] for rows in spaces.values()]
    n_rows = {story: len(rows) - context for story, rows in joined.items()}
    onsets = np.cumsum([0, *(len(joined[story]) for story in split.train[:-1])]).tolist()
    X = DelayedDesign(np.concatenate([joined[s] for s in split.train]), delays, run_onsets=onsets, context=context)
    splits = bootstrap_rows(settings.ridge, [n_rows[story] for story in split.train])
    problem = RidgeProblem(X, splits, n_targets=responses.n_voxels, scoring="r2", rotate=False)
    names, subsets = list(spaces), nested_subsets(list(spaces))
    wanted = [tuple(names.index(name) for name in subset) for subset in subsets]
    candidates, models = nested_candidates(resolve_candidates(settings.candidates, len(names), settings.seed), wanted)
    scales = np.tile(np.sqrt(candidates)[:, np.repeat(np.arange(len(names)), widths)], len(delays))
    bands = Bands(scales, penalties(np.sort(settings.ridge.alphas), settings.ridge.penalty), models)
    held = {story: delay_stack(joined[story], delays, context=context) for story in split.test}
    at_once = max(1, int(memory_gb * GIB / (8 * sum(n_rows.values()) + 4 * len(subsets) * scales.shape[1])))
    starts, parts = range(0, responses.n_voxels, at_once), []
    with progress.task("partition", len(candidates) * len(starts)) as advance:
        for first in starts:
            measured = read_stories(responses, slice(first, first + at_once), n_rows)
            usable = usable_voxels_of(measured)
            part = _Part(subsets, split.test, len(names), len(usable))
            if usable.any():
                targets = np.concatenate([zscore_story(measured[story][:, usable]) for story in split.train])
                _, fits = fit_bands(problem, targets, bands, advance=advance)
                part.score(fits, held, measured, usable, candidates)
            else:
                advance(len(candidates))
            parts.append(part)
    scores = _concatenated(parts)
    if np.isnan(scores.weights).all():
        raise DataError("every voxel holds NaN or a constant in some story; nothing can be fitted.")
    return scores


class _Part:
    """Scores of a stretch of voxels."""

    def __init__(self, subsets: list[Subset], test: Sequence[str], n_spaces: int, n_voxels: int) -> None:
        self.r2 = {subset: {story: np.full(n_voxels, np.nan) for story in test} for subset in subsets}
        self.left_out = {subset: {s: np.full((N_BLOCKS, n_voxels), np.nan) for s in test} for subset in subsets}
        self.weights = np.full((n_spaces, n_voxels), np.nan)

    def score(
        self,
        fits: Sequence[Any],
        held: Mapping[str, NDArray[Any]],
        measured: Mapping[str, NDArray[Any]],
        usable: NDArray[np.bool_],
        candidates: NDArray[np.float64],
    ) -> None:
        for story, rows in held.items():
            z = zscore_story(measured[story][:, usable]).astype(np.float64)
            power = np.square(z - z.mean(axis=0)).sum(axis=0)
            for subset, fit in zip(self.r2, fits, strict=True):
                predicted = rows @ fit.coef
                self.r2[subset][story][usable] = 1 - np.square(z - predicted).sum(axis=0) / power
                self.left_out[subset][story] = among_excluded(r2_without_blocks(z, predicted), ~usable)
        self.weights = among_excluded(candidates[fits[0].candidate].T, ~usable)


def _joined(spaces: Spaces, story: str, context: int) -> NDArray[np.float32]:
    """A story's columns of all spaces, z-scored, (context + n_trs, width)."""
    first, *others = spaces.values()
    parts = [standardize_story(first[story], context, story=story)]
    n_trs = len(parts[0]) - context
    for name, space in zip(list(spaces)[1:], others, strict=True):
        rows = np.asarray(space[story])
        if len(rows) != n_trs:
            raise DataError(f"{name}: story '{story}' has {len(rows)} rows, but {n_trs} responses.")
        parts.append(np.concatenate([np.zeros((context, rows.shape[1])), standardize(rows)]))
    return np.concatenate([part.astype(np.float32) for part in parts], axis=1)


def _concatenated(parts: Sequence[_Part]) -> NestedScores:
    def joined(kind: str) -> Any:
        first = getattr(parts[0], kind)
        return {
            subset: {s: np.concatenate([getattr(p, kind)[subset][s] for p in parts], axis=-1) for s in stories}
            for subset, stories in first.items()
        }

    return NestedScores(joined("r2"), joined("left_out"), np.concatenate([part.weights for part in parts], axis=1))
