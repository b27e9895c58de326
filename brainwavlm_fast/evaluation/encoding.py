"""Voxelwise encoding models: how well features of stories predict responses to a story they were not fitted on.

Ridge with one alpha per voxel is fitted on the training stories; a voxel's score is the Pearson correlation over time
on a held-out story.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import fields, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..distributed import SINGLE_PROCESS, Ranks
from ..errors import DataError
from ..memory import GIB
from ..progress import Advance, Progress
from ..ridge.alphas import check_groups, choose_alphas
from ..ridge.fit import among_excluded
from .story_ridge import Encoding, EncodingSettings, RidgeSettings, StoryRidge, all_stories, bootstrap_rows

__all__ = ["Encoding", "EncodingSettings", "Responses", "RidgeSettings", "all_stories", "bootstrap_rows", "encode"]


class Responses(Protocol):
    """Where measured responses come from."""

    @property
    def n_voxels(self) -> int:
        """Voxels of every story."""

    def read(self, story: str, voxels: slice) -> NDArray[Any]:
        """A story's responses for a stretch of voxels: floats (n_trs, n_voxels_wanted), NaN kept."""


def encode(
    features: Mapping[str, NDArray[Any]],
    responses: Responses,
    settings: EncodingSettings,
    *,
    alphas: ArrayLike | None = None,
    keep_predictions: bool = False,
    memory_gb: float = 4.0,
    task: Callable[[int], AbstractContextManager[Advance]] | None = None,
    ranks: Ranks = SINGLE_PROCESS,
) -> Encoding:
    """Fit on the training stories, score on validation and test stories.

    Parameters
    ----------
    features : dict
        Story -> (max(delays) + n_trs, width); row ``max(delays) + k`` belongs to response k.
    responses : Responses
        Measured responses of the same stories; z-scored here, story by story.
    settings : EncodingSettings
        Stories, delays, how alphas are chosen, and by which score.
    alphas : array-like, default None
        Alphas (n_voxels,) to use without cross-validation, such as another encoding's: with the same settings equal
        features then give equal scores to the last bit. Each different one costs a factorisation.
    keep_predictions : bool, default False
        Return the predicted responses to the test stories, for significance.
    memory_gb : float, default 4.0
        About how much of the responses is read at once.
    task : callable, default None
        Opens a progress bar over a number of voxels, such as ``partial(progress.task, "ridge")``.
    ranks : Ranks
        Processes that share the voxels; each returns all of them.

    Raises
    ------
    ConfigError
        A story is in two parts of the split.
    DataError
        Features or responses of a story are missing, disagree in rows, or hold no usable voxel.
    """
    task, n = task or partial(Progress().task, "ridge"), responses.n_voxels
    if settings.target_groups is not None and alphas is None:
        how = {"keep_predictions": keep_predictions, "memory_gb": memory_gb, "task": task, "ranks": ranks}
        return _encode_groups(features, responses, settings, **how)
    model = StoryRidge(features, n, settings, alphas, keep_predictions)
    walk = Tiles(model, responses, memory_gb, task, ranks)
    encoding = _join([model.excluded(0), *walk.each(model.encode_tile)], walk.gather)
    if encoding.excluded.all():
        raise _unusable(n)
    return encoding


def _encode_groups(
    features: Mapping[str, NDArray[Any]], responses: Responses, settings: EncodingSettings, **how: Any
) -> Encoding:
    """Scores of all voxels first, one alpha per group, and then an encoding with these: responses are read twice."""
    check_groups(settings.target_groups, np.zeros(responses.n_voxels, dtype=bool))  # before minutes of scores
    model = StoryRidge(features, responses.n_voxels, settings, None, keep_predictions=False)
    walk = Tiles(model, responses, how["memory_gb"], how["task"], how["ranks"])
    none = np.empty((len(model.grid), 0))
    scores = walk.gather(np.concatenate([none, *walk.each(model.score_tile)], axis=1))
    unusable = np.isnan(scores).any(axis=0)
    if unusable.all():
        raise _unusable(len(unusable))
    groups = check_groups(settings.target_groups, unusable)
    chosen = choose_alphas(model.grid, scores[:, ~unusable], groups)
    encoding = encode(features, responses, settings, alphas=among_excluded(chosen, unusable), **how)
    best = np.take_along_axis(scores, np.argmax(encoding.alphas == model.grid[:, None], axis=0)[None, :], axis=0)[0]
    return replace(encoding, cv_scores=np.where(encoding.excluded, np.nan, best))


class Tiles:
    """This process's tiles of voxels, with the responses to every story, as much of them at once as memory allows."""

    def __init__(
        self,
        model: StoryRidge,
        responses: Responses,
        memory_gb: float,
        task: Callable[[int], AbstractContextManager[Advance]],
        ranks: Ranks = SINGLE_PROCESS,
    ) -> None:
        self.model, self.responses, self.task, self.ranks = model, responses, task, ranks
        self.width = width = model.solver.tile_width()
        at_once = max(1, int(memory_gb * GIB / (8 * sum(model.n_rows.values()))))  # what is read, and a z-scored copy
        self.at_once = at_once - (at_once % width if at_once > width else 0)  # the same tiles, however many processes

    def each(self, work: Callable[[Mapping[str, NDArray[Any]], slice], Any], *, all_rows: bool = False) -> list[Any]:
        """What ``work`` makes of each tile's responses and its voxels, in order; ``all_rows``: it asks for weights."""
        model, width, results = self.model, self.width, []
        mine = self.ranks.local_slice(self.responses.n_voxels, multiple=width)
        with self.task(mine.stop - mine.start) as advance:
            model.solver.decompose(model.scored_splits, all_rows=all_rows)
            for first in range(mine.start, mine.stop, self.at_once):
                voxels = slice(first, min(first + self.at_once, mine.stop))
                measured = read_stories(self.responses, voxels, model.n_rows)
                tiles = [slice(start, min(start + width, voxels.stop)) for start in range(first, voxels.stop, width)]
                jobs = []
                for tile in tiles:
                    part = {name: Y[:, tile.start - first : tile.stop - first] for name, Y in measured.items()}
                    jobs.append(partial(work, part, tile))
                results += model.solver.run(jobs, done=partial(_advance, advance, tiles))
        return results

    def gather(self, mine: NDArray[Any]) -> NDArray[Any]:
        """All voxels (..., n_voxels) from this process's and those of the others."""
        n_voxels, ranks = self.responses.n_voxels, self.ranks
        if ranks.size == 1:
            return mine
        out = np.empty((*mine.shape[:-1], n_voxels), mine.dtype)
        out[..., ranks.local_slice(n_voxels, multiple=self.width)] = mine
        ranks.all_gather_slices(out, multiple=self.width)
        return out


def _unusable(n: int) -> DataError:
    return DataError(f"every one of the {n} voxels holds NaN or a constant in some story; nothing can be fitted.")


def _advance(advance: Advance, tiles: Sequence[slice], number: int) -> None:
    advance(tiles[number].stop - tiles[number].start)


def read_stories(responses: Responses, voxels: slice, n_rows: Mapping[str, int]) -> dict[str, NDArray[Any]]:
    """Responses of stories to a stretch of voxels; a :class:`DataError` where they have other rows than these."""
    measured = {}
    for name, expected in n_rows.items():
        measured[name] = Y = responses.read(name, voxels)
        if len(Y) != expected:
            raise DataError(
                f"story '{name}': features give {expected} TRs, but its responses have {len(Y)} rows; "
                "they were made from different data."
            )
    return measured


def _join(parts: Sequence[Encoding], gather: Callable[[NDArray[Any]], NDArray[Any]]) -> Encoding:
    """One encoding from those of consecutive voxels; ``gather`` adds the voxels of other processes."""

    def joined(values: Sequence[Any]) -> Any:
        if isinstance(values[0], dict):
            return {name: joined([value[name] for value in values]) for name in values[0]}
        return None if values[0] is None else gather(np.concatenate(values, axis=-1))

    return Encoding(*(joined([getattr(part, name.name) for part in parts]) for name in fields(Encoding)))
