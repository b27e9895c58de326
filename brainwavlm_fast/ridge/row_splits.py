"""Which rows train and which are held out while a ridge penalty is chosen.

The field's scheme is a bootstrap over chunks: the rows are cut into chunks of 40 TRs, a quarter of them are drawn to
be held out, the rest trains, and this is repeated a few times. Ours is seeded, never lets a chunk straddle two runs
(stories), and can leave a gap between held-out and training rows, so that autocorrelated noise does not leak.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .labels import contiguous_runs

RowSplit = tuple[NDArray[np.intp], NDArray[np.intp]]


@dataclass(frozen=True)
class ChunkBootstrap:
    """Held-out rows drawn as random chunks; a scikit-learn splitter.

    Each run is cut into chunks from its first row on; the rest of a run that does not fill a chunk always trains.
    A split holds out ``int(held_fraction * n_rows / chunk_length)`` chunks (at least one), drawn without replacement.

    Attributes
    ----------
    n_splits : int, default 3
        How many times chunks are drawn.
    chunk_length : int, default 40
        Rows per chunk.
    held_fraction : float, default 0.25
        Share of all rows that is held out.
    gap : int, default 0
        Training rows closer than this to a held-out row of the same run are left out of the split; 0 leaves out none.
    seed : int, default 0
        Of the generator; the same seed gives the same splits.
    """

    n_splits: int = 3
    _: KW_ONLY
    chunk_length: int = 40
    held_fraction: float = 0.25
    gap: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("n_splits", 1), ("chunk_length", 1), ("gap", 0), ("seed", 0)):
            value = getattr(self, name)
            if not isinstance(value, (int, np.integer)) or value < least:
                raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}.")
        if not 0 < self.held_fraction < 1:
            raise ValueError(f"held_fraction must lie between 0 and 1, got {self.held_fraction!r}.")

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Number of splits, whatever the data."""
        return self.n_splits

    def split(self, X: Any, y: Any = None, groups: ArrayLike | None = None) -> Iterator[RowSplit]:
        """Yield (training rows, held-out rows), both sorted.

        Parameters
        ----------
        X : sized
            Anything of length n_rows.
        y : object
            Not used.
        groups : array, optional
            Run of each row (n_rows,), each run contiguous; by default all rows are one run.

        Raises
        ------
        ValueError
            A run is not contiguous, or there are too few chunks to hold some out and train on others.
        """
        n_rows = len(X)
        runs = np.zeros(n_rows, dtype=np.intp) if groups is None else contiguous_runs("groups", groups, n_rows)
        onsets = np.flatnonzero(np.r_[True, runs[1:] != runs[:-1]]) if n_rows else np.zeros(0, dtype=np.intp)
        starts = [
            start
            for first, last in zip(onsets, np.r_[onsets[1:], n_rows], strict=True)
            for start in range(first, last - self.chunk_length + 1, self.chunk_length)
        ]
        n_held = max(1, int(self.held_fraction * n_rows / self.chunk_length))
        if n_held >= len(starts):
            raise ValueError(
                f"{n_rows} rows in {len(onsets)} run(s) hold {len(starts)} chunk(s) of {self.chunk_length} rows, too "
                f"few to hold {n_held} out and train on others: use a smaller chunk_length, or a KFold."
            )
        generator = np.random.default_rng(self.seed)
        for _ in range(self.n_splits):
            chosen = np.sort(generator.choice(np.asarray(starts), n_held, replace=False))
            held = (chosen[:, None] + np.arange(self.chunk_length)).ravel()
            yield self._training_rows(held, runs), held

    def _training_rows(self, held: NDArray[np.intp], runs: NDArray[np.intp]) -> NDArray[np.intp]:
        out = np.zeros(len(runs), dtype=bool)
        out[held] = True
        for shift in range(1, self.gap + 1):
            for moved in (held - shift, held + shift):
                inside = (moved >= 0) & (moved < len(runs))
                out[moved[inside][runs[moved[inside]] == runs[held[inside]]]] = True
        return np.flatnonzero(~out)


def run_labels(n_rows: int, run_onsets: ArrayLike | None) -> NDArray[np.intp]:
    """The run of each row, (n_rows,), from the first row of each run; None is a single run."""
    if run_onsets is None:
        return np.zeros(n_rows, dtype=np.intp)
    onsets = np.asarray(run_onsets)
    good = onsets.ndim == 1 and onsets.size > 0 and np.issubdtype(onsets.dtype, np.integer)
    if not good or onsets[0] != 0 or onsets[-1] >= n_rows or np.any(np.diff(onsets) <= 0):
        raise ValueError(
            f"run_onsets must be increasing row numbers that start with 0 and stay below the {n_rows} rows, "
            f"got {run_onsets!r}."
        )
    return np.repeat(np.arange(onsets.size), np.diff(np.r_[onsets, n_rows]))


def resolve_splits(cv: Any, n_rows: int, *, run_onsets: ArrayLike | None = None) -> list[RowSplit]:
    """The (training rows, held-out rows) pairs that a ``cv`` argument stands for.

    Parameters
    ----------
    cv : None, int, "runs", splitter or list of pairs
        None for the chunk bootstrap (its chunks cut to an eighth of the rows where 40 would be too long), a number of
        contiguous folds, ``"runs"`` to leave one run out at a time, any scikit-learn splitter (it is given the runs
        as ``groups``), or the pairs themselves, as row numbers or boolean masks.
    n_rows : int
        Rows of the design.
    run_onsets : array, optional
        First row of each run.

    Raises
    ------
    TypeError, ValueError
        ``cv`` is none of these, or gives an empty, overlapping or out-of-range split, or one that holds out one row.
    """
    from sklearn.model_selection import KFold, LeaveOneGroupOut, check_cv  # half a second that given alphas do without

    runs = run_labels(n_rows, run_onsets)
    if cv is None:
        cv = ChunkBootstrap(chunk_length=max(1, min(40, n_rows // 8)))
    elif isinstance(cv, str):
        if cv != "runs":
            raise ValueError(f"cv must be None, a number of folds, 'runs', a splitter or a list of pairs, got {cv!r}.")
        if runs.max(initial=0) == 0:
            raise ValueError("cv='runs' needs run_onsets (or runs) that name two runs or more.")
        cv = LeaveOneGroupOut()
    pairs = cv
    if hasattr(cv, "split") or not isinstance(cv, Iterable):
        splitter = check_cv(cv)
        groups = None if run_onsets is None or isinstance(splitter, KFold) else runs  # a KFold warns about groups
        pairs = splitter.split(np.empty((n_rows, 0)), None, groups)
    checked = [_check_pair(pair, k, n_rows) for k, pair in enumerate(pairs)]
    if not checked:
        raise ValueError("cv gives no split at all; a generator can be used only once, so pass a list of pairs.")
    return checked


def _check_pair(pair: Any, number: int, n_rows: int) -> RowSplit:
    if not isinstance(pair, Sequence | np.ndarray) or len(pair) != 2:
        raise TypeError(f"cv: split {number} must be a pair (training rows, held-out rows), got {type(pair).__name__}.")
    sides = []
    for name, side in zip(("training", "held-out"), pair, strict=True):
        rows = np.asarray(side)
        if rows.dtype == bool and rows.shape == (n_rows,):
            rows = np.flatnonzero(rows)
        if rows.ndim != 1 or not np.issubdtype(rows.dtype, np.integer) or rows.size == 0:
            raise ValueError(f"cv: the {name} rows of split {number} must be row numbers or a mask of all rows.")
        if rows.min() < 0 or rows.max() >= n_rows:
            raise ValueError(f"cv: the {name} rows of split {number} reach outside the {n_rows} rows.")
        sides.append(rows.astype(np.intp))
    if len(sides[1]) < 2:
        raise ValueError(
            f"cv: split {number} holds out a single row, which has no correlation and no variance: every alpha would "
            "score 0. Hold out more rows, or use cv='gcv', leave-one-out in closed form."
        )
    if np.isin(sides[0], sides[1]).any():
        raise ValueError(f"cv: split {number} has rows that both train and are held out.")
    return sides[0], sides[1]
