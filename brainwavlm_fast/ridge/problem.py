"""A ridge regression before it is solved: its rows, splits and Gram matrix, and targets as the solvers take them.

The penalty is added to the Gram matrix's diagonal: weights = (X'X + penalty I)^-1 X'Y. Gram matrices are float64 on the
host; products with the targets have the data's precision and are made where the targets lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .backend import Backend
from .backend_numpy import NumpyBackend
from .designs import DenseDesign, Design
from .row_splits import RowSplit

Float64 = NDArray[np.float64]
Floats = NDArray[np.floating[Any]]
_MAX_GROUPED = 3  # splits whose rows are grouped by pattern: 2 ** 3 cross products at most
_POWER_STEPS = 20


@dataclass(frozen=True)
class Targets:
    """Targets as the solvers take them.

    Attributes
    ----------
    values : matrix of the backend
        Centred targets (n_rows, n_targets).
    mean : array
        What was subtracted, (n_targets,).
    products : dict
        Cross products X'Y (n_columns, n_targets) over rows that train in the same splits, by the pattern of the splits
        that leave them out (bit k: split k). The cross product of any split's training rows is a sum of some of these.
    """

    values: Any
    mean: Floats
    products: dict[int, Any]

    def cross(self, split: int | None = None) -> Any:
        """X'Y over the rows that train in a split, or over all rows."""
        wanted = [part for bits, part in self.products.items() if split is None or not bits >> split & 1]
        total = wanted[0] + wanted[1] if len(wanted) > 1 else 1 * wanted[0]  # a copy: callers change it
        for part in wanted[2:]:
            total += part
        return total


@dataclass(frozen=True)
class SplitRows:
    """The rows of one split.

    Attributes
    ----------
    left_out, held : array
        Numbers of the rows that do not train, and of those that are scored.
    n_train : int
        Rows that train.
    mean : array
        Mean of the training rows (n_columns,) where features are centred, else 0.
    """

    left_out: NDArray[np.intp]
    held: NDArray[np.intp]
    n_train: int
    mean: Float64


class RidgeProblem:
    """One design with its splits, for any number of targets.

    Ridge does not change when the features are rotated. So a design with more columns than rows is first rotated
    into its row space (QR), and the solvers see as many columns as there are rows.

    Parameters
    ----------
    design : Design
        (n_rows, n_features), float32 or float64.
    splits : sequence of (training rows, held-out rows)
        The splits on which penalties are scored.
    n_targets : int
        How many targets will come in all, in however many tiles: it decides how they are scored.
    fit_intercept : bool, default False
        Centre features and targets over the rows that train.
    scoring : {"correlation", "r2"}
        Score of held-out predictions.
    backend : Backend, optional
        Where targets lie; by default the host.
    rotate : bool, default True
        Do so.

    Attributes
    ----------
    gram : array
        X'X over all rows, (n_columns, n_columns), float64.
    rotation : array or None
        From features to columns, (n_features, n_columns), where the design was rotated.
    """

    def __init__(
        self,
        design: Design,
        splits: Sequence[RowSplit] = (),
        *,
        n_targets: int,
        fit_intercept: bool = False,
        scoring: str = "correlation",
        backend: Backend | None = None,
        rotate: bool = True,
    ) -> None:
        self.backend: Backend = backend or NumpyBackend()
        self.splits, self.n_targets = list(splits), n_targets
        self.fit_intercept, self.scoring = fit_intercept, scoring
        self._offset: Floats | None = None
        self.rotation: Floats | None = None
        n_rows, n_columns = design.shape
        rotate = rotate and n_columns > n_rows
        if fit_intercept or rotate:
            X = design.rows(np.arange(n_rows))
            if fit_intercept:
                self._offset = X.mean(axis=0, dtype=np.float64).astype(X.dtype)
                X = X - self._offset
            if rotate:
                basis, triangle = np.linalg.qr(X.T.astype(np.float64))
                self.rotation, X = basis.astype(X.dtype), np.ascontiguousarray(triangle.T, dtype=X.dtype)
            design = DenseDesign(X)
        self.design, self.dtype = design, design.dtype
        design.to_device(self.backend)
        self._groups = _row_groups(n_rows, self.splits)
        self.gram = design.gram()

    @cached_property
    def largest_eigenvalue(self) -> float:
        """Of the Gram matrix, by power iteration: at worst a few per cent too small."""
        vector, largest = np.random.default_rng(0).standard_normal(len(self.gram)), 0.0
        for _ in range(_POWER_STEPS):
            vector = self.gram @ vector
            largest = float(np.linalg.norm(vector))
            if largest == 0:
                break
            vector /= largest
        return largest

    def place(self, array: Any) -> Any:
        """An array in the data's type, where targets lie."""
        return self.backend.asarray(array, self.dtype)

    def prepare(self, Y: Any) -> Targets:
        """Targets (n_rows, n_targets), from wherever they lie, as the solvers take them."""
        values = self.place(Y)
        mean: Floats = np.zeros(values.shape[1], dtype=self.dtype)
        if self.fit_intercept:
            exact, _, constant = self.backend.column_moments(values)
            # a constant's mean may round: without this it would keep a spread of one unit in the last place
            mean = np.where(constant, self.backend.to_host(values[0]), exact).astype(self.dtype)
            values = values - self.place(mean)
        if len(self._groups) == 1:
            return Targets(values, mean, {0: self.design.cross(None, values)})
        products = {bits: self.design.cross(rows, values[rows]) for bits, rows in self._groups.items()}
        return Targets(values, mean, products)

    def split_rows(self, number: int) -> tuple[SplitRows, Float64]:
        """The rows of a split, and X'X over those that train.

        Raises
        ------
        ValueError
            The split names a training row twice.
        """
        train, held = self.splits[number]
        trains = np.zeros(self.design.shape[0], dtype=bool)
        trains[train] = True
        if trains.sum() != len(train):
            raise ValueError(f"cv: split {number} names a training row twice.")
        left_out = np.flatnonzero(~trains)
        gram = self.gram - self.design.gram(left_out)
        mean = np.zeros(self.design.shape[1])
        if self.fit_intercept:  # the rows of a centred design sum to zero
            mean = -self.design.rows(left_out).sum(axis=0, dtype=np.float64) / len(train)
            gram -= len(train) * np.outer(mean, mean)
        return SplitRows(left_out, left_out if np.array_equal(held, left_out) else held, len(train), mean), gram

    def split_targets(self, number: int, rows: SplitRows, targets: Targets) -> tuple[Any, Any]:
        """X'Y over the training rows of a split, and the targets of its held-out rows."""
        left_out = targets.values[rows.left_out]
        if len(self.splits) <= _MAX_GROUPED:
            cross = targets.cross(number)
        else:
            cross = targets.cross() - self.design.cross(rows.left_out, left_out)
        held = left_out if rows.held is rows.left_out else targets.values[rows.held]
        if self.fit_intercept:  # the targets sum to zero over all rows, so over the training rows to minus the rest
            offset = self.place(-self.backend.column_sums(left_out) / rows.n_train)
            cross -= self.place((rows.n_train * rows.mean)[:, None]) * offset
            held = held - offset
        return cross, held

    def feature_weights(self, coef: Any, targets: Targets) -> tuple[Any, Floats]:
        """Weights of the design's columns (n_columns, n_targets) as weights of the features, and intercepts."""
        if self.rotation is not None:
            coef = self.place(self.rotation) @ coef
        intercept: Floats = np.zeros(coef.shape[1], dtype=self.dtype)
        if self._offset is not None:
            offset = self.place(self._offset)
            intercept = targets.mean - self.backend.to_host(offset @ coef)
        return coef, intercept


def _row_groups(n_rows: int, splits: Sequence[RowSplit]) -> dict[int, NDArray[np.intp]]:
    """Rows by the pattern of splits that leave them out; all rows in one group where the splits are too many."""
    pattern = np.zeros(n_rows, dtype=np.int64)
    for k, (train, _) in enumerate(splits if len(splits) <= _MAX_GROUPED else ()):
        left_out = np.ones(n_rows, dtype=bool)
        left_out[train] = False
        pattern |= left_out.astype(np.int64) << k
    return {int(bits): np.flatnonzero(pattern == bits) for bits in np.unique(pattern)}
