"""The definition of every operation of the native core: float64 NumPy, forward and backward, one line of math each.

Nothing here is fast. Tests hold the CPU and CUDA twins to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]


def correlation(
    x: ArrayLike, y: ArrayLike, *, axis: int, weights: ArrayLike | None = None, eps: float = np.finfo(np.float64).eps
) -> Float:
    """Pearson correlation along ``axis`` of two (n_trs, n_voxels) matrices, with population moments.

    r = sum(u v) / sqrt(sum(u u) sum(v v)), u = x - mean(x), v = y - mean(y). Where x or y is constant to rounding
    (sum(u u) <= n (4 eps mean)^2, ``eps`` that of the type the data came in), r = 0. NaN stays in its row or column.

    With ``weights`` along ``axis``, all positive, sums and means are weighted, and n is the sum of the weights.
    """
    return _parts(x, y, axis, weights, eps)[0]


def correlation_backward(
    x: ArrayLike,
    y: ArrayLike,
    g: ArrayLike,
    *,
    axis: int,
    weights: ArrayLike | None = None,
    eps: float = np.finfo(np.float64).eps,
) -> Float:
    """Gradient of sum_i g_i r_i for ``x``: g (v / sqrt(sum(u u) sum(v v)) - r u / sum(u u)), 0 where r is set to 0.

    With ``weights``, each element's gradient is multiplied by its weight.
    """
    r, u, v, xx, norm = _parts(x, y, axis, weights, eps)
    factor = np.asarray(g, np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        a = np.where(norm == 0, 0.0, factor / norm)
        b = np.where(norm == 0, 0.0, factor * r / xx)
    return (1.0 if weights is None else np.asarray(weights)) * (
        np.expand_dims(a, axis) * v - np.expand_dims(b, axis) * u
    )


def correlation_loss(
    pred: ArrayLike,
    target: ArrayLike,
    *,
    axis: int,
    weights: ArrayLike | None = None,
    eps: float = np.finfo(np.float64).eps,
) -> float:
    """Minus the mean correlation; ``axis`` 1 is the paper's loss: across voxels, averaged over TRs (equation 1).

    ``weights`` (n_voxels,), at least 0: sums over voxels become weighted sums, in the correlations (``axis`` 1) or in
    their mean (``axis`` 0). 0 where nothing counts.
    """
    if np.shape(pred)[1 - axis] == 0:
        return 0.0
    if weights is None:
        return -float(np.mean(correlation(pred, target, axis=axis, eps=eps)))
    x, y, w = _counted(pred, target, weights)
    if w.size == 0:
        return 0.0
    if axis == 1:
        return -float(np.mean(correlation(x, y, axis=1, weights=w, eps=eps)))
    return -float(np.average(correlation(x, y, axis=0, eps=eps), weights=w))


def correlation_loss_backward(
    pred: ArrayLike,
    target: ArrayLike,
    *,
    axis: int,
    weights: ArrayLike | None = None,
    eps: float = np.finfo(np.float64).eps,
) -> Float:
    """Gradient of :func:`correlation_loss` for ``pred``."""
    n = np.shape(pred)[1 - axis]
    mean = np.full(n, -1.0 / max(n, 1))
    if weights is None:
        return correlation_backward(pred, target, mean, axis=axis, eps=eps)
    x, y, w = _counted(pred, target, weights)
    gradient, counts = np.zeros(np.shape(pred)), np.asarray(weights) > 0
    if axis == 1 and w.size:
        gradient[:, counts] = correlation_backward(x, y, mean, axis=1, weights=w, eps=eps)
    elif w.size:
        gradient[:, counts] = correlation_backward(x, y, -w / w.sum(), axis=0, eps=eps)
    return gradient


def zscore(x: ArrayLike, *, run_onsets: Sequence[int] | None = None, eps: float = 1e-5) -> Float:
    """Each feature of (n_trs, n_features) over each run: (x - mean) / sqrt(variance + eps), population variance."""
    x = np.asarray(x, np.float64)
    z = np.empty_like(x)
    for first, last in _runs(len(x), run_onsets):
        run = x[first:last]
        z[first:last] = (run - run.mean(0)) / np.sqrt(run.var(0) + eps)
    return z


def zscore_backward(
    gz: ArrayLike, x: ArrayLike, *, run_onsets: Sequence[int] | None = None, eps: float = 1e-5
) -> Float:
    """Gradient of :func:`zscore` for ``x``: (g - mean(g) - z mean(g z)) / sqrt(variance + eps) over each run."""
    gz, x = np.asarray(gz, np.float64), np.asarray(x, np.float64)
    z, gx = zscore(x, run_onsets=run_onsets, eps=eps), np.empty_like(x)
    for first, last in _runs(len(x), run_onsets):
        g, z_run = gz[first:last], z[first:last]
        scale = 1 / np.sqrt(x[first:last].var(0) + eps)
        gx[first:last] = scale * (g - g.mean(0) - z_run * (g * z_run).mean(0))
    return gx


def delay_stack(
    x: ArrayLike,
    delays: Sequence[int],
    *,
    run_onsets: Sequence[int] | None = None,
    context: int = 0,
    n_trs: int | None = None,
) -> Float:
    """FIR stack of (n_rows, n_features): out[t, k * n_features + f] = x[context + t - delays[k], f], else 0.

    ``else``: where that row is not of t's run. Rows after the last of ``x`` belong to the last run.
    """
    x = np.asarray(x, np.float64)
    n_rows, n_features = x.shape
    out = np.zeros((n_rows - context if n_trs is None else n_trs, len(delays) * n_features))
    for row, k, source in _copies(n_rows, len(out), delays, run_onsets, context):
        out[row, k * n_features : (k + 1) * n_features] = x[source]
    return out


def delay_stack_backward(
    g_out: ArrayLike,
    delays: Sequence[int],
    *,
    run_onsets: Sequence[int] | None = None,
    context: int = 0,
    n_rows: int | None = None,
) -> Float:
    """Gradient of :func:`delay_stack` for ``x`` of ``n_rows``: each row collects from the rows that copied it."""
    g_out = np.asarray(g_out, np.float64)
    n_features = g_out.shape[1] // len(delays)
    gx = np.zeros((len(g_out) + context if n_rows is None else n_rows, n_features))
    for row, k, source in _copies(len(gx), len(g_out), delays, run_onsets, context):
        gx[source] += g_out[row, k * n_features : (k + 1) * n_features]
    return gx


def ridge_moments(
    held_cross: ArrayLike,
    train_cross: ArrayLike,
    divided_cross: ArrayLike,
    close_cross: ArrayLike,
    shrink: ArrayLike,
    shift: ArrayLike,
    diagonal: ArrayLike,
) -> tuple[Float, Float, Float]:
    """Moments of held-out ridge predictions for every penalty: (n_penalties, n_targets) each.

    Everything is in the eigenbasis of the training Gram matrix, X'X = V diag(eigenvalue) V', where the prediction is
    held (shrink train_cross). With gram = held' held, the held-out Gram matrix in the basis, for one penalty:

    covariance = sum_k shrink_k held_cross_k train_cross_k
    variance = sum_k shrink_k^2 train_cross_k close_cross_k + 2 sum_k (shrink_k - shift) train_cross_k divided_cross_k
    scale = sum_k shrink_k^2 train_cross_k^2 diagonal_k

    The variance is the quadratic form of gram in shrink train_cross, where shrink_k shrink_l is (shrink_k - shrink_l) /
    (eigenvalue_l - eigenvalue_k): so its far pairs need no product per penalty. ``scale`` is its diagonal alone.

    Parameters
    ----------
    held_cross : (rank, n_targets)
        Held-out rows' cross product with the targets, held' Y_held.
    train_cross : (rank, n_targets)
        Training rows' cross product with the targets, V' X' Y.
    divided_cross : (rank, n_targets)
        D train_cross, D_kl = gram_kl / (eigenvalue_l - eigenvalue_k) where these two are far apart, else 0. D is
        antisymmetric, so any shift gives the same sum.
    close_cross : (rank, n_targets)
        C train_cross, C_kl = gram_kl where the two eigenvalues are equal or close, else 0.
    shrink : (n_penalties, rank)
        1 / (eigenvalue + penalty).
    shift : (n_penalties,)
        A value near the bulk of shrink, against cancellation.
    diagonal : (rank,)
        That of gram.
    """
    held, train, divided, close, d = (
        np.asarray(x, np.float64) for x in (held_cross, train_cross, divided_cross, close_cross, shrink)
    )
    moved = d - np.asarray(shift, np.float64)[:, None]
    scale = (d**2 * np.asarray(diagonal, np.float64)) @ train**2
    return d @ (held * train), d**2 @ (train * close) + 2 * moved @ (train * divided), scale


def _parts(
    x: ArrayLike, y: ArrayLike, axis: int, weights: ArrayLike | None, eps: float
) -> tuple[Float, Float, Float, Float, Float]:
    """r, the centered u and v, sum(u u), and sqrt(sum(u u) sum(v v)), the last set to 0 where r is defined as 0."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.shape[axis] == 0:
        empty = np.zeros(x.shape[1 - axis])
        return empty, x, y, empty, empty
    w = np.ones(x.shape[axis]) if weights is None else np.asarray(weights, np.float64)
    n, w = w.sum(), np.expand_dims(w, 1 - axis)
    mx, my = ((w * a).sum(axis, keepdims=True) / n for a in (x, y))
    u, v = x - mx, y - my
    xx, yy, xy = (w * u * u).sum(axis), (w * v * v).sum(axis), (w * u * v).sum(axis)
    constant = (xx <= n * (4 * eps * mx.squeeze(axis)) ** 2) | (yy <= n * (4 * eps * my.squeeze(axis)) ** 2)
    norm = np.where(constant, 0.0, np.sqrt(xx) * np.sqrt(yy))
    with np.errstate(invalid="ignore", divide="ignore"):
        r = np.where(constant, 0.0, xy / norm)
    return r, u, v, xx, norm


def _counted(pred: ArrayLike, target: ArrayLike, weights: ArrayLike) -> tuple[Float, Float, Float]:
    """Both matrices without the voxels that do not count, and what the others weigh."""
    x, y, w = (np.asarray(a, np.float64) for a in (pred, target, weights))
    return x[:, w > 0], y[:, w > 0], w[w > 0]


def _copies(
    n_rows: int, n_trs: int, delays: Sequence[int], run_onsets: Sequence[int] | None, context: int
) -> Iterator[tuple[int, int, int]]:
    """(row of the stack, which delay, row of x) of every row that is copied."""
    runs = _runs(n_rows, run_onsets)
    for row in range(n_trs):
        first, last = next(run for run in reversed(runs) if run[0] <= row + context)
        for k, delay in enumerate(delays):
            if first <= row + context - delay < last:
                yield row, k, row + context - delay


def _runs(n_trs: int, run_onsets: Sequence[int] | None) -> list[tuple[int, int]]:
    onsets = [0] if run_onsets is None else list(run_onsets)
    return list(zip(onsets, [*onsets[1:], n_trs], strict=True))
