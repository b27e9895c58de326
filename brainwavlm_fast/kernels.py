"""The native core's operations on arrays, without torch: NumPy on the host, CuPy (or any CUDA array) on a GPU.

Definitions are in :mod:`brainwavlm_fast.reference`. Inputs are never copied when they are float32 or float64 with one
contiguous axis (read-only is fine, and so is a transposed matrix for correlations); anything else is converted first.
Arrays on a GPU need CuPy, give CuPy arrays, and run on CuPy's current stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .arguments import (
    Array,
    array_library,
    beside,
    check_axis,
    check_context,
    check_delays,
    check_weights,
    empty,
    matrices,
    row_major,
    stream,
    to_host,
)

try:
    from . import _C as _C  # ops.py takes it from here
except ImportError as error:  # pragma: no cover - seen only in a broken installation
    raise ImportError(
        "brainwavlm_fast's native core is missing. Either the source tree was imported instead of the installed "
        "package (run from another folder, or install it with `pip install -e .`), or it was built for another Python."
    ) from error


def correlation(x: ArrayLike, y: ArrayLike, *, axis: int, num_threads: int = 0) -> Array:
    """Pearson correlation of two matrices along an axis.

    Parameters
    ----------
    x, y : array_like
        (n_trs, n_voxels), of one shape.
    axis : {0, 1}
        0: over time, for each voxel. 1: across voxels, at each TR.
    num_threads : int, default 0
        CPU threads, 0 for OpenMP's default. The result does not depend on it.

    Returns
    -------
    ndarray
        (n_voxels,) for ``axis`` 0, (n_trs,) for 1; float32 if both are float32, else float64. 0 where a row (column)
        is constant; NaN where it holds a NaN.

    Raises
    ------
    ValueError, TypeError
        Naming the argument and what was expected.

    Examples
    --------
    >>> x = [[1.0, 0.0], [2.0, 1.0], [3.0, 0.0]]
    >>> y = [[1.0, 1.0], [2.0, 0.0], [3.0, 1.0]]
    >>> correlation(x, y, axis=0).round(6)
    array([ 1., -1.])
    """
    x, y = matrices(x=x, y=y)
    check_axis(axis)
    if x.strides[1] != x.itemsize == x.strides[0]:  # column-major: the same numbers, transposed
        x, y, axis = x.T, y.T, 1 - axis
    x, y = row_major(x), row_major(y)
    r = empty(x, (1, x.shape[1 - axis]))
    _C.correlation(x, y, axis, None, r, None, 0.0, None, _workspace(x, axis), num_threads, stream(x))
    row: Array = r[0]
    return row


def correlation_loss(
    pred: ArrayLike, target: ArrayLike, *, axis: int, weights: ArrayLike | None = None, num_threads: int = 0
) -> float:
    """Minus the mean of :func:`correlation`; ``axis`` 1 is BrainWavLM's loss (paper, equation 1).

    Parameters
    ----------
    pred, target : array_like
        (n_trs, n_voxels), of one shape.
    axis : {0, 1}
        1: correlations across voxels, averaged over TRs. 0: correlations over time, averaged over voxels.
    weights : array_like, optional
        (n_voxels,), the weight of each voxel, a boolean mask or numbers of at least 0: in the correlations (``axis`` 1)
        or in their mean (``axis`` 0). A voxel of weight 0 does not count even where it holds a NaN.
    num_threads : int, default 0
        CPU threads, 0 for OpenMP's default. The result does not depend on it.

    Returns
    -------
    float
        Between -1 and 1; 0 where nothing counts.

    Raises
    ------
    ValueError, TypeError
        Naming the argument and what was expected.

    Examples
    --------
    >>> pred, target = [[1.0, 2.0, 3.0, 0.0]], [[2.0, 4.0, 6.0, 99.0]]
    >>> round(correlation_loss(pred, target, axis=1, weights=[True, True, True, False]), 6)
    -1.0
    """
    return loss_and_gradient(pred, target, axis, weights, num_threads, with_gradient=False)[0]


def correlation_loss_grad(
    pred: ArrayLike, target: ArrayLike, *, axis: int, weights: ArrayLike | None = None, num_threads: int = 0
) -> tuple[float, Array]:
    """The loss and its gradient for ``pred``, (n_trs, n_voxels), in one call."""
    loss, gradient = loss_and_gradient(pred, target, axis, weights, num_threads, with_gradient=True)
    assert gradient is not None
    return loss, gradient


def loss_and_gradient(
    pred: ArrayLike, target: ArrayLike, axis: int, weights: ArrayLike | None, num_threads: int, *, with_gradient: bool
) -> tuple[float, Array | None]:
    """:func:`correlation_loss` and, if wanted, :func:`correlation_loss_grad`."""
    x, y = (row_major(a) for a in matrices(pred=pred, target=target))
    check_axis(axis)
    w = None if weights is None else check_weights(weights, x.shape[1])
    n = x.shape[1 - axis]
    r, gx, sums = empty(x, (1, n)), empty(x, x.shape) if with_gradient else None, _workspace(x, axis)
    if axis == 1 or w is None:
        across = None if w is None else beside(x, w[None])
        _C.correlation(x, y, axis, across, r, None, -1.0 / max(n, 1), gx, sums, num_threads, stream(x))
        return (-float(r.mean(dtype=np.float64)) if n else 0.0), gx
    share = w / (w.sum() or 1.0)
    _C.correlation(x, y, axis, None, r, beside(x, -share[None]), 0.0, gx, sums, num_threads, stream(x))
    if gx is not None:
        gx[:, array_library({"x": gx}).asarray(w == 0)] = 0
    return -float(np.dot(to_host(r)[0, w > 0], share[w > 0])), gx


def _workspace(x: Array, axis: int) -> Array:
    """What a correlation's rows are summed in, in parts; on the host nothing."""
    library = array_library({"x": x})
    made: Array = library.empty((0 if library is np else _C.correlation_workspace(x.shape[0], x.shape[1], axis), 6))
    return made


def delay_stack(
    x: ArrayLike,
    delays: Sequence[int],
    *,
    run_onsets: Sequence[int] | None = None,
    context: int = 0,
    n_trs: int | None = None,
    zscore: bool = False,
    eps: float = 1e-5,
    num_threads: int = 0,
) -> Array:
    """Stack delayed copies of features, as finite impulse response models need them.

    Parameters
    ----------
    x : array_like
        (n_rows, n_features).
    delays : sequence of int
        In TRs, distinct; positive looks back, negative ahead.
    run_onsets : sequence of int, optional
        First row of each run (story), rising from 0; one run by default. Nothing crosses from run to run.
    context : int, default 0
        Number of rows of ``x`` before the first TR of the result, in the first run: delays see them, and the z-score
        counts them.
    n_trs : int, optional
        Rows of the result, by default all after the context; more, if the last rows of ``x`` would see zeros only.
    zscore : bool, default False
        Z-score each feature over each run first, (x - mean) / sqrt(variance + eps).
    eps : float, default 1e-5
        Added to the variance by the z-score.
    num_threads : int, default 0
        CPU threads, 0 for OpenMP's default. The result does not depend on it.

    Returns
    -------
    ndarray
        (n_trs, n_delays * n_features), all features of the first delay first; zeros where a run has no such row.

    Raises
    ------
    ValueError, TypeError
        Naming the argument and what was expected.

    Examples
    --------
    >>> delay_stack([[1.0], [2.0], [3.0]], [0, 1])
    array([[1., 0.],
           [2., 1.],
           [3., 2.]])
    """
    (x,) = matrices(x=x)
    x = row_major(x)
    chosen, onsets = check_delays(delays, run_onsets, len(x))
    shape = (check_context(context, n_trs, onsets, len(x)), len(chosen) * x.shape[1])
    out = empty(x, shape)
    if not len(x):
        out[:] = 0
    moments = empty(x, (2 * len(onsets), x.shape[1])) if zscore else None
    _C.delay_stack(x, chosen, onsets, context, out, moments, eps, num_threads, stream(x))
    return out


def ridge_moments(
    held_cross: ArrayLike,
    train_cross: ArrayLike,
    divided_cross: ArrayLike,
    close_cross: ArrayLike,
    shrink: ArrayLike,
    shift: ArrayLike,
    diagonal: ArrayLike,
    *,
    num_threads: int = 0,
) -> tuple[Array, Array, Array]:
    """Moments of held-out ridge predictions for every penalty, in one pass over four matrices.

    Parameters
    ----------
    held_cross, train_cross, divided_cross, close_cross : array_like
        (rank, n_targets), defined in :func:`brainwavlm_fast.reference.ridge_moments`.
    shrink : array_like
        (n_penalties, rank), 1 / (eigenvalue + penalty).
    shift : array_like
        (n_penalties,).
    diagonal : array_like
        (rank,).
    num_threads : int, default 0
        CPU threads, 0 for OpenMP's default. The result does not depend on it.

    Returns
    -------
    covariance, variance, scale : ndarray
        (n_penalties, n_targets), float64.
    """
    library = array_library({"train_cross": train_cross, "shrink": shrink, "shift": shift, "diagonal": diagonal})
    crosses = matrices(
        held_cross=held_cross, train_cross=train_cross, divided_cross=divided_cross, close_cross=close_cross
    )
    held, train, divided, close = map(row_major, crosses)
    d = library.ascontiguousarray(shrink, dtype=np.float64)
    if d.ndim != 2:
        raise ValueError(f"shrink: expected a matrix (n_penalties, rank), got shape {d.shape}.")
    shifts, diagonals = (library.ascontiguousarray(x, dtype=np.float64).reshape(1, -1) for x in (shift, diagonal))
    covariance, variance, scale = (library.empty((len(d), train.shape[1])) for _ in range(3))
    outputs = covariance, variance, scale
    _C.ridge_moments(held, train, divided, close, d, shifts, diagonals, *outputs, num_threads, stream(train))
    return outputs


def build_info() -> dict[str, Any]:
    """What the core was built with and what it sees: version, SIMD level, threads, CUDA built, GPUs visible."""
    return dict(_C.build_info())
