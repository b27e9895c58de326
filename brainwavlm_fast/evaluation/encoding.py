"""Voxelwise encoding models: how well features of stories predict responses to a story they were not fitted on.

Ridge with one alpha per voxel is fitted on the training stories; a voxel's score is the Pearson correlation over time
on a held-out story.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import fields
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..distributed import SINGLE_PROCESS, Ranks
from ..errors import DataError
from ..memory import GIB
from ..progress import Advance, Progress
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
        Stories, delays and how alphas are chosen.
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
    model = StoryRidge(features, responses.n_voxels, settings, alphas, keep_predictions)
    solver, n, width = model.solver, responses.n_voxels, model.solver.tile_width()
    at_once = max(1, int(memory_gb * GIB / (8 * sum(model.n_rows.values()))))  # what is read, and a z-scored copy
    at_once -= at_once % width if at_once > width else 0  # the same tiles, however many processes there are
    mine, parts = ranks.local_slice(n, multiple=width), [model.excluded(0)]
    with (task or partial(Progress().task, "ridge"))(mine.stop - mine.start) as advance:
        solver.decompose(model.scored_splits, all_rows=False)
        for first in range(mine.start, mine.stop, at_once):
            voxels = slice(first, min(first + at_once, mine.stop))
            measured = _read(responses, voxels, model.n_rows)
            tiles = [slice(start, min(start + width, voxels.stop)) for start in range(first, voxels.stop, width)]
            jobs = []
            for tile in tiles:
                part = {name: Y[:, tile.start - first : tile.stop - first] for name, Y in measured.items()}
                jobs.append(partial(model.encode_tile, part, None if model.given is None else model.given[tile]))
            parts += solver.run(jobs, done=partial(_advance, advance, tiles))
    encoding = _join(parts, lambda array: _gather(array, n, ranks, width))
    if encoding.excluded.all():
        raise DataError(f"every one of the {n} voxels holds NaN or a constant in some story; nothing can be fitted.")
    return encoding


def _advance(advance: Advance, tiles: Sequence[slice], number: int) -> None:
    advance(tiles[number].stop - tiles[number].start)


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


def _join(parts: Sequence[Encoding], gather: Callable[[NDArray[Any]], NDArray[Any]]) -> Encoding:
    """One encoding from those of consecutive voxels; ``gather`` adds the voxels of other processes."""

    def joined(values: Sequence[Any]) -> Any:
        if isinstance(values[0], dict):
            return {name: joined([value[name] for value in values]) for name in values[0]}
        return None if values[0] is None else gather(np.concatenate(values, axis=-1))

    return Encoding(*(joined([getattr(part, name.name) for part in parts]) for name in fields(Encoding)))


def _gather(mine: NDArray[Any], n_voxels: int, ranks: Ranks, width: int) -> NDArray[Any]:
    """All voxels (..., n_voxels) from this process's and those of the others."""
    if ranks.size == 1:
        return mine
    out = np.empty((*mine.shape[:-1], n_voxels), mine.dtype)
    out[..., ranks.local_slice(n_voxels, multiple=width)] = mine
    ranks.all_gather_slices(out, multiple=width)
    return out
