"""Arguments of the core's operations: checked by name, and brought to one side, one type and one layout."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from operator import index
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]


def check_delays(delays: Sequence[int], run_onsets: Sequence[int] | None, n_trs: int) -> tuple[list[int], list[int]]:
    """Delays and run onsets as lists of whole numbers, or an error that names the argument."""
    chosen = _integers("delays", delays)
    if not chosen:
        raise ValueError("delays: at least one delay is needed, got none.")
    if len(set(chosen)) != len(chosen):
        raise ValueError(f"delays: must be distinct, got {chosen}.")
    onsets = [0] if run_onsets is None else _integers("run_onsets", run_onsets)
    rising = all(a < b for a, b in pairwise(onsets))
    if not onsets or onsets[0] != 0 or not rising or onsets[-1] >= max(n_trs, 1):
        raise ValueError(f"run_onsets: must rise from 0 and stay below n_trs = {n_trs}, got {onsets[:8]}.")
    return chosen, onsets


def check_context(context: int, n_trs: int | None, run_onsets: list[int], n_rows: int) -> int:
    """Rows of the stack, or an error that names the argument."""
    (before,) = _integers("context", [context])
    if before < 0 or (len(run_onsets) > 1 and before > run_onsets[1]):
        raise ValueError(f"context: expected 0 or more rows, all of the first run, got {context}.")
    (wanted,) = _integers("n_trs", [max(n_rows - before, 0) if n_trs is None else n_trs])
    if wanted < 0:
        raise ValueError(f"n_trs: expected 0 or more rows, got {n_trs}.")
    return wanted


def check_weights(weights: ArrayLike, n_voxels: int) -> NDArray[np.float64]:
    """Weights (or a mask) of voxels in float64, or an error that says what they should be."""
    w = np.asarray(to_host(weights))
    if w.shape != (n_voxels,) or w.dtype.kind not in "bfiu":
        raise ValueError(f"weights: expected a mask or numbers ({n_voxels},), got shape {w.shape} of {w.dtype}.")
    w = w.astype(np.float64)
    if not np.all(np.isfinite(w) & (w >= 0)):
        raise ValueError("weights: must be finite and at least 0.")
    return w


def _integers(name: str, values: Sequence[int]) -> list[int]:
    try:
        return [index(value) for value in values]
    except TypeError:
        raise TypeError(f"{name}: expected whole numbers, got {values!r}.") from None


def check_axis(axis: int) -> None:
    """A ValueError unless the axis is 0 or 1."""
    if axis not in (0, 1) or isinstance(axis, bool):
        raise ValueError(f"axis: expected 0 (over time) or 1 (across voxels), got {axis!r}.")


def matrices(**arrays: ArrayLike) -> list[Array]:
    """The arguments as matrices of one shape and one floating type."""
    library, matrices = array_library(arrays), {}
    for name, value in arrays.items():
        array = library.asarray(value)
        if array.ndim != 2:
            raise ValueError(f"{name}: expected a matrix (n_trs, n_columns), got shape {array.shape}.")
        if array.dtype.kind not in "fiu":
            raise TypeError(f"{name}: expected real numbers, got {array.dtype}.")
        matrices[name] = array
    first, *others = matrices
    for name in others:
        shape, expected = matrices[name].shape, matrices[first].shape
        if shape != expected:
            raise ValueError(f"{name}: expected the shape of {first}, {expected}, got {shape}.")
    single = all(array.dtype in (np.float32, np.float16) for array in matrices.values())
    dtype = np.dtype(np.float32 if single else np.float64)
    return [array if array.dtype == dtype else array.astype(dtype) for array in matrices.values()]


def row_major(x: Array) -> Array:
    """The matrix with contiguous columns, copied only if it is not so already; rows may overlap."""
    fits = (x.shape[1] <= 1 or x.strides[1] == x.itemsize) and x.strides[0] % x.itemsize == 0
    return x if fits else array_library({"x": x}).ascontiguousarray(x)


def array_library(arrays: dict[str, Any]) -> Any:
    """NumPy, or CuPy for arrays on a GPU; a mixture is a ValueError."""
    on_gpu = {name: hasattr(value, "__cuda_array_interface__") for name, value in arrays.items()}
    if not any(on_gpu.values()):
        return np
    host = [name for name, answer in on_gpu.items() if not answer]
    if host:
        raise ValueError(f"{host[0]}: lies in host memory, but others on a GPU; move all of them to one side.")
    try:
        import cupy
    except ImportError:
        raise TypeError(
            f"{next(iter(on_gpu))}: lies on a GPU; install CuPy for such arrays, or use brainwavlm_fast.ops for torch."
        ) from None
    return cupy


def empty(like: Array, shape: tuple[int, ...]) -> Array:
    """A new array beside another, in its type."""
    made: Array = array_library({"x": like}).empty(shape, like.dtype)
    return made


def beside(like: Array, values: Array) -> Array:
    """Host values where an array lies, in its type."""
    moved: Array = array_library({"x": like}).asarray(values.astype(like.dtype))
    return moved


def to_host(array: Any) -> Any:
    """The array in host memory."""
    return array.get() if hasattr(array, "__cuda_array_interface__") else array


def stream(x: Array) -> int:
    """CuPy's current stream for an array on a GPU, else 0."""
    library = array_library({"x": x})
    return 0 if library is np else int(library.cuda.get_current_stream().ptr)
