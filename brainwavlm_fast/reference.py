"""The definition of every operation of the native core: float64 NumPy, forward and backward, one line of maths each.

Nothing here is fast. Tests hold the CPU and CUDA twins to it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]


def correlation(x: ArrayLike, y: ArrayLike, *, axis: int, eps: float = np.finfo(np.float64).eps) -> Float:
    """Pearson correlation along ``axis`` of two (n_trs, n_voxels) matrices, with population moments.

    r = sum(u v) / sqrt(sum(u u) sum(v v)), u = x - mean(x), v = y - mean(y). Where x or y is constant to rounding
    (sum(u u) <= n (4 eps mean)^2, ``eps`` that of the type the data came in), r = 0. NaN stays in its row or column.
    """
    r, _, _, _, _ = _parts(x, y, axis, eps)
    return r


def correlation_backward(
    x: ArrayLike, y: ArrayLike, g: ArrayLike, *, axis: int, eps: float = np.finfo(np.float64).eps
) -> Float:
    """Gradient of sum_i g_i r_i for ``x``: g (v / sqrt(sum(u u) sum(v v)) - r u / sum(u u)), 0 where r is set to 0."""
    r, u, v, xx, norm = _parts(x, y, axis, eps)
    factor = np.asarray(g, np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        a = np.where(norm == 0, 0.0, factor / norm)
        b = np.where(norm == 0, 0.0, factor * r / xx)
    return np.expand_dims(a, axis) * v - np.expand_dims(b, axis) * u


def correlation_loss(pred: ArrayLike, target: ArrayLike, *, axis: int, eps: float = np.finfo(np.float64).eps) -> float:
    """Minus the mean correlation; ``axis`` 1 is the paper's loss: across voxels, averaged over TRs (equation 1)."""
    return -float(np.mean(correlation(pred, target, axis=axis, eps=eps)))


def correlation_loss_backward(
    pred: ArrayLike, target: ArrayLike, *, axis: int, eps: float = np.finfo(np.float64).eps
) -> Float:
    """Gradient of :func:`correlation_loss` for ``pred``."""
    n = np.shape(pred)[1 - axis]
    return correlation_backward(pred, target, np.full(n, -1.0 / max(n, 1)), axis=axis, eps=eps)


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
        g, own = gz[first:last], z[first:last]
        scale = 1 / np.sqrt(x[first:last].var(0) + eps)
        gx[first:last] = scale * (g - g.mean(0) - own * (g * own).mean(0))
    return gx


def delay_stack(x: ArrayLike, delays: Sequence[int], *, run_onsets: Sequence[int] | None = None) -> Float:
    """FIR stack of (n_trs, n_features): out[t, k * n_features + f] = x[t - delays[k], f] if in t's run, else 0."""
    x = np.asarray(x, np.float64)
    n_trs, n_features = x.shape
    out = np.zeros((n_trs, len(delays) * n_features))
    for first, last in _runs(n_trs, run_onsets):
        for t in range(first, last):
            for k, delay in enumerate(delays):
                if first <= t - delay < last:
                    out[t, k * n_features : (k + 1) * n_features] = x[t - delay]
    return out


def delay_stack_backward(g_out: ArrayLike, delays: Sequence[int], *, run_onsets: Sequence[int] | None = None) -> Float:
    """Gradient of :func:`delay_stack` for ``x``: each row collects from the rows that copied it."""
    g_out = np.asarray(g_out, np.float64)
    n_trs, n_features = len(g_out), g_out.shape[1] // len(delays)
    gx = np.zeros((n_trs, n_features))
    for first, last in _runs(n_trs, run_onsets):
        for t in range(first, last):
            for k, delay in enumerate(delays):
                if first <= t - delay < last:
                    gx[t - delay] += g_out[t, k * n_features : (k + 1) * n_features]
    return gx


def ridge_moments(
    a: ArrayLike, b: ArrayLike, e: ArrayLike, mb: ArrayLike, shrink: ArrayLike, shift: ArrayLike, diagonal: ArrayLike
) -> tuple[Float, Float, Float]:
    """Moments of held-out ridge predictions for every penalty: (n_penalties, n_targets) each.

    covariance = sum_k d a b; variance = sum_k d^2 b mb + 2 sum_k (d - shift) b e; scale = sum_k d^2 b^2 diagonal.
    """
    a, b, e, mb, d = (np.asarray(x, np.float64) for x in (a, b, e, mb, shrink))
    moved = d - np.asarray(shift, np.float64)[:, None]
    scale = (d**2 * np.asarray(diagonal, np.float64)) @ b**2
    return d @ (a * b), d**2 @ (b * mb) + 2 * moved @ (b * e), scale


def ridge_scores(
    X: ArrayLike,
    Y: ArrayLike,
    X_held: ArrayLike,
    Y_held: ArrayLike,
    penalties: ArrayLike,
    *,
    scoring: str = "correlation",
) -> Float:
    """Held-out score of each penalty and target, (n_penalties, n_targets), from its predictions, one solve each.

    weights = (X'X + penalty I)^-1 X'Y. A constant prediction or target has correlation 0.
    """
    X, Y, X_held, Y_held = (np.asarray(x, np.float64) for x in (X, Y, X_held, Y_held))
    scores = []
    for penalty in np.asarray(penalties, np.float64):
        predicted = X_held @ np.linalg.solve(X.T @ X + penalty * np.eye(X.shape[1]), X.T @ Y)
        if scoring == "correlation":
            scores.append(correlation(predicted, Y_held, axis=0))
        else:
            scores.append(1 - ((Y_held - predicted) ** 2).sum(0) / ((Y_held - Y_held.mean(0)) ** 2).sum(0))
    return np.array(scores)


def _parts(x: ArrayLike, y: ArrayLike, axis: int, eps: float) -> tuple[Float, Float, Float, Float, Float]:
    """r, the centred u and v, sum(u u), and sqrt(sum(u u) sum(v v)), the last set to 0 where r is defined as 0."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    n = x.shape[axis]
    if n == 0:
        empty = np.zeros(x.shape[1 - axis])
        return empty, x, y, empty, empty
    mx, my = x.mean(axis, keepdims=True), y.mean(axis, keepdims=True)
    u, v = x - mx, y - my
    xx, yy, xy = (u * u).sum(axis), (v * v).sum(axis), (u * v).sum(axis)
    constant = (xx <= n * (4 * eps * mx.squeeze(axis)) ** 2) | (yy <= n * (4 * eps * my.squeeze(axis)) ** 2)
    norm = np.where(constant, 0.0, np.sqrt(xx) * np.sqrt(yy))
    with np.errstate(invalid="ignore", divide="ignore"):
        r = np.where(constant, 0.0, xy / norm)
    return r, u, v, xx, norm


def _runs(n_trs: int, run_onsets: Sequence[int] | None) -> list[tuple[int, int]]:
    onsets = [0] if run_onsets is None else list(run_onsets)
    return list(zip(onsets, [*onsets[1:], n_trs], strict=True))
