"""What ridge needs of the library that holds the targets, and which one that is: NumPy on the host, torch on a GPU.

Only matrices as wide as the targets, and decompositions, go through a backend. Everything small (Gram matrices,
eigenvectors, one score per penalty and target) lies in NumPy on the host. torch is imported for a device that asks for
it, and never before.
"""

from __future__ import annotations

import sys
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .backend_numpy import NumpyBackend

Float64 = NDArray[np.float64]


class Backend(Protocol):
    """Operations on matrices as wide as the targets. They multiply, slice and add alike in both libraries; only what
    the libraries spell differently has a method."""

    tile_bytes: int
    """Memory that the temporaries of one tile of targets may take."""
    parallel: bool
    """Whether tiles run side by side, one thread each; otherwise one after the other."""

    def asarray(self, array: Any, dtype: Any) -> Any:
        """The array on this backend, converted to ``dtype``."""

    def resident(self, targets: Any, dtype: Any) -> Any:
        """Targets (n_rows, n_targets) as tiles are cut from them: on a GPU placed as a whole, if they fit."""

    def sparse(self, matrix: NDArray[Any]) -> Any:
        """A matrix with few non-zero elements, to be multiplied from the left."""

    def cross_product(self, a: Any, b: Any) -> Float64:
        """a'b of (n_rows, n_a) and (n_rows, n_b), from wherever they lie: in float64, (n_a, n_b), on the host."""

    def column_sums(self, array: Any) -> Float64:
        """Sum of each column."""

    def column_moments(self, array: Any) -> tuple[Float64, Float64, NDArray[np.bool_]]:
        """Of each column the mean, the sum of squares around it, and whether it is constant."""

    def ridge_moments(self, *arrays: Any) -> tuple[Float64, Float64, Float64]:
        """:func:`brainwavlm_fast.kernels.ridge_moments`."""

    def correlation(self, x: Any, y: Any) -> Float64:
        """Correlation of each column."""

    def eigh(self, gram: Float64) -> tuple[Float64, Float64]:
        """Eigenvalues, rising, and eigenvectors of a Gram matrix (n, n), in float64 on the host: (k,), (n, k), k >= n.

        Any eigenvalue of 0 more than the matrix has goes with its null space.
        """

    def concatenate(self, parts: list[Any]) -> Any:
        """Matrices joined along their rows."""

    def to_host(self, array: Any) -> NDArray[Any]:
        """The array in NumPy."""


def backend_on(device: str) -> Backend:
    """The backend of a device, as torch names devices: NumPy for ``"cpu"``, torch for any other."""
    if device == "cpu":
        return NumpyBackend()
    from .backend_torch import TorchBackend

    return TorchBackend(device)


def is_tensor(array: Any) -> bool:
    """Whether this is a torch tensor, told without importing torch: before that there are no tensors."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(array, torch.Tensor)


def to_numpy(array: Any) -> Any:
    """A torch tensor as a NumPy array; anything else as it is."""
    return array.detach().cpu().numpy() if is_tensor(array) else array


def score_targets(measured: Any, predicted: Any, scoring: str, backend: Backend) -> Float64:
    """Correlation or R2 of each column, (n_targets,); a constant on either side of a correlation, or a constant
    target of an R2, scores 0."""
    if scoring == "correlation":
        return backend.correlation(measured, predicted)
    _, squares, constant = backend.column_moments(measured)
    residual = backend.column_sums((measured - predicted) ** 2)
    return np.where(constant, 0.0, 1.0 - residual / np.where(constant, 1.0, squares))
