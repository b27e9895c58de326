"""Ridge's matrices in NumPy, whose BLAS was the fastest on the CPUs tried."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from .. import kernels

Float64 = NDArray[np.float64]
_SAME_SETS = 128  # rows of a multiple of so many float64 fall on one another in the caches
_ROWS = 128  # summed in the data's precision before they are added in float64


class NumpyBackend:
    """The :class:`~brainwavlm_fast.ridge.backend.Backend` of the host."""

    tile_bytes = 192 << 20  # per thread
    parallel = True

    def asarray(self, array: Any, dtype: Any) -> NDArray[Any]:
        return np.ascontiguousarray(array, dtype=dtype)

    def resident(self, targets: Any, dtype: Any) -> Any:
        return targets

    def sparse(self, matrix: NDArray[Any]) -> Any:
        return csr_array(matrix)

    def cross_product(self, a: NDArray[Any], b: NDArray[Any]) -> Float64:
        wide = a.astype(np.float64, copy=False)
        product: Float64 = wide.T @ (wide if b is a else b.astype(np.float64, copy=False))
        return product

    def column_sums(self, array: NDArray[Any]) -> Float64:
        sums: Float64 = array.sum(axis=0, dtype=np.float64)
        return sums

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

    def eigh(self, gram: Float64) -> tuple[Float64, Float64]:
        n = len(gram)
        if n % _SAME_SETS == 0:  # a few null columns more are 10 to 25 % faster
            gram = np.pad(gram, (0, 64 // gram.itemsize))
        values, vectors = np.linalg.eigh(gram)
        return values, vectors[:n]

    def concatenate(self, parts: list[NDArray[Any]]) -> NDArray[Any]:
        return np.concatenate(parts)

    def to_host(self, array: NDArray[Any]) -> NDArray[Any]:
        return array
