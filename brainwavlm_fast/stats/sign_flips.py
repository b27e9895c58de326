"""p values of random signs: how often a sum whose terms get random signs is as large as without.

There are 2^n such sums. Up to fifteen terms they are counted. Beyond, their distribution is known through its cumulant
generating function, K(t) = sum of log cosh(t c_k), and the tail follows by the saddlepoint approximation (Barndorff-
Nielsen's r*; Davison and Hinkley 1997, section 9.5, for randomization tests): nothing is drawn, so there is no seed and
no smallest p but that of the 2^n signs. With 16 to 20 terms it is within 2 % of the counted p for half of all columns
and within a third for all, worst where two or three terms outweigh the others.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

COUNTED = 15  # terms up to which all signs are counted
_COLUMNS = 128  # counted at once
_ITERATIONS = 60
_NORMAL = 1e-3  # standard deviations around the middle in which the normal distribution is as good
Float64 = NDArray[np.float64]


def sign_flip_tail(terms: Float64) -> Float64:
    """P(sum of randomly signed terms >= their sum) of each column: (n_terms, n_columns) -> (n_columns,).

    1 where all terms are 0: every sum is as large.
    """
    scale = np.sqrt(np.square(terms).sum(axis=0))
    nothing = scale == 0
    unit = terms / np.where(nothing, 1.0, scale)
    p = _counted(unit) if len(terms) <= COUNTED else _approximated(unit)
    return np.where(nothing, 1.0, p)


def _counted(terms: Float64) -> Float64:
    n, n_columns = terms.shape
    signs = 1.0 - 2.0 * (np.arange(2**n)[:, None] >> np.arange(n) & 1)
    share = np.empty(n_columns)
    for start in range(0, n_columns, _COLUMNS):
        part = terms[:, start : start + _COLUMNS]
        share[start : start + _COLUMNS] = (signs @ part >= part.sum(axis=0) - 1e-9).mean(axis=0)  # but for rounding
    return share


def _approximated(terms: Float64) -> Float64:
    """Terms of which each column has a sum of squares of 1."""
    total = terms.sum(axis=0)
    wanted, n = np.abs(total), len(terms)
    t, slope, curvature = wanted.copy(), np.empty_like(wanted), np.empty_like(wanted)
    active = np.arange(terms.shape[1])
    for _ in range(_ITERATIONS):  # K' is concave: Newton's steps grow towards the solution and never pass it
        columns = terms[:, active]
        bent = np.tanh(columns * t[active])
        slope = (columns * bent).sum(axis=0)
        curvature[active] = (np.square(columns) * (1 - np.square(bent))).sum(axis=0)
        step = (wanted[active] - slope) / np.maximum(curvature[active], 1e-300)
        moving = (step > 1e-9 * (1 + t[active])) & (curvature[active] > 1e-12)
        t[active] += np.where(moving, step, 0.0)
        active = active[moving]
        if not len(active):
            break
    size = np.abs(terms) * t
    cumulants = (size + np.log1p(np.exp(-2 * size)) - np.log(2)).sum(axis=0)
    exponent = np.maximum(t * wanted - cumulants, 0.0)
    w, v = np.sqrt(2 * exponent), t * np.sqrt(curvature)
    middle = w < _NORMAL
    w, v = np.where(middle, 1.0, w), np.where(middle, 1.0, np.maximum(v, 1e-300))
    tail = np.where(middle, ndtr(-wanted), ndtr(-(w + np.log(v / w) / w)))
    tail = np.clip(tail, 2.0**-n, np.exp(-exponent))  # the signs as they are; Chernoff's bound
    result: Float64 = np.where(total >= 0, tail, 1.0 - tail)
    return result
