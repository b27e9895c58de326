"""Where a story's windows lie, and how their features become TR features: planned once, as a sparse matrix.

A window ends every ``stride`` seconds and looks ``window`` seconds back (paper: 0.25 s and 4.0 s); at a story's start
windows are shorter. Features at window ends are brought to TR times by a Lanczos filter whose cutoff is the TR rate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ..errors import DataError

SAMPLE_RATE = 16_000
MIN_SAMPLES = 400  # one frame of WavLM's convolutions
_NEGLIGIBLE = 1e-8  # weights this small are the sinc's zeros; by absolute value, so negative lobes stay


@dataclass(frozen=True)
class WindowPlan:
    """The windows of a story that matter to its TR features.

    Attributes
    ----------
    starts, ends : NDArray
        int64 (n_windows,), in samples; ``ends`` rises.
    weights : csr_matrix
        (n_times, n_windows): TR features = weights @ window features.
    """

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    weights: sparse.csr_matrix

    @property
    def n_windows(self) -> int:
        """Number of windows."""
        return len(self.starts)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Samples of each window, (n_windows,): windows at a story's start are shorter."""
        return self.ends - self.starts

    def rows(self, first: int, last: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The windows that rows ``first`` to ``last - 1`` need, and their weights, dense (last - first, n_used)."""
        part = self.weights[first:last]
        used = np.unique(part.indices).astype(np.int64)
        return used, part[:, used].toarray()


def plan_windows(
    n_samples: int,
    times: NDArray[np.float64],
    *,
    window: float = 4.0,
    stride: float = 0.25,
    lobes: int = 3,
    negative_lobes: bool = True,
) -> WindowPlan:
    """Plan the windows of a story of ``n_samples`` at 16 kHz and their Lanczos weights at ``times``.

    Parameters
    ----------
    n_samples : int
        Length of the story's audio.
    times : NDArray
        (n_times,) seconds after the sound's onset at which features are wanted, equally spaced.
    window, stride : float
        Seconds.
    lobes : int, default 3
        The filter reaches this many TRs to either side.
    negative_lobes : bool, default True
        False keeps positive weights only, as the authors' training did (13 % of the filter's L1 mass is lost; for
        comparison only).

    Raises
    ------
    DataError
        The audio is shorter than one stride, or no window reaches a time that is wanted after its start.
    """
    step = round(stride * SAMPLE_RATE)
    length = round(window * SAMPLE_RATE)
    ends = np.arange(step, n_samples + 1, step, dtype=np.int64)
    starts = np.maximum(ends - length, 0)
    long_enough = ends - starts >= MIN_SAMPLES
    starts, ends = starts[long_enough], ends[long_enough]
    if len(ends) == 0:
        raise DataError(
            f"the audio has {n_samples} samples ({n_samples / SAMPLE_RATE:.2f} s); one window needs {stride:g} s."
        )
    weights = lanczos_weights(ends / SAMPLE_RATE, times, lobes=lobes)
    if not negative_lobes:
        weights = weights.multiply(weights > 0).tocsr()
        weights.eliminate_zeros()
    empty = np.flatnonzero((np.diff(weights.indptr) == 0) & (times > 0))
    if len(empty) and times[empty[0]] < n_samples / SAMPLE_RATE - stride:
        raise DataError(
            f"windows every {stride:g} s are too few for a filter of {lobes} lobes: {len(empty)} of {len(times)} TRs "
            "have none within its reach. Use a smaller stride, or more lobes."
        )
    if len(empty):
        raise DataError(
            f"the audio ends at {n_samples / SAMPLE_RATE:.1f} s, but features are wanted up to {times[-1]:.1f} s: "
            f"{len(empty)} TRs would have no audio. The file is truncated, or belongs to another story."
        )
    used = np.unique(weights.indices)
    return WindowPlan(starts[used], ends[used], weights[:, used].tocsr())


def lanczos_weights(
    sample_times: NDArray[np.float64], times: NDArray[np.float64], *, lobes: int = 3
) -> sparse.csr_matrix:
    """Lanczos weights from samples at ``sample_times`` to ``times``, CSR (n_times, n_samples), not normalized.

    w(t) = sinc(c t) sinc(c t / lobes) for \\|c t\\| < lobes, with c = 1 / mean spacing of ``times``. The full filter,
    negative lobes included; only weights below 1e-8 in absolute value (the zeros of the sinc) are dropped.
    """
    if len(times) < 2:
        raise ValueError(f"times: a Lanczos cutoff needs at least 2 times, got {len(times)}.")
    cutoff = 1.0 / np.mean(np.diff(times))
    x = cutoff * (times[:, None] - sample_times[None, :])
    dense = np.where(np.abs(x) < lobes, np.sinc(x) * np.sinc(x / lobes), 0.0)
    dense[np.abs(dense) < _NEGLIGIBLE] = 0.0
    return sparse.csr_matrix(dense)
