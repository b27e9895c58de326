"""What RidgeCV takes of scikit-learn, which has no types, and its checks of features and targets."""

from __future__ import annotations

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
    features: NDArray[np.floating[Any]] = validate_data(estimator, to_numpy(X), dtype=_FLOATS, reset=fitting, **rows)
    return features


def check_targets(y: Any, n_rows: int) -> Any:
    """Targets of one or two axes with ``n_rows`` rows and no infinity: NumPy, or a CUDA tensor where it lies."""
    if y is None:
        raise ValueError("RidgeCV requires y to be passed, but the target y is None.")
    if on_gpu(y):
        y = y.detach() if str(y.dtype) in ("torch.float32", "torch.float64") else y.detach().double()
        if y.ndim not in (1, 2) or len(y) != n_rows or bool(y.isinf().any()):
            raise ValueError(f"y: expected ({n_rows}, n_targets) without infinity, got shape {tuple(y.shape)}.")
        return y
    targets = check_array(to_numpy(y), dtype=_FLOATS, ensure_2d=False, ensure_all_finite="allow-nan", input_name="y")
    check_consistent_length(np.empty(n_rows), targets)
    return targets


def on_gpu(y: Any) -> bool:
    """Whether this is a CUDA tensor."""
    return is_tensor(y) and bool(y.is_cuda)
