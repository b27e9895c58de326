"""What RidgeCV takes of scikit-learn, which has no types, and its checks of features and targets."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_array, check_consistent_length, check_is_fitted, validate_data

from .backend import is_tensor, to_numpy

_FLOATS = [np.float64, np.float32]

if TYPE_CHECKING:

    class Regressor:
        """What users call of scikit-learn's base classes."""

        n_features_in_: int

        def get_params(self, deep: bool = True) -> dict[str, Any]: ...

        def set_params(self, **params: Any) -> Self: ...

else:

    class Regressor(MultiOutputMixin, RegressorMixin, BaseEstimator):
        """scikit-learn's base of a regression with several targets."""


def check_features(estimator: Regressor, X: ArrayLike, *, fitting: bool) -> NDArray[np.floating[Any]]:
    """Features (n_rows, n_features), float32 or float64; to predict, as many as the estimator was fitted on."""
    if not fitting:
        check_is_fitted(estimator)
    rows = {"ensure_min_samples": 2} if fitting else {}
    given = in_numpy("X", X)
    features: NDArray[np.floating[Any]] = validate_data(estimator, given, dtype=_FLOATS, reset=fitting, **rows)
    return features


def check_targets(y: Any, n_rows: int) -> Any:
    """Targets of one or two axes with ``n_rows`` rows and no infinity: NumPy, or a CUDA tensor where it lies."""
    if y is None:
        raise ValueError("RidgeCV requires y to be passed, but the target y is None.")
    if on_gpu(y):
        _require_known_type("y", y)
        y = y.detach() if str(y.dtype) in ("torch.float32", "torch.float64") else y.detach().double()
        if y.ndim not in (1, 2) or len(y) != n_rows or bool(y.isinf().any()):
            raise ValueError(f"y: expected ({n_rows}, n_targets) without infinity, got shape {tuple(y.shape)}.")
        return _require_targets(y)
    given = in_numpy("y", y)
    options: dict[str, Any] = {"ensure_2d": False, "ensure_all_finite": "allow-nan", "ensure_min_features": 0}
    targets = _require_targets(check_array(given, dtype=_FLOATS, input_name="y", **options))
    check_consistent_length(np.empty(n_rows), targets)
    return targets


def check_magnitude(arrays: dict[str, Any], dtype: np.dtype[Any]) -> None:
    """A ValueError where products with the data, or squares of the float64 Gram matrix, overflow; NaN is not seen."""
    for name, array in arrays.items():
        if on_gpu(array):
            continue
        ranges = float(np.finfo(dtype).max), float(np.finfo(np.float64).max)
        limit = min((ranges[0] / len(array)) ** 0.5, (ranges[1] / len(array)) ** 0.25)
        largest = max(float(np.fmax.reduce(array, axis=None)), -float(np.fmin.reduce(array, axis=None)))
        if largest > limit:
            raise ValueError(
                f"{name} reaches {largest:.3g}, beyond the {limit:.2g} whose products {dtype} holds; z-score it, or "
                "give it in another unit."
            )


def check_parameters(scoring: Any, n_targets_batch: Any) -> None:
    """A ValueError unless each is one of its values."""
    if scoring not in ("correlation", "r2"):
        raise ValueError(f"scoring must be 'correlation' or 'r2', got {scoring!r}.")
    whole = isinstance(n_targets_batch, (int, np.integer)) and not isinstance(n_targets_batch, bool)
    if n_targets_batch is not None and not (whole and n_targets_batch >= 1):
        raise ValueError(f"n_targets_batch must be a whole number of at least 1, or None, got {n_targets_batch!r}.")


def without_nan(targets: Any) -> tuple[Any, NDArray[np.bool_]]:
    """Targets (n_rows, n_targets) that hold no NaN, and which hold one, bool (n_targets,); a warning says how many."""
    excluded = np.asarray(to_numpy((targets != targets).any(axis=0)))  # NaN alone differs from itself
    usable, n_targets = np.flatnonzero(~excluded), targets.shape[1]
    if not len(usable):
        raise ValueError(f"y: every one of the {n_targets} target(s) holds a NaN; nothing can be fitted.")
    if len(usable) == n_targets:
        return targets, excluded
    warnings.warn(
        f"{n_targets - len(usable)} of {n_targets} targets hold a NaN and are excluded.", UserWarning, stacklevel=3
    )
    return targets[:, usable], excluded


def on_gpu(y: Any) -> bool:
    """Whether this is a CUDA tensor."""
    return is_tensor(y) and bool(y.is_cuda)


def in_numpy(name: str, array: Any) -> Any:
    """A torch tensor in NumPy, from wherever it lies; anything else as it is. A type that NumPy lacks is named."""
    _require_known_type(name, array)
    return to_numpy(array)


def _require_targets(y: Any) -> Any:
    if y.ndim == 2 and y.shape[1] == 0:
        raise ValueError(f"y has no target: its shape is {tuple(y.shape)}, and (n_rows, n_targets) needs one or more.")
    return y


def _require_known_type(name: str, array: Any) -> None:
    """torch has types that NumPy has not, all of fewer digits than ridge needs."""
    if is_tensor(array) and str(array.dtype).startswith(("torch.bfloat16", "torch.float8")):
        raise TypeError(f"{name} is {array.dtype}, of too few digits for ridge; give {name}.float(), its float32.")
