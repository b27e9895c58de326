"""The native core's operations on arrays, without torch: NumPy on the host, CuPy (or any CUDA array) on a GPU.

Definitions are in :mod:`brainwavlm_fast.reference`. Inputs are never copied when they are float32 or float64 with one
contiguous axis (read-only is fine, and so is a transposed matrix for correlations); anything else is converted first.
Arrays on a GPU need CuPy, give CuPy arrays, and run on CuPy's current stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from operator import index
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

try:
    from . import _C as _C  # ops.py takes it from here
except ImportError as error:  # pragma: no cover - seen only in a broken installation
    raise ImportError(
        "brainwavlm_fast's native core is missing. Either the source tree was imported instead of the installed "
        "package (run from another folder, or install it with `pip install -e .`), or it was built for another Python."
    ) from error

Array = NDArray[Any]


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
    x, y = _matrices(x=x, y=y)
    check_axis(axis)
    if x.strides[1] != x.itemsize == x.strides[0]:  # column-major: the same numbers, transposed
        x, y, axis = x.T, y.T, 1 - axis
    x, y = _row_major(x), _row_major(y)
    r = _empty(x, (1, x.shape[1 - axis]))
    _C.correlation(x, y, axis, None, r, None, 0.0, None, num_threads, _stream(x))
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
    return _loss(pred, target, axis, weights, num_threads, with_gradient=False)[0]


def correlation_loss_grad(
    pred: ArrayLike, target: ArrayLike, *, axis: int, weights: ArrayLike | None = None, num_threads: int = 0
) -> tuple[float, Array]:
    """The loss and its gradient for ``pred``, (n_trs, n_voxels), in one call."""
    loss, gradient = _loss(pred, target, axis, weights, num_threads, with_gradient=True)
    assert gradient is not None
    return loss, gradient


def _loss(
    pred: ArrayLike, target: ArrayLike, axis: int, weights: ArrayLike | None, num_threads: int, *, with_gradient: bool
) -> tuple[float, Array | None]:
    x, y = (_row_major(a) for a in _matrices(pred=pred, target=target))
    check_axis(axis)
    w = None if weights is None else check_weights(weights, x.shape[1])
    n = x.shape[1 - axis]
    r, gx = _empty(x, (1, n)), _empty(x, x.shape) if with_gradient else None
    if axis == 1 or w is None:
        across = None if w is None else _beside(x, w[None])
        _C.correlation(x, y, axis, across, r, None, -1.0 / max(n, 1), gx, num_threads, _stream(x))
        return (-float(r.mean(dtype=np.float64)) if n else 0.0), gx
    share = w / (w.sum() or 1.0)
    _C.correlation(x, y, axis, None, r, _beside(x, -share[None]), 0.0, gx, num_threads, _stream(x))
    if gx is not None:
        gx[:, _library({"x": gx}).asarray(w == 0)] = 0
    return -float(np.dot(_host(r)[0, w > 0], share[w > 0])), gx


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
    (x,) = _matrices(x=x)
    x = _row_major(x)
    chosen, onsets = check_delays(delays, run_onsets, len(x))
    shape = (check_context(context, n_trs, onsets, len(x)), len(chosen) * x.shape[1])
    out = _empty(x, shape)
    if not len(x):
        out[:] = 0
    moments = _empty(x, (2 * len(onsets), x.shape[1])) if zscore else None
    _C.delay_stack(x, chosen, onsets, context, out, moments, eps, num_threads, _stream(x))
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
    crosses = {
        "held_cross": held_cross,
        "train_cross": train_cross,
        "divided_cross": divided_cross,
        "close_cross": close_cross,
    }
    library = _library(crosses | {"shrink": shrink, "shift": shift, "diagonal": diagonal})
    held, train, divided, close = (_row_major(x) for x in _matrices(**crosses))
    d = library.ascontiguousarray(shrink, dtype=np.float64)
    if d.ndim != 2:
        raise ValueError(f"shrink: expected a matrix (n_penalties, rank), got shape {d.shape}.")
    shifts, diagonals = (library.ascontiguousarray(x, dtype=np.float64).reshape(1, -1) for x in (shift, diagonal))
    covariance, variance, scale = (library.empty((len(d), train.shape[1])) for _ in range(3))
    outputs = covariance, variance, scale
    _C.ridge_moments(held, train, divided, close, d, shifts, diagonals, *outputs, num_threads, _stream(train))
    return outputs


def check_delays(delays: Sequence[int], run_onsets: Sequence[int] | None, n_trs: int) -> tuple[list[int], list[int]]:
    """Delays and run onsets as lists of whole numbers, or an error that names the argument."""
    chosen = _integers("delays", delays)
    if not chosen:
        raise ValueError("delays: at least one delay is needed, got none.")
    if len(set(chosen)) != len(chosen):
        raise ValueError(f"delays: must be distinct, got {chosen}.")
    onsets = [0] if run_onsets is None else _integers("run_onsets", run_onsets)
    rising = all(a < b for a, b in pairwise(onsets))
    if not onsets or onsets[0] != 0 or not rising or onsets[-1] >= max(n_trs, 1):
        raise ValueError(f"run_onsets: must rise from 0 and stay below n_trs = {n_trs}, got {onsets[:8]}.")
    return chosen, onsets


def check_context(context: int, n_trs: int | None, run_onsets: list[int], n_rows: int) -> int:
    """Rows of the stack, or an error that names the argument."""
    (before,) = _integers("context", [context])
    if before < 0 or (len(run_onsets) > 1 and before > run_onsets[1]):
        raise ValueError(f"context: expected 0 or more rows, all of the first run, got {context}.")
    (wanted,) = _integers("n_trs", [max(n_rows - before, 0) if n_trs is None else n_trs])
    if wanted < 0:
        raise ValueError(f"n_trs: expected 0 or more rows, got {n_trs}.")
    return wanted


def check_weights(weights: ArrayLike, n_voxels: int) -> NDArray[np.float64]:
    """Weights (or a mask) of voxels in float64, or an error that says what they should be."""
    w = np.asarray(_host(weights))
    if w.shape != (n_voxels,) or w.dtype.kind not in "bfiu":
        raise ValueError(f"weights: expected a mask or numbers ({n_voxels},), got shape {w.shape} of {w.dtype}.")
    w = w.astype(np.float64)
    if not np.all(np.isfinite(w) & (w >= 0)):
        raise ValueError("weights: must be finite and at least 0.")
    return w


def build_info() -> dict[str, Any]:
    """What the core was built with and what it sees: version, SIMD level, threads, CUDA built, GPUs visible."""
    return dict(_C.build_info())


def _integers(name: str, values: Sequence[int]) -> list[int]:
    try:
        return [index(value) for value in values]
    except TypeError:
        raise TypeError(f"{name}: expected whole numbers, got {values!r}.") from None


def check_axis(axis: int) -> None:
    if axis not in (0, 1) or isinstance(axis, bool):
        raise ValueError(f"axis: expected 0 (over time) or 1 (across voxels), got {axis!r}.")


def _matrices(**arrays: ArrayLike) -> list[Array]:
    """The arguments as matrices of one shape and one floating type."""
    library, matrices = _library(arrays), {}
    for name, value in arrays.items():
        array = library.asarray(value)
        if array.ndim != 2:
            raise ValueError(f"{name}: expected a matrix (n_trs, n_columns), got shape {array.shape}.")
        if array.dtype.kind not in "fiu":
            raise TypeError(f"{name}: expected real numbers, got {array.dtype}.")
        matrices[name] = array
    first, *others = matrices
    for name in others:
        shape, expected = matrices[name].shape, matrices[first].shape
        if shape != expected:
            raise ValueError(f"{name}: expected the shape of {first}, {expected}, got {shape}.")
    single = all(array.dtype in (np.float32, np.float16) for array in matrices.values())
    dtype = np.dtype(np.float32 if single else np.float64)
    return [array if array.dtype == dtype else array.astype(dtype) for array in matrices.values()]


def _row_major(x: Array) -> Array:
    """The matrix with contiguous columns, copied only if it is not so already; rows may overlap."""
    fits = (x.shape[1] <= 1 or x.strides[1] == x.itemsize) and x.strides[0] % x.itemsize == 0
    return x if fits else _library({"x": x}).ascontiguousarray(x)


def _library(arrays: dict[str, Any]) -> Any:
    """NumPy, or CuPy for arrays on a GPU; a mixture is a ValueError."""
    on_gpu = {name: hasattr(value, "__cuda_array_interface__") for name, value in arrays.items()}
    if not any(on_gpu.values()):
        return np
    host = [name for name, answer in on_gpu.items() if not answer]
    if host:
        raise ValueError(f"{host[0]}: lies in host memory, but others on a GPU; move all of them to one side.")
    try:
        import cupy
    except ImportError:
        raise TypeError(
            f"{next(iter(on_gpu))}: lies on a GPU; install CuPy for such arrays, or use brainwavlm_fast.ops for torch."
        ) from None
    return cupy


def _empty(like: Array, shape: tuple[int, ...]) -> Array:
    empty: Array = _library({"x": like}).empty(shape, like.dtype)
    return empty


def _beside(like: Array, values: Array) -> Array:
    """Host values where an array lies, in its type."""
    moved: Array = _library({"x": like}).asarray(values.astype(like.dtype))
    return moved


def _host(array: Any) -> Any:
    return array.get() if hasattr(array, "__cuda_array_interface__") else array


def _stream(x: Array) -> int:
    library = _library({"x": x})
    return 0 if library is np else int(library.cuda.get_current_stream().ptr)
