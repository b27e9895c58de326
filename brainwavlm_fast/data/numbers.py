"""Which numbers of a file can be used, in the type that they are used in: decided here, where they enter."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import DataError

LARGEST = 1e18
"""The square of anything much larger is no float32: file formats' fill values (1e20, 9.97e36), infinity."""
_SPIKE = 1000.0  # times a column's median deviation: Gaussian noise reaches 8, -9999 among z-scores 15,000
_FEW = 12  # rows whose median deviation says little


def as_float32(values: NDArray) -> NDArray[np.float32]:
    """The values in float32; NaN where a number is infinite or too large to be used."""
    with np.errstate(over="ignore", invalid="ignore"):
        single = values.astype(np.float32)
    single[~(np.abs(single) <= LARGEST)] = np.nan
    return single


def usable_columns(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Columns that hold numbers only, vary, and have no value far from all others: bool (n_columns,)."""
    finite = np.isfinite(values).all(axis=0)
    varies = values.max(axis=0) > values.min(axis=0)
    if len(values) < _FEW:
        return finite & varies
    some = values[:: max(1, len(values) // 32)].astype(np.float64)
    middle = np.median(some, axis=0)
    deviation = np.median(np.abs(some - middle), axis=0)
    farthest = np.maximum(values.max(axis=0) - middle, middle - values.min(axis=0))
    return finite & varies & ~((deviation > 0) & (farthest > _SPIKE * deviation))


def constant_rows(values: NDArray[np.float32]) -> list[int]:
    """Rows in which most columns hold one value: a scan that was never written, or filled in."""
    if values.shape[1] < 3:
        return []
    return np.flatnonzero((values[:, 1:] == values[:, :-1]).mean(axis=1) > 0.5).tolist()


def require_finite(values: ArrayLike, what: str) -> NDArray[np.float32]:
    """The values in float32, all of which must be usable.

    Raises
    ------
    DataError
        Says what holds NaN, infinity or a number that float32 cannot hold, how often, and where first.
    """
    single = as_float32(np.asarray(values))
    bad = np.argwhere(np.isnan(single))
    if len(bad):
        where = ", ".join(map(str, bad[0]))
        raise DataError(
            f"{what}: {len(bad)} of {single.size} values are not numbers that can be used, with NaN or infinity (or "
            f"over {LARGEST:.0e}) first at {where}, counted from 0."
        )
    return single
