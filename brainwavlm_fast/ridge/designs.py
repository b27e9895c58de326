"""Designs of a ridge regression: rows as they are, or FIR delays of rows, whose stack is never made.

The stack of features at delays d_1 ... d_k has k^2 blocks in its Gram matrix, but a block depends on its two delays
only through their difference, the lag, but for the rows at the edges of what is summed. So there is one product per
lag, and a small correction per block.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arguments import check_delays
from ..kernels import delay_stack
from .backend import Backend
from .backend_numpy import NumpyBackend
from .labels import check_reach

Rows = NDArray[np.intp]

_LEAST_VARIANCE = 1e-12  # added to a feature's variance: a constant gives zeros, and any unit else the same z-scores


def standardize(features: NDArray[Any]) -> NDArray[Any]:
    """Features (n_rows, n_features), each z-scored over the rows given: what ridge starts from.

    Unlike training's z-score, whose 1e-5 (the paper's) shrinks features of small spread.
    """
    return delay_stack(features, [0], zscore=True, eps=_LEAST_VARIANCE)


class DenseDesign:
    """A matrix (n_rows, n_columns) of numbers, of which only some rows, and products, are ever wanted."""

    def __init__(self, X: NDArray[Any]) -> None:
        self.X, self.dtype = X, X.dtype
        self.shape: tuple[int, int] = X.shape[0], X.shape[1]
        self.to_device(NumpyBackend())

    def to_device(self, backend: Backend) -> None:
        """Make products where targets lie."""
        self._backend, self._placed = backend, backend.asarray(self.X, self.dtype)

    def rows(self, which: Rows) -> NDArray[Any]:
        """Some rows as a matrix."""
        return self.X[which]

    def gram(self, which: Rows | None = None) -> NDArray[np.float64]:
        """X'X over some rows, or all, in float64."""
        rows = self._placed if which is None else self._placed[which]
        return self._backend.cross_product(rows, rows)

    def cross(self, which: Rows | None, targets: Any) -> Any:
        """X'Y over some rows, or all; ``targets`` are those rows' alone."""
        return (self._placed if which is None else self._placed[which]).T @ targets


class DelayedDesign:
    """Delayed copies of features, as :func:`brainwavlm_fast.delay_stack` stacks them; with a matrix's methods.

    Parameters
    ----------
    features : array
        (n_trs, n_features).
    delays : sequence of int
        In TRs, distinct; positive looks back.
    run_onsets : sequence of int, optional
        First row of each run, rising from 0; by default there is one run. Nothing crosses from run to run.
    context : int, default 0
        Rows at the start of *each* run that delays see and that are no rows of the design.
    """

    def __init__(
        self,
        features: NDArray[Any],
        delays: Sequence[int],
        *,
        run_onsets: Sequence[int] | None = None,
        context: int = 0,
    ) -> None:
        chosen, onsets = check_delays(delays, run_onsets, len(features))
        ends = [*onsets[1:], len(features)]
        self._delays, reach = chosen, max(map(abs, chosen))
        # every run between rows of zeros, so that a delay is a shift
        self._padded = np.zeros((len(features) + reach * (len(onsets) + 1), features.shape[1]), features.dtype)
        rows = []
        for k, (first, end) in enumerate(zip(onsets, ends, strict=True)):
            start = first + reach * (k + 1)
            self._padded[start : start + end - first] = features[first:end]
            rows.append(np.arange(start + context, start + end - first))
        self._at = np.concatenate(rows)  # the design's rows among the padded ones
        self.shape: tuple[int, int] = len(self._at), len(chosen) * features.shape[1]
        self.dtype = features.dtype
        self.to_device(NumpyBackend())

    def to_device(self, backend: Backend) -> None:
        self._placed, self._backend = backend.asarray(self._padded, self.dtype), backend

    def rows(self, which: Rows) -> NDArray[Any]:
        return np.concatenate([self._padded[self._at[which] - d] for d in self._delays], axis=1)

    def gram(self, which: Rows | None = None) -> NDArray[np.float64]:
        n_padded, width = self._padded.shape
        counted = np.zeros(n_padded, dtype=bool)
        counted[self._at if which is None else self._at[which]] = True
        out = np.empty((len(self._delays), width, len(self._delays), width))
        order = np.argsort(self._delays)
        pairs = [(i, j) for n, i in enumerate(order) for j in order[: n + 1]]  # delays[i] >= delays[j]
        for lag in sorted({self._delays[i] - self._delays[j] for i, j in pairs}):
            before, block = np.zeros(n_padded, dtype=bool), np.zeros((width, width))
            for i, j in pairs:
                if self._delays[i] - self._delays[j] != lag:
                    continue
                # the sum over counted rows t of x[t - d_i] x[t - d_j]', which is one over s = t - d_i
                now = np.roll(counted, -self._delays[i])
                block = block + self._lagged(np.flatnonzero(now & ~before), lag)
                block -= self._lagged(np.flatnonzero(before & ~now), lag)
                out[i, :, j], out[j, :, i] = block, block.T
                before = now
        return out.reshape(self.shape[1], self.shape[1])

    def cross(self, which: Rows | None, targets: Any) -> Any:
        at = self._at if which is None else self._at[which]
        return self._backend.concatenate([self._placed[at - d].T @ targets for d in self._delays])

    def _lagged(self, rows: Rows, lag: int) -> NDArray[np.float64]:
        """Sum over some padded rows s of x[s] x[s + lag]'."""
        x = self._placed[rows]
        return self._backend.cross_product(x, x if lag == 0 else self._placed[rows + lag])


class ScaledDesign:
    """Another design with its columns scaled, (n_columns,)."""

    def __init__(self, design: Design, scale: NDArray[np.float64]) -> None:
        self.shape: tuple[int, int] = design.shape
        self.dtype: np.dtype[Any] = design.dtype
        self._design, self._scale = design, scale
        self.to_device(NumpyBackend())

    def to_device(self, backend: Backend) -> None:
        self._placed = backend.asarray(self._scale[:, None], self.dtype)

    def rows(self, which: Rows) -> NDArray[Any]:
        return np.asarray(self._design.rows(which) * self._scale.astype(self.dtype))

    def gram(self, which: Rows | None = None) -> NDArray[np.float64]:
        return self._scale[:, None] * self._design.gram(which) * self._scale

    def cross(self, which: Rows | None, targets: Any) -> Any:
        return self._design.cross(which, targets) * self._placed


Design = DenseDesign | DelayedDesign | ScaledDesign


def make_design(X: NDArray[Any], delays: Sequence[int] | None, run_onsets: list[int] | None) -> Design:
    """Features (n_rows, n_features) as they are, or at FIR delays inside each run."""
    if delays is None:
        return DenseDesign(X)
    check_reach(delays, run_onsets, len(X))
    return DelayedDesign(X, delays, run_onsets=run_onsets)
