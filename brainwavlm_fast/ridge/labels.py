"""Labels of rows (their runs) and of targets (their groups): whole, and in order."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def check_labels(name: str, values: ArrayLike, shape: tuple[int, ...], what: str) -> NDArray[Any]:
    """Labels of an argument's rows or targets (``what``), numbers or words, or a ValueError that names it."""
    labels = np.asarray(values)
    if labels.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, one label per {what}, got {labels.shape}.")
    might_miss = labels.tolist() if labels.dtype.kind in "Of" else []
    missing = np.flatnonzero([label is None or label != label for label in might_miss])  # NaN is not itself
    if len(missing):
        raise ValueError(
            f"{name}: {len(missing)} of {len(labels)} labels are None or NaN, the first of {what} {missing[0]}; give "
            f"every {what} a number or a word."
        )
    kinds = {type(label).__name__ for label in might_miss}
    if len(kinds) > 1:
        raise ValueError(f"{name}: labels must be of one kind, numbers or words, got {', '.join(sorted(kinds))}.")
    return labels


def contiguous_runs(name: str, values: ArrayLike, n_rows: int) -> NDArray[np.intp]:
    """The run of each row (n_rows,), from labels of rows: each run one stretch of them."""
    _, labels = np.unique(check_labels(name, values, (n_rows,), "row"), return_inverse=True)
    if n_rows and np.count_nonzero(labels[1:] != labels[:-1]) != labels.max():
        raise ValueError(f"{name}: each run must be one contiguous stretch of rows; sort the rows by run.")
    return labels.astype(np.intp)


def run_onsets_of(n_rows: int, run_onsets: ArrayLike | None, runs: ArrayLike | None) -> list[int] | None:
    """First row of each run, from these or from one label per row; None where neither is given."""
    if runs is None:
        return None if run_onsets is None else np.asarray(run_onsets).tolist()
    if run_onsets is not None:
        raise ValueError("run_onsets and runs say the same; give one of them.")
    labels = contiguous_runs("runs", runs, n_rows)
    return np.flatnonzero(np.r_[True, labels[1:] != labels[:-1]]).tolist()


def check_reach(delays: ArrayLike, run_onsets: list[int] | None, n_rows: int) -> None:
    """Say where a delay sees nothing of a run, whose column is zeros there: a warning; a ValueError if of every run."""
    onsets = np.asarray([0] if run_onsets is None else run_onsets)
    reach = int(np.abs(np.asarray(delays)).max(initial=0))
    lengths = np.diff(np.r_[onsets, n_rows])
    short = np.flatnonzero((lengths > 0) & (lengths <= reach))
    if not len(short):
        return
    first = int(short[0])
    which = (
        f"run {first} (from row {onsets[first]}) has {lengths[first]} and {len(short)} of {len(lengths)} are as short"
    )
    said = f"delays reach {reach} rows, but {which}: that delay sees nothing of them. Check run_onsets and delays"
    if len(short) == len(lengths):
        raise ValueError(f"{said}; there is nothing to fit or predict.")
    warnings.warn(f"{said}.", UserWarning, stacklevel=4)
