"""Effects of several subjects, pooled: random effects, since subjects differ by more than their measurements' noise.

The variance between subjects is Paule and Mandel's (1982): the one at which the weighted squares around the pooled
effect are as large as expected. The interval is Hartung and Knapp's (2001), whose Student's t holds its level with few
subjects where a normal interval does not; where subjects agree by chance better than their errors let them, it is not
narrower than the normal one (Jackson, Law, Ruecker & Schwarzer 2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.stats import chi2, norm
from scipy.stats import t as student

Float64 = NDArray[np.float64]


def pool(effects: ArrayLike, standard_errors: ArrayLike, *, level: float = 0.95) -> dict[str, Any]:
    """Pool effects (n_subjects,) that were measured with these standard errors (n_subjects,).

    Returns
    -------
    dict
        ``estimate`` and its ``interval``; heterogeneity: ``tau``, the standard deviation of the
        effect between subjects, ``i2``, its share of the variance of the measured effects, Cochran's ``q`` and ``p``;
        ``n``.

    Raises
    ------
    ValueError
        Fewer than two subjects, or an effect or standard error that is not finite, or not positive.
    """
    y, se = (np.asarray(values, dtype=np.float64) for values in (effects, standard_errors))
    if y.ndim != 1 or y.shape != se.shape or len(y) < 2:
        raise ValueError(f"effects of two subjects or more, with a standard error each, got {y.shape} and {se.shape}.")
    if not (np.isfinite(y).all() and np.isfinite(se).all() and (se > 0).all()):
        raise ValueError("effects must be finite, and standard errors finite and positive.")
    n, within = len(y), se**2
    tau2 = _between(y, within)
    w = 1 / (within + tau2)
    estimate = (w * y).sum() / w.sum()
    upper = (1 + level) / 2
    error = float(np.sqrt(_squares(y, within, tau2) / (n - 1) / w.sum()))
    half = max(student.ppf(upper, n - 1) * error, norm.ppf(upper) / np.sqrt(w.sum()))
    q = _squares(y, within, 0.0)
    fixed = 1 / within
    typical = (n - 1) * fixed.sum() / (fixed.sum() ** 2 - (fixed**2).sum())  # Higgins and Thompson's
    return {
        "n": n,
        "estimate": float(estimate),
        "interval": [float(estimate - half), float(estimate + half)],
        "tau": float(np.sqrt(tau2)),
        "i2": float(tau2 / (tau2 + typical)),
        "q": float(q),
        "p": float(chi2.sf(q, n - 1)),
    }


def within_subject_sem(scores: ArrayLike, *, morey: bool = False) -> Float64:
    """Standard error of each model's mean over subjects, after each subject's mean over models is subtracted.

    Differences between subjects, which all models share, are no part of it (Cousineau 2005; the paper's error bars).

    Parameters
    ----------
    scores : array-like
        (n_subjects, n_models).
    morey : bool, default False
        Times sqrt(n_models / (n_models - 1)), Morey's (2008) correction: what is subtracted holds a part of each
        model's own error.

    Returns
    -------
    array
        (n_models,); NaN with fewer than two subjects, or one model.
    """
    values = np.asarray(scores, dtype=np.float64)
    n_subjects, n_models = values.shape
    if n_subjects < 2 or n_models < 2:
        return np.full(n_models, np.nan)
    deviations = values - values.mean(axis=1, keepdims=True)
    sem: Float64 = deviations.std(axis=0, ddof=1) / np.sqrt(n_subjects)
    return sem * np.sqrt(n_models / (n_models - 1)) if morey else sem


def pool_known(effects: Sequence[float | None], standard_errors: Sequence[float | None]) -> dict[str, Any] | None:
    """:func:`pool` over the subjects whose effect is known with its error; None with fewer than two."""
    known = [(y, se) for y, se in zip(effects, standard_errors, strict=True) if y is not None and se]
    return pool(*zip(*known, strict=True)) if len(known) > 1 else None


def _squares(y: Float64, within: Float64, tau2: float) -> float:
    """Weighted squares around the pooled effect."""
    w = 1 / (within + tau2)
    return float((w * np.square(y - (w * y).sum() / w.sum())).sum())


def _between(y: Float64, within: Float64) -> float:
    """Paule and Mandel's variance between subjects, at least 0."""
    expected = len(y) - 1
    if _squares(y, within, 0.0) <= expected:
        return 0.0
    top = float(np.ptp(y)) ** 2 * len(y)  # the squares are below what is expected there
    return float(brentq(lambda tau2: _squares(y, within, tau2) - expected, 0.0, top))
