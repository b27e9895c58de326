"""Ridge's matrices in torch, on one device. Products are float32 unless torch was told to allow TF32."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .. import ops

Float64 = NDArray[np.float64]
_LINALG = threading.Lock()  # torch loads its CUDA library at the first call, and fails where two threads make it


class TorchBackend:
    """The :class:`~brainwavlm_fast.ridge.backend.Backend` of a GPU."""

    tile_bytes = 4 << 30
    parallel = False

    def __init__(self, device: Any) -> None:
        self.device = _known_device(device)

    def asarray(self, array: Any, dtype: Any) -> torch.Tensor:
        wanted = torch.float32 if np.dtype(dtype) == np.float32 else torch.float64
        if not isinstance(array, torch.Tensor):
            array = np.ascontiguousarray(array)
            array = torch.from_numpy(array if array.flags.writeable else array.copy())
        placed: torch.Tensor = array.to(self.device, wanted)
        return placed

    def resident(self, targets: Any, dtype: Any) -> Any:
        if self.device.type != "cuda":
            return targets
        n_rows, n_targets = targets.shape
        free = torch.cuda.mem_get_info(self.device)[0] + torch.cuda.memory_reserved(self.device)
        free -= torch.cuda.memory_allocated(self.device)
        needed = n_rows * n_targets * np.dtype(dtype).itemsize
        return self.asarray(targets, dtype) if needed + 2 * self.tile_bytes < free else targets

    def sparse(self, matrix: NDArray[Any]) -> Any:
        return self.asarray(matrix, matrix.dtype)  # a dense product takes less time than to find what is not 0

    def cross_product(self, a: Any, b: Any) -> Float64:
        wide = self.asarray(a, np.float64)
        return self.to_host(wide.T @ (wide if b is a else self.asarray(b, np.float64)))

    def column_sums(self, array: torch.Tensor) -> Float64:
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

    def eigh(self, gram: Float64) -> tuple[Float64, Float64]:
        placed = self.asarray(gram, np.float64)
        with _LINALG:
            values, vectors = torch.linalg.eigh(placed)
        return self.to_host(values), self.to_host(vectors)

    def concatenate(self, parts: list[torch.Tensor]) -> torch.Tensor:
        return torch.cat(parts)

    def to_host(self, array: torch.Tensor) -> NDArray[Any]:
        return array.cpu().numpy()


def _known_device(device: Any) -> torch.device:
    """A device that is here and has our kernels, or a ValueError."""
    try:
        known = torch.device(device)
    except (RuntimeError, TypeError):
        known = None
    if known is None or known.type not in ("cpu", "cuda"):
        raise ValueError(f"device must be 'cpu', 'cuda' or such as 'cuda:1', got {str(device)!r}.")
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if known.type == "cuda" and (known.index or 0) >= n_gpus:
        raise ValueError(
            f"device {str(device)!r}: torch finds {n_gpus} CUDA GPU(s) here; use device='cpu', or another."
        )
    return known
