"""What ridge does with matrices as wide as the targets: NumPy on the host, torch on a GPU, behind one face.

Everything small (Gram matrices, eigenvectors, a score a penalty and target) stays in NumPy on the host. What is held
here multiplies, slices and adds alike in both libraries; only what they spell differently has a method.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array

from .. import kernels, ops
from .parallel import run_parallel

Result = TypeVar("Result")
Float64 = NDArray[np.float64]
_ROWS = 128  # summed in the data's own precision before they are added in float64


class Arrays(Protocol):
    """Where matrices as wide as the targets lie, and what is done with them there."""

    tile_bytes: int

    def each(self, jobs: Sequence[Callable[[], Result]], done: Callable[[int], object]) -> list[Result]:
        """Results of pieces of work, each on targets of its own, as :func:`run_parallel` gives them."""

    def asarray(self, array: Any, dtype: Any) -> Any:
        """The array here, in a type."""

    def sparse(self, matrix: NDArray[Any]) -> Any:
        """A matrix of few elements here, to be multiplied from the left."""

    def sums(self, array: Any) -> Float64:
        """Column sums."""

    def column_moments(self, array: Any) -> tuple[Float64, Float64, NDArray[np.bool_]]:
        """Of each column the mean, the sum of squares around it, and whether it is constant."""

    def ridge_moments(self, *arrays: Any) -> tuple[Float64, Float64, Float64]:
        """:func:`brainwavlm_fast.kernels.ridge_moments`."""

    def correlation(self, x: Any, y: Any) -> Float64:
        """Correlation of each column."""

    def stacked(self, parts: list[Any]) -> Any:
        """Matrices one under the other."""

    def to_host(self, array: Any) -> NDArray[Any]:
        """The array in NumPy."""


class HostArrays:
    """NumPy, whose BLAS was the fastest on the CPUs tried."""

    tile_bytes = 192 << 20  # a thread

    def each(self, jobs: Sequence[Callable[[], Result]], done: Callable[[int], object]) -> list[Result]:
        return run_parallel(jobs, done=done)

    def asarray(self, array: Any, dtype: Any) -> NDArray[Any]:
        return np.ascontiguousarray(array, dtype=dtype)

    def sparse(self, matrix: NDArray[Any]) -> Any:
        return csr_array(matrix)

    def sums(self, array: NDArray[Any]) -> Float64:
        return array.sum(axis=0, dtype=np.float64)

    def column_moments(self, array: NDArray[Any]) -> tuple[Float64, Float64, NDArray[np.bool_]]:
        mean = array.mean(axis=0, dtype=np.float64)
        centred = array - mean.astype(array.dtype)
        parts = (centred[start : start + _ROWS] for start in range(0, len(centred), _ROWS))
        squares = np.sum([np.einsum("ij,ij->j", part, part).astype(np.float64) for part in parts], axis=0)
        return mean, squares, array.max(axis=0) == array.min(axis=0)

    def ridge_moments(self, *arrays: Any) -> tuple[Float64, Float64, Float64]:
        return kernels.ridge_moments(*arrays)

    def correlation(self, x: NDArray[Any], y: NDArray[Any]) -> Float64:
        return kernels.correlation(x, y, axis=0).astype(np.float64)

    def stacked(self, parts: list[NDArray[Any]]) -> NDArray[Any]:
        return np.concatenate(parts)

    def to_host(self, array: NDArray[Any]) -> NDArray[Any]:
        return array


class TorchArrays:
    """torch on a device. Products are float32 unless torch was told to allow TF32."""

    tile_bytes = 4 << 30

    def __init__(self, device: Any) -> None:
        self.device = torch.device(device)

    def each(self, jobs: Sequence[Callable[[], Result]], done: Callable[[int], object]) -> list[Result]:
        return in_turn(jobs, done)

    def asarray(self, array: Any, dtype: Any) -> torch.Tensor:
        wanted = torch.float32 if np.dtype(dtype) == np.float32 else torch.float64
        if not isinstance(array, torch.Tensor):
            array = np.ascontiguousarray(array)
            array = torch.from_numpy(array if array.flags.writeable else array.copy())
        return array.to(self.device, wanted)

    def sparse(self, matrix: NDArray[Any]) -> Any:
        return torch.from_numpy(matrix).to_sparse().to(self.device)

    def sums(self, array: torch.Tensor) -> Float64:
        return self.to_host(array.sum(dim=0, dtype=torch.float64))

    def column_moments(self, array: torch.Tensor) -> tuple[Float64, Float64, NDArray[np.bool_]]:
        mean = array.mean(dim=0, dtype=torch.float64)
        squares = (array - mean.to(array.dtype)).square().sum(dim=0, dtype=torch.float64)
        constant = array.amax(dim=0) == array.amin(dim=0)
        return self.to_host(mean), self.to_host(squares), self.to_host(constant)

    def ridge_moments(self, *arrays: Any) -> tuple[Float64, Float64, Float64]:
        wide, small = arrays[:4], (self.asarray(array, np.float64) for array in arrays[4:])
        covariance, variance, scale = (self.to_host(out) for out in ops.ridge_moments(*wide, *small))
        return covariance, variance, scale

    def correlation(self, x: torch.Tensor, y: torch.Tensor) -> Float64:
        return self.to_host(ops.correlation(x, y, axis=0).double())

    def stacked(self, parts: list[torch.Tensor]) -> torch.Tensor:
        return torch.cat(parts)

    def to_host(self, array: torch.Tensor) -> NDArray[Any]:
        return array.cpu().numpy()


def in_turn(jobs: Sequence[Callable[[], Result]], done: Callable[[int], object]) -> list[Result]:
    """What :func:`run_parallel` does, one job after the other."""
    results = []
    for number, job in enumerate(jobs):
        results.append(job())
        done(number)
    return results


def arrays_on(device: str) -> Arrays:
    """The arrays of a device as torch names it: NumPy for ``"cpu"``."""
    return HostArrays() if device == "cpu" else TorchArrays(device)


def score_targets(measured: Any, predicted: Any, scoring: str, arrays: Arrays) -> NDArray[np.float64]:
    """Correlation or R2 of each column, (n_targets,); a constant on either side of a correlation, or a constant
    target of an R2, scores 0."""
    if scoring == "correlation":
        return arrays.correlation(measured, predicted)
    _, spread, constant = arrays.column_moments(measured)
    left = arrays.sums((measured - predicted) ** 2)
    return np.where(constant, 0.0, 1.0 - left / np.where(constant, 1.0, spread))
